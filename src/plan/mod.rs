//! The plan of a build: AST -> stage graph -> build graph.  Pure: what it needs to know it asks of [`Facts`].
//!
//! [`plan`] goes through a Dockerfile three times: names and references of all stages (`stages`), base images and
//! ONBUILD of the stages that the target needs (`base`), then instruction by instruction (`lower`) with the config
//! (`metadata`), RUN (`run`, `mount`) and COPY (`copy`).

#![allow(clippy::result_large_err, reason = "errors end the build: they are made once and passed on")]

mod args;
mod base;
mod chmod;
mod copy;
mod device;
mod environment;
mod epoch;
mod gotext;
pub mod graph;
pub mod inspect;
mod label;
mod lower;
mod metadata;
mod mount;
pub mod outline;
mod owner;
mod path;
mod planner;
mod port;
mod reference;
mod remote;
mod run;
mod signal;
mod stages;
mod state;
#[cfg(test)]
mod tests;
mod warn;
mod words;

pub use args::BuilderArgs;
pub use device::FoundDevice;
pub use warn::{fail_on_findings, is_secret_name};

use crate::diag::{Diagnostic, Failure};
use crate::dockerfile::ast::Dockerfile;
use crate::dockerfile::lint::Checks;
use crate::image::Platform;
use crate::sys::capability::Capabilities;
use graph::ImageFacts;
use outline::Outline;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the command line says that changes the plan.
#[derive(Debug, Clone)]
pub struct Options {
    /// `--target`, a stage's name or number; the last stage by default.
    pub target: Option<String>,
    /// `--build-arg`, in order of the command line; a name without value is already looked up.
    pub build_args: BTreeMap<String, String>,
    /// `--label`, in order of names.
    pub labels: BTreeMap<String, String>,
    /// `--platform`, the platform of the result.
    pub platform: Platform,
    /// Whether `--platform` was given: the config then names that platform, else that of the base image.
    pub is_platform_given: bool,
    /// The platform of this machine (BUILDPLATFORM).
    pub build_platform: Platform,
    /// `--build-context`, names normalised (`busybox:latest` is `busybox`), for one platform alone with `::linux/arm64`
    /// behind; of two of one name the last counts; context ids follow this order from 1.
    pub contexts: Vec<(String, NamedContext)>,
    /// `--no-cache`.
    pub no_cache: bool,
    /// `--no-cache-filter`, stage names.
    pub no_cache_filter: Vec<String>,
    /// `--network` for RUNs that do not say.
    pub network: graph::Network,
    /// `--allow`, the entitlements granted (`network.host`, `security.insecure`, `device`..).
    pub allow: Vec<String>,
    /// `--add-host`, name and address.
    pub extra_hosts: Vec<(String, String)>,
    /// `--shm-size` in bytes.
    pub shm_size_bytes: Option<u64>,
    /// `--ulimit`: name, soft, hard.
    pub ulimits: Vec<(String, u64, u64)>,
    /// Capabilities of RUN.
    pub capabilities: Capabilities,
    /// Plans every stage, not only what the target needs: for lint rules.
    pub all_stages: bool,
}

/// What a `--build-context` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// `docker-image://REF`, or `docker-image://scratch`.
    Image(String),
    /// `oci-layout://PATH[:tag][@digest]`.
    OciLayout(String),
    /// A local directory, a Git URL or an http(s) URL: files.
    Files(String),
}

/// Where an image is to be looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImageSource<'a> {
    /// A reference, as written after expansion: the local store, then a registry.
    Reference(&'a str),
    /// An OCI layout on disk, `PATH[:tag][@digest]`.
    OciLayout(&'a str),
}

/// What SOURCE_DATE_EPOCH may take its time from.
#[derive(Debug, Clone, Copy)]
pub enum TimeSource<'a> {
    /// The main context.
    Main,
    /// A `--build-context`, by its place in [`Options::contexts`].
    Named(usize),
    /// A file from the web or a repository, as ADD has them.
    Remote(&'a graph::CopySource),
}

/// Answers what only the world outside knows.
pub trait Facts {
    /// Returns the manifest and config of an image for a platform.
    ///
    /// Errors are diagnostics without a place; the planner adds the place.
    fn image(&mut self, source: ImageSource<'_>, platform: &Platform) -> Result<Arc<ImageFacts>, Diagnostic>;

    /// Whether the configs that [`Facts::image`] returns are those of the images; if not, nothing is said of variables
    /// that a base image may define.
    fn knows_images(&self) -> bool {
        true
    }

    /// Returns the devices that a name of `RUN --device` stands for; `None` where nothing is known of devices.
    ///
    /// Errors are diagnostics without a place; the planner adds the place.
    fn devices(&mut self, _name: &str) -> Result<Option<Vec<FoundDevice>>, Diagnostic> {
        Ok(None)
    }

    /// Returns when a source was last changed, in seconds since 1970; `None` where it has no time of its own.
    ///
    /// Errors are diagnostics without a place; the planner adds the place.
    fn time(&mut self, _source: TimeSource<'_>) -> Result<Option<i64>, Diagnostic> {
        Ok(None)
    }

    /// Returns what kept devices from being known, for errors about one that is not.
    fn device_problems(&self) -> Vec<String> {
        Vec::new()
    }

    /// Returns what makes the main context lack a path that a COPY names, e.g. ``.dockerignore:4 `dist` ``.
    fn ignored_by(&self, _path: &str) -> Option<String> {
        None
    }
}

/// What [`plan`] returns.
#[derive(Debug)]
pub struct Planned {
    /// What there is to do, and the one target.
    pub graph: graph::Graph,
    /// Findings of the lint rules that need to know what variables and names stand for, in the order of the file.
    pub warnings: Vec<Diagnostic>,
    /// What `# check=` or `BUILDKIT_DOCKERFILE_CHECK` says, for [`fail_on_findings`].
    pub checks: Checks,
    /// The parameters of the target.
    pub outline: Outline,
}

/// Plans a Dockerfile for one platform.
///
/// # Errors
/// Mistakes of the Dockerfile that its text alone does not show, an unknown target, an entitlement that is not granted,
/// and what [`Facts`] fails with; each with its place, and with what was found before it.
pub fn plan(dockerfile: &Dockerfile, options: &Options, facts: &mut dyn Facts) -> Result<Planned, Failure> {
    planner::Planner::run(dockerfile, options, facts)
}
