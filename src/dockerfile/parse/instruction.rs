//! The second stage: one logical line to one typed instruction.

use super::fault::{Fault, Result};
use super::flags::{FlagKind, Flags, Table};
use super::heredoc::{Captured, capture};
use super::logical::{Logical, Part};
use super::reader::Reader;
use super::statement::Statement;
use super::{copy, healthcheck, pairs, run};
use crate::diag::Span;
use crate::dockerfile::ast::{Instruction, Kind, Spanned, Word};

const FROM_FLAGS: Table = &[("platform", FlagKind::Text)];

/// What a `FROM` says beyond its instruction.
pub(super) struct FromParts {
    pub(super) image: Word,
    pub(super) platform: Option<Word>,
    /// The `AS` as written and the name.
    pub(super) name: Option<(Word, Word)>,
}

/// A parsed line.
pub(super) enum Parsed {
    From(Instruction, FromParts),
    Other(Instruction),
}

/// Parses a logical line and the here documents behind it.
pub(super) fn parse(logical: &mut Logical, reader: &mut Reader<'_>, escape: char) -> Result<Parsed> {
    let comments = std::mem::take(&mut logical.comments);
    let line = logical.part();
    let statement = Statement::split(line, escape)?;
    let inner = inner(&statement, escape)?;
    let takes_heredocs = match &inner {
        Some(Ok(inner)) => inner.takes_heredocs(),
        Some(Err(_)) => false,
        None => statement.takes_heredocs(),
    };
    let captured = if takes_heredocs { capture(line, reader)? } else { Vec::new() };
    let span = Span::new(statement.keyword.span().start, captured.last().map_or(logical.span.end, |last| last.end));
    let (kind, from) = match inner {
        Some(inner) => (onbuild(&statement, inner, &captured, span, escape)?, None),
        None if statement.name == "FROM" => (Kind::From, Some(from(&statement)?)),
        None => (kind(&statement, &captured, escape)?, None),
    };
    let instruction = Instruction { comments, ..instruction(&statement, kind, span) };
    Ok(match from {
        Some(parts) => Parsed::From(instruction, parts),
        None => Parsed::Other(instruction),
    })
}

fn instruction(statement: &Statement<'_>, kind: Kind, span: Span) -> Instruction {
    Instruction { span, keyword: statement.keyword.spanned(), text: statement.display(), comments: Vec::new(), kind }
}

/// Returns the kind of any instruction but `FROM` and `ONBUILD`.
fn kind(statement: &Statement<'_>, captured: &[Captured], escape: char) -> Result<Kind> {
    Ok(match statement.name {
        "ADD" | "COPY" => copy::parse(statement, captured)?,
        "ARG" => Kind::Arg(pairs::definitions(statement, escape)?),
        "CMD" => Kind::Cmd(command(statement)?),
        "ENTRYPOINT" => Kind::Entrypoint(command(statement)?),
        "ENV" => Kind::Env(pairs::key_values(statement, escape)?),
        "EXPOSE" => Kind::Expose(fields(statement)?),
        "HEALTHCHECK" => healthcheck::parse(statement)?,
        "LABEL" => Kind::Label(pairs::key_values(statement, escape)?),
        "MAINTAINER" => Kind::Maintainer(line(statement)?.node),
        "RUN" => run::parse(statement, captured)?,
        "SHELL" => run::shell(statement)?,
        "STOPSIGNAL" => Kind::StopSignal(text(statement)?),
        "USER" => Kind::User(line(statement)?),
        "VOLUME" => Kind::Volume(volumes(statement)?),
        "WORKDIR" => Kind::Workdir(line(statement)?),
        other => return Err(Fault::new(statement.keyword.span(), format!("{other} is not allowed here"))),
    })
}

fn command(statement: &Statement<'_>) -> Result<crate::dockerfile::ast::Command> {
    Flags::read(&statement.flags, &[])?;
    Ok(run::command(statement))
}

/// Returns the whole argument of an instruction that takes one.
fn line(statement: &Statement<'_>) -> Result<Word> {
    let word = text(statement)?;
    Flags::read(&statement.flags, &[])?;
    Ok(word)
}

/// Like [`line`], but flags are dropped unread, as the reference parser does for `STOPSIGNAL`.
fn text(statement: &Statement<'_>) -> Result<Word> {
    if statement.args.text().is_empty() {
        return Err(statement.missing(format!("{} requires exactly one argument", statement.name)));
    }
    Ok(statement.args.spanned())
}

