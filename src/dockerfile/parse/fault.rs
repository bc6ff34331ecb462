//! An error of the parser, before the text it points into is attached.

use crate::diag::{Diagnostic, Exit, Source, Span};
use std::sync::Arc;

/// What the parser refuses, and where.
#[derive(Debug)]
pub(super) struct Fault {
    message: String,
    span: Span,
    label: String,
    hints: Vec<String>,
    is_syntax: bool,
}

/// A parser's result.  The fault is boxed: it is rare and large, and results are passed through every level.
pub(super) type Result<T> = std::result::Result<T, Box<Fault>>;

impl Fault {
    /// Returns an error at a place.
    pub(super) fn new(span: Span, message: impl Into<String>) -> Box<Fault> {
        Box::new(Fault { message: message.into(), span, label: String::new(), hints: Vec::new(), is_syntax: false })
    }

    /// Returns what is wrong.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// Marks what the reference parser refuses before it knows what instruction it is, in a trigger as well.
    pub(super) fn syntax(mut self: Box<Fault>) -> Box<Fault> {
        self.is_syntax = true;
        self
    }

    /// See [`Fault::syntax`].
    pub(super) fn is_syntax(&self) -> bool {
        self.is_syntax
    }

    /// Sets the text behind the caret.
    pub(super) fn label(mut self: Box<Fault>, label: impl Into<String>) -> Box<Fault> {
        self.label = label.into();
        self
    }

    /// Adds what the user can do.
    pub(super) fn hint(mut self: Box<Fault>, hint: impl Into<String>) -> Box<Fault> {
        self.hints.push(hint.into());
        self
    }

    /// Returns the diagnostic for the user.
    pub(super) fn into_diagnostic(self, source: &Arc<Source>) -> Diagnostic {
        let mut diagnostic = Diagnostic::error(Exit::Usage, self.message).label(self.label).at(source, self.span);
        diagnostic.hints = self.hints;
        diagnostic
    }
}
