//! The last lines of a step's output.

use super::text::{Escapes, Lines, sanitise};
use std::collections::VecDeque;

/// Lines that are kept.
pub const TAIL_LINES: usize = 20;

/// The last lines of an output, as raw bytes: of many megabytes only what is shown is made fit to be shown.
#[derive(Debug, Default)]
pub struct Tail {
    lines: Lines,
    last: VecDeque<Vec<u8>>,
}

impl Tail {
    /// Takes bytes of output.
    pub fn feed(&mut self, bytes: &[u8]) {
        let Tail { lines, last } = self;
        lines.feed(bytes, |line| keep(last, line));
    }

    /// Takes a line that did not end as one.
    pub fn finish(&mut self) {
        let Tail { lines, last } = self;
        lines.finish(|line| keep(last, line));
    }

    /// Adds a whole line.
    pub fn push(&mut self, line: &str) {
        keep(&mut self.last, line.as_bytes());
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Tail::default();
    }

    /// Whether there is nothing to show.
    pub fn is_empty(&self) -> bool {
        self.last.is_empty() && self.lines.partial().is_empty()
    }

    /// Returns the last `count` lines, fit to be shown; one that has not ended counts.
    pub fn shown(&self, count: usize, escapes: Escapes) -> Vec<String> {
        let partial = Some(self.lines.partial()).filter(|line| !line.is_empty());
        let newest = partial.into_iter().chain(self.last.iter().rev().map(Vec::as_slice)).take(count);
        let mut lines: Vec<String> = newest.map(|line| sanitise(line, escapes)).collect();
        lines.reverse();
        lines
    }
}

/// Keeps a line in place of the oldest, whose memory it takes.
fn keep(last: &mut VecDeque<Vec<u8>>, line: &[u8]) {
    let mut buffer = if last.len() < TAIL_LINES { Vec::new() } else { last.pop_front().unwrap_or_default() };
    buffer.clear();
    buffer.extend_from_slice(line);
    last.push_back(buffer);
}

/// Returns the block that shows what a failed step wrote last.
pub fn failed_block(name: &str, tail: &Tail) -> Vec<String> {
    let mut block = vec!["------".to_owned(), format!(" > {name}:")];
    block.extend(tail.shown(TAIL_LINES, Escapes::None));
    block.push("------".to_owned());
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_in_order() {
        let mut tail = Tail::default();
        assert!(tail.is_empty());
        (0..50).for_each(|n| tail.feed(format!("line {n}\n").as_bytes()));
        tail.feed(b"half");
        assert_eq!(tail.shown(3, Escapes::None), ["line 48", "line 49", "half"]);
        tail.finish();
        assert_eq!(tail.shown(100, Escapes::None).len(), TAIL_LINES);
        tail.clear();
        assert!(tail.shown(9, Escapes::None).is_empty());
    }
}
