//! The system calls that the standard library does not have; the only place with `unsafe`.

pub mod attempt;
mod attributes;
pub mod bytes;
pub mod capability;
mod directory;
pub mod interrupt;
pub mod mount;
pub mod notify;
pub mod overlay;
pub mod owner;
pub mod process;
pub mod restrict;
mod root;
pub mod trace;
mod walk;

pub use attributes::{chmod_at, list_xattrs, read_xattr};
pub use directory::{DirectoryEntry, read_directory, remove_tree};
pub use root::Root;
pub(crate) use root::components_reversed;
pub use walk::open_on_mount;
