//! Tables and times as the commands of the store print them.

use super::template::Template;
use crate::diag::{Diagnostic, Exit};
use jiff::{Timestamp, Unit};
use serde::Serialize;
use std::fmt::Write;
use std::str::FromStr;

/// How a list is printed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Format {
    /// Columns.
    #[default]
    Table,
    /// One JSON object a line.
    Json,
    /// A line of one's own for each.
    Template(Template),
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Format, String> {
        match text {
            "table" => Ok(Format::Table),
            "json" => Ok(Format::Json),
            _ if text.contains("{{") => text.parse().map(Format::Template),
            _ => Err("it is one of `table`, `json`, or a template such as `{{.ID}}`".to_owned()),
        }
    }
}

/// Returns a list in a format other than the table, which `table` makes.
pub fn list<T: Serialize>(format: &Format, rows: &[T], table: impl FnOnce() -> String) -> Result<String, Diagnostic> {
    match format {
        Format::Table => Ok(table()),
        Format::Json => json_lines(rows),
        Format::Template(template) => {
            let mut text = String::new();
            for row in rows {
                let value = serde_json::to_value(row).map_err(|error| Diagnostic::from_error(Exit::Bug, &error))?;
                text.push_str(&template.apply(&value)?);
                text.push('\n');
            }
            Ok(text)
        }
    }
}

/// Returns columns, three spaces apart, as wide as their widest cell; control characters are escaped.
pub fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let rows: Vec<[String; N]> =
        rows.iter().map(|row| row.each_ref().map(|cell| super::diagnostic::clean(cell))).collect();
    let mut widths = head.map(|cell| cell.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    let mut line = |cells: [&str; N]| {
        let mut columns = String::new();
        for (cell, width) in cells.iter().zip(widths) {
            let _ = write!(columns, "{cell:width$}   ");
        }
        text.push_str(columns.trim_end());
        text.push('\n');
    };
    line(head);
    rows.iter().for_each(|row| line(row.each_ref().map(String::as_str)));
    text
}

/// Returns one JSON object a line.
pub fn json_lines<T: Serialize>(rows: &[T]) -> Result<String, Diagnostic> {
    let mut text = String::new();
    for row in rows {
        text.push_str(&crate::progress::json_line(row).map_err(|error| Diagnostic::from_error(Exit::Bug, &error))?);
        text.push('\n');
    }
    Ok(text)
}

/// Returns the time since `then` in its largest unit: `3 days ago`.
pub fn ago(now: Timestamp, then: Option<Timestamp>) -> String {
    let Some(then) = then else { return "unknown".to_owned() };
    let seconds = now.since((Unit::Second, then)).map_or(0, |span| span.get_seconds());
    let units = [
        ("year", 31_536_000),
        ("month", 2_592_000),
        ("week", 604_800),
        ("day", 86_400),
        ("hour", 3600),
        ("minute", 60),
    ];
    match units.iter().find(|(_, length)| seconds >= *length) {
        Some((unit, length)) => plural(seconds / length, unit),
        None if seconds >= 1 => plural(seconds, "second"),
        None => "now".to_owned(),
    }
}

fn plural(count: i64, unit: &str) -> String {
    if count == 1 { format!("1 {unit} ago") } else { format!("{count} {unit}s ago") }
}

/// Returns the first twelve hexadecimal digits of a digest, as `docker images` shows ids.
pub fn short(digest: &str) -> String {
    digest.split_once(':').map_or(digest, |(_, hex)| hex).chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a".to_owned(), "1".to_owned()], ["longer\x1b".to_owned(), String::new()]];
        assert_eq!(table(["NAME", "N"], &rows), "NAME           N\na              1\nlonger\\u{1b}\n");
    }

    #[test]
    fn times_are_told_in_their_largest_unit() {
        let now = Timestamp::from_second(100_000_000).unwrap_or_default();
        let before = |seconds: i64| Timestamp::from_second(100_000_000 - seconds).ok();
        for (seconds, text) in [
            (0, "now"),
            (-5i64, "now"),
            (1, "1 second ago"),
            (119, "1 minute ago"),
            (7200, "2 hours ago"),
            (172_800, "2 days ago"),
            (99_999_999, "3 years ago"),
        ] {
            assert_eq!(ago(now, before(seconds)), text);
        }
        assert_eq!(ago(now, None), "unknown");
        assert_eq!(short("sha256:0123456789abcdef"), "0123456789ab");
    }
}
