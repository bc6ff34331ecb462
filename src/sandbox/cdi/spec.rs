//! One specification as it is written, JSON or YAML.
//!
//! Fields that are not known are errors, as in the reference library: a device that lacks something of what its vendor
//! asks for is worse than none.

use super::name;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Versions of the format.
const VERSIONS: [&str; 10] = ["0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"];

/// The names a hook may have.
const HOOKS: [&str; 6] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Spec {
    pub cdi_version: String,
    /// `vendor/class`.
    pub kind: String,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    pub devices: Vec<Device>,
    #[serde(default)]
    pub container_edits: ContainerEdits,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Device {
    pub name: String,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub container_edits: ContainerEdits,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct ContainerEdits {
    pub env: Vec<String>,
    pub device_nodes: Vec<Node>,
    pub net_devices: Vec<NetDevice>,
    pub hooks: Vec<Hook>,
    pub mounts: Vec<Mount>,
    pub intel_rdt: Option<IntelRdt>,
    pub additional_gids: Vec<u32>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Node {
    pub path: String,
    #[serde(default)]
    pub host_path: String,
    #[serde(default, rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub major: u32,
    #[serde(default)]
    pub minor: u32,
    pub file_mode: Option<u32>,
    /// For the cgroup of a container, which a step does not have.
    #[serde(default)]
    pub permissions: String,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Mount {
    pub host_path: String,
    pub container_path: String,
    #[serde(default)]
    pub options: Vec<String>,
    #[serde(default, rename = "type")]
    pub kind: String,
}

/// What cooper does not do, so that only its name counts.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Hook {
    pub hook_name: String,
    pub path: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NetDevice {
    pub host_interface_name: String,
}

/// Shares of cache and memory bandwidth; nothing of it is used.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct IntelRdt {}

/// Reads a specification and checks it.
pub(super) fn parse(text: &str, is_json: bool) -> Result<Spec, String> {
    let spec: Spec = if is_json {
        serde_json::from_str(text).map_err(|error| error.to_string())?
    } else {
        // Octal modes are written as YAML 1.1 has them.
        let options = serde_saphyr::options! { legacy_octal_numbers: true, with_snippet: false };
        serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())?
    };
    check(&spec)?;
    Ok(spec)
}

fn check(spec: &Spec) -> Result<(), String> {
    if !VERSIONS.contains(&spec.cdi_version.as_str()) {
        return Err(format!("unknown `cdiVersion`: `{}`", spec.cdi_version));
    }
    if !name::is_kind(&spec.kind) {
        return Err(format!("`kind` is not `vendor/class`: `{}`", spec.kind));
    }
    if spec.devices.is_empty() {
        return Err("it has no devices".to_owned());
    }
    check_edits(&spec.container_edits)?;
    for (index, device) in spec.devices.iter().enumerate() {
        let name = &device.name;
        if !name::is_device(name) {
            return Err(format!("invalid name of a device: `{name}`"));
        }
        if spec.devices[..index].iter().any(|earlier| earlier.name == *name) {
            return Err(format!("device `{name}` is there twice"));
        }
        if device.container_edits == ContainerEdits::default() {
            return Err(format!("device `{name}` has no `containerEdits`"));
        }
        check_edits(&device.container_edits).map_err(|reason| format!("device `{name}`: {reason}"))?;
    }
    Ok(())
}

fn check_edits(edits: &ContainerEdits) -> Result<(), String> {
    if let Some(variable) = edits.env.iter().find(|variable| variable.find('=').is_none_or(|at| at == 0)) {
        return Err(format!("invalid environment variable: `{variable}`"));
    }
    for node in &edits.device_nodes {
        if !node.path.starts_with('/') {
            return Err(format!("the path of a device node is not absolute: `{}`", node.path));
        }
        if !["", "b", "c", "u", "p"].contains(&node.kind.as_str()) {
            return Err(format!("device node `{}` has an unknown type: `{}`", node.path, node.kind));
        }
        if !node.permissions.chars().all(|c| "rwm".contains(c)) {
            return Err(format!("device node `{}` has invalid permissions: `{}`", node.path, node.permissions));
        }
    }
    for mount in &edits.mounts {
        if mount.host_path.is_empty() || !mount.container_path.starts_with('/') {
            return Err(format!("invalid mount: `{}` to `{}`", mount.host_path, mount.container_path));
        }
    }
    match edits.hooks.iter().find(|hook| !HOOKS.contains(&hook.hook_name.as_str())) {
        Some(hook) => Err(format!("unknown hook: `{}`", hook.hook_name)),
        None => Ok(()),
    }
}
