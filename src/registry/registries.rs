//! `registries.conf` version 2: mirrors, locations, insecure and blocked registries (containers-registries.conf(5)).

use super::RegistryError;
use super::endpoint::Endpoint;
use crate::image::Reference;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Most bytes of one file.
const FILE_LIMIT_BYTES: u64 = 1 << 20;

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use `{}`: {reason}", .path.display())]
pub struct RegistriesError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

/// What is configured about registries.
#[derive(Debug, Clone, Default)]
pub struct Registries {
    entries: Vec<Entry>,
}

#[derive(Default, Deserialize)]
struct File {
    #[serde(default)]
    registry: Vec<Entry>,
    /// Version 1 has this table.
    registries: Option<toml::Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Entry {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<Mirror>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Mirror {
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    pull_from_mirror: PullFromMirror,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum PullFromMirror {
    #[default]
    All,
    DigestOnly,
    TagOnly,
}

impl Registries {
    /// Reads `$CONTAINERS_REGISTRIES_CONF`, else the user's file, else the system's, and the drop-ins beside it.
    pub fn from_environment() -> Result<Registries, RegistriesError> {
        let mut registries = Registries::default();
        let Some((main, drop_ins)) = places() else {
            let path = variable("CONTAINERS_REGISTRIES_CONF").unwrap_or_default();
            let text = read(&path)?.ok_or_else(|| failed(&path, &"it does not exist"))?;
            return Registries::parse(&text).map_err(|reason| failed(&path, &reason));
        };
        for path in main {
            if let Some(text) = read(&path)? {
                registries = Registries::parse(&text).map_err(|reason| failed(&path, &reason))?;
                break;
            }
        }
        for dir in drop_ins {
            registries.read_drop_ins(&dir)?;
        }
        Ok(registries)
    }

    /// Returns the files that [`Registries::from_environment`] reads.
    pub fn files() -> Vec<PathBuf> {
        let Some((main, drop_ins)) = places() else {
            return variable("CONTAINERS_REGISTRIES_CONF").into_iter().collect();
        };
        let main = main.into_iter().find(|path| path.exists());
        main.into_iter().chain(drop_ins.iter().flat_map(|dir| drop_in_files(dir))).collect()
    }

    /// Parses the text of one file; the error is the reason.
    pub fn parse(text: &str) -> Result<Registries, String> {
        let file: File = toml::from_str(text).map_err(|e| e.message().to_owned())?;
        if file.registries.is_some() {
            return Err("it has the format of version 1; write `[[registry]]` tables instead".into());
        }
        let mut entries = file.registry;
        for entry in &mut entries {
            if entry.prefix.is_empty() {
                entry.prefix.clone_from(&entry.location);
            }
            entry.check()?;
        }
        Ok(Registries { entries })
    }

    /// Adds the files of a drop-in directory in the order of their names; the same prefix replaces what was there.
    fn read_drop_ins(&mut self, dir: &Path) -> Result<(), RegistriesError> {
        for path in drop_in_files(dir) {
            let text = read(&path)?.unwrap_or_default();
            let new = Registries::parse(&text).map_err(|reason| failed(&path, &reason))?;
            self.entries.retain(|old| new.entries.iter().all(|n| n.prefix != old.prefix));
            self.entries.extend(new.entries);
        }
        Ok(())
    }

    /// Puts a mirror before those of a registry, as a flag does.
    pub fn add_mirror(&mut self, registry: &str, location: &str, insecure: bool) {
        let mirror = Mirror { location: location.to_owned(), insecure, pull_from_mirror: PullFromMirror::All };
        match self.entries.iter_mut().find(|e| e.prefix == registry) {
            Some(entry) => entry.mirror.insert(0, mirror),
            None => {
                self.entries.push(Entry { prefix: registry.to_owned(), mirror: vec![mirror], ..Entry::default() });
            }
        }
    }

    /// Marks a registry, exactly `host` or `host:port`, as insecure, as a flag does.
    pub fn add_insecure(&mut self, registry: &str) {
        match self.entries.iter_mut().find(|e| e.prefix == registry) {
            Some(entry) => entry.insecure = true,
            None => {
                self.entries.push(Entry { prefix: registry.to_owned(), insecure: true, ..Entry::default() });
            }
        }
    }

    /// Returns the hosts whose certificates are not checked.
    ///
    /// The scope is the exact host and port: an insecure namespace makes its whole host insecure, as TLS knows of hosts.
    pub fn insecure_hosts(&self) -> BTreeSet<String> {
        let own = self.entries.iter().filter(|e| e.insecure).map(|e| e.location_or_prefix());
        let mirrors = self.entries.iter().flat_map(|e| &e.mirror).filter(|m| m.insecure).map(|m| m.location.as_str());
        own.chain(mirrors).map(|l| l.split('/').next().unwrap_or(l).to_owned()).collect()
    }

    /// Returns where to pull a reference from: its mirrors in order, then the registry itself.
    pub(super) fn endpoints(&self, reference: &Reference) -> Result<Vec<Endpoint>, RegistryError> {
        let Some((entry, length)) = self.find(reference) else {
            return Ok(vec![Endpoint::of(reference, false)]);
        };
        let name = reference.name();
        let rest = name.get(length..).unwrap_or_default();
        let by_digest = reference.digest.is_some();
        let usable = entry.mirror.iter().filter(|mirror| match mirror.pull_from_mirror {
            PullFromMirror::All => by_digest || !entry.mirror_by_digest_only,
            PullFromMirror::DigestOnly => by_digest,
            PullFromMirror::TagOnly => !by_digest,
        });
        let mut endpoints = Vec::new();
        for mirror in usable {
            endpoints.push(endpoint(&format!("{}{rest}", mirror.location), mirror.insecure)?);
        }
        endpoints.push(self.primary(reference)?);
        Ok(endpoints)
    }

    /// Returns the registry itself, where pushes go.
    pub(super) fn primary(&self, reference: &Reference) -> Result<Endpoint, RegistryError> {
        let Some((entry, length)) = self.find(reference) else { return Ok(Endpoint::of(reference, false)) };
        if entry.blocked {
            return Err(RegistryError::Blocked { name: reference.name() });
        }
        if entry.location.is_empty() || entry.prefix.starts_with("*.") {
            return Ok(Endpoint::of(reference, entry.insecure));
        }
        let name = reference.name();
        endpoint(&format!("{}{}", entry.location, name.get(length..).unwrap_or_default()), entry.insecure)
    }

    /// Returns the entry with the longest prefix of a reference, and how much of its name that is.
    fn find(&self, reference: &Reference) -> Option<(&Entry, usize)> {
        let text = reference.to_string();
        let matches = self.entries.iter().filter_map(|e| Some((e, e.matched(&text)?)));
        matches.max_by_key(|(e, _)| e.prefix.len())
    }
}

impl Entry {
    fn location_or_prefix(&self) -> &str {
        if self.location.is_empty() { &self.prefix } else { &self.location }
    }

    fn check(&self) -> Result<(), String> {
        if self.prefix.is_empty() {
            return Err("a `[[registry]]` has neither `prefix` nor `location`".into());
        }
        let locations = [&self.prefix, &self.location].into_iter().chain(self.mirror.iter().map(|m| &m.location));
        for text in locations {
            if text.contains("://") {
                return Err(format!("`{text}` must be a host and a path, not a URL"));
            }
        }
        Ok(())
    }

    /// Returns the length of the match, in bytes of the reference.
    fn matched(&self, reference: &str) -> Option<usize> {
        if let Some(domain) = self.prefix.strip_prefix("*.") {
            let end = reference.find('/')?;
            let host = reference.get(..end)?;
            return host.strip_suffix(domain)?.strip_suffix('.').filter(|sub| !sub.is_empty()).map(|_| end);
        }
        let rest = reference.strip_prefix(&self.prefix)?;
        // A colon ends a repository; after a host alone it begins a port, and that is another registry.
        let is_end = match rest.bytes().next() {
            None | Some(b'/') => true,
            Some(b':' | b'@') => self.prefix.contains('/'),
            Some(_) => false,
        };
        is_end.then_some(self.prefix.len())
    }
}

fn endpoint(name: &str, insecure: bool) -> Result<Endpoint, RegistryError> {
    let parsed = name.parse::<Reference>().map_err(|e| RegistriesError {
        path: PathBuf::from("registries.conf"),
        reason: format!("a location makes no valid name: {e}"),
    })?;
    Ok(Endpoint::of(&parsed, insecure))
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The files of which the first is read, and the directories of drop-ins; `None` where a variable names the only file.
fn places() -> Option<([PathBuf; 2], [PathBuf; 2])> {
    if variable("CONTAINERS_REGISTRIES_CONF").is_some() {
        return None;
    }
    let config = variable("XDG_CONFIG_HOME")
        .or_else(|| Some(variable("HOME")?.join(".config")))
        .unwrap_or_else(|| "/nonexistent".into());
    let (user, system) = (config.join("containers"), PathBuf::from("/etc/containers"));
    let drop_ins = [system.join("registries.conf.d"), user.join("registries.conf.d")];
    Some(([user.join("registries.conf"), system.join("registries.conf")], drop_ins))
}

fn drop_in_files(dir: &Path) -> Vec<PathBuf> {
    let Ok(listing) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = listing.filter_map(|e| Some(e.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "conf"));
    paths.sort();
    paths
}

fn read(path: &Path) -> Result<Option<String>, RegistriesError> {
    use std::io::Read;
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(path, &e)),
    };
    let mut text = String::new();
    file.take(FILE_LIMIT_BYTES + 1).read_to_string(&mut text).map_err(|e| failed(path, &e))?;
    if text.len() as u64 > FILE_LIMIT_BYTES { Err(failed(path, &"it is too large")) } else { Ok(Some(text)) }
}

fn failed(path: &Path, reason: &dyn std::fmt::Display) -> RegistriesError {
    RegistriesError { path: path.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn endpoints(text: &str, reference: &str) -> Vec<String> {
        let registries = Registries::parse(text).unwrap();
        let found = registries.endpoints(&reference.parse().unwrap()).unwrap();
        found
            .iter()
            .map(|e| format!("{}/{}{}", e.host, e.repository, if e.insecure { " insecure" } else { "" }))
            .collect()
    }

    const DIGEST: &str = "@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    #[test]
    fn mirrors_come_in_order_and_the_registry_last() {
        let text = r#"
            unqualified-search-registries = ["quay.io"]
            [[registry]]
            location = "docker.io"
            [[registry.mirror]]
            location = "m1.io"
            [[registry.mirror]]
            location = "localhost:5000/hub"
            insecure = true
            [[registry.mirror]]
            location = "digests.io"
            pull-from-mirror = "digest-only"
            [[registry.mirror]]
            location = "tags.io"
            pull-from-mirror = "tag-only"
        "#;
        let hub = "registry-1.docker.io/library/a";
        let common = ["m1.io/library/a", "localhost:5000/hub/library/a insecure"];
        assert_eq!(endpoints(text, "a"), [&common[..], &["tags.io/library/a", hub]].concat());
        assert_eq!(endpoints(text, &format!("a{DIGEST}")), [&common[..], &["digests.io/library/a", hub]].concat());
        let all = text.replace("location = \"docker.io\"", "location = \"docker.io\"\nmirror-by-digest-only = true");
        assert_eq!(endpoints(&all, "a"), ["tags.io/library/a", hub]);
    }

    #[test]
    fn the_longest_prefix_wins_at_whole_components() {
        let text = r#"
            [[registry]]
            prefix = "x.io"
            location = "one.io"
            [[registry]]
            prefix = "x.io/team"
            location = "two.io/deep"
            [[registry]]
            prefix = "*.corp.io"
            insecure = true
        "#;
        assert_eq!(endpoints(text, "x.io/a/b"), ["one.io/a/b"]);
        assert_eq!(endpoints(text, "x.io/team/b:1"), ["two.io/deep/b"]);
        assert_eq!(endpoints(text, "x.io/team:1"), ["two.io/deep"]);
        assert_eq!(endpoints(text, "x.io/teamster"), ["one.io/teamster"]);
        assert_eq!(endpoints(text, "x.io:5000/a"), ["x.io:5000/a"]);
        assert_eq!(endpoints(text, "a.b.corp.io/x"), ["a.b.corp.io/x insecure"]);
        assert_eq!(endpoints(text, "corp.io/x"), ["corp.io/x"]);
        assert_eq!(endpoints(text, "evilcorp.io/x"), ["evilcorp.io/x"]);
    }

    #[test]
    fn a_blocked_name_is_an_error() {
        let registries = Registries::parse("[[registry]]\nprefix='x.io/a'\nblocked=true").unwrap();
        let error = registries.endpoints(&"x.io/a/b".parse().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "`x.io/a/b` is blocked by registries.conf");
        assert!(registries.endpoints(&"x.io/b".parse().unwrap()).is_ok());
    }

    #[test]
    fn malformed_files_are_refused() {
        for text in
            ["[[registry]]", "[registries.search]\nregistries=[]", "[[registry]]\nlocation='https://x.io'", "x="]
        {
            assert!(Registries::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn flags_add_to_the_file() {
        let mut registries = Registries::parse("[[registry]]\nlocation='x.io'").unwrap();
        registries.add_mirror("x.io", "m.io", true);
        registries.add_insecure("y.io:5");
        let hosts: Vec<String> = registries.insecure_hosts().into_iter().collect();
        assert_eq!(hosts, ["m.io", "y.io:5"]);
        assert_eq!(registries.endpoints(&"x.io/a".parse().unwrap()).unwrap().len(), 2);
    }

    #[test]
    fn drop_ins_replace_the_same_prefix() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("1.conf"), "[[registry]]\nlocation='x.io'\nblocked=true").unwrap();
        std::fs::write(dir.path().join("2.conf"), "[[registry]]\nlocation='x.io'\ninsecure=true").unwrap();
        std::fs::write(dir.path().join("3.txt"), "not read").unwrap();
        let mut registries = Registries::default();
        registries.read_drop_ins(dir.path()).unwrap();
        assert!(registries.primary(&"x.io/a".parse().unwrap()).unwrap().insecure);
    }
}
