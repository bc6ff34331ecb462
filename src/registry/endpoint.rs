//! One place that may have a repository: the registry that a reference names, or a mirror of it.

use crate::image::Reference;
use url::Url;

/// A repository on a host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Endpoint {
    /// Host and port that are connected to.
    pub(super) host: String,
    /// The registry's name, under which credentials are kept.
    pub(super) registry: String,
    /// The repository there.
    pub(super) repository: String,
    /// Whether registries.conf calls it insecure.
    pub(super) insecure: bool,
}

/// What a request wants to do with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Pull,
    Push,
}

impl Access {
    /// Returns the word for messages.
    pub(super) fn action(self) -> &'static str {
        match self {
            Access::Pull => "pulling",
            Access::Push => "pushing to",
        }
    }

    fn actions(self) -> &'static str {
        match self {
            Access::Pull => "pull",
            Access::Push => "pull,push",
        }
    }
}

impl Endpoint {
    /// Returns the endpoint of a reference as it stands.
    pub(super) fn of(reference: &Reference, insecure: bool) -> Endpoint {
        let registry = reference.registry.clone();
        // The name of Docker's registry is not that of its host.
        let host = if registry == "docker.io" { "registry-1.docker.io".to_owned() } else { registry.clone() };
        Endpoint { host, registry, repository: reference.repository.clone(), insecure }
    }

    /// Returns the token scope of an access (distribution project, token scope documentation).
    pub(super) fn scope(&self, access: Access) -> String {
        format!("repository:{}:{}", self.repository, access.actions())
    }

    /// Returns the URL of something in the repository.  Reference and digest types have checked what goes in here.
    pub(super) fn url(&self, scheme: &str, what: &str) -> Result<Url, url::ParseError> {
        format!("{scheme}://{}/v2/{}/{what}", self.host, self.repository).parse()
    }
}
