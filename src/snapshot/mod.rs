//! The root file system of a step: layers stacked by overlayfs, or a copy where it is refused.

pub mod overlay;
pub mod upper;

pub use overlay::{LAYER_LIMIT, OverlayRefused, mount, overlay_works, view};

use crate::sys::Root;

/// A writable root file system; gone from memory when dropped, what was written stays in the upper directory.
#[derive(Debug)]
pub struct Mounted {
    /// The merged tree: a mount that is attached nowhere.
    pub root: Root,
}
