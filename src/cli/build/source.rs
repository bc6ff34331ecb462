//! What a build reads: the context, the Dockerfile, named contexts, secrets and agents.

use super::value::parse_pairs;
use crate::exec::request::{ContextSource, DockerfileSource, Secret, SecretSource};
use crate::image::{Platform, Reference};
use crate::plan::NamedContext;
use std::path::{Path, PathBuf};

/// Returns what the positional argument names.  A directory that is there wins over what looks like a URL.
pub fn context_source(text: &str) -> ContextSource {
    if text == "-" {
        ContextSource::Stdin
    } else if !Path::new(text).is_dir() && is_url(text) {
        ContextSource::Url(text.to_owned())
    } else {
        ContextSource::Directory(PathBuf::from(text))
    }
}

/// Whether a context is fetched: http(s), a Git URL, or the short forms that git and docker know.
fn is_url(text: &str) -> bool {
    ["http://", "https://", "git://", "ssh://", "github.com/"].iter().any(|scheme| text.starts_with(scheme))
        || is_scp_form(text)
}

/// Whether a text is `user@host:path`, git's short form of an SSH URL.
fn is_scp_form(text: &str) -> bool {
    let Some((user, rest)) = text.split_once('@') else { return false };
    let Some((host, path)) = rest.split_once(':') else { return false };
    let word = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
    };
    word(user) && word(host) && !path.is_empty()
}

/// Returns what `-f` names.
pub fn dockerfile_source(text: Option<&str>) -> Result<DockerfileSource, String> {
    match text {
        None => Ok(DockerfileSource::Default),
        Some("") => Err("the path is empty".to_owned()),
        Some("-") => Ok(DockerfileSource::Stdin),
        Some(url) if url.starts_with("http://") || url.starts_with("https://") => {
            Err(format!("cooper does not fetch a Dockerfile by itself: `curl -fsSL {url} | cooper build -f - ...`"))
        }
        Some(path) => Ok(DockerfileSource::Path(PathBuf::from(path))),
    }
}

/// Returns name and place of a `--build-context NAME=VALUE`; the name as Docker shortens image names.
pub fn parse_build_context(text: &str) -> Result<(String, NamedContext), String> {
    let Some((name, value)) = text.split_once('=') else {
        return Err(format!("`{text}` is not of the form `name=value`"));
    };
    if value.is_empty() {
        return Err(format!("the context `{name}` has no value"));
    }
    let (image, platform) = name.split_once("::").map_or((name, None), |(name, platform)| (name, Some(platform)));
    let reference: Reference = image.parse().map_err(|_| format!("`{name}` cannot name a context"))?;
    let platform = platform.map(str::parse::<Platform>).transpose().map_err(|error| error.to_string())?;
    let context = if let Some(image) = value.strip_prefix("docker-image://") {
        NamedContext::Image(image.to_owned())
    } else if let Some(layout) = value.strip_prefix("oci-layout://") {
        NamedContext::OciLayout(layout.to_owned())
    } else {
        NamedContext::Files(value.to_owned())
    };
    let platform = platform.map(|platform| format!("::{platform}"));
    Ok((familiar(&reference) + &platform.unwrap_or_default(), context))
}

/// Returns a reference without the parts that Docker adds by itself.
fn familiar(reference: &Reference) -> String {
    let full = reference.to_string();
    let short = full.strip_prefix("docker.io/").unwrap_or(&full);
    let short = short.strip_prefix("library/").unwrap_or(short);
    short.strip_suffix(":latest").unwrap_or(short).to_owned()
}

/// Returns name and value of a `--build-arg NAME[=VALUE]`.
pub fn parse_build_arg(text: &str) -> Result<(String, Option<String>), String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    if name.is_empty() { Err("the name is empty".to_owned()) } else { Ok((name.to_owned(), value)) }
}

/// Returns name and value of a `--label NAME[=VALUE]`; a label without a value is empty.
pub fn parse_label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    if name.is_empty() { Err("the name is empty".to_owned()) } else { Ok((name.to_owned(), value.to_owned())) }
}

