//! The types of the OCI image specification, as cooper writes and reads them.
//!
//! Own types instead of a crate's: what has a digest must be written the same way every time, Docker's fields
//! (Healthcheck, OnBuild, Shell, ArgsEscaped) must survive, and unknown fields must too.

mod choose;
mod config;
mod digest;
mod json;
mod manifest;
mod platform;
mod reference;
pub mod validate;

pub use config::{ContainerConfig, Healthcheck, History, ImageConfig, RootFs};
pub use digest::{Digest, DigestError, Sha256Reader, Sha256Writer, chain_ids};
pub use json::to_json;
pub use manifest::{Descriptor, Index, Manifest, MediaType, media_type};
pub use platform::{Platform, PlatformError};
pub use reference::{Reference, ReferenceError};
