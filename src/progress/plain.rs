//! Lines for logs, in BuildKit's form: `#5 [2/4] RUN make`, `#5 0.123 output`, `#5 DONE 1.2s`.
//!
//! One task at a time has the floor and its lines appear as they come; lines of the others wait, so that the output
//! of parallel steps can be read.  They wait [`PATIENCE`] at most: a log that stands still looks like a hang.

use super::summary::{self, Warnings};
use super::text::{Escapes, Lines, sanitise, without_ci_commands};
use super::{Display, format};
use crate::cli::diagnostic::{Style, clean};
use crate::event::{Event, Outcome, Summary, TaskId};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

/// How long lines of other tasks wait for the one that has the floor.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of waiting lines of one task after which it gets the floor at once.
const WAITING_BYTES: usize = 256 << 10;
/// A transfer is told again after this part of it ...
const PROGRESS_PART: f64 = 0.05;
/// ... or this time.
const PROGRESS_TIME: Duration = Duration::from_secs(5);

/// The plain form.
pub struct Plain {
    ci: bool,
    tasks: BTreeMap<TaskId, Task>,
    floor: Option<TaskId>,
    /// When it got the floor.
    since: Duration,
    is_first: bool,
    warnings: Warnings,
    summary: Option<Summary>,
}

/// A task that is not yet told to its end.
struct Task {
    name: String,
    started: Duration,
    is_announced: bool,
    lines: Lines,
    waiting: Vec<String>,
    waiting_bytes: usize,
    /// When the first of the waiting lines came.
    waiting_since: Option<Duration>,
    transfers: BTreeMap<String, (u64, Duration)>,
    end: Option<String>,
}

impl Task {
    fn push(&mut self, at: Duration, line: String) {
        self.waiting_since.get_or_insert(at);
        self.waiting_bytes += line.len();
        self.waiting.push(line);
    }

    fn output(&mut self, at: Duration, bytes: &[u8]) {
        let mut lines = std::mem::take(&mut self.lines);
        lines.feed(bytes, |line| self.push_output(at, line));
        self.lines = lines;
    }

    fn push_output(&mut self, at: Duration, line: &[u8]) {
        let stamp = format::stamp(at.saturating_sub(self.started));
        self.push(at, format!("{stamp} {}", sanitise(line, Escapes::None)));
    }

    fn transfer(&mut self, at: Duration, item: String, current_bytes: u64, total_bytes: u64) {
        let is_done = total_bytes != 0 && current_bytes >= total_bytes;
        if let Some((last_bytes, last_time)) = self.transfers.get(&item) {
            let part = current_bytes.saturating_sub(*last_bytes) as f64 / total_bytes.max(1) as f64;
            let is_news = total_bytes != 0 && part >= PROGRESS_PART || at.saturating_sub(*last_time) >= PROGRESS_TIME;
            if *last_bytes == current_bytes || !(is_done || is_news) {
                return;
            }
        }
        let done = if is_done { " done" } else { "" };
        self.push(at, format!("{} {}{done}", clean(&item), format::transfer(current_bytes, total_bytes)));
        self.transfers.insert(item, (current_bytes, at));
    }

    fn end(&mut self, at: Duration, outcome: Outcome, elapsed: Duration) {
        let mut lines = std::mem::take(&mut self.lines);
        lines.finish(|line| self.push_output(at, line));
        self.waiting_since.get_or_insert(at);
        self.end = Some(match outcome {
            Outcome::Done => format!("DONE {}", format::seconds(elapsed)),
            Outcome::Cached => "CACHED".to_owned(),
            Outcome::Failed(reason) => format!("ERROR: {}", clean(&reason)),
            Outcome::Canceled => "CANCELED".to_owned(),
        });
    }
}

impl Plain {
    /// Returns the plain form.
    pub fn new(style: Style) -> Plain {
        Plain {
            ci: style.ci,
            tasks: BTreeMap::new(),
            floor: None,
            since: Duration::ZERO,
            is_first: true,
            warnings: Warnings::default(),
            summary: None,
        }
    }

