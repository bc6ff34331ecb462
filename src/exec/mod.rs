//! The scheduler over the build graph; one file for each kind of step.

pub mod request;
