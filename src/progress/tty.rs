//! The live view of a terminal, in BuildKit's look: a header, a line for each task, the last lines of running ones.
//!
//! Ten times a second the picture is drawn over the one before: the cursor goes up as many lines as were written, each
//! line is cleared to its end, the rest of the screen below.  No line is wider than the terminal, or its wrapping
//! would break the count.  The size is asked for before every picture, so a resize needs no signal.

mod picture;

use super::Display;
use super::summary::{self, Warnings};
use super::tail::{Tail, failed_block};
use super::text::without_ci_commands;
use crate::cli::diagnostic::{Style, clean};
use crate::event::{Event, Outcome, Summary, TaskId};
use crate::sys::interrupt;
use picture::{Picture, Size};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";

/// The live view.
pub struct Tty {
    style: Style,
    size: fn() -> Size,
    tasks: BTreeMap<TaskId, Task>,
    /// Lines to be written above the picture, for good.
    above: Vec<String>,
    /// Lines of the picture on the screen.
    drawn: usize,
    is_cursor_hidden: bool,
    warnings: Warnings,
    summary: Option<Summary>,
}

/// A task as the picture needs it.
struct Task {
    name: String,
    started: Duration,
    end: Option<(Outcome, Duration)>,
    tail: Tail,
    transfers: BTreeMap<String, Transfer>,
}

struct Transfer {
    started: Duration,
    done: Option<Duration>,
    current_bytes: u64,
    total_bytes: u64,
}

impl Tty {
    /// Returns the live view of a terminal whose size `size` tells.
    pub fn new(style: Style, size: fn() -> Size) -> Tty {
        Tty {
            style,
            size,
            tasks: BTreeMap::new(),
            above: Vec::new(),
            drawn: 0,
            is_cursor_hidden: false,
            warnings: Warnings::default(),
            summary: None,
        }
    }

    fn take(&mut self, at: Duration, event: Event) {
        match event {
            Event::Started { task, name } => {
                self.tasks.insert(task, Task::new(clean(&name), at));
            }
            Event::Output { task, bytes, .. } => {
                self.with(task, |task| task.tail.feed(&bytes));
            }
            Event::Progress { task, item, current_bytes, total_bytes } => {
                self.with(task, |task| task.transfer(at, clean(&item), current_bytes, total_bytes));
            }
            Event::Ended { task, outcome, elapsed } => self.with(task, |task| task.finish(outcome, elapsed)),
            Event::Warning(warning) => self.warnings.add(&warning),
            Event::Notice(text) => self.above.push(clean(&text)),
            Event::Summary(summary) => self.summary = Some(summary),
            Event::Detail { task, text } => self.with(task, |task| task.tail.push(&text)),
        }
    }

    fn with(&mut self, id: TaskId, change: impl FnOnce(&mut Task)) {
        if let Some(task) = self.tasks.get_mut(&id) {
            change(task);
        }
    }

    /// Writes `lines` over the picture before.
    fn draw(&mut self, lines: &[String], out: &mut dyn Write) -> io::Result<()> {
        let mut text = String::new();
        if self.drawn > 0 {
            text.push_str(&format!("\x1b[{}A", self.drawn));
        }
        text.push('\r');
        for line in self.above.drain(..).as_slice().iter().chain(lines) {
            text.push_str(line);
            text.push_str("\x1b[K\n");
        }
        text.push_str("\x1b[J");
        self.drawn = lines.len();
        out.write_all(text.as_bytes())
    }

    /// Returns the last picture: every task, what failed tasks wrote, warnings, what was made.
    fn last_lines(&mut self, at: Duration, width: usize) -> Vec<String> {
        let mut lines = Picture::new(&self.tasks, at, width, self.style.color).all();
        for task in self.tasks.values().filter(|task| task.has_failed() && !task.tail.is_empty()) {
            lines.extend(failed_block(&task.name, &task.tail));
        }
        if !self.warnings.lines().is_empty() {
            lines.push(String::new());
            lines.extend(self.warnings.lines().iter().cloned());
        }
        if let Some(summary) = self.summary.take() {
            lines.push(String::new());
            lines.extend(summary::lines(&summary));
        }
        if self.style.ci {
            lines.iter_mut().for_each(|line| *line = without_ci_commands(line).into_owned());
        }
        lines
    }
}

impl Task {
    fn new(name: String, started: Duration) -> Task {
        Task { name, started, end: None, tail: Tail::default(), transfers: BTreeMap::new() }
    }

    fn transfer(&mut self, at: Duration, item: String, current_bytes: u64, total_bytes: u64) {
        let transfer =
            self.transfers.entry(item).or_insert(Transfer { started: at, done: None, current_bytes, total_bytes });
        transfer.current_bytes = current_bytes;
        transfer.total_bytes = total_bytes;
        if transfer.done.is_none() && total_bytes != 0 && current_bytes >= total_bytes {
            transfer.done = Some(at);
        }
    }

    fn finish(&mut self, outcome: Outcome, elapsed: Duration) {
        self.tail.finish();
        if !matches!(outcome, Outcome::Failed(_)) {
            self.tail.clear();
        }
        self.transfers.clear();
        self.end = Some((outcome, elapsed));
    }

    fn has_failed(&self) -> bool {
        matches!(self.end, Some((Outcome::Failed(_), _)))
    }
}

impl Display for Tty {
    fn event(&mut self, at: Duration, event: Event, _: &mut dyn Write) -> io::Result<()> {
        self.take(at, event);
        Ok(())
    }

    fn tick(&mut self, at: Duration, out: &mut dyn Write) -> io::Result<()> {
        if !self.is_cursor_hidden {
            self.is_cursor_hidden = true;
            interrupt::set_cursor_hidden(true);
            out.write_all(HIDE_CURSOR.as_bytes())?;
        }
        let size = (self.size)();
        let lines = Picture::new(&self.tasks, at, size.columns, self.style.color).fitting(size.rows);
        self.draw(&lines, out)
    }

    fn finish(&mut self, at: Duration, out: &mut dyn Write) -> io::Result<()> {
        let lines = self.last_lines(at, (self.size)().columns);
        self.draw(&lines, out)?;
        if self.is_cursor_hidden {
            out.write_all(SHOW_CURSOR.as_bytes())?;
            interrupt::set_cursor_hidden(false);
        }
        Ok(())
    }
}

/// Returns the size of the terminal at standard error, 80 x 24 where there is none.
pub fn terminal_size() -> Size {
    match rustix::termios::tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            Size { columns: size.ws_col.into(), rows: size.ws_row.into() }
        }
        _ => Size { columns: 80, rows: 24 },
    }
}

#[cfg(test)]
mod tests;
