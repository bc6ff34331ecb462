//! The system calls that the standard library does not have; the only place with `unsafe`.

pub mod interrupt;
mod root;

pub use root::Root;
