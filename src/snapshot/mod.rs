//! Root file systems of steps.

pub mod upper;