/// Returns a `--secret`: CSV of `id`, `src` or `source`, `env`, `type`.
///
/// With an id alone the value is looked for in the environment variable of that name, then in the file.
pub fn parse_secret(text: &str) -> Result<Secret, String> {
    let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
    for (key, value) in parse_pairs(text)? {
        match key.as_str() {
            "id" => id = Some(value),
            "src" | "source" => file = Some(value),
            "env" => variable = Some(value),
            "type" if value == "file" || value == "env" => kind = Some(value),
            "type" => return Err(format!("`type` is `file` or `env`, not `{value}`")),
            other => return Err(format!("a secret has no `{other}`; it has `id`, `src`, `env` and `type`")),
        }
    }
    let Some(id) = id.filter(|id| !id.is_empty()) else {
        return Err("`id=` is missing".to_owned());
    };
    if kind.as_deref() == Some("env") && variable.is_none() {
        variable = file.take();
    }
    let source = match (variable, file) {
        (Some(variable), _) => SecretSource::Env(variable),
        (None, Some(file)) => SecretSource::File(PathBuf::from(file)),
        (None, None) if kind.as_deref() != Some("file") && std::env::var_os(&id).is_some() => {
            SecretSource::Env(id.clone())
        }
        (None, None) => SecretSource::File(PathBuf::from(&id)),
    };
    Ok(Secret { id, source })
}

/// Returns a `--ssh`: `default` or `ID[=SOCKET|KEY,...]`.
pub fn parse_ssh(text: &str) -> Result<(String, Vec<PathBuf>), String> {
    let (id, paths) = text.split_once('=').map_or((text, None), |(id, paths)| (id, Some(paths)));
    if id.is_empty() {
        return Err("the id is empty".to_owned());
    }
    let mut files = Vec::new();
    for path in paths.into_iter().flat_map(|paths| paths.split(',')) {
        match path.split_once('=') {
            Some(("raw", _)) => {
                return Err("cooper does not have `raw=`: name the socket of an agent or a key".to_owned());
            }
            _ if path.is_empty() => return Err(format!("a path of `{id}` is empty")),
            _ => files.push(PathBuf::from(path)),
        }
    }
    Ok((id.to_owned(), files))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_told_apart_by_their_form() {
        assert_eq!(context_source("-"), ContextSource::Stdin);
        assert_eq!(context_source("."), ContextSource::Directory(".".into()));
        assert_eq!(context_source("no/such@dir"), ContextSource::Directory("no/such@dir".into()));
        for url in [
            "https://example.org/a.tar.gz",
            "https://example.org/a.git#main:dir",
            "git://h/r",
            "ssh://git@h/r",
            "github.com/a/b",
            "git@example.org:a/b.git",
        ] {
            assert_eq!(context_source(url), ContextSource::Url(url.into()), "{url}");
        }
    }

    #[test]
    fn secrets_follow_the_rules_of_buildx() {
        let file = |id: &str, path: &str| Secret { id: id.into(), source: SecretSource::File(path.into()) };
        let env = |id: &str, name: &str| Secret { id: id.into(), source: SecretSource::Env(name.into()) };
        assert_eq!(parse_secret("id=a,src=/x"), Ok(file("a", "/x")));
        assert_eq!(parse_secret("ID=a,source=x,type=file"), Ok(file("a", "x")));
        assert_eq!(parse_secret("id=a,env=TOKEN"), Ok(env("a", "TOKEN")));
        assert_eq!(parse_secret("type=env,id=a,src=TOKEN"), Ok(env("a", "TOKEN")));
        assert_eq!(parse_secret("id=PATH"), Ok(env("PATH", "PATH")));
        assert_eq!(parse_secret("type=file,id=PATH"), Ok(file("PATH", "PATH")));
        assert_eq!(parse_secret("id=no_such_variable"), Ok(file("no_such_variable", "no_such_variable")));
        for bad in ["", "a", "src=x", "id=a,type=vault", "id=a,mode=1"] {
            assert!(parse_secret(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn agents_build_args_and_named_contexts() {
        assert_eq!(parse_ssh("default"), Ok(("default".into(), vec![])));
        assert_eq!(parse_ssh("a=k1,k2"), Ok(("a".into(), vec!["k1".into(), "k2".into()])));
        assert!(parse_ssh("a=raw=true,/sock").is_err());
        assert_eq!(parse_build_arg("A"), Ok(("A".into(), None)));
        assert_eq!(parse_build_arg("A=b=c"), Ok(("A".into(), Some("b=c".into()))));
        assert!(parse_build_arg("=b").is_err());
        assert_eq!(
            parse_build_context("alpine:latest=docker-image://alpine:3"),
            Ok(("alpine".into(), NamedContext::Image("alpine:3".into())))
        );
        assert_eq!(parse_build_context("alpine:latest::linux/arm64/v8=.").unwrap().0, "alpine::linux/arm64");
        assert!(parse_build_context("alpine::no/such/platform/x=.").is_err());
        assert_eq!(parse_build_context("src=.").unwrap().1, NamedContext::Files(".".into()));
        assert!(parse_build_context("src").is_err());
    }
}
