//! Attacks that other builders fell to, made against the real program.
//!
//! `docs/security-tests.md` says which attack each test is.  Everything is offline and made by code: base images are OCI layouts,
//! hostile archives are written byte by byte, hostile servers listen on the loopback.  What is outside of a build is a directory
//! that every build must leave byte for byte and mode for mode as it was.
#![allow(clippy::unwrap_used)]

mod bench;
mod cache;
mod contexts;
mod downloads;
mod layers;
mod layout;
mod outputs;
mod rungs;
mod runs;
mod secrets;
mod store;
mod tar;
mod walk;
