//! What progress shows of a step, e.g. `[build 2/4] RUN make`.

use super::stages::{Base, StageNode};
use crate::dockerfile::ast::Kind;

/// Counts the steps of a stage.
#[derive(Debug)]
pub(super) struct Progress {
    name: String,
    index: usize,
    total: usize,
    /// Whether the instruction at hand comes from ONBUILD.
    pub(super) is_trigger: bool,
}

impl Progress {
    /// Counts what a stage will do: its image, and what makes a layer.
    pub(super) fn of(stage: &StageNode<'_>) -> Progress {
        let makes_layer = |kind: &Kind| matches!(kind, Kind::Run(_) | Kind::Copy(_) | Kind::Add(_) | Kind::Workdir(_));
        let is_counted =
            |command: &&super::stages::Command<'_>| command.is_trigger || makes_layer(&command.instruction.kind);
        let base = usize::from(matches!(stage.base, Base::Image(_) | Base::Context(_)));
        let total = base + stage.commands.iter().filter(is_counted).count();
        Progress { name: stage.progress_name.clone(), index: 0, total, is_trigger: false }
    }

    /// Returns the label of the next step.
    pub(super) fn next(&mut self, text: &str) -> String {
        if self.total == 0 {
            return text.to_owned();
        }
        self.index += 1;
        let width = self.total.to_string().len();
        let space = if self.name.is_empty() { "" } else { " " };
        let trigger = if self.is_trigger { "ONBUILD " } else { "" };
        format!("[{}{space}{:>width$}/{}] {trigger}{text}", self.name, self.index, self.total)
    }
}
