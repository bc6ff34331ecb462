//! `.dockerignore` files, and the patterns of `COPY --exclude`.
//!
//! Matches what moby/patternmatcher matches behind BuildKit's reader of ignore files, quirks included: a build that
//! sends other files than docker's would be wrong in the most silent way.  There are two ways to ask, as there:
//! [`IgnoreRules::is_ignored`] looks at one path with all its parents; [`IgnoreRules::enter`] takes over what was
//! found for the parent and is what a walk (and so the build) uses.  They differ only where an exception matches a directory
//! that no rule ignored.

mod pattern;
mod translate;
mod unicode;

use super::clean::clean;
use crate::diag::{Diagnostic, Exit, Source, Span};
use pattern::Pattern;
use std::sync::Arc;

/// Largest ignore file that is read.
pub const IGNORE_FILE_LIMIT_BYTES: u64 = 1 << 20;
/// Most patterns of one file; every path is compared with all of them.
pub const PATTERNS_LIMIT: usize = 10_000;

/// The rules of one ignore file, in their order; the last that matches decides.
#[derive(Debug)]
pub struct IgnoreRules {
    name: Arc<str>,
    patterns: Vec<Pattern>,
    has_exceptions: bool,
}

/// Which rule decided about a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Name of the ignore file, empty for `--exclude`.
    pub file: Arc<str>,
    /// Line of the pattern, from 1; for `--exclude` its number.
    pub line: usize,
    /// The pattern as cleaned, with its `!`.
    pub pattern: String,
    /// Whether it is an exception, so that the path is not ignored.
    pub negated: bool,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{} `{}`", self.file, self.line, self.pattern)
    }
}

/// A pattern of `--exclude` that is not well formed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid pattern `{pattern}`: {reason}")]
pub struct PatternError {
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// What was found for a directory: which patterns matched it or one of its parents.
#[derive(Debug, Clone, Default)]
pub struct DirectoryState {
    /// Empty for the root of the tree.
    matched: Arc<[bool]>,
    is_ignored: bool,
    /// The pattern that decided.
    decided_by: Option<usize>,
}

impl DirectoryState {
    /// Returns whether the directory itself is ignored.
    pub fn is_ignored(&self) -> bool {
        self.is_ignored
    }
}

impl IgnoreRules {
    /// Reads an ignore file; `name` is for messages.
    ///
    /// # Errors
    ///
    /// A pattern that is not well formed, with its line; a file or a line that is too long.
    // Once a context; its size is of no account.
    #[allow(clippy::result_large_err)]
    pub fn parse(name: &str, bytes: &[u8]) -> Result<IgnoreRules, Diagnostic> {
        if bytes.len() as u64 > IGNORE_FILE_LIMIT_BYTES {
            let message = format!("`{name}` is larger than {IGNORE_FILE_LIMIT_BYTES} bytes");
            return Err(Diagnostic::error(Exit::Usage, message));
        }
        let mut patterns = Vec::new();
        let body = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        for (index, line) in body.split(|byte| *byte == b'\n').enumerate() {
            let added = read_line(line).map(|text| add(&mut patterns, &text, index + 1)).transpose();
            added.map_err(|reason| error_at(name, bytes, index, reason))?;
        }
        Ok(IgnoreRules::new(name, patterns))
    }

    /// Takes the patterns of `COPY --exclude`, which are not stripped of a leading slash as lines of a file are.
    pub fn from_patterns(texts: &[String]) -> Result<IgnoreRules, PatternError> {
        let mut patterns = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            add(&mut patterns, text.as_bytes(), index + 1)
                .map_err(|reason| PatternError { pattern: text.clone(), reason })?;
        }
        Ok(IgnoreRules::new("", patterns))
    }

    fn new(name: &str, patterns: Vec<Pattern>) -> IgnoreRules {
        let has_exceptions = patterns.iter().any(|pattern| pattern.is_negated);
        IgnoreRules { name: name.into(), patterns, has_exceptions }
    }

    /// Returns the name of the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Returns whether a path relative to the root of the context (no leading slash) or a parent of it is ignored.
    pub fn is_ignored(&self, path: impl AsRef<[u8]>) -> bool {
        let path = path.as_ref();
        self.patterns.iter().fold(false, |is_ignored, pattern| {
            let is_open = pattern.is_negated == is_ignored;
            if is_open && prefixes(path).any(|prefix| pattern.matches(prefix)) {
                !pattern.is_negated
            } else {
                is_ignored
            }
        })
    }

    /// Returns the rule that takes a source of a COPY out, where that is certain from the text of the rules alone.
    ///
    /// Says nothing of rules with exceptions: what is below an ignored directory may be in again.  The root is only
    /// out if a rule ignores everything.
    pub fn certainly_ignored(&self, source: &str) -> Option<Verdict> {
        let is_everything = |pattern: &Pattern| matches!(pattern.display().as_str(), "*" | "**" | "**/*");
        let is_root = matches!(source, "." | "/");
        if self.has_exceptions || (is_root && !self.patterns.iter().any(is_everything)) {
            return None;
        }
        let pattern =
            self.patterns.iter().rfind(|pattern| prefixes(source.as_bytes()).any(|prefix| pattern.matches(prefix)))?;
        Some(Verdict { file: self.name.clone(), line: pattern.line, pattern: pattern.display(), negated: false })
    }

