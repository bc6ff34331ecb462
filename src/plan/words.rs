//! Expansion of words with the variables of a stage.

use super::environment::Environment;
use super::warn::is_secret_name;
use crate::diag::{Diagnostic, Exit, Source, Span};
use crate::dockerfile::ast::Mount;
use crate::dockerfile::expand::{ExpandFailure, Expanded, Expander};
use crate::dockerfile::mount::{MountError, parse_mount};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

/// What stands in progress for the value of a variable that is named like a secret.
const HIDDEN: &str = "***";

/// A `--mount` that cannot be had, and the part of its text that is wrong.
pub(super) type MountFailure = (MountError, Option<Range<usize>>);

/// Expands the words of one Dockerfile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words {
    escape: char,
}

impl Words {
    /// Returns the expansion rules of a Dockerfile with this escape character.
    pub(super) fn new(escape: char) -> Words {
        Words { escape }
    }

    /// Expands a word.
    pub(super) fn expand(&self, word: &str, env: &Environment) -> Result<Expanded, ExpandFailure> {
        self.with(env, |expander| expander.word(word))
    }

    /// Expands a text and splits it at blanks.
    pub(super) fn split(&self, text: &str, env: &Environment) -> Result<Vec<String>, ExpandFailure> {
        self.with(env, |expander| expander.words(text))
    }

    /// Expands the body of a heredoc.
    pub(super) fn heredoc(&self, body: &str, env: &Environment) -> Result<Expanded, ExpandFailure> {
        self.with(env, |expander| expander.heredoc(body))
    }

    /// Returns a RUN as progress shows it, unchanged where it cannot be expanded.
    pub(super) fn shown_run(&self, text: &str, env: &Environment) -> String {
        let lookup = shown_value(env);
        let expanded = Expander::new(self.escape, &lookup).shown(text);
        expanded.map_or_else(|_| text.to_owned(), |expanded| expanded.text)
    }

    /// Returns another instruction as progress shows it, unchanged where it cannot be expanded.
    pub(super) fn shown(&self, text: &str, env: &Environment) -> String {
        let lookup = shown_value(env);
        let expanded = Expander::new(self.escape, &lookup).word(text);
        expanded.map_or_else(|_| text.to_owned(), |expanded| expanded.text)
    }

    /// Parses and expands a `--mount`; returns it with the variables that are not defined, for each value.
    ///
    /// The error has the part of the text that could not be expanded, if that is what failed and where it is found.
    pub(super) fn mount(&self, text: &str, env: &Environment) -> Result<(Mount, Vec<BTreeSet<String>>), MountFailure> {
        let lookup = |name: &str| env.get(name).map(str::to_owned);
        let expander = Expander::new(self.escape, &lookup);
        let mut unmatched = Vec::new();
        let mut at = None;
        let mut expand = |value: &str| match expander.word(value) {
            Ok(expanded) => {
                unmatched.push(expanded.unmatched);
                Ok(expanded.text)
            }
            Err(failure) => {
                // Behind its `=`; a value in quotes that are doubled is not found as it is.
                let start = text.find(&format!("={value}")).map(|start| start + 1);
                at = start.map(|start| start + failure.at.start..start + failure.at.end);
                Err(failure.error)
            }
        };
        match parse_mount(text, &mut expand) {
            Ok(mount) => Ok((mount, unmatched)),
            Err(error) => Err((error, at)),
        }
    }

    fn with<T>(
        &self,
        env: &Environment,
        expand: impl FnOnce(&Expander<'_>) -> Result<T, ExpandFailure>,
    ) -> Result<T, ExpandFailure> {
        let lookup = |name: &str| env.get(name).map(str::to_owned);
        expand(&Expander::new(self.escape, &lookup))
    }
}

/// Looks up what a variable is shown as: logs are read by many, so a name that says secret hides its value.
fn shown_value(env: &Environment) -> impl Fn(&str) -> Option<String> {
    |name| {
        let value = env.get(name)?;
        Some(if is_secret_name(name) && !value.is_empty() { HIDDEN.to_owned() } else { value.to_owned() })
    }
}

/// Returns the error for a text that cannot be expanded, which points at the part that is wrong.
pub(super) fn failure(source: &Arc<Source>, span: Span, text: &str, failure: &ExpandFailure) -> Diagnostic {
    let span = part(source, span, text, failure.at.clone());
    let error = Diagnostic::error(Exit::Usage, failure.to_string()).label(failure.error.expected());
    error.at(source, span)
}

/// Returns the place of a part of a text; of the whole where the text is not in the source as it is, because its lines
/// were joined or it is a trigger's.
pub(super) fn part(source: &Arc<Source>, span: Span, text: &str, at: Range<usize>) -> Span {
    match source.text.get(span.start..span.end) {
        Some(written) if written == text => Span::new(span.start + at.start, span.start + at.end),
        _ => span,
    }
}
