//! The client: one for a process, shared by all threads.

use super::auth::Authenticator;
use super::challenge;
use super::credentials::CredentialStore;
use super::endpoint::{Access, Endpoint};
use super::{CredentialsUsed, Registries, RegistryError};
use crate::image::Reference;
use crate::transport::{self, Request, Response, Retry, Transport, TransportError, authority};
use http::header::{AUTHORIZATION, RETRY_AFTER};
use http::{Method, StatusCode};
use serde::Deserialize;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use url::Url;

/// Most bytes of an error's body that are read.
const ERROR_LIMIT_BYTES: usize = 64 << 10;
/// Longest message of a registry that is shown, in characters.
const MESSAGE_LIMIT: usize = 300;
/// How often one request is answered with fresh credentials: a token may end between two requests.
const CHALLENGE_LIMIT: usize = 2;

/// Told how far a transfer is: what (a digest), bytes so far, all bytes.
pub type Progress = Arc<dyn Fn(&str, u64, u64) + Send + Sync>;

/// What a [`Client`] is made of.
#[derive(Default)]
pub struct Options {
    /// Mirrors, locations, insecure and blocked registries.
    pub registries: Registries,
    /// Where credentials are found.
    pub credentials: CredentialStore,
    /// Settings of the HTTP client; the insecure hosts of `registries` are added.
    pub transport: transport::Options,
}

/// The distribution client.  Cheap to clone.
///
/// Its public functions wait; they must not be called from within a future.
#[derive(Clone)]
pub struct Client {
    pub(super) shared: Arc<Shared>,
    progress: Option<Progress>,
    keeps_names: bool,
}

pub(super) struct Shared {
    pub(super) transport: Transport,
    registries: Registries,
    auth: Authenticator,
    /// Scheme by host, for the hosts that may be plain.
    schemes: Mutex<HashMap<String, &'static str>>,
    /// Mirrors that were down once: they are not waited for a second time.
    down: Mutex<HashSet<String>>,
}

/// An answer and the credentials that its request carried.
pub(super) struct Answer {
    pub(super) response: Response,
    pub(super) credentials: CredentialsUsed,
}

impl Client {
    /// Returns a client that is configured as podman's and Docker's files and the environment say.
    pub fn from_environment() -> Result<Client, RegistryError> {
        Ok(Client::new(Options {
            registries: Registries::from_environment()?,
            credentials: CredentialStore::from_environment(),
            transport: transport::Options::default(),
        }))
    }

    /// Returns a client; no file is read and nothing is opened before it is used.
    pub fn new(mut options: Options) -> Client {
        options.transport.insecure.extend(options.registries.insecure_hosts());
        let shared = Shared {
            transport: Transport::new(options.transport),
            registries: options.registries,
            auth: Authenticator::new(options.credentials),
            schemes: Mutex::default(),
            down: Mutex::default(),
        };
        Client { shared: Arc::new(shared), progress: None, keeps_names: false }
    }

    /// Returns the same client, whose transfers tell how far they are.
    pub fn with_progress(&self, progress: Progress) -> Client {
        Client { progress: Some(progress), ..self.clone() }
    }

    /// Returns the same client, which pushes nothing under a name that stands for something else.
    pub fn keeping_names(&self) -> Client {
        Client { keeps_names: true, ..self.clone() }
    }

    pub(super) fn keeps_names(&self) -> bool {
        self.keeps_names
    }

    /// Returns the HTTP client, for what else is fetched with the same settings.
    pub fn transport(&self) -> &Transport {
        &self.shared.transport
    }

    pub(super) fn progress(&self) -> Option<Progress> {
        self.progress.clone()
    }

    /// Returns where to pull from, in order: the mirrors that are up, and the registry itself.
    pub(super) fn endpoints(&self, reference: &Reference) -> Result<Vec<Endpoint>, RegistryError> {
        let mut endpoints = self.shared.registries.endpoints(reference)?;
        let own = endpoints.pop();
        let down = self.shared.down.lock().unwrap_or_else(PoisonError::into_inner);
        endpoints.retain(|mirror| !down.contains(&mirror.host));
        endpoints.extend(own);
        Ok(endpoints)
    }

    /// Remembers that a mirror does not serve, if that is what its error says.
    pub(super) fn note_failure(&self, mirror: &Endpoint, error: &RegistryError) {
        let is_down = match error {
            RegistryError::Transport(e) => e.is_transient(),
            RegistryError::Status { status, .. } => *status >= 500,
            RegistryError::RateLimited { .. } => true,
            _ => false,
        };
        if is_down {
            self.shared.down.lock().unwrap_or_else(PoisonError::into_inner).insert(mirror.host.clone());
        }
    }

    pub(super) fn primary(&self, reference: &Reference) -> Result<Endpoint, RegistryError> {
        self.shared.registries.primary(reference)
    }

    /// Returns the URL of something in a repository, e.g. `blobs/sha256:..`.
    pub(super) async fn url(&self, endpoint: &Endpoint, what: &str) -> Result<Url, RegistryError> {
        let scheme = self.scheme(endpoint).await;
        endpoint.url(scheme, what).map_err(|e| RegistryError::Protocol {
            registry: endpoint.registry.clone(),
            reason: format!("its name makes no URL: {e}"),
        })
    }

