//! One instruction: expand its words, then change the config or add a step.

use super::graph::Op;
use super::label::Progress;
use super::planner::{Planner, StepInfo};
use super::stages::Command;
use super::state::State;
use crate::diag::{Diagnostic, Place, Span};
use crate::dockerfile::ast::{Kind, Word};

/// How many bytes all expanded words, paths and entries of the history may have.
const MAX_TEXT_BYTES: usize = 64 << 20;

impl<'a> Planner<'a> {
    /// Applies an instruction of a stage to its state.
    pub(super) fn lower(
        &mut self,
        stage: usize,
        command: &Command<'a>,
        state: &mut State,
        progress: &mut Progress,
    ) -> Result<(), Diagnostic> {
        self.comments.clone_from(&command.instruction.comments);
        match &command.instruction.kind {
            Kind::From => {}
            Kind::Arg(args) => self.arg(args, command, state)?,
            Kind::Env(pairs) => self.env(pairs, command, state)?,
            Kind::Label(pairs) => self.label(pairs, command, state)?,
            Kind::Run(run) => self.run_step(stage, run, command, state, progress)?,
            Kind::Copy(copy) => self.copy_step(stage, copy, false, command, state, progress)?,
            Kind::Add(copy) => self.copy_step(stage, copy, true, command, state, progress)?,
            Kind::Workdir(word) => self.workdir(stage, word, command, state, progress)?,
            Kind::User(word) => self.user(word, command, state)?,
            Kind::Volume(words) => self.volume(words, command, state)?,
            Kind::Expose(words) => self.expose(words, command, state)?,
            Kind::StopSignal(word) => self.stop_signal(word, command, state)?,
            Kind::Cmd(cmd) => super::metadata::cmd(cmd, state),
            Kind::Entrypoint(entrypoint) => super::metadata::entrypoint(entrypoint, state),
            Kind::Shell(shell) => super::metadata::shell(shell, state),
            Kind::Healthcheck(check) => super::metadata::healthcheck(check, state),
            Kind::Maintainer(name) => super::metadata::maintainer(name, state),
            // An ONBUILD writes no history, the instruction that it triggers does.
            Kind::Onbuild { trigger, instruction } => {
                if let Err(reason) = instruction {
                    let message = format!("this trigger fails the build of every image on top of this one: {reason}");
                    self.warnings.push(Diagnostic::warning(message).at(self.source(), command.span()));
                }
                state.config.config.on_build.push(trigger.clone());
            }
        }
        Ok(())
    }

    /// Returns a word with the variables of the stage.
    pub(super) fn expand(&mut self, word: &Word, command: &Command<'_>, state: &State) -> Result<String, Diagnostic> {
        match self.words.expand(&word.node, &state.env) {
            Ok(expanded) => {
                self.account(expanded.text.len(), command.span_of(word.span))?;
                self.lint_undefined(&expanded.unmatched, word.span, command, state);
                Ok(expanded.text)
            }
            Err(error) => Err(self.unexpanded(command.span_of(word.span), word, &error)),
        }
    }

    /// Counts bytes of text that the plan keeps.
    ///
    /// Each text is limited, and so is their number; what both come to together is not what a machine has.
    pub(super) fn account(&mut self, bytes: usize, span: Span) -> Result<(), Diagnostic> {
        self.text_bytes = self.text_bytes.saturating_add(bytes);
        if self.text_bytes <= MAX_TEXT_BYTES {
            return Ok(());
        }
        let message = format!("the expanded texts of the Dockerfile are larger than {MAX_TEXT_BYTES} bytes together");
        Err(self.error(span, message).hint("look for a variable that is defined by itself, such as `ARG A=$A$A`"))
    }

    /// Returns several words with the variables of the stage.
    pub(super) fn expand_all(
        &mut self,
        words: &[Word],
        command: &Command<'_>,
        state: &State,
    ) -> Result<Vec<String>, Diagnostic> {
        words.iter().map(|word| self.expand(word, command, state)).collect()
    }

    /// Returns a word that need not be there with the variables of the stage.
    pub(super) fn expand_option(
        &mut self,
        word: Option<&Word>,
        command: &Command<'_>,
        state: &State,
    ) -> Result<Option<String>, Diagnostic> {
        word.map(|word| self.expand(word, command, state)).transpose()
    }

    /// Adds the step of an instruction; it becomes the root of the stage.
    pub(super) fn add_step(&mut self, stage: usize, label: String, command: &Command<'_>, state: &mut State, op: Op) {
        let info = StepInfo {
            label,
            stage: self.stages[stage].title.clone(),
            place: Some(Place { source: self.source().clone(), span: command.span() }),
            no_cache: self.is_no_cache(stage),
            platform: state.platform.clone(),
        };
        state.root = Some(self.push(info, op));
    }
}
