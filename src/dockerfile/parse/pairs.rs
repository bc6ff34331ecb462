//! `ENV`, `LABEL` and `ARG`: names and values.

use super::fault::{Fault, Result};
use super::flags::Flags;
use super::logical::Part;
use super::statement::Statement;
use super::words::split_quoted;
use crate::dockerfile::ast::{ArgDefinition, KeyValue};

/// Parses `NAME=value ..`, or the old form `NAME some words` in which the rest of the line is the value.
pub(super) fn key_values(statement: &Statement<'_>, escape: char) -> Result<Vec<KeyValue>> {
    let name = statement.name;
    let words = split_quoted(statement.args, escape);
    let Some(first) = words.first() else {
        return Err(statement.missing(format!("{name} requires at least one argument")));
    };
    let pairs = if first.text().contains('=') {
        words.iter().map(|word| pair(name, *word)).collect::<Result<Vec<_>>>()?
    } else {
        vec![legacy_pair(statement)?]
    };
    Flags::read(&statement.flags, &[])?;
    Ok(pairs)
}

fn pair(name: &str, word: Part<'_>) -> Result<KeyValue> {
    let Some(at) = word.text().find('=') else {
        return Err(Fault::new(
            word.span(),
            format!("{name} needs `name=value`, but there is no `=` in `{}`", word.text()),
        )
        .hint("put quotes around a value with blanks in it")
        .syntax());
    };
    if at == 0 {
        return Err(Fault::new(word.span(), format!("{name} names can not be blank")));
    }
    Ok(KeyValue { key: word.slice(0, at).spanned(), value: word.from(at + 1).spanned(), is_legacy: false })
}

fn legacy_pair(statement: &Statement<'_>) -> Result<KeyValue> {
    let name = statement.name;
    let (key, value) = statement.args.split_blank();
    match value {
        Some(value) => Ok(KeyValue { key: key.spanned(), value: value.spanned(), is_legacy: true }),
        None => Err(Fault::new(key.span(), format!("{name} must have two arguments"))
            .label(format!("write `{name} {}=value`", key.text()))
            .syntax()),
    }
}

/// Parses `ARG a b=c`.  Flags are dropped, as the reference parser does.
pub(super) fn definitions(statement: &Statement<'_>, escape: char) -> Result<Vec<ArgDefinition>> {
    let words = split_quoted(statement.args, escape);
    if words.is_empty() {
        return Err(statement.missing("ARG requires at least one argument"));
    }
    words
        .into_iter()
        .map(|word| match word.text().find('=') {
            Some(0) => Err(Fault::new(word.span(), "ARG names can not be blank")),
            Some(at) => {
                Ok(ArgDefinition { name: word.slice(0, at).spanned(), default: Some(word.from(at + 1).spanned()) })
            }
            None => Ok(ArgDefinition { name: word.spanned(), default: None }),
        })
        .collect()
}
