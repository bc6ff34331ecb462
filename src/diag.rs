//! What went wrong, told so that a user can act: message, place in the source, reason, hint.
//!
//! Library errors are enums of their own modules; at the border where a place in the Dockerfile is known they become
//! a [`Diagnostic`].  Only the command line renders one.

use std::fmt;
use std::sync::{Arc, OnceLock};

/// A text that diagnostics may point into: a Dockerfile, an ignore file.
#[derive(Debug)]
pub struct Source {
    /// The name as the user gave it, e.g. `Dockerfile`.
    pub name: String,
    /// The whole text, bytes that are not UTF-8 replaced by U+FFFD.
    pub text: String,
    /// Where the lines start, once somebody asked: there may be many findings in a long text.
    lines: OnceLock<Vec<usize>>,
}

impl PartialEq for Source {
    fn eq(&self, other: &Source) -> bool {
        self.name == other.name && self.text == other.text
    }
}

impl Eq for Source {}

impl Source {
    /// Returns a shared source.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Source> {
        Arc::new(Source { name: name.into(), text: text.into(), lines: OnceLock::new() })
    }

    /// Returns line and column (both from 1; columns count characters) of a byte offset.
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        let mut at = offset.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        let ends = self.text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = self.lines.get_or_init(|| std::iter::once(0).chain(ends.map(|(end, _)| end + 1)).collect());
        let line = lines.partition_point(|start| *start <= at);
        (line, self.text[lines[line - 1]..at].chars().count() + 1)
    }
}

/// A range of bytes in a [`Source`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// Returns the span of the bytes `start..end`.
    pub fn new(start: usize, end: usize) -> Span {
        Span { start, end }
    }

    /// Returns the smallest span that holds both.
    pub fn join(self, other: Span) -> Span {
        Span { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// A span together with the text it points into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The text.
    pub source: Arc<Source>,
    /// Where in it.
    pub span: Span,
}

/// A change of a text that mends what a finding is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// What is replaced, in the source of the finding's place.
    pub span: Span,
    /// What takes its place.
    pub text: String,
}

/// The exit code of the program, by class of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// A step of the build failed.
    Step = 1,
    /// The command line, the Dockerfile or the context is wrong.
    Usage = 2,
    /// This machine does not allow the isolation that is needed.
    Isolation = 3,
    /// A registry or another server failed.
    Network = 4,
    /// A defect of cooper.
    Bug = 5,
}

/// How grave a diagnostic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The build cannot go on.
    Error,
    /// The build goes on.
    Warning,
}

/// One message for the user: what, where, why, what to do.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// Exit code when this ends the program.
    pub exit: Exit,
    /// One sentence without a full stop, literals in backticks.
    pub message: String,
    /// Name of the rule, for lint findings.
    pub rule: Option<&'static str>,
    /// Where, if it has a place in a text.
    pub place: Option<Place>,
    /// What stands behind the caret.
    pub label: String,
    /// Further lines: causes, innermost last; the last lines of a log.
    pub notes: Vec<String>,
    /// What the user can do, an action each.
    pub hints: Vec<String>,
    /// What would mend it and change nothing else, for lint findings.
    pub fix: Vec<Edit>,
}

impl Diagnostic {
    /// Returns an error of the given class.
    pub fn error(exit: Exit, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            exit,
            message: message.into(),
            rule: None,
            place: None,
            label: String::new(),
            notes: Vec::new(),
            hints: Vec::new(),
            fix: Vec::new(),
        }
    }

    /// Returns a warning.
    pub fn warning(message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(Exit::Usage, message) }
    }

    /// Returns an error with the whole chain of `error`'s sources as notes.
    pub fn from_error(exit: Exit, error: &dyn std::error::Error) -> Diagnostic {
        let mut diagnostic = Diagnostic::error(exit, error.to_string());
        let mut next = error.source();
        while let Some(cause) = next {
            diagnostic.notes.push(cause.to_string());
            next = cause.source();
        }
        diagnostic
    }

    /// Points at a place, unless it points at one already.
    pub fn at(mut self, source: &Arc<Source>, span: Span) -> Diagnostic {
        if self.place.is_none() {
            self.place = Some(Place { source: source.clone(), span });
        }
        self
    }

    /// Sets the text behind the caret.
    pub fn label(mut self, label: impl Into<String>) -> Diagnostic {
        self.label = label.into();
        self
    }

    /// Adds a note.
    pub fn note(mut self, note: impl Into<String>) -> Diagnostic {
        self.notes.push(note.into());
        self
    }

    /// Adds a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Diagnostic {
        self.hints.push(hint.into());
        self
    }
}

/// An error, and what was found before it.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Why it cannot go on.
    pub error: Diagnostic,
    /// Findings of lint rules.
    pub findings: Vec<Diagnostic>,
}

impl From<Diagnostic> for Failure {
    fn from(error: Diagnostic) -> Failure {
        Failure { error, findings: Vec::new() }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            let (line, column) = place.source.line_column(place.span.start);
            write!(f, "{}:{line}:{column}: ", place.source.name)?;
        }
        f.write_str(&self.message)?;
        if !self.label.is_empty() {
            write!(f, " ({})", self.label)?;
        }
        self.notes.iter().try_for_each(|note| write!(f, ": {note}"))
    }
}

impl std::error::Error for Diagnostic {}

/// Returns the candidate nearest to `word` by edit distance, if one is near enough to be what was meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1) + usize::from(word.chars().count() > 3);
    candidates
        .into_iter()
        .map(|candidate| (edit_distance(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Returns how many characters must be added, removed or replaced to make `b` of `a`; of long ones the first 64 count.
pub fn distance(a: &str, b: &str) -> usize {
    edits(a, b, false)
}

/// Damerau-Levenshtein distance with adjacent transpositions, in characters.
fn edit_distance(a: &str, b: &str) -> usize {
    edits(a, b, true)
}

fn edits(a: &str, b: &str, transposes: bool) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut rows: Vec<Vec<usize>> = (0..=a.len()).map(|i| (i..=i + b.len()).collect()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let substitution = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = substitution.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if transposes && i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_finds_a_transposed_keyword() {
        assert_eq!(nearest("FORM", ["RUN", "FROM", "COPY"]), Some("FROM"));
        assert_eq!(nearest("xyzzy", ["RUN", "FROM", "COPY"]), None);
    }

    #[test]
    fn line_and_column_count_characters_from_one() {
        let source = Source::new("Dockerfile", "FROM a\nRUN é x\n");
        assert_eq!(source.line_column(0), (1, 1));
        assert_eq!(source.line_column("FROM a\nRUN é ".len()), (2, 7));
    }
}
