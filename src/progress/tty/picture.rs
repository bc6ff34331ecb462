//! One picture of the live view, as lines that fit the terminal.

use super::super::format;
use super::super::text::Escapes;
use super::{Task, Transfer};
use crate::event::{Outcome, TaskId};
use std::collections::BTreeMap;
use std::time::Duration;
use unicode_width::UnicodeWidthChar;

/// Last lines of a running step that are shown.
const TAIL_LINES: usize = 6;
/// Columns below which a line has no time and no amount.
const NARROW: usize = 30;

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Width.
    pub columns: usize,
    /// Height.
    pub rows: usize,
}

/// A picture in the making.
pub struct Picture<'a> {
    tasks: &'a BTreeMap<TaskId, Task>,
    at: Duration,
    width: usize,
    color: bool,
}

/// Colours by their SGR parameters.
const DONE: &str = "36";
const FAILED: &str = "31";
const CANCELED: &str = "33";
const FAINT: &str = "2";

impl<'a> Picture<'a> {
    /// Returns a picture of the tasks at a time.
    pub fn new(tasks: &'a BTreeMap<TaskId, Task>, at: Duration, width: usize, color: bool) -> Picture<'a> {
        // The last column stays free: some terminals wrap as soon as it is written.
        Picture { tasks, at, width: width.saturating_sub(1).max(1), color }
    }

    /// Returns the header and a line for each task.
    pub fn all(&self) -> Vec<String> {
        let mut lines = vec![self.header(true)];
        lines.extend(self.tasks.values().map(|task| self.task_line(task)));
        lines
    }

    /// Returns the most important lines, fewer than `rows`: running tasks, then their last output, then what ended last.
    pub fn fitting(&self, rows: usize) -> Vec<String> {
        let budget = rows.saturating_sub(2).max(1);
        let running: Vec<TaskId> =
            self.tasks.iter().filter(|(_, task)| task.end.is_none()).map(|(id, _)| *id).collect();
        let first_running = running.len().saturating_sub(budget);
        let shown_running = &running[first_running..];
        let mut free = budget - shown_running.len();
        let mut details = BTreeMap::new();
        for (index, id) in shown_running.iter().enumerate() {
            // What is left is shared fairly among the tasks that come after.
            let share = free / (shown_running.len() - index);
            let lines = self.detail_lines(&self.tasks[id], share.min(TAIL_LINES));
            free -= lines.len();
            details.insert(*id, lines);
        }
        let ended = self.tasks.iter().rev().filter(|(_, task)| task.end.is_some()).map(|(id, _)| *id);
        details.extend(ended.take(free).map(|id| (id, Vec::new())));
        let mut lines = vec![self.header(false)];
        for (id, more) in details {
            lines.push(self.task_line(&self.tasks[&id]));
            lines.extend(more);
        }
        lines
    }

    fn header(&self, is_last: bool) -> String {
        let ended = self.tasks.values().filter(|task| task.end.is_some()).count();
        let state = match is_last {
            true if self.tasks.values().any(Task::has_failed) => " FAILED",
            true if self.tasks.values().all(|task| matches!(task.end, Some((Outcome::Done | Outcome::Cached, _)))) => {
                " FINISHED"
            }
            true => " CANCELED",
            false => "",
        };
        let text = format!("[+] Building {} ({ended}/{}){state}", format::seconds(self.at), self.tasks.len());
        clip(&text, self.width)
    }

    fn task_line(&self, task: &Task) -> String {
        let (mark, color, time) = match &task.end {
            None => ("", None, self.at.saturating_sub(task.started)),
            Some((Outcome::Done, elapsed)) => ("", Some(DONE), *elapsed),
            Some((Outcome::Cached, elapsed)) => ("CACHED ", Some(DONE), *elapsed),
            Some((Outcome::Failed(_), elapsed)) => ("ERROR ", Some(FAILED), *elapsed),
            Some((Outcome::Canceled, elapsed)) => ("CANCELED ", Some(CANCELED), *elapsed),
        };
        self.colored(self.aligned(&format!(" => {mark}{}", task.name), "", time), color)
    }

    /// Returns transfers under way and the last lines of output, at most `limit`.
    fn detail_lines(&self, task: &Task, limit: usize) -> Vec<String> {
        let under_way = task.transfers.iter().filter(|(_, transfer)| transfer.done.is_none());
        let mut lines: Vec<String> =
            under_way.take(limit).map(|(item, transfer)| self.transfer_line(item, transfer)).collect();
        let escapes = if self.color { Escapes::Colors } else { Escapes::None };
        for line in task.tail.shown(limit - lines.len(), escapes) {
            let text = clip(&format!(" => => # {line}"), self.width);
            lines.push(self.colored(text, Some(FAINT)));
        }
        lines
    }

    fn transfer_line(&self, item: &str, transfer: &Transfer) -> String {
        let amount = format::transfer(transfer.current_bytes, transfer.total_bytes);
        self.aligned(&format!(" => => {item}"), &amount, self.at.saturating_sub(transfer.started))
    }

    /// Returns a line with text at the left, an amount behind it, and a time at the right end.
    fn aligned(&self, text: &str, amount: &str, time: Duration) -> String {
        if self.width < NARROW {
            return clip(text, self.width);
        }
        let time = format::seconds(time);
        let amount = if amount.is_empty() { String::new() } else { format!(" {amount}") };
        let room = self.width.saturating_sub(time.len() + 1 + amount.len());
        let text = clip(text, room);
        let gap = room - width(&text);
        format!("{text}{amount}{} {time}", " ".repeat(gap))
    }

    fn colored(&self, text: String, color: Option<&str>) -> String {
        match color {
            Some(color) if self.color => format!("\x1b[{color}m{text}\x1b[0m"),
            _ => text,
        }
    }
}

/// Returns the number of columns of a text; colours have none.
fn width(text: &str) -> usize {
    let mut columns = 0;
    walk(text, |_, wide| columns += wide);
    columns
}

/// Cuts a text to a number of columns.  Colours cost nothing and are kept to the end, so that the last one resets.
fn clip(text: &str, columns: usize) -> String {
    let mut clipped = String::with_capacity(text.len());
    let mut left = columns;
    walk(text, |piece, wide| {
        if wide <= left {
            left -= wide;
            clipped.push_str(piece);
        } else {
            left = 0;
        }
    });
    clipped
}

/// Calls `take` with each character, or colour sequence, and its columns.
fn walk<'a>(text: &'a str, mut take: impl FnMut(&'a str, usize)) {
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let (length, columns) = match rest.strip_prefix("\x1b[").and_then(|body| body.find('m')) {
            Some(end) => (end + 3, 0),
            None => (c.len_utf8(), c.width().unwrap_or(0)),
        };
        take(&rest[..length], columns);
        rest = &rest[length..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_by_columns_and_keeps_colors() {
        assert_eq!(clip("abcdef", 3), "abc");
        assert_eq!(clip("日本語", 5), "日本");
        assert_eq!(clip("\x1b[31mred\x1b[0m", 2), "\x1b[31mre\x1b[0m");
        assert_eq!(width("\x1b[31m日x\x1b[0m"), 3);
        assert_eq!(clip("e\u{301}x", 1), "e\u{301}");
    }
}
