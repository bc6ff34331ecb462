//! The parser: bytes to [`Dockerfile`].

mod copy;
mod directive;
mod fault;
mod flags;
mod healthcheck;
mod heredoc;
mod instruction;
mod logical;
mod pairs;
mod reader;
mod run;
mod statement;
mod words;

#[cfg(test)]
mod tests;

use super::ast::{Dockerfile, Instruction, Kind, Stage};
use super::lint;
use crate::diag::{Diagnostic, Exit, Failure, Source, Span};
use fault::{Fault, Result};
use instruction::{FromParts, Parsed as Line};
use reader::Reader;
use std::sync::Arc;

/// The largest Dockerfile that is read, in bytes.
pub const MAX_DOCKERFILE_BYTES: usize = 16 << 20;

/// The most instructions that a Dockerfile may hold.
pub const MAX_INSTRUCTIONS: usize = 250_000;

/// What [`parse`] returns.
#[derive(Debug)]
pub struct Parsed {
    /// The syntax tree.
    pub dockerfile: Dockerfile,
    /// What the lint rules found that need nothing but the text, those that `# check=` skips left out.
    pub warnings: Vec<Diagnostic>,
}

/// Parses a Dockerfile.
///
/// `name` is what diagnostics call the file.  Bytes that are not UTF-8 are replaced by U+FFFD, a byte order mark at the
/// start is dropped.
///
/// # Errors
/// Whatever the reference parser refuses, with its place; see also [`MAX_DOCKERFILE_BYTES`] and [`MAX_INSTRUCTIONS`].
#[allow(clippy::result_large_err)] // once a build, and what callers pass on
pub fn parse(name: &str, bytes: &[u8]) -> std::result::Result<Parsed, Diagnostic> {
    parse_checked(name, bytes, None).map_err(|failure| failure.error)
}

/// Parses a Dockerfile as [`parse`] does, with other lint rules than its `# check=` says: `checks` is the value of the
/// build argument BUILDKIT_DOCKERFILE_CHECK.
///
/// # Errors
/// As [`parse`], with what was found in front of the mistake, and where `checks` is not well formed.
#[allow(clippy::result_large_err)]
pub fn parse_checked(name: &str, bytes: &[u8], checks: Option<&str>) -> std::result::Result<Parsed, Failure> {
    if bytes.len() > MAX_DOCKERFILE_BYTES {
        let message = format!("{name} is larger than {MAX_DOCKERFILE_BYTES} bytes");
        return Err(Diagnostic::error(Exit::Usage, message).into());
    }
    let text = String::from_utf8_lossy(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes));
    let source = Source::new(name, text);
    let directives = directive::read(&source.text).map_err(|fault| fault.into_diagnostic(&source))?;
    let mut lines = Lines::new(&source, directives);
    let read = lines.read();
    let Lines { dockerfile, facts, .. } = lines;
    let checks = match checks {
        Some(value) => lint::Checks::parse(value).map_err(|error| {
            Diagnostic::error(Exit::Usage, error.to_string()).note("in the build argument BUILDKIT_DOCKERFILE_CHECK")
        })?,
        None => lint::Checks::of(&dockerfile).map_err(|error| {
            let span = dockerfile.check.as_ref().map_or(Span::default(), |check| check.span);
            Diagnostic::error(Exit::Usage, error.to_string())
                .at(&source, span)
                .hint("the options are `skip=RULE,..`, `error=true` and `experimental=RULE,..`, between them `;`")
        })?,
    };
    let warnings = lint::parsed(&dockerfile, &facts, &checks, read.is_ok());
    match read {
        Ok(()) => Ok(Parsed { dockerfile, warnings }),
        Err(fault) => Err(Failure { error: fault.into_diagnostic(&source), findings: warnings }),
    }
}

/// Parses an `ONBUILD` trigger of a base image's config; here documents may follow on further lines.
///
/// The spans of the result point into `text`.  The escape character is always `\`, whatever the Dockerfile had.
///
/// # Errors
/// As [`parse`]; also when it is not one instruction, or one that a trigger may not be (`FROM`, `ONBUILD`,
/// `MAINTAINER`).
#[allow(clippy::result_large_err)]
pub fn parse_trigger(name: &str, text: &str) -> std::result::Result<Instruction, Diagnostic> {
    let source = Source::new(name, text);
    trigger(&source.text).map_err(|fault| fault.into_diagnostic(&source))
}

