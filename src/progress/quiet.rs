//! Nothing, but for the last output of what failed: without it nobody could tell why.

use super::Display;
use super::text::{Escapes, Lines, sanitise, without_ci_commands};
use crate::cli::diagnostic::{Style, clean};
use crate::event::{Event, Outcome, TaskId};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::time::Duration;

/// Last lines of a failed step that are shown.
pub const FAILED_LINES: usize = 20;

/// The quiet form.
pub struct Quiet {
    ci: bool,
    tasks: BTreeMap<TaskId, (String, Lines, VecDeque<String>)>,
}

impl Quiet {
    /// Returns the quiet form.
    pub fn new(style: Style) -> Quiet {
        Quiet { ci: style.ci, tasks: BTreeMap::new() }
    }
}

/// Adds a line to the last lines of a step.
pub fn keep_last(tail: &mut VecDeque<String>, limit: usize, line: String) {
    if tail.len() == limit {
        tail.pop_front();
    }
    tail.push_back(line);
}

/// Returns the block that shows what a failed step wrote last.
pub fn failed_block(name: &str, tail: &VecDeque<String>) -> Vec<String> {
    let rule = || std::iter::once("------".to_owned());
    rule().chain(std::iter::once(format!(" > {name}:"))).chain(tail.iter().cloned()).chain(rule()).collect()
}

impl Display for Quiet {
    fn event(&mut self, _: Duration, event: Event, out: &mut dyn Write) -> io::Result<()> {
        match event {
            Event::Started { task, name } => {
                self.tasks.insert(task, (clean(&name), Lines::default(), VecDeque::new()));
            }
            Event::Output { task, bytes, .. } => {
                if let Some((_, lines, tail)) = self.tasks.get_mut(&task) {
                    lines.feed(&bytes, |line| keep_last(tail, FAILED_LINES, sanitise(line, Escapes::None)));
                }
            }
            Event::Ended { task, outcome, .. } => {
                let Some((name, mut lines, mut tail)) = self.tasks.remove(&task) else { return Ok(()) };
                lines.finish(|line| keep_last(&mut tail, FAILED_LINES, sanitise(line, Escapes::None)));
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
