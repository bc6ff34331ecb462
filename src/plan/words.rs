//! Expansion of words with the variables of a stage.

use super::environment::Environment;
use super::warn::is_secret_name;
use crate::dockerfile::ast::Mount;
use crate::dockerfile::expand::{ExpandError, Expanded, Expander};
use crate::dockerfile::mount::{MountError, parse_mount};
use std::collections::BTreeSet;

/// What stands in progress for the value of a variable that is named like a secret.
const HIDDEN: &str = "***";

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

    /// Expands a word; the message of an error is for people.
    pub(super) fn expand(&self, word: &str, env: &Environment) -> Result<Expanded, String> {
        self.with(env, |expander| expander.word(word))
    }

    /// Expands a text and splits it at blanks.
    pub(super) fn split(&self, text: &str, env: &Environment) -> Result<Vec<String>, String> {
        self.with(env, |expander| expander.words(text))
    }

    /// Expands the body of a heredoc.
    pub(super) fn heredoc(&self, body: &str, env: &Environment) -> Result<Expanded, String> {
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
    pub(super) fn mount(&self, text: &str, env: &Environment) -> Result<(Mount, Vec<BTreeSet<String>>), MountError> {
        let lookup = |name: &str| env.get(name).map(str::to_owned);
        let expander = Expander::new(self.escape, &lookup);
        let mut unmatched = Vec::new();
        let mut expand = |value: &str| {
            let expanded = expander.word(value)?;
            unmatched.push(expanded.unmatched);
            Ok(expanded.text)
        };
        let mount = parse_mount(text, &mut expand)?;
        Ok((mount, unmatched))
    }

    fn with<T>(
        &self,
        env: &Environment,
        expand: impl FnOnce(&Expander<'_>) -> Result<T, ExpandError>,
    ) -> Result<T, String> {
        let lookup = |name: &str| env.get(name).map(str::to_owned);
        expand(&Expander::new(self.escape, &lookup)).map_err(|error| error.to_string())
    }
}

/// Looks up what a variable is shown as: logs are read by many, so a name that says secret hides its value.
fn shown_value(env: &Environment) -> impl Fn(&str) -> Option<String> {
    |name| {
        let value = env.get(name)?;
        Some(if is_secret_name(name) && !value.is_empty() { HIDDEN.to_owned() } else { value.to_owned() })
    }
}
