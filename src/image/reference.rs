//! Image references, `host:port/path:tag@digest` (the grammar of the distribution project, and Docker's short forms).

use super::Digest;
use std::fmt;
use std::str::FromStr;

/// Longest name (registry and repository) in bytes, as the distribution project has it.
pub const NAME_LIMIT_BYTES: usize = 255;
/// Longest tag in bytes (distribution-spec, section Pull).
pub const TAG_LIMIT_BYTES: usize = 128;
/// Longest text that is looked at; a tag, a digest and the longest name fit.
const TEXT_LIMIT_BYTES: usize = 600;

/// A normalised image reference: `busybox` is `docker.io/library/busybox:latest`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// Registry host with an optional port, e.g. `docker.io`, `localhost:5000`.
    pub registry: String,
    /// Path below the registry, e.g. `library/busybox`.
    pub repository: String,
    /// Tag; `latest` when neither tag nor digest was written.
    pub tag: Option<String>,
    /// Digest, when written.
    pub digest: Option<Digest>,
}

/// A text that is no image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid image reference `{}`: {reason}", .text.escape_debug())]
pub struct ReferenceError {
    /// The text, cut to 200 characters.
    pub text: String,
    /// Why.
    pub reason: &'static str,
}

impl Reference {
    /// Returns the name without tag and digest, e.g. `docker.io/library/busybox`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// Returns what the registry calls this version: the digest where there is one, else the tag.
    pub fn version(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// Returns the reference of the same repository by a digest; the tag stays for the reader.
    pub fn with_digest(&self, digest: Digest) -> Reference {
        Reference { digest: Some(digest), ..self.clone() }
    }

    /// Returns the reference as Docker's users write it: without `docker.io/library/` where it is implied.
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        match full.strip_prefix("docker.io/") {
            Some(rest) => rest.strip_prefix("library/").filter(|r| !r.contains('/')).unwrap_or(rest).to_owned(),
            None => full,
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Reference, ReferenceError> {
        parse(text).map_err(|reason| ReferenceError { text: text.chars().take(200).collect(), reason })
    }
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.len() > TEXT_LIMIT_BYTES {
        return Err("it is too long");
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest.parse::<Digest>().map_err(|_| "the digest is malformed")?)),
        None => (text, None),
    };
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    };
    if digest.is_none() && tag.is_none() && is_hex_id(name) {
        // Docker would take it for an image id; a repository of that name could only be a trap.
        return Err("64 hexadecimal digits are an image id, not a name");
    }
    if let Some(tag) = tag {
        check_tag(tag)?;
    }
    let (registry, path) = split_registry(name);
    check_registry(registry)?;
    let registry = if registry == "index.docker.io" { "docker.io" } else { registry };
    let repository =
        if registry == "docker.io" && !path.contains('/') { format!("library/{path}") } else { path.to_owned() };
    check_repository(&repository)?;
    if registry.len() + 1 + repository.len() > NAME_LIMIT_BYTES {
        return Err("the name is longer than 255 characters");
    }
    let tag = match (tag, digest) {
        (None, None) => Some("latest".to_owned()),
        (tag, _) => tag.map(str::to_owned),
    };
    Ok(Reference { registry: registry.to_owned(), repository, tag, digest })
}

/// Splits the registry off where the first component can only be one: a dot, a port, `localhost` or a capital.
fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((host, path))
            if host.contains(['.', ':']) || host == "localhost" || host.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (host, path)
        }
        _ => ("docker.io", name),
    }
}

fn is_hex_id(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn check_tag(tag: &str) -> Result<(), &'static str> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let mut bytes = tag.bytes();
    if !bytes.next().is_some_and(word) || !bytes.all(|b| word(b) || b == b'.' || b == b'-') {
        return Err("the tag is malformed");
    }
    if tag.len() > TAG_LIMIT_BYTES { Err("the tag is longer than 128 characters") } else { Ok(()) }
}

/// `domainAndPort` of the grammar: a host name, an IPv4 address or an IPv6 address in brackets, and a port.
fn check_registry(registry: &str) -> Result<(), &'static str> {
    const BAD: &str = "the registry's name is malformed";
    let (host, port) = match registry.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or(BAD)?;
            address.parse::<std::net::Ipv6Addr>().map_err(|_| BAD)?;
            (None, port.strip_prefix(':').or(port.is_empty().then_some("0")).ok_or(BAD)?)
        }
        None => match registry.split_once(':') {
            Some((host, port)) => (Some(host), port),
            None => (Some(registry), "0"),
        },
    };
    let component = |c: &str| {
        !c.is_empty()
            && !c.starts_with('-')
            && !c.ends_with('-')
            && c.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if host.is_some_and(|host| !host.split('.').all(component)) {
        return Err(BAD);
    }
    // The digits are checked apart: `parse` alone would take a plus sign.
    let digits = port.bytes().all(|b| b.is_ascii_digit());
    if digits && port.parse::<u16>().is_ok() { Ok(()) } else { Err("the registry's port is malformed") }
}