    /// Writes all that can be written now.
    fn settle(&mut self, at: Duration, out: &mut dyn Write) -> io::Result<()> {
        loop {
            if let Some(id) = self.floor {
                self.tell(id, out)?;
                let must_yield = self.tasks.contains_key(&id) && self.someone_waits_too_long(id, at);
                if must_yield {
                    self.line(out, &format!("#{} ...", id.0))?;
                } else if self.tasks.contains_key(&id) {
                    return Ok(());
                }
                self.floor = None;
            }
            let Some(next) = self.next() else { return Ok(()) };
            self.announce(next, at, out)?;
        }
    }

    /// Writes the waiting lines of a task, and its end; a task that has ended is forgotten.
    fn tell(&mut self, id: TaskId, out: &mut dyn Write) -> io::Result<()> {
        let Some(task) = self.tasks.get_mut(&id) else { return Ok(()) };
        let waiting = std::mem::take(&mut task.waiting);
        task.waiting_bytes = 0;
        task.waiting_since = None;
        let end = task.end.take();
        for line in &waiting {
            self.line(out, &format!("#{} {line}", id.0))?;
        }
        if let Some(end) = end {
            self.line(out, &format!("#{} {end}", id.0))?;
            self.tasks.remove(&id);
        }
        Ok(())
    }

    fn someone_waits_too_long(&self, id: TaskId, at: Duration) -> bool {
        self.tasks.iter().filter(|(other, _)| **other != id).any(|(_, task)| {
            let waited = task.waiting_since.is_some_and(|since| at.saturating_sub(since.max(self.since)) >= PATIENCE);
            waited || task.waiting_bytes > WAITING_BYTES
        })
    }

    /// Returns who is next: what has ended, then what has waited longest, then what nobody has heard of.
    fn next(&self) -> Option<TaskId> {
        let waiting = self.tasks.iter().filter_map(|(id, task)| Some((task.end.is_none(), task.waiting_since?, *id)));
        let new = || self.tasks.iter().find(|(_, task)| !task.is_announced).map(|(id, _)| *id);
        waiting.min().map(|(_, _, id)| id).or_else(new)
    }

    /// Gives the floor to a task.
    fn announce(&mut self, id: TaskId, at: Duration, out: &mut dyn Write) -> io::Result<()> {
        let Some(task) = self.tasks.get_mut(&id) else { return Ok(()) };
        task.is_announced = true;
        let head = format!("#{} {}", id.0, task.name);
        self.floor = Some(id);
        self.since = at;
        self.blank(out)?;
        self.line(out, &head)
    }

    /// Separates blocks.
    fn blank(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if std::mem::take(&mut self.is_first) { Ok(()) } else { writeln!(out) }
    }

    fn line(&self, out: &mut dyn Write, line: &str) -> io::Result<()> {
        if self.ci { writeln!(out, "{}", without_ci_commands(line)) } else { writeln!(out, "{line}") }
    }

    fn take(&mut self, at: Duration, event: Event, out: &mut dyn Write) -> io::Result<()> {
        match event {
            Event::Started { task, name } => {
                self.tasks.insert(task, Task::new(clean(&name), at));
            }
            Event::Detail { task, text } => self.with(task, |task| task.push(at, clean(&text))),
            Event::Output { task, bytes, .. } => self.with(task, |task| task.output(at, &bytes)),
            Event::Progress { task, item, current_bytes, total_bytes } => {
                self.with(task, |task| task.transfer(at, item, current_bytes, total_bytes));
            }
            Event::Ended { task, outcome, elapsed } => self.with(task, |task| task.end(at, outcome, elapsed)),
            Event::Warning(warning) => self.warnings.add(&warning),
            Event::Notice(text) => {
                self.is_first = false;
                self.line(out, &format!("#0 {}", clean(&text)))?;
            }
            Event::Summary(summary) => self.summary = Some(summary),
        }
        Ok(())
    }

    fn with(&mut self, id: TaskId, change: impl FnOnce(&mut Task)) {
        if let Some(task) = self.tasks.get_mut(&id) {
            change(task);
        }
    }
}

