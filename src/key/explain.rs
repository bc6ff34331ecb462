//! Why a step missed the cache, in a few words.

use super::Manifest;
use crate::plan::is_secret_name;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Values longer than this are kept as their digest: the record is for comparing, not for reading.
const MAX_VALUE_BYTES: usize = 256;

/// How many bytes of a digest are kept; they only have to differ.
const DIGEST_BYTES: usize = 8;

/// Longest value that a reason quotes, in characters.
const MAX_SHOWN: usize = 40;

/// What a step depended on, as pairs in the order in which they were told; kept beside the cache record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Name and value.
    pub pairs: Vec<(String, String)>,
}

/// Collects a manifest as text.
///
/// The value of a variable whose name sounds secret is never kept, not even as a digest that could be guessed from.
#[derive(Debug, Clone, Default)]
pub struct Explainer(Explanation);

impl Explainer {
    /// Returns an empty explainer.
    pub fn new() -> Explainer {
        Explainer::default()
    }

    /// Returns what was collected.
    pub fn finish(self) -> Explanation {
        self.0
    }

    fn push(&mut self, name: impl Into<String>, value: String) {
        self.0.pairs.push((name.into(), value));
    }
}

impl Manifest for Explainer {
    fn field(&mut self, name: &str, value: &[u8]) {
        let value = match std::str::from_utf8(value) {
            _ if matches!(name, "base" | SOURCE) => short(value),
            _ if name.strip_prefix(ENV).is_some_and(is_secret_name) => masked(value),
            Ok(text) if text.len() <= MAX_VALUE_BYTES => text.to_owned(),
            _ => format!("blake3:{}", short(blake3::hash(value).as_bytes())),
        };
        self.push(name, value);
    }

    fn source_name(&mut self, name: &str) {
        self.push(SOURCE_NAME, name.to_owned());
    }

    fn file(&mut self, path: &str, digest: &[u8; 32]) {
        self.push(format!("{FILE}{path}"), short(digest));
    }
}

const ENV: &str = "env ";
const FILE: &str = "file ";
const SOURCE: &str = "source";
const SOURCE_NAME: &str = "source name";

/// Returns the first digits of a digest or key.
fn short(raw: &[u8]) -> String {
    hex::encode(&raw[..raw.len().min(DIGEST_BYTES)])
}

/// Sixteen bits: enough to see a change, too few to find the value by trying.
fn masked(value: &[u8]) -> String {
    let digits: String = blake3::hash(value).to_hex().chars().take(4).collect();
    format!("*****{digits}")
}

/// Returns the reason why what a step depends on now is not what it depended on before; `None` if nothing differs.
pub fn difference(old: &Explanation, new: &Explanation) -> Option<String> {
    if old == new {
        return None;
    }
    let (old, new) = (Index::of(old), Index::of(new));
    if old.get("op") != new.get("op") {
        return Some("instruction changed".to_owned());
    }
    if new.get("op").is_some_and(|values| values == ["FROM"]) {
        return Some("base image changed".to_owned());
    }
    let changed = old.changed(&new);
    variable(&old, &new, &changed)
        .or_else(|| instruction(&changed))
        .or_else(|| files(&old, &new, &changed))
        .or_else(|| changed.contains("base").then(|| "the step before it changed".to_owned()))
        .or_else(|| source(&old, &new))
        .or_else(|| setting(&old, &new, &changed))
        .or_else(|| Some("instruction changed".to_owned()))
}

/// Values by name, in order.
struct Index<'a>(BTreeMap<&'a str, Vec<&'a str>>);

impl<'a> Index<'a> {
    fn of(explanation: &'a Explanation) -> Index<'a> {
        let mut index: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, value) in &explanation.pairs {
            index.entry(name).or_default().push(value);
        }
        Index(index)
    }

    fn get(&self, name: &str) -> Option<&[&'a str]> {
        self.0.get(name).map(Vec::as_slice)
    }

    fn changed(&self, other: &Index<'a>) -> BTreeSet<&'a str> {
        self.0.keys().chain(other.0.keys()).copied().filter(|name| self.get(name) != other.get(name)).collect()
    }
}

fn variable(old: &Index<'_>, new: &Index<'_>, changed: &BTreeSet<&str>) -> Option<String> {
    let field = changed.iter().find(|field| field.starts_with(ENV))?;
    let name = &field[ENV.len()..];
    let value = |index: &Index<'_>| index.get(field).and_then(|values| values.last().map(|value| shown(value)));
    Some(match (value(old), value(new)) {
        (Some(_), Some(_)) if is_secret_name(name) => format!("`{name}` changed"),
        (Some(old), Some(new)) => format!("`{name}` changed from `{old}` to `{new}`"),
        (None, _) => format!("`{name}` is new"),
        (_, None) => format!("`{name}` is gone"),
    })
}

fn shown(value: &str) -> String {
    let mut text: String = value.chars().take(MAX_SHOWN).collect();
    if text.len() < value.len() {
        text.push_str("..");
    }
    text
}

/// What the text of the instruction decides.
fn instruction(changed: &BTreeSet<&str>) -> Option<String> {
    const TEXT: [&str; 10] = [
        "argument",
        "script",
        "inline",
        "inline content",
        "path",
        "url",
        "repository",
        "destination",
        "chown",
        "chmod",
    ];
    let is_text = |name: &&str| TEXT.contains(name) || name.starts_with("mount");
    changed.iter().any(is_text).then(|| "instruction changed".to_owned())
}

fn files(old: &Index<'_>, new: &Index<'_>, changed: &BTreeSet<&str>) -> Option<String> {
    let mut differing = changed.iter().filter(|name| name.starts_with(FILE));
    let first = differing.next()?;
    let path = &first[FILE.len()..];
    let count = 1 + differing.count();
    let total = new.0.keys().filter(|name| name.starts_with(FILE)).count();
    let verb = match (old.get(first), new.get(first)) {
        (None, _) => "new",
        (_, None) => "removed",
        _ => "changed",
    };
    let noun = if total == 1 { "file" } else { "files" };
    Some(format!("{verb}: {path} ({count} of {total} {noun})"))
}

fn source(old: &Index<'_>, new: &Index<'_>) -> Option<String> {
    let (before, after) = (old.get(SOURCE).unwrap_or_default(), new.get(SOURCE).unwrap_or_default());
    let index = (0..after.len()).find(|&index| before.get(index) != after.get(index))?;
    let name = new.get(SOURCE_NAME).and_then(|names| names.get(index)).copied().unwrap_or("a source");
    Some(format!("changed: {name}"))
}

fn setting(old: &Index<'_>, new: &Index<'_>, changed: &BTreeSet<&str>) -> Option<String> {
    let name = changed.iter().find(|name| **name != SOURCE_NAME)?;
    let value = |index: &Index<'_>| index.get(name).map(|values| shown(&values.join(" ")));
    Some(match (value(old), value(new)) {
        (Some(old), Some(new)) => format!("{name} changed from `{old}` to `{new}`"),
        (None, Some(new)) => format!("{name} is now `{new}`"),
        _ => format!("{name} is gone"),
    })
}