fn fields(statement: &Statement<'_>) -> Result<Vec<Word>> {
    let fields: Vec<Word> = statement.args.fields().into_iter().map(Part::spanned).collect();
    if fields.is_empty() {
        return Err(statement.missing(format!("{} requires at least one argument", statement.name)));
    }
    Flags::read(&statement.flags, &[])?;
    Ok(fields)
}

fn volumes(statement: &Statement<'_>) -> Result<Vec<Word>> {
    let words = match &statement.json {
        Some(words) if words.is_empty() => return Err(statement.missing("VOLUME requires at least one argument")),
        Some(words) => {
            Flags::read(&statement.flags, &[])?;
            words.iter().map(|word| Spanned { node: word.node.trim().to_owned(), span: word.span }).collect()
        }
        None => fields(statement)?,
    };
    match words.iter().find(|word| word.node.is_empty()) {
        Some(empty) => Err(Fault::new(empty.span, "VOLUME specified can not be an empty string")),
        None => Ok(words),
    }
}

/// Parses the arguments of `FROM`.
fn from(statement: &Statement<'_>) -> Result<FromParts> {
    let fields = statement.args.fields();
    let (image, name) = match fields.as_slice() {
        [image] => (*image, None),
        [image, word, name] if word.text().eq_ignore_ascii_case("as") => (*image, Some((*word, *name))),
        [] => return Err(statement.missing("FROM requires either one or three arguments")),
        [_, rest @ ..] => {
            let span = rest.iter().fold(rest[0].span(), |span, part| span.join(part.span()));
            let hint = match rest.iter().find(|part| part.text().starts_with('#')) {
                Some(_) => "put the comment on a line of its own: behind an instruction `#` starts none",
                None => "write `FROM image` or `FROM image AS name`",
            };
            return Err(Fault::new(span, "FROM requires either one or three arguments").hint(hint));
        }
    };
    if let Some((_, name)) = name.filter(|(_, name)| !is_stage_name(name.text())) {
        let message = format!("invalid name for build stage: `{}`", name.text());
        return Err(Fault::new(name.span(), message)
            .label("a name starts with a letter and holds letters, digits, `-`, `_` and `.` only"));
    }
    let flags = Flags::read(&statement.flags, FROM_FLAGS)?;
    Ok(FromParts {
        image: image.spanned(),
        platform: flags.text("platform"),
        name: name.map(|(word, name)| (word.spanned(), name.spanned())),
    })
}

fn is_stage_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// Returns the trigger of an `ONBUILD`, taken apart if it is an instruction; `None` for other instructions.
fn inner<'a>(statement: &Statement<'a>, escape: char) -> Result<Option<Result<Statement<'a>>>> {
    if statement.name != "ONBUILD" {
        return Ok(None);
    }
    if statement.args.text().is_empty() {
        return Err(statement.missing("ONBUILD requires at least one argument"));
    }
    // Looked at before the trigger is taken apart: a chain must not make the parser recurse.
    let (keyword, _) = statement.args.split_blank();
    match keyword.text().to_ascii_uppercase().as_str() {
        "ONBUILD" => Err(Fault::new(keyword.span(), "chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")),
        name @ ("FROM" | "MAINTAINER") => {
            Err(Fault::new(keyword.span(), format!("{name} isn't allowed as an ONBUILD trigger")))
        }
        _ => Ok(Some(Statement::split(statement.args, escape))),
    }
}

fn onbuild(
    statement: &Statement<'_>,
    inner: Result<Statement<'_>>,
    captured: &[Captured],
    span: Span,
    escape: char,
) -> Result<Kind> {
    Flags::read(&statement.flags, &[])?;
    let behind_keyword = statement.keyword.to_line_end().from(statement.keyword.text().len());
    let mut trigger = behind_keyword.text().trim_start_matches([' ', '\t', '\n', '\x0c', '\r']).to_owned();
    for document in captured {
        trigger.push('\n');
        trigger.push_str(&document.raw_body);
        trigger.push_str(&document.heredoc.name);
    }
    let parsed = inner.and_then(|inner| {
        let inner_span = Span::new(inner.keyword.span().start, span.end);
        let kind = kind(&inner, captured, escape)?;
        Ok(Box::new(instruction(&inner, kind, inner_span)))
    });
    match parsed {
        Err(fault) if fault.is_syntax() => Err(fault),
        parsed => Ok(Kind::Onbuild { trigger, instruction: parsed.map_err(|fault| fault.message().to_owned()) }),
    }
}
