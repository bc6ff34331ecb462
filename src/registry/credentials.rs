//! Credentials from the files of podman and Docker, and from their helpers.

use super::credential_helper;
use base64::Engine;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Most bytes of a file of credentials.
const FILE_LIMIT_BYTES: u64 = 4 << 20;
/// What Docker calls its own registry in these files.
const DOCKER_HUB_KEYS: [&str; 5] = [
    "docker.io",
    "index.docker.io",
    "https://index.docker.io/v1/",
    "https://index.docker.io/v1",
    "registry-1.docker.io",
];

/// Something that must not be shown.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// User and password.
    Basic {
        /// The user.
        username: String,
        /// The password or access token.
        password: String,
    },
    /// An OAuth2 refresh token, which token services change into access tokens.
    IdentityToken(String),
    /// A token that is sent to the registry as it is.
    RegistryToken(String),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A secret and where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// What to send.
    pub secret: Secret,
    /// The file or helper, for messages.
    pub source: String,
}

/// Credentials that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file that is there but cannot be used.
    #[error("cannot use the credentials in `{}`: {reason}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why; never a part of its text.
        reason: String,
    },
    /// A helper that failed.
    #[error("credential helper `docker-credential-{}`: {reason}", .helper.escape_debug())]
    Helper {
        /// Its name without the prefix.
        helper: String,
        /// Why.
        reason: String,
    },
}

/// The files in which credentials are looked for, the first match wins.
#[derive(Debug, Clone, Default)]
pub struct CredentialStore {
    files: Vec<PathBuf>,
    /// A file that the user named must be there; the usual ones need not.
    required: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthFile {
    #[serde(default)]
    auths: BTreeMap<String, AuthEntry>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default)]
    creds_store: String,
}

#[derive(Default, Deserialize)]
struct AuthEntry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    identitytoken: String,
    #[serde(default)]
    registrytoken: String,
}

impl CredentialStore {
    /// Returns the store of the given files.
    pub fn new(files: Vec<PathBuf>) -> CredentialStore {
        CredentialStore { files, required: None }
    }

    /// Returns the store that `REGISTRY_AUTH_FILE`, or else podman's and Docker's usual places, make up.
    pub fn from_environment() -> CredentialStore {
        let variable = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        if let Some(file) = variable("REGISTRY_AUTH_FILE") {
            return CredentialStore { files: vec![file.clone()], required: Some(file) };
        }
        let home = variable("HOME");
        let config = variable("XDG_CONFIG_HOME").or_else(|| Some(home.as_ref()?.join(".config")));
        let docker = variable("DOCKER_CONFIG").or_else(|| Some(home.as_ref()?.join(".docker")));
        let files = [
            variable("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json")),
            config.map(|dir| dir.join("containers/auth.json")),
            docker.map(|dir| dir.join("config.json")),
        ];
        CredentialStore { files: files.into_iter().flatten().collect(), required: None }
    }

    /// Returns the files that are there, in the order in which they are searched.
    pub fn files(&self) -> Vec<&Path> {
        self.files.iter().map(PathBuf::as_path).filter(|path| path.exists()).collect()
    }

    /// Returns the credential for a repository of a registry.  Blocks: a helper may be run.
    pub fn find(&self, registry: &str, repository: &str) -> Result<Option<Credential>, CredentialsError> {
        for path in &self.files {
            let Some(file) = self.read(path)? else { continue };
            if let Some(found) = file.find(path, registry, repository)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn read(&self, path: &Path) -> Result<Option<AuthFile>, CredentialsError> {
        use std::io::Read;
        let failed = |reason: String| CredentialsError::File { path: path.to_owned(), reason };
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && self.required.as_deref() != Some(path) => {
                return Ok(None);
            }
            Err(e) => return Err(failed(e.to_string())),
        };
        let mut bytes = Vec::new();
        file.take(FILE_LIMIT_BYTES + 1).read_to_end(&mut bytes).map_err(|e| failed(e.to_string()))?;
        if bytes.len() as u64 > FILE_LIMIT_BYTES {
            return Err(failed("it is too large".into()));
        }
        // The reader's own message may quote the text, which is secret: only the place is told.
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| failed(format!("malformed JSON at line {} column {}", e.line(), e.column())))
    }
}

impl AuthFile {
    fn find(&self, path: &Path, registry: &str, repository: &str) -> Result<Option<Credential>, CredentialsError> {
        for key in keys(registry, repository) {
            let helped = self.cred_helpers.get(&key).map(|helper| credential_helper::get(helper, &key));
            if let Some(found) = helped.transpose()?.flatten() {
                return Ok(Some(found));
            }
            let entry = self.auths.iter().find(|(name, _)| normalised(name) == key).map(|(_, entry)| entry);
            if let Some(secret) = entry.map(|e| e.secret(path)).transpose()?.flatten() {
                return Ok(Some(Credential { secret, source: path.display().to_string() }));
            }
        }
        if self.creds_store.is_empty() {
            return Ok(None);
        }
        let is_hub = DOCKER_HUB_KEYS.contains(&registry);
        let server = if is_hub { "https://index.docker.io/v1/" } else { registry };
        credential_helper::get(&self.creds_store, server)
    }
}

