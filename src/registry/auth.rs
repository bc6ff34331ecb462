//! Answers a registry's challenge, and remembers what was granted.

use super::challenge::Challenge;
use super::credentials::{Credential, CredentialStore, Secret};
use super::endpoint::Endpoint;
use super::{CredentialsUsed, RegistryError};
use crate::transport::{Body, Request, Response, Transport, is_private, redacted};
use base64::Engine;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use serde::Deserialize;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use url::{Host, Url};

/// Most bytes of a token service's answer.
const TOKEN_LIMIT_BYTES: u64 = 1 << 20;
/// How long a token is good for when its service does not say.
const TOKEN_DEFAULT_LIFE: Duration = Duration::from_secs(60);
/// A token that ends within this time is not used any more.
const TOKEN_MARGIN: Duration = Duration::from_secs(5);

/// A value of `Authorization` and where it comes from.
#[derive(Clone)]
pub(super) struct Grant {
    pub(super) header: HeaderValue,
    pub(super) credentials: CredentialsUsed,
    expires: Option<Instant>,
}

/// What a grant is for: host, credentials' repository, and the scopes.
type Key = (String, Vec<String>);

/// The grants of one client.
pub(super) struct Authenticator {
    store: CredentialStore,
    /// Held while a token is fetched: of several transfers that begin together one asks, the others wait for it.
    grants: tokio::sync::Mutex<HashMap<Key, Grant>>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    expires_in: Option<u64>,
}

/// What is asked of a token service.
struct TokenRequest<'a> {
    endpoint: &'a Endpoint,
    realm: Url,
    service: &'a str,
    scopes: Vec<String>,
    credential: Option<&'a Credential>,
}

impl Authenticator {
    pub(super) fn new(store: CredentialStore) -> Authenticator {
        Authenticator { store, grants: Default::default() }
    }

    /// Returns what was granted for the same scopes before.
    pub(super) async fn known(&self, endpoint: &Endpoint, scopes: &[String]) -> Option<Grant> {
        let grants = self.grants.lock().await;
        grants.get(&key(endpoint, scopes)).filter(|g| g.is_fresh()).cloned()
    }

    /// Answers a challenge; `None` when there is nothing to answer it with.  `stale` is the grant that was refused.
    pub(super) async fn answer(
        &self,
        transport: &Transport,
        endpoint: &Endpoint,
        scopes: &[String],
        challenge: &Challenge,
        stale: Option<&Grant>,
    ) -> Result<Option<Grant>, RegistryError> {
        let mut grants = self.grants.lock().await;
        let fresh = grants.get(&key(endpoint, scopes)).filter(|g| g.is_fresh());
        // Another transfer may have been granted a new token while this one was refused the old.
        if let Some(known) = fresh.filter(|g| stale.is_none_or(|stale| stale.header != g.header)) {
            return Ok(Some(known.clone()));
        }
        let credential = self.credential(endpoint).await?;
        let grant = match challenge {
            Challenge::Basic => credential.as_ref().and_then(basic),
            Challenge::Bearer { realm, service, scope } => {
                let mut scopes = scopes.to_vec();
                let missing = scope.split(' ').filter(|s| !s.is_empty()).map(str::to_owned);
                scopes.extend(missing.filter(|s| !scopes.contains(s)).collect::<Vec<_>>());
                let realm = check_realm(transport, endpoint, realm)?;
                let credential = credential.as_ref();
                Some(fetch(transport, TokenRequest { endpoint, realm, service, scopes, credential }).await?)
            }
        };
        if let Some(grant) = &grant {
            grants.insert(key(endpoint, scopes), grant.clone());
        }
        Ok(grant)
    }