    /// Finds out how a host is reached: by https, except that a local or insecure one without TLS is asked plainly.
    async fn scheme(&self, endpoint: &Endpoint) -> &'static str {
        let Ok(url) = endpoint.url("https", "") else { return "https" };
        if !self.shared.transport.may_be_plain(&url) {
            return "https";
        }
        let lock = || self.shared.schemes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(scheme) = lock().get(&endpoint.host) {
            return scheme;
        }
        let Ok(ping) = format!("https://{}/v2/", endpoint.host).parse() else { return "https" };
        let request = Request { retry: Retry::Never, ..Request::get(ping) };
        let scheme = match self.shared.transport.send(&request).await {
            Ok(_) => "https",
            Err(error) if speaks_tls(&error) => "https",
            Err(_) => "http",
        };
        lock().insert(endpoint.host.clone(), scheme);
        scheme
    }

    /// Sends a request with what it takes to be let in; the status of the answer may be any but 401.
    pub(super) async fn send(
        &self,
        endpoint: &Endpoint,
        access: Access,
        extra_scopes: &[String],
        request: &Request,
    ) -> Result<Answer, RegistryError> {
        let shared = &self.shared;
        let mut scopes = vec![endpoint.scope(access)];
        scopes.extend_from_slice(extra_scopes);
        let mut grant = shared.auth.known(endpoint, &scopes).await;
        let mut rounds = 0;
        loop {
            let mut request = request.clone();
            if let Some(grant) = &grant {
                request.headers.insert(AUTHORIZATION, grant.header.clone());
            }
            let credentials = grant.as_ref().map_or(CredentialsUsed::None, |g| g.credentials.clone());
            let response = shared.transport.send(&request).await?;
            // What another host asks for after a redirect is none of its business.
            let is_own = authority(response.url()) == authority(&request.url);
            if response.status() != StatusCode::UNAUTHORIZED || !is_own {
                return Ok(Answer { response, credentials });
            }
            let asked = challenge::pick(response.headers()).filter(|_| rounds < CHALLENGE_LIMIT);
            let next = match asked {
                Some(challenge) => {
                    shared.auth.answer(&shared.transport, endpoint, &scopes, &challenge, grant.as_ref()).await?
                }
                None => None,
            };
            // The same password would be refused again.
            if next.as_ref().is_none_or(|next| grant.as_ref().is_some_and(|old| old.header == next.header)) {
                return Err(refusal(endpoint, access, response, credentials).await);
            }
            grant = next;
            rounds += 1;
        }
    }

    /// Sends a GET or HEAD.
    pub(super) async fn ask(
        &self,
        endpoint: &Endpoint,
        method: Method,
        what: &str,
        headers: &[(http::HeaderName, &str)],
    ) -> Result<Answer, RegistryError> {
        let mut request = Request::new(method, self.url(endpoint, what).await?);
        for (name, value) in headers {
            request = request.header(name.clone(), value);
        }
        self.send(endpoint, Access::Pull, &[], &request).await
    }
}

/// Tells whether a request failed within TLS, for want of trust: the request that follows shall say so, and a password
/// must not go the same way without TLS.
fn speaks_tls(error: &TransportError) -> bool {
    match error {
        // A handshake that fails counts as no connection; one that broke had its handshake behind it.  So has that of
        // TLS 1.3 when the server does not like the certificate that it is shown.
        TransportError::Broken { .. } => true,
        TransportError::Unreachable { reason, .. } => reason.contains("certificate") || reason.contains("fatal alert"),
        _ => false,
    }
}

/// Returns the error for an answer that is none of those hoped for.
pub(super) async fn refusal(
    endpoint: &Endpoint,
    access: Access,
    response: Response,
    credentials: CredentialsUsed,
) -> RegistryError {
    let (status, action) = (response.status(), access.action());
    let (registry, repository) = (endpoint.host.clone(), endpoint.repository.clone());
    let retry_after = response.header(RETRY_AFTER).map(str::to_owned);
    let message = message(&response.excerpt(ERROR_LIMIT_BYTES).await);
    match status {
        StatusCode::UNAUTHORIZED => RegistryError::Unauthorized { registry, action, repository, credentials },
        StatusCode::FORBIDDEN => RegistryError::Denied { registry, action, repository, credentials, message },
        StatusCode::TOO_MANY_REQUESTS => RegistryError::RateLimited { registry, retry_after, credentials },
        _ => RegistryError::Status { registry, action, repository, status: status.as_u16(), message },
    }
}

/// Returns a registry's own words (distribution-spec, section Error Codes) as one harmless line.
fn message(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<ErrorEntry>,
    }
    #[derive(Deserialize)]
    struct ErrorEntry {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let Ok(Errors { errors }) = serde_json::from_slice(body) else { return String::new() };
    let one =
        |e: &ErrorEntry| if e.message.is_empty() { e.code.clone() } else { format!("{} ({})", e.message, e.code) };
    let text = errors.iter().take(3).map(one).collect::<Vec<_>>().join(", ");
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MESSAGE_LIMIT).collect()
}
