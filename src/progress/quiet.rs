//! Nothing, but for the last output of what failed: without it nobody could tell why.

use super::Display;
use super::tail::{Tail, failed_block};
use super::text::without_ci_commands;
use crate::cli::diagnostic::{Style, clean};
use crate::event::{Event, Outcome, TaskId};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

/// The quiet form.
pub struct Quiet {
    ci: bool,
    tasks: BTreeMap<TaskId, (String, Tail)>,
}

impl Quiet {
    /// Returns the quiet form.
    pub fn new(style: Style) -> Quiet {
        Quiet { ci: style.ci, tasks: BTreeMap::new() }
    }
}

impl Display for Quiet {
    fn event(&mut self, _: Duration, event: Event, out: &mut dyn Write) -> io::Result<()> {
        match event {
            Event::Started { task, name } => {
                self.tasks.insert(task, (clean(&name), Tail::default()));
            }
            Event::Output { task, bytes, .. } => {
                if let Some((_, tail)) = self.tasks.get_mut(&task) {
                    tail.feed(&bytes);
                }
            }
            Event::Ended { task, outcome, .. } => {
                let Some((name, tail)) = self.tasks.remove(&task) else { return Ok(()) };
                if matches!(outcome, Outcome::Failed(_)) && !tail.is_empty() {
                    for line in failed_block(&name, &tail) {
                        match self.ci {
                            true => writeln!(out, "{}", without_ci_commands(&line))?,
                            false => writeln!(out, "{line}")?,
                        }
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn tick(&mut self, _: Duration, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, _: Duration, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::recorded::{self, Recording};
    use super::*;

    #[test]
    fn only_a_failure_is_shown() {
        assert_eq!(recorded::build().show(&mut Quiet::new(Style::default())), "");
        let output: String = (1..=30).map(|n| format!("line {n}\n")).collect();
        let recording = Recording::default().start(0, 1, "RUN make").output(1, 1, &output).end(
            2,
            1,
            Outcome::Failed("exit code 2".into()),
        );
        let last: String = (11..=30).map(|n| format!("line {n}\n")).collect();
        assert_eq!(recording.show(&mut Quiet::new(Style::default())), format!("------\n > RUN make:\n{last}------\n"));
    }
}