fn trigger(text: &str) -> Result<Instruction> {
    let whole = Span::new(0, text.len());
    let mut reader = Reader::new(text, 0, '\\');
    let Some(mut logical) = reader.logical() else {
        return Err(Fault::new(whole, "the ONBUILD trigger holds no instruction"));
    };
    let instruction = match instruction::parse(&mut logical, &mut reader, '\\')? {
        Line::Other(instruction) if !matches!(instruction.kind, Kind::Onbuild { .. } | Kind::Maintainer(_)) => {
            instruction
        }
        Line::Other(instruction) | Line::From(instruction, _) => {
            let keyword = instruction.keyword.node.to_ascii_uppercase();
            return Err(Fault::new(instruction.span, format!("{keyword} isn't allowed as an ONBUILD trigger")));
        }
    };
    match reader.logical() {
        Some(second) => Err(Fault::new(second.span, "an ONBUILD trigger must be a single instruction")),
        None => Ok(instruction),
    }
}

/// A Dockerfile while it is read: what stands in front of a mistake is kept.
struct Lines {
    dockerfile: Dockerfile,
    /// What only the lines know and the lint rules need.
    facts: lint::LineFacts,
    /// Where the directives end.
    start: usize,
}

impl Lines {
    fn new(source: &Arc<Source>, directives: directive::Directives) -> Lines {
        let dockerfile = Dockerfile {
            source: source.clone(),
            escape: directives.escape,
            syntax: directives.syntax,
            check: directives.check,
            global_args: Vec::new(),
            stages: Vec::new(),
        };
        Lines { dockerfile, facts: lint::LineFacts::default(), start: directives.end }
    }

    /// Reads all instructions.
    fn read(&mut self) -> Result<()> {
        let source = self.dockerfile.source.clone();
        let escape = self.dockerfile.escape;
        let mut reader = Reader::new(&source.text, self.start, escape);
        let mut count = 0;
        while let Some(mut logical) = reader.logical() {
            let empty = std::mem::take(&mut logical.empty_continuations);
            self.facts.empty_continuations.extend(Some(empty).filter(|lines| !lines.is_empty()));
            count += 1;
            if count > MAX_INSTRUCTIONS {
                return Err(Fault::new(logical.span, format!("there are more than {MAX_INSTRUCTIONS} instructions")));
            }
            match instruction::parse(&mut logical, &mut reader, escape)? {
                Line::From(from, parts) => self.dockerfile.stages.push(stage(from, parts, &mut self.facts)),
                Line::Other(instruction) => add(&mut self.dockerfile, instruction)?,
            }
        }
        if count == 0 {
            return Err(Fault::new(Span::new(0, 0), "file with no instructions").hint("start with `FROM image`"));
        }
        if self.dockerfile.stages.is_empty() {
            let end = self.dockerfile.global_args.last().map_or(Span::new(0, 0), |last| last.span);
            return Err(Fault::new(end, "no build stage: there is no `FROM`").hint("add `FROM image` below the `ARG`s"));
        }
        Ok(())
    }
}

fn stage(from: Instruction, parts: FromParts, facts: &mut lint::LineFacts) -> Stage {
    let (as_word, name) = parts.name.unzip();
    facts.as_words.push(as_word);
    Stage { from, image: parts.image, platform: parts.platform, name, instructions: Vec::new() }
}

/// Puts an instruction into the last stage, or among the global arguments.
fn add(dockerfile: &mut Dockerfile, instruction: Instruction) -> Result<()> {
    if let Some(stage) = dockerfile.stages.last_mut() {
        stage.instructions.push(instruction);
    } else if matches!(instruction.kind, Kind::Arg(_)) {
        dockerfile.global_args.push(instruction);
    } else {
        let keyword = &instruction.keyword;
        return Err(Fault::new(keyword.span, format!("no build stage in current context: `{}`", keyword.node))
            .label("only `ARG` may stand before the first `FROM`"));
    }
    Ok(())
}
