//! The scheduler over the build graph; one file for each kind of step.

pub mod copy;
pub mod mode;
pub mod owner;
pub mod request;
pub mod workdir;
