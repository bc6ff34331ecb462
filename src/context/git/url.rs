//! Git URLs as contexts and ADD have them: `https://host/x.git#ref:subdir`, `git@host:x`, `?branch=&subdir=..`.
//!
//! Host, path and reference end up in arguments of git and, by way of git, of ssh.  What could be read as an option
//! there is refused here (docker CVE-2019-13139, git CVE-2017-1000117), and so is a subdirectory that climbs
//! (BuildKit CVE-2026-33748).

use std::fmt;
use url::Url;
use url::form_urlencoded;

/// Longest URL that is looked at, bytes.
const MAX_URL_BYTES: usize = 8 << 10;

/// A repository, and what of it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitSource {
    /// The URL for git: without credentials, query and fragment.
    pub remote: String,
    /// User and password of an http(s) URL.
    pub credentials: Option<Credentials>,
    /// Branch, tag, full reference or commit; the default branch if there is none.
    pub reference: Option<String>,
    /// The directory that stands for the whole, relative and clean.
    pub subdir: Option<String>,
    /// `commit` or `checksum`: the commit it must be, or the beginning of it.
    pub checksum: Option<String>,
    /// `keep-git-dir`.
    pub keep_git_dir: Option<bool>,
    /// `submodules`, on by default.
    pub submodules: bool,
    /// `mtime=commit`: files have the commit's time.
    pub commit_time: bool,
    /// `fetch-by-commit`: [`GitSource::checksum`] is fetched and the reference not looked up.
    pub fetch_by_commit: bool,
    /// Written `github.com/..`, which may as well be a path: a repository only where a context is named.
    pub may_be_a_path: bool,
}

/// User and password; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User, or a token.
    pub user: String,
    /// Password; may be empty.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

/// A Git URL that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GitUrlError {
    /// Something about it is wrong.
    #[error("invalid Git URL: {reason}")]
    Invalid {
        /// What.
        reason: &'static str,
    },
    /// A reference that git or a shell would not take as one.
    #[error("invalid Git reference: `{reference}`")]
    Reference {
        /// As written.
        reference: String,
    },
    /// A subdirectory that is no plain relative path.
    #[error("invalid Git subdirectory: `{subdir}`")]
    Subdirectory {
        /// As written.
        subdir: String,
    },
    /// A commit that is not hexadecimal.
    #[error("invalid Git commit: `{commit}`")]
    Commit {
        /// As written.
        commit: String,
    },
    /// A query parameter that does not exist or has no good value.
    #[error("invalid value of query `{name}` in a Git URL: `{value}`")]
    Query {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// Two parameters that contradict one another.
    #[error("{name} conflicts: `{first}` and `{second}`")]
    Conflict {
        /// What.
        name: &'static str,
        /// One value.
        first: String,
        /// The other.
        second: String,
    },
}

/// Reads a Git URL; `None` for anything else: a path, or a URL of a file.
pub fn parse(text: &str) -> Result<Option<GitSource>, GitUrlError> {
    parse_with(text, false)
}

/// Like [`parse`]; with `allow_file` a `file://` URL is a repository of this machine.
pub fn parse_with(text: &str, allow_file: bool) -> Result<Option<GitSource>, GitUrlError> {
    if text.starts_with("./") || text.starts_with("../") {
        return Ok(None);
    }
    if text.starts_with("github.com/") {
        let source = parse_url(&format!("https://{text}"), "https")?;
        return Ok(Some(GitSource { may_be_a_path: true, ..source }));
    }
    let Some((scheme, _)) = text.split_once("://") else { return parse_scp(text) };
    if !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return parse_scp(text);
    }
    match scheme.to_ascii_lowercase().as_str() {
        scheme @ ("http" | "https") => {
            let path = text.split(['?', '#']).next().unwrap_or(text);
            if path.ends_with(".git") { parse_url(text, scheme).map(Some) } else { Ok(None) }
        }
        scheme @ ("ssh" | "git") => parse_url(text, scheme).map(Some),
        "file" if allow_file => parse_url(text, "file").map(Some),
        _ => Ok(None),
    }
}

