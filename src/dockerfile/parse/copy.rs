//! `COPY` and `ADD`.

use super::fault::{Fault, Result};
use super::flags::{FlagKind, Flags, Table};
use super::heredoc::{Captured, Opening, opening};
use super::logical::Part;
use super::statement::Statement;
use crate::diag::Span;
use crate::dockerfile::ast::{Copy, Heredoc, Kind, Word};

const COPY_FLAGS: Table = &[
    ("chown", FlagKind::Text),
    ("from", FlagKind::Text),
    ("chmod", FlagKind::Text),
    ("link", FlagKind::Bool),
    ("exclude", FlagKind::Texts),
    ("parents", FlagKind::Bool),
];

const ADD_FLAGS: Table = &[
    ("chown", FlagKind::Text),
    ("chmod", FlagKind::Text),
    ("link", FlagKind::Bool),
    ("keep-git-dir", FlagKind::Bool),
    ("checksum", FlagKind::Text),
    ("unpack", FlagKind::Bool),
    ("exclude", FlagKind::Texts),
];

/// Parses `COPY` or `ADD`.
pub(super) fn parse(statement: &Statement<'_>, captured: &[Captured]) -> Result<Kind> {
    let name = statement.name;
    let mut words = match &statement.json {
        Some(words) => words.clone(),
        None => statement.args.fields().into_iter().map(Part::spanned).collect(),
    };
    let destination = match words.pop() {
        None => return Err(statement.missing(format!("{name} requires at least two arguments, but none was provided"))),
        Some(only) if words.is_empty() => {
            let message = format!("{name} requires at least two arguments, but only one was provided");
            return Err(Fault::new(only.span, message).label("destination could not be determined"));
        }
        Some(destination) => destination,
    };
    let is_copy = name == "COPY";
    let flags = Flags::read(&statement.flags, if is_copy { COPY_FLAGS } else { ADD_FLAGS })?;
    if opening(&destination.node).is_some() {
        return Err(Fault::new(destination.span, format!("{name} cannot accept a heredoc as a destination")));
    }
    let (sources, heredocs) = split_sources(words, captured);
    let copy = Copy {
        sources,
        heredocs,
        destination,
        from: flags.text("from"),
        chown: flags.text("chown"),
        chmod: flags.text("chmod"),
        link: flags.boolean("link").unwrap_or(false),
        parents: flags.boolean("parents").unwrap_or(false),
        exclude: flags.texts("exclude"),
        checksum: flags.text("checksum"),
        keep_git_dir: flags.boolean("keep-git-dir"),
        unpack: flags.boolean("unpack"),
    };
    Ok(if is_copy { Kind::Copy(copy) } else { Kind::Add(copy) })
}

/// Separates the sources that are here documents from the paths.
fn split_sources(words: Vec<Word>, captured: &[Captured]) -> (Vec<Word>, Vec<Heredoc>) {
    let mut heredocs = Vec::new();
    let mut sources = Vec::new();
    for word in words {
        match opening(&word.node) {
            Some(opening) => heredocs.push(content(opening, word.span, captured)),
            None => sources.push(word),
        }
    }
    (sources, heredocs)
}

/// Returns the content of a here document by name; two of one name have the content of the last one.
fn content(opening: Opening, span: Span, captured: &[Captured]) -> Heredoc {
    let found = captured.iter().rev().map(|captured| &captured.heredoc).find(|heredoc| heredoc.name == opening.name);
    match found {
        Some(heredoc) => Heredoc { expand: opening.expand, ..heredoc.clone() },
        // The JSON form captures no bodies: the file is empty.
        None => Heredoc {
            name: opening.name,
            expand: opening.expand,
            strip_tabs: opening.strip_tabs,
            fd: None,
            body: String::new(),
            span,
        },
    }
}
