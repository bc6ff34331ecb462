//! Sends requests: one connection pool for each way of trusting a host, redirects, retries.

use super::host::{authority, is_local, redacted};
use super::tls::HostCertificates;
use super::{Request, TransportError, redirect, retry};
use bytes::Bytes;
use http::header::HeaderName;
use http::{HeaderMap, StatusCode};
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use url::Url;

/// Time for a connection to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time within which an answer must begin once everything is sent, and within which some byte must move.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// The same after an upload: registries digest a blob, or move it to their storage, before they answer.
const UPLOAD_IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// How long an unused connection is kept.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Settings of a [`Transport`].
#[derive(Debug, Clone)]
pub struct Options {
    /// Hosts, exactly as `host` or `host:port`, whose certificate is not checked and that may be asked by plain http.
    pub insecure: BTreeSet<String>,
    /// Files of authorities that are trusted for every host, beside the system's.
    pub root_certificates: Vec<PathBuf>,
    /// Directories with a directory of certificates for each host.
    pub certificate_dirs: Vec<PathBuf>,
    /// The first wait between two attempts; it doubles each time.
    pub backoff: Duration,
    /// Time within which some byte must move.
    pub idle_timeout: Duration,
}

impl Default for Options {
    fn default() -> Options {
        let mut certificate_dirs = vec![PathBuf::from("/etc/containers/certs.d"), PathBuf::from("/etc/docker/certs.d")];
        if let Some(home) = std::env::var_os("HOME") {
            certificate_dirs.insert(0, PathBuf::from(home).join(".config/containers/certs.d"));
        }
        Options {
            insecure: BTreeSet::new(),
            root_certificates: Vec::new(),
            certificate_dirs,
            backoff: Duration::from_millis(300),
            idle_timeout: IDLE_TIMEOUT,
        }
    }
}

/// The HTTP client; cheap to clone.
#[derive(Clone)]
pub struct Transport(Arc<Shared>);

struct Shared {
    options: Options,
    /// Clients by host; hosts without settings of their own share the one under the empty key.
    clients: Mutex<HashMap<String, reqwest::Client>>,
}

impl Transport {
    /// Returns a client; nothing is opened before the first request.
    pub fn new(options: Options) -> Transport {
        Transport(Arc::new(Shared { options, clients: Mutex::default() }))
    }

    /// Tells whether plain http to the host of a URL is in order.
    pub fn may_be_plain(&self, url: &Url) -> bool {
        is_local(url) || self.is_insecure(url)
    }

    fn is_insecure(&self, url: &Url) -> bool {
        self.0.options.insecure.contains(&authority(url))
    }

    /// Sends a request and returns the answer, whatever its status, once its headers are there.
    pub async fn send(&self, request: &Request) -> Result<Response, TransportError> {
        let mut attempt = 1;
        loop {
            let outcome = self.follow(request).await;
            match retry::wait(&outcome, request.retry, attempt, self.0.options.backoff) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return outcome,
            }
            attempt += 1;
        }
    }

    async fn follow(&self, request: &Request) -> Result<Response, TransportError> {
        let mut request = request.clone();
        for _ in 0..=redirect::REDIRECT_LIMIT {
            let response = self.hop(&request).await?;
            match redirect::follow(&request, response.status(), response.headers())? {
                // Whoever was asked over http may send us on by http: there was nothing to lose on the way.
                Some(next) => request = Request { allow_http: request.url.scheme() == "http", ..next },
                None => return Ok(response),
            }
        }
        Err(TransportError::redirect(&request.url, &request.url, "there are too many"))
    }

    /// Sends it to one host, once.
    async fn hop(&self, request: &Request) -> Result<Response, TransportError> {
        let url = &request.url;
        let host = authority(url);
        if url.scheme() != "https" && !request.allow_http && !self.may_be_plain(url) {
            return Err(TransportError::PlainHttp { host });
        }
        let moved = Arc::new(AtomicU64::new(0));
        let length = request.body.length_bytes();
        let mut builder =
            self.client(url)?.request(request.method.clone(), url.clone()).headers(request.headers.clone());
        if length > 0 {
            builder = builder
                .header(http::header::CONTENT_LENGTH, length)
                .body(request.body.open(Arc::clone(&moved), request.sent.clone()).await?);
        } else if [http::Method::POST, http::Method::PUT, http::Method::PATCH].contains(&request.method) {
            builder = builder.header(http::header::CONTENT_LENGTH, 0);
        }
        let idle = if length > 0 { UPLOAD_IDLE_TIMEOUT } else { self.0.options.idle_timeout };
        let inner = unless_idle(builder.send(), &moved, idle, &host)
            .await?
            .map_err(|e| TransportError::from_reqwest(e, &host))?;
        Ok(Response { inner, host, idle: self.0.options.idle_timeout })
    }

    /// Returns the client with the settings of a host.
    fn client(&self, url: &Url) -> Result<reqwest::Client, TransportError> {
        let name = authority(url);
        let mut clients = self.0.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&name) {
            return Ok(client.clone());
        }
        let certificates = HostCertificates::read(&self.0.options.certificate_dirs, &name)?;
        let is_special = !certificates.is_empty() || self.is_insecure(url) || is_local(url);
        let client = match clients.get("") {
            Some(common) if !is_special => common.clone(),
            _ => {
                let mut certificates = certificates;
                certificates.add_roots(&self.0.options.root_certificates)?;
                build(certificates, self.is_insecure(url), is_local(url))?
            }
        };
        if !is_special {
            clients.insert(String::new(), client.clone());
        }
        clients.insert(name, client.clone());
        Ok(client)
    }
}

