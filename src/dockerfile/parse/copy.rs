//! `COPY` and `ADD`.

use super::MAX_DOCKERFILE_BYTES;
use super::fault::{Fault, Result};
use super::flags::{FlagKind, Flags, Table};
use super::heredoc::{Captured, Opening, opening};
use super::logical::Part;
use super::statement::Statement;
use crate::diag::Span;
use crate::dockerfile::ast::{Copy, Heredoc, Kind, Word};
use std::collections::HashMap;

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
            return Err(Fault::new(only.span, message)
                .label("destination could not be determined")
                .hint(format!("write `{name} SOURCE ... DESTINATION`")));
        }
        Some(destination) => destination,
    };
    let is_copy = name == "COPY";
    let flags = Flags::read(&statement.flags, if is_copy { COPY_FLAGS } else { ADD_FLAGS })?;
    if opening(&destination.node).is_some() {
        return Err(Fault::new(destination.span, format!("{name} cannot accept a heredoc as a destination"))
            .hint(format!("put the path of the file behind it: `{name} {} /PATH`", destination.node)));
    }
    let (sources, heredocs) = split_sources(words, captured)?;
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
///
/// Two of one name have the content of the last one, so that a line of names could ask for any number of copies of one
/// large document: together they may be as large as a Dockerfile.
fn split_sources(words: Vec<Word>, captured: &[Captured]) -> Result<(Vec<Word>, Vec<Heredoc>)> {
    let by_name: HashMap<&str, &Heredoc> =
        captured.iter().map(|captured| (captured.heredoc.name.as_str(), &captured.heredoc)).collect();
    let (mut sources, mut heredocs, mut total) = (Vec::new(), Vec::new(), 0);
    for word in words {
        let Some(opening) = opening(&word.node) else {
            sources.push(word);
            continue;
        };
        let found = by_name.get(opening.name.as_str()).copied();
        total += found.map_or(0, |found| found.body.len());
        if total > MAX_DOCKERFILE_BYTES {
            let message = format!("the heredocs of one instruction are larger than {MAX_DOCKERFILE_BYTES} bytes");
            return Err(Fault::new(word.span, message).hint("give each heredoc a name of its own"));
        }
        heredocs.push(content(opening, word.span, found));
    }
    Ok((sources, heredocs))
}

fn content(opening: Opening, span: Span, found: Option<&Heredoc>) -> Heredoc {
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
