//! The distribution client: names, credentials, mirrors, pull and push (distribution-spec 1.1).
//!
//! [`Client`]'s functions wait on plain threads; what is theirs to wait for runs on `transport`'s runtime.

mod auth;
mod blob;
mod challenge;
mod client;
mod credential_helper;
mod credentials;
mod endpoint;
mod error;
mod pull;
mod push;
mod registries;
mod tags;
mod upload;

pub use blob::BlobReader;
pub use client::{Client, Options, Progress};
pub use credentials::{Credential, CredentialStore, CredentialsError, Secret};
pub use error::{CredentialsUsed, RegistryError};
pub use pull::{Fetched, Resolved};
pub use push::{BlobSource, PushBlob, PushManifest};
pub use registries::{Registries, RegistriesError};

#[cfg(test)]
mod tests {
    //! Against servers that misbehave on cue, and against the distribution project's own registry.

    mod auth;
    mod fixture;
    mod pull;
    mod push;
    mod real;
}
