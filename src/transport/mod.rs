//! The HTTP client that everything which talks to a server uses: TLS, proxies, redirects, retries, limits.
//!
//! cooper runs on plain threads; what waits for a network runs on a small tokio runtime that is started when it is
//! first used.  [`block_on`] is the bridge.  Redirects are followed here and not by the client library, because each hop
//! needs the TLS settings of its own host, and the decision what may be sent along.

mod client;
mod error;
mod host;
mod redirect;
mod request;
mod retry;
mod tls;

pub use client::{Options, Response, Transport};
pub use error::TransportError;
pub use host::{authority, is_local, is_private, redacted};
pub use request::{Body, Request, Retry, Sent};

use std::future::Future;
use std::sync::OnceLock;
use tokio::runtime::Runtime;

/// Threads of the runtime: they only wait, hash and copy between buffers.
const WORKERS: usize = 2;

/// Returns the process's runtime, which is started when first asked for: a command without network has no such threads.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        // Errors only if another part of the process installed a provider first, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(WORKERS).thread_name("cooper-net").enable_all();
        builder.build().expect("threads and an epoll descriptor can be had")
    })
}

/// Waits for a future on the process's runtime.
///
/// # Panics
///
/// When called from within a future: a thread that waits would keep the others from running.
pub fn block_on<F: Future>(future: F) -> F::Output {
    runtime().block_on(future)
}

#[cfg(test)]
mod tests;
