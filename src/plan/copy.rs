//! COPY, ADD and WORKDIR: what makes files without running anything.

use super::graph::{CopyOp, CopySource, Op, SourceRef, WorkdirOp};
use super::label::Progress;
use super::planner::Planner;
use super::remote::{SourceKind, classify};
use super::stages::{Command, Origin};
use super::state::State;
use super::{chmod, owner, path, words};
use crate::diag::{Diagnostic, Place, Span};
use crate::dockerfile::ast::{self, Word};

/// The words of a COPY or ADD, expanded.
struct Expanded {
    sources: Vec<(String, Word)>,
    destination: String,
    chown: Option<String>,
    chmod: Option<String>,
    checksum: Option<String>,
    exclude: Vec<String>,
    heredocs: Vec<CopySource>,
}

impl Planner<'_> {
    /// Applies COPY or ADD.
    pub(super) fn copy_step(
        &mut self,
        stage: usize,
        copy: &ast::Copy,
        is_add: bool,
        command: &Command<'_>,
        state: &mut State,
        progress: &mut Progress,
    ) -> Result<(), Diagnostic> {
        let words = self.copy_words(copy, command, state)?;
        // With `--chmod` BuildKit copies onto the base after all, where directories that exist keep their looks.
        let link = copy.link && words.chmod.is_none();
        self.check_chown(copy, &words, link, command, state)?;
        self.check_chmod(copy, &words, command)?;
        self.check_checksum(copy, &words, command)?;
        let origin = command.origins.first().unwrap_or(&Origin::Main);
        let from_span = copy.from.as_ref().map_or(command.span(), |from| command.span_of(from.span));
        let from = self.source_ref(stage, origin, from_span)?;
        state.record_layer(history_text(copy, &words, is_add));
        let mut sources = Vec::with_capacity(words.sources.len() + words.heredocs.len());
        for (text, word) in &words.sources {
            if *origin == Origin::Main && classify(text) == SourceKind::Path {
                self.lint_ignored(is_add, text, command.span_of(word.span));
            }
            sources.push(self.copy_source(text, word, from, copy, is_add, &words, command)?);
        }
        sources.extend(words.heredocs);
        let op = CopyOp {
            base: state.root,
            sources,
            destination: path::destination(&state.cwd(), &words.destination, &state.platform.os),
            chown: words.chown,
            link,
            chmod: words.chmod,
            parents: copy.parents,
            exclude: words.exclude,
            is_add,
            unpack: copy.unpack,
            epoch: self.globals.epoch,
        };
        let label = progress.next(&self.words.shown(&command.instruction.text, &state.env));
        self.add_step(stage, label, command, state, Op::Copy(Box::new(op)));
        Ok(())
    }

    fn copy_words(&mut self, copy: &ast::Copy, command: &Command<'_>, state: &State) -> Result<Expanded, Diagnostic> {
        let mut sources = Vec::with_capacity(copy.sources.len());
        for word in &copy.sources {
            sources.push((self.expand(word, command, state)?, word.clone()));
        }
        let not_empty = |text: &String| !text.is_empty();
        Ok(Expanded {
            sources,
            destination: self.expand(&copy.destination, command, state)?,
            chown: self.expand_option(copy.chown.as_ref(), command, state)?.filter(not_empty),
            chmod: self.expand_option(copy.chmod.as_ref(), command, state)?.filter(not_empty),
            checksum: self.expand_option(copy.checksum.as_ref(), command, state)?.filter(not_empty),
            // BuildKit expands the other values and takes these as they are written.
            exclude: copy.exclude.iter().map(|word| word.node.clone()).collect(),
            heredocs: copy
                .heredocs
                .iter()
                .map(|heredoc| self.inline(heredoc, command, state))
                .collect::<Result<_, _>>()?,
        })
    }

    fn inline(
        &mut self,
        heredoc: &ast::Heredoc,
        command: &Command<'_>,
        state: &State,
    ) -> Result<CopySource, Diagnostic> {
        let content = if heredoc.expand {
            let expanded = self
                .words
                .heredoc(&heredoc.body, &state.env)
                .map_err(|error| words::failure(self.source(), command.span_of(heredoc.span), &heredoc.body, &error))?;
            self.lint_undefined(&expanded.unmatched, heredoc.span, command, state);
            self.account(expanded.text.len(), command.span_of(heredoc.span))?;
            expanded.text
        } else {
            heredoc.body.clone()
        };
        Ok(CopySource::Inline { name: heredoc.name.clone(), content })
    }

    /// Refuses names that nothing can explain: of an image without files, and of `--link`, which does not look at the
    /// image; 0 in their place would be an owner that nobody asked for.
    fn check_chown(
        &self,
        copy: &ast::Copy,
        words: &Expanded,
        link: bool,
        command: &Command<'_>,
        state: &State,
    ) -> Result<(), Diagnostic> {
        let Some(chown) = words.chown.as_ref().filter(|chown| owner::has_name(chown)) else { return Ok(()) };
        let span = copy.chown.as_ref().map_or(command.span(), |word| command.span_of(word.span));
        if state.root.is_none() {
            return Err(self.no_users(span, chown));
        }
        if link {
            return Err(self
                .error(span, format!("invalid user with `--link`: `{chown}` cannot be looked up"))
                .note("a linked layer is made without a look at the image, its `/etc/passwd` included")
                .hint("give numbers, such as `--chown=1000:1000`, or leave out `--link`"));
        }
        Ok(())
    }

    /// The error for a user's name in an image that starts from nothing.
    fn no_users(&self, span: Span, name: &str) -> Diagnostic {
        self.error(span, format!("invalid user: `{name}` cannot be looked up, the image has no files yet"))
            .hint("give numbers, such as `1000:1000`")
    }

    fn check_chmod(&self, copy: &ast::Copy, words: &Expanded, command: &Command<'_>) -> Result<(), Diagnostic> {
        let Some(mode) = words.chmod.as_ref().filter(|mode| !chmod::is_valid(mode)) else { return Ok(()) };
        let span = copy.chmod.as_ref().map_or(command.span(), |word| command.span_of(word.span));
        Err(self
            .error(span, format!("invalid mode in `--chmod`: `{mode}`"))
            .hint("give an octal number up to 7777, or a symbolic mode such as `u=rwX,go=rX`"))
    }

    fn check_checksum(&self, copy: &ast::Copy, words: &Expanded, command: &Command<'_>) -> Result<(), Diagnostic> {
        if words.checksum.is_none() {
            return Ok(());
        }
        let span = copy.checksum.as_ref().map_or(command.span(), |word| command.span_of(word.span));
        match words.sources.as_slice() {
            [(source, _)] if classify(source) != SourceKind::Path => Ok(()),
            [_] => Err(self.error(span, "`--checksum` requires an http(s) or Git source")),
            _ => Err(self.error(span, "`--checksum` can't be specified for several sources")),
        }
    }

    #[allow(clippy::too_many_arguments, reason = "one call, and a type for it would only rename them")]
    fn copy_source(
        &self,
        text: &str,
        word: &Word,
        from: SourceRef,
        copy: &ast::Copy,
        is_add: bool,
        words: &Expanded,
        command: &Command<'_>,
    ) -> Result<CopySource, Diagnostic> {
        let span = command.span_of(word.span);
        let kind = classify(text);
        if !is_add && kind != SourceKind::Path {
            let what = if kind == SourceKind::Git { "a Git repository" } else { "a URL" };
            return Err(self.error(span, format!("the source of COPY can't be {what}: `{text}`")).hint("use ADD"));
        }
        Ok(match kind {
            SourceKind::Path => CopySource::Paths {
                from,
                pattern: if copy.parents { text.to_owned() } else { cleaned(text) },
                place: Some(Place { source: self.source().clone(), span }),
            },
            SourceKind::Http => {
                let parse = |text: &String| text.parse().map_err(|error| self.checksum_error(copy, command, &error));
                CopySource::Http { url: text.to_owned(), checksum: words.checksum.as_ref().map(parse).transpose()? }
            }
            SourceKind::Git => CopySource::Git {
                url: text.to_owned(),
                keep_git_dir: copy.keep_git_dir.unwrap_or(false),
                checksum: words.checksum.clone(),
            },
        })
    }

    fn checksum_error(&self, copy: &ast::Copy, command: &Command<'_>, error: &crate::image::DigestError) -> Diagnostic {
        let span = copy.checksum.as_ref().map_or(command.span(), |word| command.span_of(word.span));
        self.error(span, "unsupported checksum or digest algorithm in `--checksum`").note(error.to_string())
    }

    /// Applies WORKDIR, which makes its directory in a layer of its own unless it is the root.
    pub(super) fn workdir(
        &mut self,
        stage: usize,
        word: &Word,
        command: &Command<'_>,
        state: &mut State,
        progress: &mut Progress,
    ) -> Result<(), Diagnostic> {
        let text = self.expand(word, command, state)?;
        let os = state.platform.os.clone();
        if !state.has_workdir && !path::is_absolute(&text, &os) {
            let message = format!("Relative workdir \"{text}\" can have unexpected results if the base image changes");
            self.lint("WorkdirRelativePath", command.span(), message);
        }
        state.has_workdir = true;
        state.config.config.working_dir = path::working_dir(&state.config.config.working_dir, &text, &os);
        let shown = path::to_slash(&state.config.config.working_dir, &os);
        self.account(shown.len(), command.span_of(word.span))?;
        if shown == "/" {
            state.record(format!("WORKDIR {shown}"));
            return Ok(());
        }
        if state.root.is_none() && owner::has_name(&state.config.config.user) {
            return Err(self.no_users(command.span(), &state.config.config.user));
        }
        state.record_layer(format!("WORKDIR {shown}"));
        let op = WorkdirOp {
            base: state.root,
            path: state.cwd(),
            user: state.config.config.user.clone(),
            epoch: self.globals.epoch,
        };
        let label = progress.next(&self.words.shown(&command.instruction.text, &state.env));
        self.add_step(stage, label, command, state, Op::Workdir(op));
        Ok(())
    }
}

/// Returns a source in the one form that its spellings (`./a`, `a/`, `/a`) share, so that they share a cache key.
fn cleaned(source: &str) -> String {
    match path::join("/", source).strip_prefix('/') {
        None | Some("") => ".".to_owned(),
        Some(path) => path.to_owned(),
    }
}

fn history_text(copy: &ast::Copy, words: &Expanded, is_add: bool) -> String {
    let mut text = if is_add { "ADD" } else { "COPY" }.to_owned();
    if copy.parents {
        text.push_str(" --parents");
    }
    if let Some(chown) = &words.chown {
        text.push_str(&format!(" --chown={chown}"));
    }
    if let Some(chmod) = &words.chmod {
        text.push_str(&format!(" --chmod={chmod}"));
    }
    words.sources.iter().for_each(|(source, _)| text.push_str(&format!(" {source}")));
    copy.heredocs.iter().for_each(|heredoc| text.push_str(&format!(" <<{}", heredoc.name)));
    text.push_str(&format!(" {} # buildkit", words.destination));
    text
}
