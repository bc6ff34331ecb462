//! The flags of an instruction: which there are, and what was given.

use super::fault::{Fault, Result};
use super::words::FlagWord;
use crate::diag::{Span, nearest};
use crate::dockerfile::ast::{Spanned, Word};

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FlagKind {
    /// `--name`, `--name=true` or `--name=false`.
    Bool,
    /// One value.
    Text,
    /// A value each time it is given.
    Texts,
}

/// The flags an instruction knows.
pub(super) type Table = &'static [(&'static str, FlagKind)];

/// The flags that were given.
#[derive(Debug, Default)]
pub(super) struct Flags {
    given: Vec<(&'static str, Word)>,
}

impl Flags {
    /// Checks flags against the table of the instruction.
    pub(super) fn read(words: &[FlagWord], table: Table) -> Result<Flags> {
        let mut flags = Flags::default();
        for word in words {
            flags.add(word, table)?;
        }
        Ok(flags)
    }

    fn add(&mut self, word: &FlagWord, table: Table) -> Result<()> {
        let (flag, value) = match word.text.split_once('=') {
            Some((flag, value)) => (flag, Some(value)),
            None => (word.text.as_str(), None),
        };
        let name = flag.trim_start_matches("--");
        let Some((name, kind)) = table.iter().find(|(known, _)| flag.strip_prefix("--") == Some(known)) else {
            let fault = Fault::new(flag_span(word, flag), format!("unknown flag: `{flag}`"));
            return Err(match nearest(name, table.iter().map(|(known, _)| *known)) {
                Some(best) => fault.label(format!("did you mean `--{best}`?")),
                None if table.is_empty() => fault.hint("this instruction has no flags"),
                None => {
                    let known: Vec<String> = table.iter().map(|(known, _)| format!("`--{known}`")).collect();
                    fault.hint(format!("the flags of this instruction are {}", known.join(", ")))
                }
            });
        };
        if *kind != FlagKind::Texts && self.given.iter().any(|(given, _)| given == name) {
            return Err(
                Fault::new(word.span, format!("duplicate flag specified: `{flag}`")).label("it was given before")
            );
        }
        let value = match (kind, value) {
            (FlagKind::Bool, None) => "true".to_owned(),
            (FlagKind::Bool, Some(value)) if value.eq_ignore_ascii_case("true") => "true".to_owned(),
            (FlagKind::Bool, Some(value)) if value.eq_ignore_ascii_case("false") => "false".to_owned(),
            (FlagKind::Bool, Some("")) | (FlagKind::Text | FlagKind::Texts, None) => {
                let hint = format!("write the value behind `=`, without blanks: `{flag}=VALUE`");
                return Err(Fault::new(word.span, format!("missing a value on flag: `{flag}`")).hint(hint));
            }
            (FlagKind::Bool, Some(value)) => {
                let message = format!("expecting boolean value for flag `{flag}`, not: `{value}`");
                let hint = format!("write `{flag}`, or `{flag}=false`");
                return Err(Fault::new(value_span(word), message).hint(hint));
            }
            (FlagKind::Text | FlagKind::Texts, Some(value)) => value.to_owned(),
        };
        self.given.push((name, Spanned { node: value, span: value_span(word) }));
        Ok(())
    }

    /// Returns the value of a flag as given, even when it is empty.
    pub(super) fn raw(&self, name: &str) -> Option<&Word> {
        self.given.iter().find(|(given, _)| *given == name).map(|(_, value)| value)
    }

    /// Returns the value of a flag; an empty one counts as none.
    pub(super) fn text(&self, name: &str) -> Option<Word> {
        self.raw(name).filter(|value| !value.node.is_empty()).cloned()
    }

    /// Returns all values of a flag.
    pub(super) fn texts(&self, name: &str) -> Vec<Word> {
        self.given.iter().filter(|(given, _)| *given == name).map(|(_, value)| value.clone()).collect()
    }

    /// Returns a flag that is true or false.
    pub(super) fn boolean(&self, name: &str) -> Option<bool> {
        self.raw(name).map(|value| value.node == "true")
    }
}

/// Returns where the name stands in a flag that is written without quotes; else where the flag stands.
fn flag_span(word: &FlagWord, flag: &str) -> Span {
    // Quotes and escapes that were removed leave the span longer than the text: its middle may be inside of a character.
    let is_plain = word.span.end - word.span.start == word.text.len();
    if is_plain { Span::new(word.span.start, word.span.start + flag.len()) } else { word.span }
}

/// Returns where the value stands: behind the `=` when nothing was quoted, else the whole flag.
fn value_span(word: &FlagWord) -> Span {
    let is_plain = word.span.end - word.span.start == word.text.len();
    match word.text.find('=') {
        Some(at) if is_plain => Span::new(word.span.start + at + 1, word.span.end),
        _ => word.span,
    }
}
