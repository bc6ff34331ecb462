//! The system calls that the standard library does not have; the only place with `unsafe`.

pub mod mount;
pub mod overlay;
pub mod process;
pub mod restrict;
mod root;

pub use root::Root;
