//! What the commands on the images of the store share: the store, progress, names, filters.

use super::diagnostic::Style;
use crate::catalog::{StoredImage, Transfer};
use crate::diag::{Diagnostic, Exit};
use crate::event::Reporter;
use crate::image::Reference;
use crate::progress::{Face, Mode};
use crate::store::{NamedImage, Store};
use std::io::Write;
use std::str::FromStr;

/// Does something with progress on standard error, or quietly.
pub fn with_progress<T>(
    store: &Store,
    quiet: bool,
    style: Style,
    work: impl FnOnce(&Transfer<'_>) -> Result<T, Diagnostic>,
) -> Result<T, Diagnostic> {
    let (reporter, receiver) = Reporter::new();
    let face = Face::start(if quiet { Mode::Quiet } else { Mode::Auto }, style, receiver);
    let result = work(&Transfer::new(store, &reporter));
    // The face ends when the last sender is gone.
    drop(reporter);
    face.join();
    result
}

/// Writes the result of a command.
pub fn print(out: &mut dyn Write, text: &str) -> Result<(), Diagnostic> {
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Diagnostic::error(Exit::Step, "cannot write to standard output").note(error.to_string()))
}

/// Returns a name as users write it, without its tag or digest.
pub fn repository(name: &Reference) -> String {
    // Without a tag `familiar` is the bare repository.
    Reference { tag: None, digest: None, ..name.clone() }.familiar()
}

/// Whether an image has a name that a user wrote: of the repository, or if there is a tag or digest, exactly.
pub fn is_named(image: &NamedImage, text: &str) -> bool {
    let Some(name) = image.name.as_ref().and_then(|name| name.parse::<Reference>().ok()) else { return false };
    if text.contains(['*', '?']) {
        return matches_pattern(&name, text);
    }
    let Ok(wanted) = text.parse::<Reference>() else { return false };
    let has_tag = text.rsplit_once(':').is_some_and(|(_, tag)| !tag.contains('/'));
    wanted.name() == name.name() && (!(has_tag || wanted.digest.is_some()) || wanted == name)
}

/// A condition on images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// The name matches a pattern.
    Reference(String),
    /// It has no name.
    Dangling(bool),
    /// It has a label, perhaps of a value.
    Label(String, Option<String>),
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Filter, String> {
        match text.split_once('=') {
            Some(("reference", pattern)) => Ok(Filter::Reference(pattern.to_owned())),
            Some(("dangling", "true" | "1")) => Ok(Filter::Dangling(true)),
            Some(("dangling", "false" | "0")) => Ok(Filter::Dangling(false)),
            Some(("label", label)) => Ok(match label.split_once('=') {
                Some((name, value)) => Filter::Label(name.to_owned(), Some(value.to_owned())),
                None => Filter::Label(label.to_owned(), None),
            }),
            _ => Err("there are `reference=PATTERN`, `dangling=true|false` and `label=NAME[=VALUE]`".to_owned()),
        }
    }
}

impl Filter {
    /// Whether an image matches; one whose documents cannot be read has no labels.
    pub fn matches(&self, image: &NamedImage, stored: Option<&StoredImage>) -> bool {
        match self {
            Filter::Dangling(wanted) => image.name.is_none() == *wanted,
            Filter::Reference(pattern) => {
                let name = image.name.as_ref().and_then(|name| name.parse::<Reference>().ok());
                name.is_some_and(|name| matches_pattern(&name, pattern))
            }
            Filter::Label(name, value) => {
                let found = stored.and_then(|stored| stored.main().config.config.labels.get(name));
                found.is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
            }
        }
    }
}

/// As docker does, the pattern may match the name with or without tag, as it is shown or in full.
fn matches_pattern(name: &Reference, pattern: &str) -> bool {
    let full = format!("{}{}", name.name(), name.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default());
    [name.familiar(), repository(name), full, name.name()].iter().any(|text| glob(pattern.as_bytes(), text.as_bytes()))
}

/// `*` is any text without a slash, `?` one such character.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    // The place of the last star, and up to where it has been stretched: no other needs to be tried again.
    let (mut p, mut t, mut star) = (0, 0, None);
    loop {
        match (pattern.get(p), text.get(t)) {
            (None, None) => return true,
            (Some(b'*'), _) => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            (Some(b'?'), Some(c)) if *c != b'/' => {}
            (Some(wanted), Some(c)) if wanted == c && *wanted != b'?' => {}
            _ => match star {
                Some((at, from)) if text.get(from).is_some_and(|c| *c != b'/') => {
                    star = Some((at, from + 1));
                    (p, t) = (at + 1, from + 1);
                    continue;
                }
                _ => return false,
            },
        }
        (p, t) = (p + 1, t + 1);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::image::Descriptor;

    fn named(name: &str) -> NamedImage {
        NamedImage { name: Some(name.to_owned()), descriptor: Descriptor::of("", b"") }
    }

    #[test]
    fn names_match_by_repository_or_exactly() {
        let image = named("docker.io/library/app:1");
        for (text, is) in [
            ("app", true),
            ("app:1", true),
            ("app:2", false),
            ("docker.io/library/app", true),
            ("ap", false),
            ("ap*", true),
            ("x/app", false),
        ] {
            assert_eq!(is_named(&image, text), is, "{text}");
        }
    }

    #[test]
    fn filters_are_read_and_match() {
        let matches = |filter: &str, image: &NamedImage| filter.parse::<Filter>().unwrap().matches(image, None);
        let (app, none) = (named("docker.io/library/app:1"), NamedImage { name: None, ..named("x") });
        assert!(matches("reference=app:*", &app) && matches("reference=a?p", &app) && !matches("reference=b*", &app));
        assert!(matches("reference=docker.io/*/app", &app) && !matches("reference=docker.io/*", &app));
        assert!(matches("dangling=true", &none) && matches("dangling=false", &app) && !matches("dangling=true", &app));
        assert!("before=x".parse::<Filter>().is_err() && "dangling=maybe".parse::<Filter>().is_err());
    }

    #[test]
    fn patterns_of_many_stars_are_quick() {
        let text = "a".repeat(200);
        assert!(!glob("a*".repeat(50).as_bytes(), format!("{text}/b").as_bytes()));
        assert!(glob(b"a*b*c", b"axxbbyc") && !glob(b"a*b*c", b"axxbby"));
    }
}
