//! One pattern of an ignore file.

use super::translate::{Form, translate};
use crate::context::glob::{first_character, go_match, has_wildcards};
use std::borrow::Cow;
use std::sync::OnceLock;

/// Longest pattern; the kernel knows no longer path (PATH_MAX).
pub(super) const PATTERN_LIMIT_BYTES: usize = 4096;

/// A pattern, cleaned, checked and without its `!`.
#[derive(Debug)]
pub(super) struct Pattern {
    /// The text that paths are compared with.
    text: Vec<u8>,
    /// Whether it had a `!`.
    pub(super) is_negated: bool,
    /// Line in its file, from 1.
    pub(super) line: usize,
    form: Form,
    /// Of `Form::Expression`: literal text with which every matching path starts and ends.  Most paths fail here.
    starts_with: Vec<u8>,
    ends_with: Vec<u8>,
    /// Compiled when a path first gets so far: most patterns of most builds never need it.
    expression: OnceLock<Option<regex::Regex>>,
}

impl Pattern {
    /// Checks a cleaned pattern; the error is a reason to show.
    pub(super) fn new(text: &[u8], is_negated: bool, line: usize) -> Result<Pattern, &'static str> {
        if text.len() > PATTERN_LIMIT_BYTES {
            return Err("the pattern is longer than any path");
        }
        // moby asks Go's own matching first, so what is an error there is one here.
        go_match(text, ".").map_err(|_| "a character class is not closed, or a backslash ends the pattern")?;
        let form = translate(&characters(text))?;
        let (mut starts_with, mut ends_with) = (Vec::new(), Vec::new());
        if matches!(form, Form::Expression(_)) {
            (starts_with, ends_with) = literal_ends(text);
        }
        let text = text.to_vec();
        Ok(Pattern { text, is_negated, line, form, starts_with, ends_with, expression: OnceLock::new() })
    }

    /// Returns the pattern as messages show it.
    pub(super) fn display(&self) -> String {
        format!("{}{}", if self.is_negated { "!" } else { "" }, String::from_utf8_lossy(&self.text))
    }

    /// Returns whether the pattern matches exactly this path; parents are the caller's.
    pub(super) fn matches(&self, path: &[u8]) -> bool {
        match &self.form {
            Form::Exact => path == self.text,
            Form::Prefix => path.starts_with(&self.text[..self.text.len() - 2]),
            Form::Suffix => {
                let suffix = &self.text[2..];
                path.ends_with(suffix) || suffix.strip_prefix(b"/").is_some_and(|name| path == name)
            }
            Form::Expression(expression) => {
                path.starts_with(&self.starts_with)
                    && path.ends_with(&self.ends_with)
                    && self
                        .expression
                        // It compiles: `translate` wrote it, and the limit of length keeps it below the engine's.
                        .get_or_init(|| regex::Regex::new(expression).ok())
                        .as_ref()
                        .is_some_and(|expression| expression.is_match(&characters(path)))
            }
        }
    }

    /// Returns whether the pattern could match something below a directory; `true` when in doubt.
    pub(super) fn may_match_below(&self, directory: &[u8]) -> bool {
        let mut components = self.text.split(|byte| *byte == b'/');
        for name in directory.split(|byte| *byte == b'/') {
            let Some(component) = components.next() else { return false };
            if component.starts_with(b"**")
                || component.contains(&b'[')
                || component.windows(2).any(|pair| pair == b"**")
            {
                return true;
            }
            // In an expression `^` is an anchor.
            let is_literal = !has_wildcards(component) && !component.iter().any(|byte| matches!(byte, b'\\' | b'^'));
            if is_literal && component != name {
                return false;
            }
        }
        components.next().is_some()
    }
}

/// Text as Go's regular expressions see it: a byte that is not UTF-8 is U+FFFD.
fn characters(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => {
            let (mut rest, mut text) = (bytes, String::new());
            while !rest.is_empty() {
                let (character, size) = first_character(rest);
                text.push(character);
                rest = &rest[size..];
            }
            Cow::Owned(text)
        }
    }
}

/// The plain text before the first and after the last special character.
fn literal_ends(text: &[u8]) -> (Vec<u8>, Vec<u8>) {
    // A byte that is not UTF-8 matches U+FFFD, so it is not plain either; nor is `^`, an anchor.
    let is_special = |byte: &u8| matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\' | b'^') || !byte.is_ascii();
    let first = text.iter().position(is_special).unwrap_or(text.len());
    let last = text.iter().rposition(is_special).map_or(0, |at| at + 1);
    // What an escape or a class covers is not plain, and `**/` may match nothing at all.
    if text.iter().any(|byte| matches!(byte, b'[' | b']' | b'\\')) {
        return (text[..first].to_vec(), Vec::new());
    }
    let mut end = &text[last..];
    if end.starts_with(b"/") && text[..last].ends_with(b"**") {
        end = &end[1..];
    }
    (text[..first].to_vec(), end.to_vec())
}
