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
    /// Of `Form::Expression`: plain text that every matching path has; most paths fail here, in a tenth of the time.
    plain: Plain,
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
        let (mut plain, expression) = (Plain::default(), OnceLock::new());
        if let Form::Expression(translated) = &form {
            if has_operators(text) {
                // Repetitions may multiply until no engine takes the expression.
                let compiled = regex::Regex::new(translated).map_err(|_| "the pattern stands for too much")?;
                let _ = expression.set(Some(compiled));
            } else {
                plain = Plain::of(text);
            }
        }
        Ok(Pattern { text: text.to_vec(), is_negated, line, form, plain, expression })
    }

    /// Returns the pattern as messages show it.
    pub(super) fn display(&self) -> String {
        format!("{}{}", if self.is_negated { "!" } else { "" }, String::from_utf8_lossy(&self.text))
    }

    /// Returns whether the pattern matches exactly this path; parents are the caller's.
    pub(super) fn matches(&self, path: &[u8]) -> bool {
        match &self.form {
            Form::Exact => path == self.text,
            Form::Prefix => starts_with(path, &self.text[..self.text.len() - 2]),
            Form::Suffix => {
                let suffix = &self.text[2..];
                ends_with(path, suffix) || suffix.strip_prefix(b"/").is_some_and(|name| path == name)
            }
            Form::Expression(expression) => {
                self.plain.is_in(path)
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
        if matches!(self.form, Form::Expression(_)) && has_operators(&self.text) {
            return true;
        }
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

/// Whether a pattern may have alternatives or repetitions, so that none of its text need be in a path.
fn has_operators(text: &[u8]) -> bool {
    text.iter().any(|byte| matches!(byte, b'|' | b'{'))
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

/// Plain text of a pattern that any path must have to match.
#[derive(Debug, Default)]
struct Plain {
    start: Vec<u8>,
    inside: Vec<u8>,
    end: Vec<u8>,
}

impl Plain {
    fn of(text: &[u8]) -> Plain {
        // Where the first class or escape begins, reading text as plain ends.
        let bracket = |byte: &u8| matches!(byte, b'[' | b']' | b'\\');
        let readable = text.iter().position(bracket).unwrap_or(text.len());
        // A byte that is not UTF-8 matches U+FFFD, so it is not plain either; nor is `^`, an anchor.
        let is_special = |byte: &u8| matches!(byte, b'*' | b'?' | b'^') || !byte.is_ascii();
        let (mut runs, mut at) = (Vec::new(), 0);
        for run in text[..readable].split(is_special) {
            // `**/` may match nothing at all.
            let is_optional = text[..at].ends_with(b"**");
            runs.push(if is_optional { run.strip_prefix(b"/").unwrap_or(run) } else { run });
            at += run.len() + 1;
        }
        let end = if readable == text.len() { runs.last().copied().unwrap_or_default() } else { b"" };
        let inside = runs.iter().max_by_key(|run| run.len()).copied().unwrap_or_default();
        let start = runs.first().copied().unwrap_or_default();
        Plain { start: start.to_vec(), inside: inside.to_vec(), end: end.to_vec() }
    }

    fn is_in(&self, path: &[u8]) -> bool {
        starts_with(path, &self.start) && ends_with(path, &self.end) && contains(path, &self.inside)
    }
}

/// As of slices, but most pairs differ in the one byte that is looked at before `memcmp` is called.
fn starts_with(text: &[u8], start: &[u8]) -> bool {
    start.first().is_none_or(|first| text.first() == Some(first)) && text.starts_with(start)
}

/// See [`starts_with`].
fn ends_with(text: &[u8], end: &[u8]) -> bool {
    end.last().is_none_or(|last| text.last() == Some(last)) && text.ends_with(end)
}

/// Whether `text` has `part` in it.  Both are short, so nothing cleverer pays.
fn contains(text: &[u8], part: &[u8]) -> bool {
    let Some(first) = part.first() else { return true };
    let Some(last_start) = text.len().checked_sub(part.len()) else { return false };
    text[..=last_start].iter().enumerate().any(|(at, byte)| byte == first && text[at..].starts_with(part))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn plain_text_of_a_pattern_is_found() {
        for (pattern, start, inside, end) in [
            ("*.go", "", ".go", ".go"),
            ("a/**/bcd", "a/", "bcd", "bcd"),
            ("**/*.py[cod]", "", ".py", ""),
            ("**/tmp/*", "", "tmp/", ""),
            ("x*y***/z", "x", "x", "z"),
            (r"ab*\*c", "ab", "ab", ""),
        ] {
            let plain = Plain::of(pattern.as_bytes());
            let found = [&plain.start, &plain.inside, &plain.end].map(|text| std::str::from_utf8(text).unwrap());
            assert_eq!((found[0], found[2]), (start, end), "{pattern}");
            assert_eq!(found[1].len(), inside.len(), "{pattern}");
        }
    }

    proptest::proptest! {
        /// What is sorted out by its plain text must be what the expression sorts out.
        #[test]
        fn plain_text_changes_no_result(pattern in r"[ab/*?^.|{2}\[é]{1,8}\]?", path in "[ab/.é|{}2]{1,8}") {
            if let Ok(pattern) = Pattern::new(pattern.as_bytes(), false, 1)
                && let Form::Expression(expression) = &pattern.form
            {
                let expected = regex::Regex::new(expression).unwrap().is_match(&path);
                proptest::prop_assert_eq!(pattern.matches(path.as_bytes()), expected);
            }
        }
    }
}
