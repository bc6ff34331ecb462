//! Why a request had no usable answer.

use super::host::redacted;
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// A request without a usable answer.  Nothing in it holds a credential: URLs are redacted before they are stored.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// No connection, no name, no TLS.
    #[error("cannot reach `{host}`: {reason}")]
    Unreachable {
        /// Host and port.
        host: String,
        /// The innermost cause.
        reason: String,
    },
    /// The connection broke while the answer was read.
    #[error("the connection to `{host}` broke: {reason}")]
    Broken {
        /// Host and port.
        host: String,
        /// The innermost cause.
        reason: String,
    },
    /// Nothing came for too long.
    #[error("`{host}` did not answer for {} seconds", .idle.as_secs())]
    Idle {
        /// Host and port.
        host: String,
        /// For how long.
        idle: Duration,
    },
    /// Plain http where it was not asked for.
    #[error("refusing plain http to `{host}`; mark it insecure in registries.conf if that is meant")]
    PlainHttp {
        /// Host and port.
        host: String,
    },
    /// A redirect that is not followed.
    #[error("refusing a redirect from `{from}` to `{to}`: {reason}")]
    Redirect {
        /// Where the request went, redacted.
        from: String,
        /// Where it was sent, redacted.
        to: String,
        /// Why not.
        reason: &'static str,
    },
    /// A body over its limit.
    #[error("the answer of `{url}` is larger than {limit_bytes} bytes")]
    TooLarge {
        /// Redacted URL.
        url: String,
        /// The limit.
        limit_bytes: u64,
    },
    /// A certificate or key that cannot be read.
    #[error("cannot use the certificate `{}`: {reason}", .path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The HTTP client cannot be set up.
    #[error("cannot set up the HTTP client: {0}")]
    Setup(String),
    /// A file that was to be sent cannot be read.
    #[error("read `{}`", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl TransportError {
    /// Tells whether trying the same again, or another server, may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Broken { .. } | Self::Idle { .. })
    }

    /// Converts the library's error; `host` is that of the hop which failed.
    pub(super) fn from_reqwest(error: reqwest::Error, host: &str) -> TransportError {
        let is_connect = error.is_connect();
        let is_builder = error.is_builder();
        let reason = cause(&error.without_url());
        let host = host.to_owned();
        match (is_builder, is_connect) {
            (true, _) => TransportError::Setup(reason),
            (_, true) => TransportError::Unreachable { host, reason },
            _ => TransportError::Broken { host, reason },
        }
    }

    pub(super) fn redirect(from: &Url, to: &Url, reason: &'static str) -> TransportError {
        TransportError::Redirect { from: redacted(from), to: redacted(to), reason }
    }
}

/// Returns the innermost cause: the outer ones only say that something went wrong.
fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
