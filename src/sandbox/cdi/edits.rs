//! What devices add to a step.

use super::spec::{ContainerEdits, Mount, Node};
use std::path::PathBuf;

/// What a step gets for its devices.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// Variables; later ones win.
    pub env: Vec<(String, String)>,
    /// Device nodes.
    pub nodes: Vec<DeviceNode>,
    /// Files and directories of the machine.
    pub mounts: Vec<DeviceMount>,
    /// Further groups of the step's user.
    pub additional_gids: Vec<u32>,
    /// What is asked for and cannot be done, with the device that asks for it.
    pub refused: Vec<String>,
}

/// A device node of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceNode {
    /// Where in the step.
    pub path: PathBuf,
    /// The machine's node.
    pub host_path: PathBuf,
    /// Whether it is a block device, with major and minor number; `None` where the machine's node says.
    pub number: Option<(bool, u32, u32)>,
    /// Mode; that of the machine's node where not given.
    pub mode: Option<u32>,
    /// Owner; the step's user where not given.
    pub uid: Option<u32>,
    /// Group; that of the step's user where not given.
    pub gid: Option<u32>,
}

/// A part of the machine's file system in a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceMount {
    /// What is mounted.
    pub host_path: PathBuf,
    /// Where in the step.
    pub path: PathBuf,
    /// Whether writes fail.
    pub read_only: bool,
    /// Whether mounts below it come along.
    pub is_recursive: bool,
}

impl Edits {
    /// Adds what a specification asks for on behalf of a device.
    pub(super) fn add(&mut self, device: &str, edits: &ContainerEdits) {
        let pair = |text: &String| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        self.env.extend(edits.env.iter().filter_map(pair));
        for node in &edits.device_nodes {
            let node = device_node(node);
            self.nodes.retain(|known| known.path != node.path);
            self.nodes.push(node);
        }
        for mount in &edits.mounts {
            match device_mount(mount) {
                Ok(mount) => {
                    self.mounts.retain(|known| known.path != mount.path);
                    self.mounts.push(mount);
                }
                Err(reason) => self.refused.push(format!("device `{device}` asks for {reason}")),
            }
        }
        self.additional_gids.extend(edits.additional_gids.iter().filter(|gid| **gid != 0));
        let hooks = edits.hooks.iter().map(|hook| format!("the `{}` hook `{}`", hook.hook_name, hook.path));
        let interfaces =
            edits.net_devices.iter().map(|net| format!("the network interface `{}`", net.host_interface_name));
        let shares = edits.intel_rdt.iter().map(|_| "shares of cache and memory bandwidth (`intelRdt`)".to_owned());
        self.refused
            .extend(hooks.chain(interfaces).chain(shares).map(|what| format!("device `{device}` asks for {what}")));
    }
}

fn device_node(node: &Node) -> DeviceNode {
    let host_path = if node.host_path.is_empty() { &node.path } else { &node.host_path };
    let is_specified = matches!(node.kind.as_str(), "b" | "c" | "u") && node.major != 0;
    DeviceNode {
        path: node.path.clone().into(),
        host_path: host_path.into(),
        number: is_specified.then_some((node.kind == "b", node.major, node.minor)),
        mode: node.file_mode.map(|mode| mode & 0o777),
        uid: node.uid,
        gid: node.gid,
    }
}

/// Options of a mount that are so anyway, or make no difference to a step that ends.
const HARMLESS_OPTIONS: [&str; 14] = [
    "bind", "rw", "nosuid", "nodev", "noexec", "exec", "dev", "suid", "private", "rprivate", "slave", "rslave",
    "noatime", "relatime",
];

fn device_mount(mount: &Mount) -> Result<DeviceMount, String> {
    if !["", "none", "bind"].contains(&mount.kind.as_str()) {
        return Err(format!("a mount of type `{}` at `{}`", mount.kind, mount.container_path));
    }
    let has = |name: &str| mount.options.iter().any(|option| option == name);
    let is_known =
        |option: &&String| ["ro", "rbind"].contains(&option.as_str()) || HARMLESS_OPTIONS.contains(&option.as_str());
    if let Some(option) = mount.options.iter().find(|option| !is_known(option)) {
        return Err(format!("the mount option `{option}` at `{}`", mount.container_path));
    }
    Ok(DeviceMount {
        host_path: mount.host_path.clone().into(),
        path: mount.container_path.clone().into(),
        read_only: has("ro"),
        is_recursive: has("rbind"),
    })
}
