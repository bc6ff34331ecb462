//! Parser directives: `# syntax=`, `# escape=` and `# check=` in the first lines.
//!
//! The first line that is not a known directive ends them, be it blank, a comment or an instruction.

use super::fault::{Fault, Result};
use crate::diag::Span;
use crate::dockerfile::ast::{Spanned, Word};

/// The directives of a file.
#[derive(Debug)]
pub(super) struct Directives {
    pub(super) escape: char,
    pub(super) syntax: Option<Word>,
    pub(super) check: Option<Word>,
    /// Where the line behind the last directive starts.
    pub(super) end: usize,
}

/// Reads the directives at the start of a text.
///
/// A `#!` line in front of them is skipped; behind one `escape` has no effect, as the reference parser takes it for an
/// ordinary comment that ends the directives, while the two others are looked for separately.
pub(super) fn read(source: &str) -> Result<Directives> {
    let mut directives = Directives { escape: '\\', syntax: None, check: None, end: 0 };
    let mut escape_span: Option<Span> = None;
    let has_shebang = source.starts_with("#!");
    if has_shebang {
        directives.end = source.find('\n').map_or(source.len(), |i| i + 1);
    }
    while let Some((key, value)) = directive(source, directives.end) {
        let line_end = source[directives.end..].find('\n').map_or(source.len(), |i| directives.end + i + 1);
        let name = key.node.to_ascii_lowercase();
        let is_repeated = match name.as_str() {
            "syntax" => directives.syntax.replace(value).is_some(),
            "check" => directives.check.replace(value).is_some(),
            "escape" => {
                if !has_shebang {
                    directives.escape = escape(&value)?;
                }
                escape_span.replace(key.span).is_some()
            }
            _ => break,
        };
        if is_repeated {
            return Err(Fault::new(key.span, format!("only one `{name}` parser directive can be used")));
        }
        directives.end = line_end;
    }
    Ok(directives)
}

/// Returns the value of an `escape` directive.
fn escape(value: &Word) -> Result<char> {
    match value.node.as_str() {
        "\\" => Ok('\\'),
        "`" => Ok('`'),
        other => Err(Fault::new(value.span, format!("invalid escape token `{other}`"))
            .label("an escape token is a backslash or a backtick")),
    }
}

/// Splits the line that starts at `start` into key and value, if it has the form of a directive.
fn directive(source: &str, start: usize) -> Option<(Word, Word)> {
    let line = source[start..].lines().next()?.trim_end_matches('\r');
    let content = line.trim_start().strip_prefix('#')?.trim_start();
    let (key, value) = content.split_once('=')?;
    let key = key.trim_end_matches(is_space);
    let is_name = key.starts_with(|c: char| c.is_ascii_alphabetic()) && key.chars().all(|c| c.is_ascii_alphanumeric());
    if !is_name || value.is_empty() {
        return None;
    }
    let key_start = start + line.len() - content.len();
    let trimmed = value.trim_matches(is_space);
    let value_start = start + line.len() - value.trim_start_matches(is_space).len();
    Some((spanned(key, key_start), spanned(trimmed, value_start)))
}

fn spanned(text: &str, start: usize) -> Word {
    Spanned { node: text.to_owned(), span: Span::new(start, start + text.len()) }
}

fn is_space(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\x0c' | '\r' | ' ')
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn directives_end_at_the_first_other_line() {
        let source = "# Escape = `\n#syntax=docker/dockerfile:1 \n# foo=bar\n# check=skip=all\nFROM a";
        let directives = read(source).unwrap();
        assert_eq!(directives.escape, '`');
        let syntax = directives.syntax.unwrap();
        assert_eq!(syntax.node, "docker/dockerfile:1");
        assert_eq!(&source[syntax.span.start..syntax.span.end], "docker/dockerfile:1");
        assert!(directives.check.is_none());
        assert!(source[directives.end..].starts_with("# foo"));
    }

    #[test]
    fn a_shebang_may_stand_above() {
        let directives = read("#!/usr/bin/env cooper\n# check=skip=all\n# escape=`\n").unwrap();
        assert_eq!(directives.check.unwrap().node, "skip=all");
        assert_eq!(directives.escape, '\\');
    }

    #[test]
    fn a_repeated_directive_and_a_bad_escape_are_errors() {
        assert!(read("# escape=`\n# escape=`\n").is_err());
        assert!(read("# escape=x\n").is_err());
        assert!(read("# escape= \n").is_err());
    }
}