impl AuthEntry {
    fn secret(&self, path: &Path) -> Result<Option<Secret>, CredentialsError> {
        if !self.identitytoken.is_empty() {
            return Ok(Some(Secret::IdentityToken(self.identitytoken.clone())));
        }
        if !self.registrytoken.is_empty() {
            return Ok(Some(Secret::RegistryToken(self.registrytoken.clone())));
        }
        if !self.auth.is_empty() {
            let malformed =
                || CredentialsError::File { path: path.to_owned(), reason: "an `auth` is malformed".into() };
            let engine = base64::engine::general_purpose::STANDARD;
            let bytes = engine.decode(self.auth.trim()).map_err(|_| malformed())?;
            let text = String::from_utf8(bytes).map_err(|_| malformed())?;
            let (username, password) = text.split_once(':').ok_or_else(malformed)?;
            let (username, password) = (username.to_owned(), password.trim_end_matches('\0').to_owned());
            return Ok(Some(Secret::Basic { username, password }));
        }
        let both = !self.username.is_empty() && !self.password.is_empty();
        Ok(both.then(|| Secret::Basic { username: self.username.clone(), password: self.password.clone() }))
    }
}

/// The names under which a repository's credentials may be kept, the most exact first (containers-auth.json(5)).
fn keys(registry: &str, repository: &str) -> Vec<String> {
    let hub = DOCKER_HUB_KEYS.contains(&registry);
    let registry = if hub { "docker.io" } else { registry };
    let mut path = repository;
    let mut keys = Vec::new();
    while !path.is_empty() {
        keys.push(format!("{registry}/{path}"));
        path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
    keys.push(registry.to_owned());
    keys.extend(hub.then(|| DOCKER_HUB_KEYS[1..].iter().map(|k| (*k).to_owned())).into_iter().flatten());
    keys
}

/// Docker writes `https://host/v1/` where podman writes `host`.
fn normalised(key: &str) -> String {
    let Some(rest) = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")) else {
        return key.to_owned();
    };
    if DOCKER_HUB_KEYS.contains(&key) {
        return key.to_owned();
    }
    rest.split('/').next().unwrap_or(rest).to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn store(text: &str) -> (tempfile::TempDir, CredentialStore) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("auth.json");
        std::fs::write(&file, text).unwrap();
        (dir, CredentialStore::new(vec![file]))
    }

    fn user(store: &CredentialStore, registry: &str, repository: &str) -> Option<String> {
        store.find(registry, repository).unwrap().map(|c| match c.secret {
            Secret::Basic { username, password } => format!("{username}:{password}"),
            Secret::IdentityToken(token) => format!("identity {token}"),
            Secret::RegistryToken(token) => format!("registry {token}"),
        })
    }

    #[test]
    fn the_most_exact_key_wins() {
        // echo -n 'a:1' | base64, and so on.
        let (_dir, store) = store(
            r#"{"auths":{"x.io":{"auth":"YTox"},"x.io/ns":{"auth":"Yjoy"},"x.io/ns/repo":{"auth":"YzozOjM="},
                "https://old.io/v1/":{"auth":"ZDo0"},"t.io":{"identitytoken":"T"},"p.io":{"username":"u","password":"p"},
                "empty.io":{}}}"#,
        );
        let cases = [
            ("x.io", "other", Some("a:1")),
            ("x.io", "ns/other", Some("b:2")),
            ("x.io", "ns/repo", Some("c:3:3")),
            ("x.io", "nsx/repo", Some("a:1")),
            ("x.io:5000", "ns", None),
            ("old.io", "a", Some("d:4")),
            ("t.io", "a", Some("identity T")),
            ("p.io", "a", Some("u:p")),
            ("empty.io", "a", None),
        ];
        for (registry, repository, expected) in cases {
            assert_eq!(user(&store, registry, repository).as_deref(), expected, "{registry}/{repository}");
        }
    }

    #[test]
    fn docker_hub_has_many_names() {
        for key in DOCKER_HUB_KEYS {
            let (_dir, store) = store(&format!(r#"{{"auths":{{"{key}":{{"auth":"YTox"}}}}}}"#));
            assert_eq!(user(&store, "docker.io", "library/a").as_deref(), Some("a:1"), "{key}");
        }
    }

    #[test]
    fn errors_and_debug_output_do_not_quote_secrets() {
        let (_dir, bad_json) = store(r#"{"auths":{"x.io":{"auth":5, "s3cret"}}}"#);
        let (_dir2, bad_auth) = store(r#"{"auths":{"x.io":{"auth":"s3cret!"}}}"#);
        for store in [bad_json, bad_auth] {
            let error = store.find("x.io", "a").unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
        }
        let secret = Secret::Basic { username: "u".into(), password: "s3cret".into() };
        assert!(!format!("{secret:?}").contains("s3cret"));
    }

    #[test]
    fn a_helper_with_a_hostile_name_is_not_run() {
        let (_dir, store) = store(r#"{"credsStore":"../../bin/sh"}"#);
        let error = store.find("x.io", "a").unwrap_err();
        assert!(matches!(error, CredentialsError::Helper { .. }), "{error}");
    }
}
