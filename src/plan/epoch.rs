//! SOURCE_DATE_EPOCH: a number, or the name of something that has a time of its own.

use super::environment::Environment;
use super::graph::CopySource;
use super::remote::{SourceKind, classify};
use super::words::Words;
use super::{Facts, Options, TimeSource};
use crate::diag::{Diagnostic, Exit, Span};
use crate::dockerfile::ast::{self, Dockerfile, Kind, Stage};

/// Name of the argument that sets the image's time.
pub(super) const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// Finds the time that a value of SOURCE_DATE_EPOCH stands for.
pub(super) struct Epoch<'a> {
    pub(super) dockerfile: &'a Dockerfile,
    pub(super) options: &'a Options,
    pub(super) words: &'a Words,
    /// Global ARGs.
    pub(super) args: &'a Environment,
}

impl Epoch<'_> {
    /// Returns seconds since 1970; `None` for an empty value and for a source without a time, of which it warns.
    ///
    /// `context` is the main context, another word a `--build-context` or a stage that consists of one remote ADD: a
    /// Git repository has the time of its commit, a file from the web that of its last change or of the newest file in
    /// the archive that it is.
    pub(super) fn seconds(
        &self,
        text: &str,
        facts: &mut dyn Facts,
        warnings: &mut Vec<Diagnostic>,
    ) -> Result<Option<i64>, Diagnostic> {
        if text.is_empty() {
            return Ok(None);
        }
        if let Ok(seconds) = text.parse() {
            return Ok(Some(seconds));
        }
        let remote;
        let (source, span) = if text == "context" {
            (TimeSource::Main, None)
        } else if let Some(context) = super::stages::context_called(self.options, text, &self.options.build_platform) {
            (TimeSource::Named(context), None)
        } else if let Some(stage) = self.dockerfile.stages.iter().find(|stage| is_called(stage, text)) {
            remote = self.stage_source(stage)?;
            (TimeSource::Remote(&remote), Some(stage.from.span))
        } else {
            return Err(Diagnostic::error(Exit::Usage, format!("invalid `{EPOCH}`: `{text}`")).hint(
                "give the seconds since 1970-01-01 00:00:00 UTC, `context`, or the name of a `--build-context` or of a stage",
            ));
        };
        let found = facts.time(source).map_err(|error| match span {
            Some(span) if error.place.is_none() => error.at(&self.dockerfile.source, span),
            _ => error,
        })?;
        if found.is_none() && facts.knows_images() {
            let what = if text == "context" { "the context".to_owned() } else { format!("`{text}`") };
            let message = format!("{what} has no time of its own for `{EPOCH}`: the time of the build is used");
            warnings.push(
                Diagnostic::warning(message)
                    .hint(format!("pass a number of seconds, e.g. `--build-arg {EPOCH}=$(git log -1 --format=%ct)`")),
            );
        }
        Ok(found)
    }

    /// Returns the one remote source of a stage that has nothing else.
    fn stage_source(&self, stage: &Stage) -> Result<CopySource, Diagnostic> {
        let refuse = |span: Span, message: &str| {
            Err(Diagnostic::error(Exit::Usage, message).at(&self.dockerfile.source, span).hint(format!(
                "a stage that gives `{EPOCH}` its time is `FROM scratch` and one ADD of a URL or repository"
            )))
        };
        let mut env = self.args.clone();
        env.remove(EPOCH);
        if self.expand(&stage.image, &env)? != "scratch" {
            return refuse(stage.image.span, "the stage that `SOURCE_DATE_EPOCH` names must be `FROM scratch`");
        }
        let mut source = None;
        for instruction in &stage.instructions {
            match &instruction.kind {
                Kind::Arg(definitions) => {
                    for arg in definitions {
                        let name = &arg.name.node;
                        if let Some(value) = self.options.build_args.get(name) {
                            env.set(name, value);
                        } else if let Some(default) = &arg.default {
                            env.set(name, self.expand(default, &env)?);
                        }
                    }
                }
                Kind::Add(add) if source.is_none() => match self.remote_source(add, &env)? {
                    Some(found) => source = Some(found),
                    None => {
                        return refuse(
                            instruction.span,
                            "the ADD of a stage that `SOURCE_DATE_EPOCH` names must have one remote source",
                        );
                    }
                },
                _ => {
                    return refuse(
                        instruction.span,
                        "the stage that `SOURCE_DATE_EPOCH` names must have one remote ADD and nothing else but ARG",
                    );
                }
            }
        }
        match source {
            Some(source) => Ok(source),
            None => refuse(stage.from.span, "the stage that `SOURCE_DATE_EPOCH` names has no remote ADD"),
        }
    }

    fn remote_source(&self, add: &ast::Copy, env: &Environment) -> Result<Option<CopySource>, Diagnostic> {
        let ([word], []) = (add.sources.as_slice(), add.heredocs.as_slice()) else { return Ok(None) };
        let url = self.expand(word, env)?;
        let checksum = add.checksum.as_ref().map(|word| self.expand(word, env)).transpose()?;
        let checksum = checksum.filter(|checksum| !checksum.is_empty());
        Ok(match classify(&url) {
            SourceKind::Path => None,
            SourceKind::Git => Some(CopySource::Git { url, keep_git_dir: add.keep_git_dir.unwrap_or(false), checksum }),
            SourceKind::Http => {
                let parse = |text: String| {
                    text.parse().map_err(|error| {
                        let span = add.checksum.as_ref().map_or(word.span, |word| word.span);
                        Diagnostic::from_error(Exit::Usage, &error).at(&self.dockerfile.source, span)
                    })
                };
                Some(CopySource::Http { url, checksum: checksum.map(parse).transpose()? })
            }
        })
    }

    fn expand(&self, word: &ast::Word, env: &Environment) -> Result<String, Diagnostic> {
        let expanded = self.words.expand(&word.node, env);
        expanded
            .map(|expanded| expanded.text)
            .map_err(|message| Diagnostic::error(Exit::Usage, message).at(&self.dockerfile.source, word.span))
    }
}

fn is_called(stage: &Stage, name: &str) -> bool {
    stage.name.as_ref().is_some_and(|own| own.node.eq_ignore_ascii_case(name))
}
