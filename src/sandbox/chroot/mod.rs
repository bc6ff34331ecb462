//! A step in a container that allows neither namespaces nor mounts: chroot into its root file system.
//!
//! What a mount would cover is moved aside for the time of the step and comes back after it; /proc is answered by the builder
//! (`supervise::proc`).  The step shares processes, network and devices with the builder, and as root it can leave its root:
//! this keeps a build apart from the files of its container, not an attacker from the container.

mod child;
mod covers;
mod processes;

pub(super) use child::{run, wait};
pub(super) use covers::Covers;
pub(super) use processes::{descendants, kill_descendants, parent_of, pid_of};