impl Task {
    fn new(name: String, started: Duration) -> Task {
        Task {
            name,
            started,
            is_announced: false,
            lines: Lines::default(),
            waiting: Vec::new(),
            waiting_bytes: 0,
            waiting_since: None,
            transfers: BTreeMap::new(),
            end: None,
        }
    }
}

impl Display for Plain {
    fn event(&mut self, at: Duration, event: Event, out: &mut dyn Write) -> io::Result<()> {
        self.take(at, event, out)?;
        self.settle(at, out)
    }

    fn tick(&mut self, at: Duration, out: &mut dyn Write) -> io::Result<()> {
        self.settle(at, out)
    }

    fn finish(&mut self, at: Duration, out: &mut dyn Write) -> io::Result<()> {
        // Whoever has not ended by now never will: its lines are told nevertheless.
        self.floor.take();
        while let Some(next) = self.next() {
            self.announce(next, at, out)?;
            self.tell(next, out)?;
        }
        if !self.warnings.lines().is_empty() {
            self.blank(out)?;
        }
        for line in self.warnings.lines() {
            self.line(out, line)?;
        }
        if let Some(summary) = self.summary.take() {
            self.blank(out)?;
            for line in summary::lines(&summary) {
                self.line(out, &line)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::recorded::{self, Recording};
    use super::*;

    fn shown(recording: Recording) -> String {
        recording.show(&mut Plain::new(Style::default()))
    }

    #[test]
    fn a_build_is_told_in_blocks() {
        assert_eq!(
            shown(recorded::build()),
            "\
#0 isolation: root

#1 [internal] load build definition from Dockerfile
#1 DONE 0.0s

#2 [1/3] FROM docker.io/library/alpine
#2 sha256:aaaa 1.00MB / 4.00MB
#2 sha256:aaaa 4.00MB / 4.00MB done
#2 DONE 1.0s

#3 [2/3] COPY . /src
#3 CACHED

#4 [3/3] RUN make
#4 missed the cache: changed: src/a.c
#4 0.100 cc a.c
#4 0.200 red
#4 0.300 100%
#4 0.300 last
#4 DONE 0.3s

WARN: Dockerfile:1:6: Untagged: no tag

image   app:1, app:latest
digest  sha256:bbbb
size    4.20MB
wrote   out.tar
steps   1 cached, 2 run
time    1.7s
"
        );
    }

    #[test]
    fn parallel_steps_do_not_interleave() {
        let recording = Recording::default()
            .start(0, 1, "a")
            .start(0, 2, "b")
            .output(100, 1, "a1\n")
            .output(200, 2, "b1\n")
            .output(300, 1, "a2\n")
            .end(400, 2, Outcome::Done)
            .end(500, 1, Outcome::Done);
        assert_eq!(
            shown(recording),
            "#1 a\n#1 0.100 a1\n#1 0.300 a2\n#1 DONE 0.5s\n\n#2 b\n#2 0.200 b1\n#2 DONE 0.4s\n"
        );
    }

    #[test]
    fn a_long_step_lets_others_speak() {
        let recording = Recording::default()
            .start(0, 1, "a")
            .start(0, 2, "b")
            .end(100, 2, Outcome::Done)
            .tick(4000)
            .tick(5200)
            .output(6000, 1, "a1\n")
            .end(7000, 1, Outcome::Failed("exit code 2".into()));
        assert_eq!(
            shown(recording),
            "#1 a\n#1 ...\n\n#2 b\n#2 DONE 0.1s\n\n#1 a\n#1 6.000 a1\n#1 ERROR: exit code 2\n"
        );
    }

    #[test]
    fn commands_of_ci_systems_are_broken_in_ci() {
        let recording = Recording::default().start(0, 1, "RUN echo '##vso[a]b'").output(100, 1, "##[error]x\n").end(
            200,
            1,
            Outcome::Canceled,
        );
        assert_eq!(
            recording.show(&mut Plain::new(Style { ci: true, ..Style::default() })),
            "#1 RUN echo '## vso[a]b'\n#1 0.100 ## [error]x\n#1 CANCELED\n"
        );
    }
}
