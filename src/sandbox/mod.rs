//! Runs a step's command apart from the machine, without a daemon and without another program.

mod cancel;
mod cgroup;
mod child;
mod chroot;
mod enter;
mod mountpoint;
mod network;
mod probe;
mod request;
mod rootfs;
mod run;
mod seccomp;
mod single_id;
mod spec;
mod stubs;
mod subid;
pub mod supervise;
pub mod user;
mod wire;

pub use crate::sys::process::ExitStatus;
pub use cancel::Cancel;
pub use cgroup::{Cgroups, Exceeded, Leaf, LeafError, Resources, ResourcesError};
pub use child::child_main;
pub use enter::{Entered, enter};
pub use probe::{IdMap, IsolationError, Probe, Rung, Wall, probe};
pub use run::{RUN_ARGUMENT, Runner};
pub use spec::{Bounds, MountSpec, RunError, RunSpec};
pub use subid::Mapping;