fn parse_url(text: &str, scheme: &str) -> Result<GitSource, GitUrlError> {
    check_characters(text)?;
    let invalid = |reason| GitUrlError::Invalid { reason };
    let mut url = Url::parse(text).map_err(|_| invalid("it cannot be parsed"))?;
    let host = url.host_str().unwrap_or_default();
    if host.starts_with('-') || (host.is_empty() && scheme != "file") {
        return Err(invalid("the host is missing or starts with `-`"));
    }
    let (user, password) = (decode(url.username()), url.password().map(decode));
    if user.starts_with('-') || user.chars().chain(password.iter().flat_map(|p| p.chars())).any(char::is_control) {
        return Err(invalid("the user starts with `-` or holds a control character"));
    }
    let mut source = GitSource::of(String::new());
    if let Some(fragment) = url.fragment() {
        source.read_fragment(&decode(fragment))?;
    }
    if let Some(query) = url.query() {
        source.read_query(query)?;
    }
    let stripped = "the user cannot be taken out";
    url.set_fragment(None);
    url.set_query(None);
    if password.is_some() {
        url.set_password(None).map_err(|()| invalid(stripped))?;
    }
    if matches!(scheme, "http" | "https") && !(user.is_empty() && password.is_none()) {
        url.set_username("").map_err(|()| invalid(stripped))?;
        source.credentials = Some(Credentials { user, password: password.unwrap_or_default() });
    }
    source.remote = url.into();
    Ok(source)
}

/// Reads `user@host:path?query#fragment`.
fn parse_scp(text: &str) -> Result<Option<GitSource>, GitUrlError> {
    let Some((user, (host, rest))) = text.split_once('@').and_then(|(user, rest)| Some((user, rest.split_once(':')?)))
    else {
        return Ok(None);
    };
    let is_word = |text: &str, also: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || also.contains(c))
    };
    if !is_word(user, "_") || !is_word(host, ".") {
        return Ok(None);
    }
    check_characters(text)?;
    let (rest, fragment) = rest.split_once('#').map_or((rest, None), |(rest, fragment)| (rest, Some(fragment)));
    let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
    if [user, host, path].iter().any(|part| part.starts_with('-')) || path.is_empty() {
        return Err(GitUrlError::Invalid { reason: "user, host or path is empty or starts with `-`" });
    }
    let mut source = GitSource::of(format!("{user}@{host}:{path}"));
    if let Some(fragment) = fragment {
        source.read_fragment(fragment)?;
    }
    if let Some(query) = query {
        source.read_query(query)?;
    }
    Ok(Some(source))
}

fn check_characters(text: &str) -> Result<(), GitUrlError> {
    if text.len() > MAX_URL_BYTES {
        return Err(GitUrlError::Invalid { reason: "it is too long" });
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(GitUrlError::Invalid { reason: "it holds a space or a control character" });
    }
    Ok(())
}

impl GitSource {
    fn of(remote: String) -> GitSource {
        GitSource {
            remote,
            credentials: None,
            reference: None,
            subdir: None,
            checksum: None,
            keep_git_dir: None,
            submodules: true,
            commit_time: false,
            fetch_by_commit: false,
            may_be_a_path: false,
        }
    }

    /// Returns what names the repository and its state in a message: no credentials.
    pub fn display(&self) -> &str {
        &self.remote
    }

    fn read_fragment(&mut self, fragment: &str) -> Result<(), GitUrlError> {
        let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
        self.set_reference(reference)?;
        self.set_subdir(subdir)
    }

