//! The two forms of overlayfs metadata and the names of their attributes.
//!
//! With capabilities in the initial user namespace overlayfs keeps its marks in `trusted.overlay.*`; mounted inside a
//! user namespace it cannot, and keeps them in `user.overlay.*` (`userxattr`, Linux 5.11).  A layer that is unpacked
//! in one form is not understood by a mount of the other, so the form is chosen once, with the rung.

/// Which extended attributes overlayfs reads and writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum OverlayForm {
    /// `trusted.overlay.*`: root in the initial user namespace.
    Trusted,
    /// `user.overlay.*`: mounts with `userxattr`, inside any other user namespace.
    User,
}

impl OverlayForm {
    /// Returns the attribute (value `y`) that marks a directory as hiding all below it.
    pub fn opaque_xattr(self) -> &'static str {
        match self {
            OverlayForm::Trusted => "trusted.overlay.opaque",
            OverlayForm::User => "user.overlay.opaque",
        }
    }

    /// Returns the attribute of an empty file that is a whiteout, for where no device 0:0 can be made (Linux 6.7).
    pub fn whiteout_xattr(self) -> &'static str {
        match self {
            OverlayForm::Trusted => "trusted.overlay.whiteout",
            OverlayForm::User => "user.overlay.whiteout",
        }
    }
}
