//! The last lines of a build: warnings and what was made.

use super::format;
use crate::cli::diagnostic::clean;
use crate::diag::Diagnostic;
use crate::event::Summary;

/// The warnings of a build, each once, in the order they came.
#[derive(Debug, Default)]
pub struct Warnings {
    lines: Vec<String>,
}

impl Warnings {
    /// Adds a warning.
    pub fn add(&mut self, warning: &Diagnostic) {
        let line = one_line(warning);
        if !self.lines.contains(&line) {
            self.lines.push(line);
        }
    }

    /// Returns the lines to show.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}

/// Returns a warning as one line: place, rule, message.
pub fn one_line(warning: &Diagnostic) -> String {
    let mut line = "WARN: ".to_owned();
    if let Some(place) = &warning.place {
        let (row, column) = place.source.line_column(place.span.start);
        line.push_str(&format!("{}:{row}:{column}: ", clean(&place.source.name)));
    }
    if let Some(rule) = warning.rule {
        line.push_str(&format!("{rule}: "));
    }
    line.push_str(&clean(&warning.message));
    if !warning.label.is_empty() {
        line.push_str(&format!(" ({})", clean(&warning.label)));
    }
    line
}

/// Returns what was made, a line for each fact.
pub fn lines(summary: &Summary) -> Vec<String> {
    let mut lines = Vec::new();
    if !summary.names.is_empty() {
        lines.push(format!("image   {}", clean(&summary.names.join(", "))));
    }
    if let Some(digest) = &summary.digest {
        lines.push(format!("digest  {}", clean(digest)));
        lines.push(format!("size    {}", format::bytes(summary.size_bytes)));
    }
    for destination in &summary.destinations {
        lines.push(format!("wrote   {}", clean(destination)));
    }
    lines.push(format!("steps   {} cached, {} run", summary.steps_cached, summary.steps_run));
    lines.push(format!("time    {}", format::seconds(summary.elapsed)));
    lines
}