/// `remoteName` of the grammar: components of lower-case letters and digits with single separators between.
fn check_repository(repository: &str) -> Result<(), &'static str> {
    if repository.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("repository name must be lowercase");
    }
    if repository.split('/').all(is_path_component) { Ok(()) } else { Err("the repository's name is malformed") }
}

fn is_path_component(component: &str) -> bool {
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let ends = bytes.first().is_some_and(alphanumeric) && bytes.last().is_some_and(alphanumeric);
    ends && bytes.split(alphanumeric).all(|separator| {
        matches!(separator, [] | [b'.'] | [b'_'] | [b'_', b'_']) || separator.iter().all(|b| *b == b'-')
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rstest::rstest;

    const D: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    #[rstest]
    #[case("busybox", "docker.io/library/busybox:latest")]
    #[case("index.docker.io/busybox", "docker.io/library/busybox:latest")]
    #[case("docker.io/a/b:1", "docker.io/a/b:1")]
    #[case("a/b", "docker.io/a/b:latest")]
    #[case("localhost/a", "localhost/a:latest")]
    #[case("localhost:5000/a/b__c--d:x_Y.z-1", "localhost:5000/a/b__c--d:x_Y.z-1")]
    #[case("UPPER/a", "UPPER/a:latest")]
    #[case("[::1]:5000/a", "[::1]:5000/a:latest")]
    #[case("[2001:db8::1]/a/b:2", "[2001:db8::1]/a/b:2")]
    #[case("x.io/a-b/c.d", "x.io/a-b/c.d:latest")]
    fn references_are_normalised(#[case] text: &str, #[case] full: &str) {
        let parsed: Reference = text.parse().unwrap();
        assert_eq!(parsed.to_string(), full);
        assert_eq!(full.parse::<Reference>().unwrap(), parsed);
    }

    #[test]
    fn a_digest_leaves_the_tag_as_written() {
        assert_eq!(format!("a@{D}").parse::<Reference>().unwrap().tag, None);
        let both: Reference = format!("h:1/a:b@{D}").parse().unwrap();
        assert_eq!((both.tag.as_deref(), both.version()), (Some("b"), D.to_owned()));
        assert_eq!(format!("a:1@{D}").parse::<Reference>().unwrap().familiar(), format!("a:1@{D}"));
    }

    #[rstest]
    #[case("")]
    #[case(":a")]
    #[case("a:")]
    #[case("a:-x")]
    #[case("Abc")]
    #[case("a/Bc")]
    #[case("a..b")]
    #[case("a._b")]
    #[case("a___b")]
    #[case("-a")]
    #[case("a-")]
    #[case("a//b")]
    #[case("/a")]
    #[case("a/")]
    #[case("../a")]
    #[case("x.io/../a")]
    #[case("x.io:+5/a")]
    #[case("x.io:99999/a")]
    #[case("x.io:/a")]
    #[case("-x.io/a")]
    #[case("x..io/a")]
    #[case("[::g]/a")]
    #[case("[::1]5/a")]
    #[case("ä/b")]
    #[case("a b")]
    #[case("a@sha256:00")]
    #[case("a@b@c")]
    #[case("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")]
    fn malformed_references_are_refused(#[case] text: &str) {
        assert!(text.parse::<Reference>().is_err(), "{:?}", text.parse::<Reference>());
    }

    #[test]
    fn lengths_are_limited() {
        let longest = format!("a:{}", "t".repeat(128));
        assert!(longest.parse::<Reference>().is_ok());
        assert!(format!("{longest}t").parse::<Reference>().is_err());
        assert!(format!("x.io/{}", "a".repeat(250)).parse::<Reference>().is_ok());
        assert!(format!("x.io/{}", "a".repeat(251)).parse::<Reference>().is_err());
        assert!("a".repeat(10_240).parse::<Reference>().is_err());
    }

    proptest::proptest! {
        #[test]
        fn what_parses_is_written_back_the_same(text in "[a-zA-Z0-9:/@._\\[\\]-]{0,60}") {
            if let Ok(parsed) = text.parse::<Reference>() {
                proptest::prop_assert_eq!(parsed.to_string().parse::<Reference>().unwrap(), parsed);
            }
        }
    }
}