    /// Returns the rule that decided about a path on a walk; `None` when none matched.
    pub fn verdict(&self, path: impl AsRef<[u8]>) -> Option<Verdict> {
        self.verdict_of(&self.descend(path.as_ref()))
    }

    /// Returns the rule that decided about what a state is of.
    pub fn verdict_of(&self, state: &DirectoryState) -> Option<Verdict> {
        let pattern = &self.patterns[state.decided_by?];
        let (file, negated) = (self.name.clone(), pattern.is_negated);
        Some(Verdict { file, line: pattern.line, pattern: pattern.display(), negated })
    }

    /// Returns the state of a path from the root of the tree, going down through its parents.
    pub fn descend(&self, path: &[u8]) -> DirectoryState {
        let mut state = DirectoryState::default();
        for prefix in prefixes(path).filter(|prefix| !prefix.is_empty()) {
            state = self.enter(&state, prefix);
        }
        state
    }

    /// Returns the state of the directory at `path`, given that of its parent.
    pub fn enter(&self, parent: &DirectoryState, path: &[u8]) -> DirectoryState {
        let mut matched = vec![false; self.patterns.len()];
        let (is_ignored, decided_by) = self.decide(parent, path, |index| matched[index] = true);
        DirectoryState { matched: matched.into(), is_ignored, decided_by }
    }

    /// Returns whether the file at `path` is ignored, given the state of its directory.
    pub fn is_file_ignored(&self, parent: &DirectoryState, path: &[u8]) -> bool {
        self.decide(parent, path, |_| ()).0
    }

    fn decide(&self, parent: &DirectoryState, path: &[u8], mut on_match: impl FnMut(usize)) -> (bool, Option<usize>) {
        let (mut is_ignored, mut decided_by) = (false, None);
        for (index, pattern) in self.patterns.iter().enumerate() {
            let parent_matched = parent.matched.get(index).copied().unwrap_or(false);
            // A rule that could change nothing is not asked, and then counts as not matched below.
            if parent_matched || (pattern.is_negated == is_ignored && pattern.matches(path)) {
                on_match(index);
                is_ignored = !pattern.is_negated;
                decided_by = Some(index);
            }
        }
        (is_ignored, decided_by)
    }

    /// Returns whether an exception could match below an ignored directory; if not, a walk need not go in.
    pub fn may_except_below(&self, directory: &[u8], state: &DirectoryState) -> bool {
        // What matched the directory matches all below, so only exceptions behind the last such rule can win.
        let last = state
            .matched
            .iter()
            .enumerate()
            .rev()
            .find(|(index, matched)| **matched && !self.patterns[*index].is_negated);
        let after = last.map_or(0, |(index, _)| index + 1);
        self.has_exceptions
            && self.patterns[after..].iter().any(|pattern| pattern.is_negated && pattern.may_match_below(directory))
    }

    /// Returns whether any rule could match below a directory, taking the rules as what to include.
    pub(super) fn may_match_below(&self, directory: &[u8]) -> bool {
        self.patterns.iter().any(|pattern| !pattern.is_negated && pattern.may_match_below(directory))
    }
}

/// The path's parents, outermost first, and the path.
fn prefixes(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    slashes.chain([path.len()]).map(|end| &path[..end])
}

/// Reads a line as BuildKit does; `None` for a comment or an empty one.
fn read_line(line: &[u8]) -> Option<Vec<u8>> {
    if line.starts_with(b"#") {
        return None;
    }
    let line = trim(line);
    let (mark, text) = match line.strip_prefix(b"!") {
        Some(rest) => (b"!".as_slice(), trim(rest)),
        None => (b"".as_slice(), line),
    };
    if line.is_empty() || text.is_empty() {
        return (!mark.is_empty()).then(|| mark.to_vec());
    }
    let text = clean(text);
    let text = if text.len() > 1 { text.strip_prefix(b"/").unwrap_or(&text) } else { &text };
    Some([mark, text].concat())
}

/// Adds one pattern as moby/patternmatcher takes it.
fn add(patterns: &mut Vec<Pattern>, text: &[u8], line: usize) -> Result<(), &'static str> {
    let text = trim(text);
    if text.is_empty() {
        return Ok(());
    }
    if patterns.len() == PATTERNS_LIMIT {
        return Err("there are more than 10000 patterns");
    }
    let cleaned = clean(text);
    let pattern = match cleaned.strip_prefix(b"!") {
        Some(b"") => return Err("nothing follows the `!`"),
        Some(rest) => Pattern::new(rest, true, line)?,
        None => Pattern::new(&cleaned, false, line)?,
    };
    patterns.push(pattern);
    Ok(())
}

/// Trims white space: that of Unicode, or of ASCII where the text is not UTF-8.
fn trim(text: &[u8]) -> &[u8] {
    std::str::from_utf8(text).map_or(text.trim_ascii(), |text| text.trim().as_bytes())
}

fn error_at(name: &str, bytes: &[u8], line_index: usize, reason: &'static str) -> Diagnostic {
    let text = String::from_utf8_lossy(bytes);
    let start: usize = text.split_inclusive('\n').take(line_index).map(str::len).sum();
    let line = text[start..].split('\n').next().unwrap_or_default().trim_end();
    let span = Span::new(start, start + line.len());
    Diagnostic::error(Exit::Usage, format!("invalid pattern `{}`", line.trim()))
        .at(&Source::new(name, text), span)
        .label(reason)
}

#[cfg(test)]
mod tests;
