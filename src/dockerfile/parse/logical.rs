//! A logical line: physical lines joined at their continuations, with the way back to the bytes they came from.
//!
//! Parsers slice a [`Part`] of the joined text and ask it for its span; the span is exact even when the part crosses a
//! continuation, because each joined piece remembers where it started.

use crate::diag::Span;
use crate::dockerfile::ast::{Spanned, Word};

/// One logical line.
#[derive(Debug)]
pub(super) struct Logical {
    /// The joined text, continuation characters and line ends removed.
    pub(super) text: String,
    /// Start in `text` and start in the source of each piece, in order.
    pieces: Vec<(usize, usize)>,
    /// From the first byte that is not blank to the end of the last physical line that was read.
    pub(super) span: Span,
    /// The comment lines directly above.
    pub(super) comments: Vec<String>,
    /// The empty lines inside of the continued line with their line ends, adjacent ones together.
    pub(super) empty_continuations: Vec<Span>,
}

impl Logical {
    /// Starts a line at a byte of the source.
    pub(super) fn new(start: usize, comments: Vec<String>) -> Logical {
        Logical {
            text: String::new(),
            pieces: Vec::with_capacity(1),
            span: Span::new(start, start),
            comments,
            empty_continuations: Vec::new(),
        }
    }

    /// Appends a piece that starts at byte `source_start` of the source.
    pub(super) fn push(&mut self, piece: &str, source_start: usize) {
        self.pieces.push((self.text.len(), source_start));
        self.text.push_str(piece);
    }

    /// Returns the whole line, blanks at both ends left out.
    pub(super) fn part(&self) -> Part<'_> {
        Part { line: self, start: 0, end: self.text.len() }.trim()
    }

    /// Returns where a byte of the joined text stands in the source.
    fn source_offset(&self, offset: usize) -> usize {
        let after = self.pieces.partition_point(|(start, _)| *start <= offset);
        match after.checked_sub(1).map(|index| self.pieces[index]) {
            Some((start, source_start)) => source_start + (offset - start),
            None => self.span.start,
        }
    }
}

/// A slice of a logical line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<'a> {
    line: &'a Logical,
    start: usize,
    end: usize,
}

impl<'a> Part<'a> {
    /// Returns the text.
    pub(super) fn text(self) -> &'a str {
        &self.line.text[self.start..self.end]
    }

    /// Returns where the text stands in the source.
    pub(super) fn span(self) -> Span {
        let start = self.line.source_offset(self.start);
        if self.start == self.end {
            return Span::new(start, start);
        }
        // The end is taken from the last byte: one past it may lie in the next piece, a continuation away.
        Span::new(start, self.line.source_offset(self.end - 1) + 1)
    }

    /// Returns the bytes `start..end` of this part.
    pub(super) fn slice(self, start: usize, end: usize) -> Part<'a> {
        Part { line: self.line, start: self.start + start, end: self.start + end }
    }

    /// Returns the rest from byte `start` on.
    pub(super) fn from(self, start: usize) -> Part<'a> {
        self.slice(start, self.text().len())
    }

    /// Returns the rest of the logical line from the start of this part on, blanks at its end included.
    pub(super) fn to_line_end(self) -> Part<'a> {
        Part { end: self.line.text.len(), ..self }
    }

    /// Returns the part without white space at both ends.
    pub(super) fn trim(self) -> Part<'a> {
        let text = self.text();
        let start = text.len() - text.trim_start().len();
        self.slice(start, start + text.trim().len())
    }

    /// Returns the text with its span.
    pub(super) fn spanned(self) -> Word {
        Spanned { node: self.text().to_owned(), span: self.span() }
    }

    /// Splits at the first run of blanks: what stands before and what stands behind it.
    pub(super) fn split_blank(self) -> (Part<'a>, Option<Part<'a>>) {
        let text = self.text();
        let Some(at) = text.find(is_blank) else { return (self, None) };
        let rest = text.len() - text[at..].trim_start_matches(is_blank).len();
        (self.slice(0, at), Some(self.from(rest)))
    }

    /// Returns the words between runs of blanks; quotes mean nothing.
    pub(super) fn fields(self) -> Vec<Part<'a>> {
        let mut fields = Vec::new();
        let mut next = (!self.text().is_empty()).then_some(self);
        while let Some(part) = next {
            let (field, rest) = part.split_blank();
            fields.push(field);
            next = rest;
        }
        fields
    }
}

/// The blanks that separate the words of an instruction.
pub(super) fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\x0b' | '\x0c' | '\r' | ' ')
}
