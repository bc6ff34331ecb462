//! What can go wrong between here and a registry, each kind apart.

use super::{RegistriesError, credentials::CredentialsError};
use crate::image::Digest;
use crate::image::validate::ValidateError;
use crate::transport::TransportError;
use std::fmt;

/// Which credentials a refused request carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialsUsed {
    /// None were found for the registry.
    None,
    /// Those from the named file or helper.
    From(String),
}

impl fmt::Display for CredentialsUsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CredentialsUsed::None => write!(f, "no credentials were found for it"),
            CredentialsUsed::From(source) => write!(f, "the credentials from `{source}` were sent"),
        }
    }
}

/// A failed exchange with a registry.  No message holds a credential.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No usable answer.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// Status 401.
    #[error("`{registry}` wants a login for {action} `{repository}`; {credentials}")]
    Unauthorized {
        /// The host asked.
        registry: String,
        /// E.g. `pulling`.
        action: &'static str,
        /// The repository.
        repository: String,
        /// What was sent.
        credentials: CredentialsUsed,
    },
    /// Status 403.
    #[error("`{registry}` denies {action} `{repository}`; {credentials}{}", detail(.message))]
    Denied {
        /// The host asked.
        registry: String,
        /// E.g. `pulling`.
        action: &'static str,
        /// The repository.
        repository: String,
        /// What was sent.
        credentials: CredentialsUsed,
        /// The registry's own words, one line.
        message: String,
    },
    /// Status 404 for a manifest.
    #[error("`{reference}` is not found in `{registry}`")]
    UnknownManifest {
        /// The image asked for.
        reference: String,
        /// The host asked.
        registry: String,
    },
    /// Status 404 for a blob.
    #[error("blob `{digest}` is not found in `{repository}` of `{registry}`")]
    UnknownBlob {
        /// The blob.
        digest: Digest,
        /// The repository.
        repository: String,
        /// The host asked.
        registry: String,
    },
    /// Status 429, and waiting did not help.
    #[error("`{registry}` limits the rate of requests{}; {credentials}", until(.retry_after))]
    RateLimited {
        /// The host asked.
        registry: String,
        /// The header `Retry-After` as it came.
        retry_after: Option<String>,
        /// What was sent: many registries allow more to those who log in.
        credentials: CredentialsUsed,
    },
    /// Another status.
    #[error("{action} `{repository}`: `{registry}` answered {status}{}", detail(.message))]
    Status {
        /// The host asked.
        registry: String,
        /// E.g. `pulling`.
        action: &'static str,
        /// The repository.
        repository: String,
        /// The status.
        status: u16,
        /// The registry's own words, one line.
        message: String,
    },
    /// Content that is not what its digest names.
    #[error("{what} from `{registry}` has the digest `{actual}`, not `{expected}`")]
    DigestMismatch {
        /// E.g. `the manifest`.
        what: &'static str,
        /// Who sent it.
        registry: String,
        /// As asked for.
        expected: Digest,
        /// As it came.
        actual: String,
    },
    /// Content of another length than its descriptor says.
    #[error("blob `{digest}` from `{registry}` has {actual} bytes, not {expected}")]
    SizeMismatch {
        /// Which blob.
        digest: Digest,
        /// Who sent it.
        registry: String,
        /// As the descriptor says.
        expected: u64,
        /// As it came; more may have followed.
        actual: u64,
    },
    /// No manifest for the platform.
    #[error("no match for platform `{platform}` in `{reference}`; it has: {}", list(.available))]
    NoPlatform {
        /// The image.
        reference: String,
        /// The platform wanted.
        platform: String,
        /// Those that are there.
        available: Vec<String>,
    },
    /// A document that cannot be used.
    #[error("`{reference}`: {source}")]
    Invalid {
        /// The image.
        reference: String,
        /// Why.
        source: ValidateError,
    },
    /// Indexes within indexes.
    #[error("`{reference}`: indexes lie in indexes more than {limit} deep")]
    TooDeep {
        /// The image.
        reference: String,
        /// The limit.
        limit: usize,
    },
    /// An answer against the distribution-spec.
    #[error("`{registry}` does not follow the distribution specification: {reason}")]
    Protocol {
        /// The host asked.
        registry: String,
        /// How.
        reason: String,
    },
    /// A token service that is not asked.
    #[error("refusing to send credentials of `{registry}` to the token service `{realm}`: {reason}")]
    Realm {
        /// Whose challenge it was.
        registry: String,
        /// The service, redacted.
        realm: String,
        /// Why not.
        reason: &'static str,
    },
    /// A push under a name that stands for something else, which the user does not want.
    #[error("`{reference}` is in `{registry}` already, as `{actual}`; it is not overwritten by `{wanted}`")]
    NameTaken {
        /// The name.
        reference: String,
        /// The host asked.
        registry: String,
        /// What it stands for.
        actual: Digest,
        /// What was to be pushed.
        wanted: Digest,
    },
    /// registries.conf forbids it.
    #[error("`{name}` is blocked by registries.conf")]
    Blocked {
        /// The name.
        name: String,
    },
    /// registries.conf cannot be used.
    #[error(transparent)]
    Registries(#[from] RegistriesError),
    /// Credentials cannot be had.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// A blob that was to be sent is not what its descriptor says.
    #[error("the file of blob `{digest}` cannot be sent: {reason}")]
    Source {
        /// Which blob.
        digest: Digest,
        /// Why.
        reason: String,
    },
}

impl RegistryError {
    /// Tells whether another mirror may do better.
    pub(super) fn is_mirrors_fault(&self) -> bool {
        !matches!(self, Self::Blocked { .. } | Self::NoPlatform { .. } | Self::Registries(_) | Self::Source { .. })
    }

    /// Tells whether the registry answered that it does not have what was asked for.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::UnknownManifest { .. } | Self::UnknownBlob { .. })
    }
}

fn detail(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

fn until(header: &Option<String>) -> String {
    match header {
        Some(text) if text.bytes().all(|b| b.is_ascii_digit()) => format!(" and asks to wait {text} seconds"),
        Some(text) => format!(" until {}", text.escape_debug()),
        None => String::new(),
    }
}

fn list(available: &[String]) -> String {
    if available.is_empty() { "nothing for any platform".to_owned() } else { available.join(", ") }
}
