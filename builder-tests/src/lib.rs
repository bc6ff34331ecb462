//! End-to-end tests of cooper: the real binary, in directories of its own, without a network.
//!
//! ```no_run
//! use builder_tests::Bench;
//!
//! let bench = Bench::new().file("Dockerfile", "FROM scratch\nCOPY a /a\n").file("a", "hi");
//! bench.build(["-t", "app:1"]).success();
//! bench.build(["-t", "app:1"]).success().cached("COPY a /a");
//! ```
//!
//! Everything here panics instead of returning errors: the only callers are tests.
#![allow(clippy::unwrap_used)]

mod archive;
mod base;
mod bench;
mod binary;
mod image;
mod need;
mod outcome;
mod server;
mod user;

pub use archive::{read_tar, tar_of};
pub use base::write_base;
pub use bench::Bench;
pub use binary::cooper_binary;
pub use image::{Image, Node};
pub use need::{has_program, is_root, need, skip};
pub use outcome::Outcome;
pub use server::{FileServer, Registry, free_port, git, git_daemon};
pub use user::{ORDINARY, Who};