fn build(certificates: HostCertificates, insecure: bool, local: bool) -> Result<reqwest::Client, TransportError> {
    let base = || {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("cooper/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT);
        if let Some(identity) = certificates.identity.clone() {
            builder = builder.identity(identity);
        }
        if local {
            // A proxy's localhost is another machine.
            builder = builder.no_proxy();
        }
        builder.tls_danger_accept_invalid_certs(insecure)
    };
    let built = base().tls_certs_merge(certificates.roots.clone()).build();
    // On a machine without any root certificates plain http and hosts with certificates of their own still work.
    built
        .or_else(|_| base().tls_certs_only(certificates.roots.clone()).build())
        .map_err(|e| TransportError::from_reqwest(e, ""))
}

/// Waits for an answer as long as bytes of the body move.
async fn unless_idle<F: Future>(
    future: F,
    moved: &AtomicU64,
    idle: Duration,
    host: &str,
) -> Result<F::Output, TransportError> {
    let mut future = std::pin::pin!(future);
    loop {
        let before = moved.load(Ordering::Relaxed);
        match tokio::time::timeout(idle, future.as_mut()).await {
            Ok(output) => return Ok(output),
            Err(_) if moved.load(Ordering::Relaxed) != before => {}
            Err(_) => return Err(TransportError::Idle { host: host.to_owned(), idle }),
        }
    }
}

/// An answer whose body has not been read yet.
#[derive(Debug)]
pub struct Response {
    inner: reqwest::Response,
    host: String,
    idle: Duration,
}

impl Response {
    /// Returns the status.
    pub fn status(&self) -> StatusCode {
        self.inner.status()
    }

    /// Returns the headers.
    pub fn headers(&self) -> &HeaderMap {
        self.inner.headers()
    }

    /// Returns a header that is text.
    pub fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers().get(name)?.to_str().ok()
    }

    /// Returns where the answer came from, after redirects.
    pub fn url(&self) -> &Url {
        self.inner.url()
    }

    /// Returns the length of the body, when the server told it.
    pub fn length_bytes(&self) -> Option<u64> {
        self.header(http::header::CONTENT_LENGTH)?.parse().ok()
    }

    /// Returns the next bytes of the body, `None` at its end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, TransportError> {
        match tokio::time::timeout(self.idle, self.inner.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(e)) => Err(match TransportError::from_reqwest(e, &self.host) {
                TransportError::Unreachable { host, reason } | TransportError::Broken { host, reason } => {
                    TransportError::Broken { host, reason }
                }
                other => other,
            }),
            Err(_) => Err(TransportError::Idle { host: self.host.clone(), idle: self.idle }),
        }
    }

    /// Reads the whole body, up to a limit.
    pub async fn bytes(mut self, limit_bytes: u64) -> Result<Vec<u8>, TransportError> {
        let too_large = |url: &Url| TransportError::TooLarge { url: redacted(url), limit_bytes };
        if self.length_bytes().is_some_and(|length| length > limit_bytes) {
            return Err(too_large(self.url()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if (body.len() + chunk.len()) as u64 > limit_bytes {
                return Err(too_large(self.url()));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// Reads the beginning of the body, for a message; what is beyond the limit, or lost, is left out.
    pub async fn excerpt(mut self, limit_bytes: usize) -> Vec<u8> {
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = self.chunk().await {
            body.extend_from_slice(&chunk[..chunk.len().min(limit_bytes - body.len())]);
            if body.len() >= limit_bytes {
                break;
            }
        }
        body
    }
}