    async fn credential(&self, endpoint: &Endpoint) -> Result<Option<Credential>, RegistryError> {
        let (store, endpoint) = (self.store.clone(), endpoint.clone());
        // Reads files and may run a helper.
        let found = tokio::task::spawn_blocking(move || store.find(&endpoint.registry, &endpoint.repository));
        match found.await {
            Ok(found) => Ok(found?),
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
}

impl Grant {
    fn is_fresh(&self) -> bool {
        self.expires.is_none_or(|end| Instant::now() < end)
    }

    fn new(text: &str, credential: Option<&Credential>, expires: Option<Instant>) -> Option<Grant> {
        let mut header = HeaderValue::from_str(text).ok()?;
        header.set_sensitive(true);
        let credentials = credential.map_or(CredentialsUsed::None, |c| CredentialsUsed::From(c.source.clone()));
        Some(Grant { header, credentials, expires })
    }
}

fn key(endpoint: &Endpoint, scopes: &[String]) -> Key {
    (endpoint.host.clone(), scopes.to_vec())
}

fn basic(credential: &Credential) -> Option<Grant> {
    match &credential.secret {
        Secret::Basic { username, password } => Grant::new(&basic_header(username, password), Some(credential), None),
        Secret::IdentityToken(_) => None,
        Secret::RegistryToken(token) => Grant::new(&format!("Bearer {token}"), Some(credential), None),
    }
}

fn basic_header(username: &str, password: &str) -> String {
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
    format!("Basic {encoded}")
}

/// Refuses token services that a password must not be sent to: without TLS, or of another network than the registry.
fn check_realm(transport: &Transport, endpoint: &Endpoint, realm: &str) -> Result<Url, RegistryError> {
    let refuse =
        |shown: String, reason| RegistryError::Realm { registry: endpoint.registry.clone(), realm: shown, reason };
    let url: Url = realm.parse().map_err(|_| refuse(String::new(), "its URL is malformed"))?;
    let own: Option<Url> = format!("http://{}/", endpoint.host).parse().ok();
    let same_host = own.as_ref().is_some_and(|own| own.host() == url.host());
    let may_be_plain = same_host && own.as_ref().is_some_and(|own| transport.may_be_plain(own));
    match url.scheme() {
        "https" => {}
        "http" if may_be_plain => {}
        "http" => return Err(refuse(redacted(&url), "it is not reached by https")),
        _ => return Err(refuse(redacted(&url), "it is no web address")),
    }
    let private = |url: &Url| match url.host() {
        Some(Host::Ipv4(address)) => is_private(address.into()),
        Some(Host::Ipv6(address)) => is_private(address.into()),
        _ => crate::transport::is_local(url),
    };
    if !same_host && private(&url) && !own.as_ref().is_some_and(private) {
        return Err(refuse(redacted(&url), "it is in a private network, and the registry is not"));
    }
    Ok(url)
}

/// Gets a token (distribution project, token authentication and OAuth2 documentation).
async fn fetch(transport: &Transport, ask: TokenRequest<'_>) -> Result<Grant, RegistryError> {
    if let Some(Credential { secret: Secret::RegistryToken(_), .. }) = ask.credential {
        return ask.credential.and_then(basic).ok_or_else(|| ask.protocol("a token that fits no header"));
    }
    let mut request = match ask.credential.map(|c| &c.secret) {
        Some(Secret::IdentityToken(token)) => post(&ask, token),
        _ => get(&ask),
    };
    request.allow_http = ask.realm.scheme() == "http";
    let response = transport.send(&request).await?;
    if response.status() != StatusCode::OK {
        return Err(ask.refused(response).await);
    }
    let body = response.bytes(TOKEN_LIMIT_BYTES).await?;
    let answer: TokenAnswer =
        serde_json::from_slice(&body).map_err(|_| ask.protocol("its token service's answer is malformed"))?;
    let token = if answer.token.is_empty() { answer.access_token } else { answer.token };
    if token.is_empty() {
        return Err(ask.protocol("its token service sent no token"));
    }
    let life = answer.expires_in.map_or(TOKEN_DEFAULT_LIFE, Duration::from_secs).saturating_sub(TOKEN_MARGIN);
    let expires = Instant::now().checked_add(life);
    Grant::new(&format!("Bearer {token}"), ask.credential, expires)
        .ok_or_else(|| ask.protocol("a token that fits no header"))
}

fn get(ask: &TokenRequest<'_>) -> Request {
    let mut url = ask.realm.clone();
    {
        let mut query = url.query_pairs_mut();
        if !ask.service.is_empty() {
            query.append_pair("service", ask.service);
        }
        for scope in &ask.scopes {
            query.append_pair("scope", scope);
        }
    }
    let request = Request::get(url);
    match ask.credential.map(|c| &c.secret) {
        Some(Secret::Basic { username, password }) => {
            let mut request = request.header(AUTHORIZATION, &basic_header(username, password));
            request.headers.iter_mut().for_each(|(_, value)| value.set_sensitive(true));
            request
        }
        _ => request,
    }
}

fn post(ask: &TokenRequest<'_>, refresh_token: &str) -> Request {
    let form = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "refresh_token")
        .append_pair("service", ask.service)
        .append_pair("client_id", "cooper")
        .append_pair("scope", &ask.scopes.join(" "))
        .append_pair("refresh_token", refresh_token)
        .finish();
    Request::new(Method::POST, ask.realm.clone())
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::Bytes(form.into()))
}

impl TokenRequest<'_> {
    fn protocol(&self, reason: &str) -> RegistryError {
        RegistryError::Protocol { registry: self.endpoint.registry.clone(), reason: reason.to_owned() }
    }

    async fn refused(&self, response: Response) -> RegistryError {
        let pushes = self.scopes.iter().any(|s| s.ends_with("push"));
        let access = if pushes { super::endpoint::Access::Push } else { super::endpoint::Access::Pull };
        let credentials = self.credential.map_or(CredentialsUsed::None, |c| CredentialsUsed::From(c.source.clone()));
        super::client::refusal(self.endpoint, access, response, credentials).await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::transport::Options;
    use rstest::rstest;

    #[rstest]
    #[case("x.io", "https://auth.y.io/token", None)]
    #[case("x.io", "http://x.io/token", Some("not reached by https"))]
    #[case("x.io", "http://169.254.169.254/latest", Some("not reached by https"))]
    #[case("x.io", "https://169.254.169.254/latest", Some("private network"))]
    #[case("x.io", "https://localhost/token", Some("private network"))]
    #[case("x.io", "file:///etc/passwd", Some("no web address"))]
    #[case("x.io", "nonsense", Some("malformed"))]
    #[case("localhost:5000", "http://localhost:5001/token", None)]
    #[case("localhost:5000", "http://127.0.0.1:5001/token", Some("not reached by https"))]
    #[case("localhost:5000", "http://evil.io/token", Some("not reached by https"))]
    #[case("10.0.0.1", "https://10.0.0.2/token", None)]
    fn passwords_go_to_fitting_realms_only(#[case] host: &str, #[case] realm: &str, #[case] refused: Option<&str>) {
        let endpoint = Endpoint::of(&format!("{host}/a").parse().unwrap(), false);
        let transport = Transport::new(Options::default());
        match (check_realm(&transport, &endpoint, realm), refused) {
            (Ok(_), None) => {}
            (Err(error), Some(reason)) => assert!(error.to_string().contains(reason), "{error}"),
            (result, _) => panic!("{result:?}"),
        }
    }
}
