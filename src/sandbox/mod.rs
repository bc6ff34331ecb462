//! Runs a step's command apart from the machine, without a daemon and without another program.

mod cancel;
pub mod cdi;
mod cgroup;
mod child;
mod chroot;
mod devices;
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
mod surroundings;
mod survey;
mod trace;
pub mod user;
mod wire;

pub use crate::sys::process::ExitStatus;
pub use cancel::Cancel;
pub use cgroup::{Cgroups, Exceeded, Leaf, LeafError, Resources, ResourcesError};
pub use child::child_main;
pub use enter::{Entered, enter, in_rung};
pub use probe::{IdMap, IsolationError, Probe, Rung, Wall, find_program, probe, reason};
pub use run::{RUN_ARGUMENT, Runner};
pub use spec::{Bounds, MountSpec, RunError, RunSpec};
pub use subid::Mapping;
pub use survey::{Finding, survey};