    fn read_query(&mut self, query: &str) -> Result<(), GitUrlError> {
        let (mut tag, mut branch) = (None, None);
        let mut seen: Vec<String> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let bad = || GitUrlError::Query { name: name.to_string(), value: value.to_string() };
            let is_switch = matches!(&*name, "submodules" | "keep-git-dir" | "fetch-by-commit");
            if seen.iter().any(|other| *other == name) || (value.is_empty() && !is_switch) {
                return Err(bad());
            }
            seen.push(name.to_string());
            match &*name {
                "ref" => self.set_reference(&value)?,
                "tag" => tag = Some(full_name("refs/tags/", &value)),
                "branch" => branch = Some(full_name("refs/heads/", &value)),
                "subdir" => self.set_subdir(&value)?,
                "checksum" | "commit" => self.checksum = Some(checked_commit(&value)?),
                "keep-git-dir" => self.keep_git_dir = Some(switch(&value).ok_or_else(bad)?),
                "submodules" => self.submodules = switch(&value).ok_or_else(bad)?,
                "fetch-by-commit" => self.fetch_by_commit = switch(&value).ok_or_else(bad)?,
                "mtime" if value == "commit" => self.commit_time = true,
                "mtime" if value == "checkout" => self.commit_time = false,
                _ => return Err(bad()),
            }
        }
        if let (Some(tag), Some(branch)) = (&tag, &branch) {
            return Err(conflict("branch and tag", branch, tag));
        }
        tag.or(branch).map_or(Ok(()), |reference| self.set_reference(&reference))
    }

    fn set_reference(&mut self, reference: &str) -> Result<(), GitUrlError> {
        if reference.is_empty() {
            return Ok(());
        }
        match &self.reference {
            Some(other) if other != reference => return Err(conflict("ref", other, reference)),
            _ => self.reference = Some(checked_reference(reference)?),
        }
        Ok(())
    }

    fn set_subdir(&mut self, subdir: &str) -> Result<(), GitUrlError> {
        let Some(clean) = checked_subdir(subdir)? else { return Ok(()) };
        match &self.subdir {
            Some(other) if *other != clean => return Err(conflict("subdir", other, &clean)),
            _ => self.subdir = Some(clean),
        }
        Ok(())
    }
}

fn conflict(name: &'static str, first: &str, second: &str) -> GitUrlError {
    GitUrlError::Conflict { name, first: first.to_owned(), second: second.to_owned() }
}

fn full_name(prefix: &str, name: &str) -> String {
    if name.starts_with(prefix) { name.to_owned() } else { format!("{prefix}{name}") }
}

fn switch(value: &str) -> Option<bool> {
    match value {
        "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Accepts what `git check-ref-format` would, which leaves out every character with a meaning in a refspec.
fn checked_reference(reference: &str) -> Result<String, GitUrlError> {
    let has_bad_part = reference
        .split('/')
        .any(|part| part.is_empty() || part.starts_with(['.', '-']) || part.ends_with('.') || part.ends_with(".lock"));
    let is_bad = |c: char| c.is_whitespace() || c.is_control() || "~^:?*[\\".contains(c);
    if has_bad_part || reference.contains(is_bad) || reference.contains("..") || reference.contains("@{") {
        return Err(GitUrlError::Reference { reference: reference.to_owned() });
    }
    Ok(reference.to_owned())
}

/// Returns a relative path without `.` and empty parts; `None` for the whole.
fn checked_subdir(subdir: &str) -> Result<Option<String>, GitUrlError> {
    let parts: Vec<&str> = subdir.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let is_bad = |part: &&str| *part == ".." || part.eq_ignore_ascii_case(".git") || part.contains(char::is_control);
    if parts.iter().any(is_bad) {
        return Err(GitUrlError::Subdirectory { subdir: subdir.to_owned() });
    }
    Ok(if parts.is_empty() { None } else { Some(parts.join("/")) })
}

/// Accepts a commit or the beginning of one.
pub(super) fn checked_commit(commit: &str) -> Result<String, GitUrlError> {
    if commit.is_empty() || commit.len() > 64 || !commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(GitUrlError::Commit { commit: commit.to_owned() });
    }
    Ok(commit.to_ascii_lowercase())
}

/// Whether a text is a whole commit id, SHA-1 or SHA-256.
pub(super) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'))
}

fn decode(text: &str) -> String {
    // The decoder for forms takes `+` as a space and `&` as a separator; a user or fragment has them as they are.
    let escaped = text.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    form_urlencoded::parse(escaped.as_bytes()).next().map(|(name, _)| name.into_owned()).unwrap_or_default()
}
