//! The line stage: physical lines to logical ones, and the bodies of here documents.

use super::logical::Logical;
use crate::diag::Span;

/// How many runs of empty lines are remembered of one continued line.
const MAX_EMPTY_RUNS: usize = 10_000;

/// Reads a source line by line.
pub(super) struct Reader<'s> {
    source: &'s str,
    at: usize,
    escape: char,
    comments: Vec<String>,
}

/// The body of a here document as it stands in the source.
pub(super) struct Body<'s> {
    /// The lines before the terminator with their line ends.
    pub(super) text: &'s str,
    /// Where they stand.
    pub(super) span: Span,
    /// The end of the terminator.
    pub(super) end: usize,
}

impl<'s> Reader<'s> {
    /// Reads from byte `at`, behind the directives.
    pub(super) fn new(source: &'s str, at: usize, escape: char) -> Reader<'s> {
        Reader { source, at, escape, comments: Vec::new() }
    }

    /// Returns the next physical line without its line end, and where it starts.
    fn physical(&mut self) -> Option<(&'s str, usize)> {
        let (start, rest) = (self.at, &self.source[self.at..]);
        if rest.is_empty() {
            return None;
        }
        let length = rest.find('\n').map_or(rest.len(), |i| i + 1);
        self.at += length;
        Some((rest[..length].trim_end_matches(['\r', '\n']), start))
    }

    /// Returns the next logical line; blank lines and comments are skipped.
    pub(super) fn logical(&mut self) -> Option<Logical> {
        loop {
            let (line, line_start) = self.physical()?;
            let content = line.trim_start();
            let start = line_start + (line.len() - content.len());
            if let Some(comment) = content.strip_prefix('#') {
                self.comment(comment.trim());
                continue;
            }
            let (piece, is_continued) = strip_continuation(content, self.escape);
            if piece.is_empty() && !is_continued {
                continue;
            }
            let mut logical = Logical::new(start, std::mem::take(&mut self.comments));
            logical.push(piece, start);
            logical.span.end = start + content.len();
            if is_continued {
                self.continuation(&mut logical);
            }
            return Some(logical);
        }
    }

    /// Remembers a comment line; an empty one cuts off those above it.
    fn comment(&mut self, comment: &str) {
        if comment.is_empty() {
            self.comments.clear();
        } else {
            self.comments.push(comment.to_owned());
        }
    }

    /// Appends lines until one does not end in the continuation character.
    fn continuation(&mut self, logical: &mut Logical) {
        while let Some((line, start)) = self.physical() {
            logical.span.end = start + line.len();
            let content = line.trim_start();
            if content.starts_with('#') {
                continue;
            }
            if content.is_empty() {
                add_empty(&mut logical.empty_continuations, Span::new(start, self.at));
                continue;
            }
            let (piece, is_continued) = strip_continuation(line, self.escape);
            logical.push(piece, start);
            if !is_continued {
                return;
            }
        }
    }

    /// Returns the lines up to one that is the terminator alone, `None` when there is no such line.
    ///
    /// After `None` the reader stands where it stood.
    pub(super) fn body(&mut self, terminator: &str, strip_tabs: bool) -> Option<Body<'s>> {
        let start = self.at;
        while let Some((line, line_start)) = self.physical() {
            let candidate = if strip_tabs { line.trim_start_matches('\t') } else { line };
            if candidate == terminator {
                let span = Span::new(start, line_start);
                return Some(Body { text: &self.source[start..line_start], span, end: line_start + line.len() });
            }
        }
        self.at = start;
        None
    }
}

/// Adds an empty line to those of a continued line.
fn add_empty(lines: &mut Vec<Span>, line: Span) {
    let is_full = lines.len() == MAX_EMPTY_RUNS;
    match lines.last_mut() {
        Some(last) if last.end == line.start => last.end = line.end,
        _ if is_full => {}
        _ => lines.push(line),
    }
}

/// Splits off a continuation character at the end of a line, blanks behind it allowed.
///
/// A doubled one is an escaped character, not a continuation.
fn strip_continuation(line: &str, escape: char) -> (&str, bool) {
    let Some(piece) = line.trim_end_matches([' ', '\t']).strip_suffix(escape) else { return (line, false) };
    if piece.ends_with(escape) { (line, false) } else { (piece, true) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn spans_point_into_the_physical_lines() {
        let source = "# hi\n  RUN a \\\n# no\n\n  bc d\nCOPY x";
        let mut reader = Reader::new(source, 0, '\\');
        let line = reader.logical().unwrap();
        assert_eq!(line.text, "RUN a   bc d");
        assert_eq!(line.comments, ["hi"]);
        assert_eq!(line.empty_continuations, [Span::new(20, 21)]);
        let fields: Vec<_> = line.part().fields().iter().map(|f| &source[f.span().start..f.span().end]).collect();
        assert_eq!(fields, ["RUN", "a", "bc", "d"]);
        assert_eq!(&source[line.span.start..line.span.end], "RUN a \\\n# no\n\n  bc d");
        assert_eq!(reader.logical().unwrap().text, "COPY x");
        assert!(reader.logical().is_none());
    }

    #[test]
    fn a_continuation_may_have_blanks_behind_it_and_is_not_doubled() {
        for (line, want) in
            [("a\\ \t", ("a", true)), ("a\\\\", ("a\\\\", false)), ("\\", ("", true)), ("", ("", false))]
        {
            assert_eq!(strip_continuation(line, '\\'), want, "{line:?}");
        }
        assert_eq!(strip_continuation("a\\", '`'), ("a\\", false));
    }
}
