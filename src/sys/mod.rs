//! The system calls that the standard library does not have; the only place with `unsafe`.

mod root;

pub use root::Root;
