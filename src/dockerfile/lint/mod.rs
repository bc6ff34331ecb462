//! placeholder
use super::ast::{Dockerfile, Word};
use crate::diag::{Diagnostic, Span};
#[derive(Debug, Default)]
pub(super) struct LineFacts {
    pub(super) empty_continuations: Vec<Span>,
    pub(super) as_words: Vec<Option<Word>>,
}
pub(super) fn parsed(_d: &Dockerfile, _f: &LineFacts) -> Vec<Diagnostic> {
    Vec::new()
}
