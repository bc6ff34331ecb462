//! Words of an instruction: flags in front, quoted words, JSON arrays.

use super::fault::{Fault, Result};
use super::logical::Part;
use crate::diag::Span;
use crate::dockerfile::ast::{Spanned, Word};

/// A `--flag` in front of the arguments, quotes and escapes removed.
#[derive(Debug)]
pub(super) struct FlagWord {
    /// The whole flag, `--name=value` or `--name`.
    pub(super) text: String,
    /// Where it was written.
    pub(super) span: Span,
}

/// Splits the flags from what follows them.  A lone `--` ends the flags and is dropped.
pub(super) fn split_flags<'a>(rest: Part<'a>, escape: char) -> (Vec<FlagWord>, Part<'a>) {
    let mut flags = Vec::new();
    let mut rest = rest.trim();
    while rest.text().starts_with("--") {
        let (text, length) = flag(rest.text(), escape);
        let span = rest.slice(0, length).span();
        rest = rest.from(length).trim();
        if text == "--" {
            break;
        }
        flags.push(FlagWord { text, span });
    }
    (flags, rest)
}

/// Reads one flag; returns it without quotes and escapes, and how many bytes it took.
fn flag(text: &str, escape: char) -> (String, usize) {
    let mut word = String::new();
    let mut quote: Option<char> = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match quote {
            None if c.is_whitespace() => return (word, at),
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ if c == escape => word.extend(chars.next().map(|(_, next)| next)),
            _ => word.push(c),
        }
    }
    (word, text.len())
}

/// Splits at white space outside of quotes; quotes and escapes stay in the words.
pub(super) fn split_quoted<'a>(rest: Part<'a>, escape: char) -> Vec<Part<'a>> {
    let text = rest.text();
    let mut words = Vec::new();
    let mut start: Option<usize> = None;
    let mut quote: Option<char> = None;
    let mut end = text.len();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if quote.is_none() && c.is_whitespace() {
            words.extend(start.take().map(|start| rest.slice(start, at)));
            continue;
        }
        start.get_or_insert(at);
        let is_escape = c == escape && quote != Some('\'');
        match quote {
            // An escape character at the very end is no part of the word.
            _ if is_escape && chars.next().is_none() => end = at,
            _ if is_escape => {}
            Some(open) if c == open => quote = None,
            None if c == '\'' || c == '"' => quote = Some(c),
            _ => {}
        }
    }
    words.extend(start.filter(|start| *start < end).map(|start| rest.slice(start, end)));
    words
}

/// Reads a JSON array of strings: `None` when the text is no JSON array, an error when a member is no string.
pub(super) fn json_array(rest: Part<'_>) -> Result<Option<Vec<Word>>> {
    let text = rest.text();
    if !text.starts_with('[') {
        return Ok(None);
    }
    let parsed = serde_json::from_str(text).or_else(|_| serde_json::from_str(&without_lone_surrogates(text)));
    let Ok::<Vec<serde_json::Value>, _>(members) = parsed else { return Ok(None) };
    let mut literals = string_literals(text).into_iter();
    members
        .into_iter()
        .map(|member| match (member, literals.next()) {
            (serde_json::Value::String(node), Some((start, end))) => {
                Ok(Spanned { node, span: rest.slice(start, end).span() })
            }
            _ => Err(Fault::new(rest.span(), "a JSON array of an instruction must hold strings only")
                .hint("put double quotes around every member, or leave out the brackets for the shell form")
                .syntax()),
        })
        .collect::<Result<Vec<Word>>>()
        .map(Some)
}

/// Replaces escapes of halves of a character (`\\ud800` alone) by that of U+FFFD, as Go's JSON reader takes them.
fn without_lone_surrogates(text: &str) -> String {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let (mut clean, mut at) = (String::with_capacity(text.len()), 0);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let length = match (unit(at), unit(at + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                clean.push_str("\\ufffd");
                at += 6;
                continue;
            }
            // An escaped backslash begins no escape with what follows it.
            _ if rest.starts_with('\\') => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            _ => rest.chars().next().map_or(1, char::len_utf8),
        };
        clean.push_str(&rest[..length]);
        at += length;
    }
    clean
}

/// Returns where the string literals of a valid JSON text stand, without their quotes.
fn string_literals(text: &str) -> Vec<(usize, usize)> {
    let mut literals = Vec::new();
    let mut start: Option<usize> = None;
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match (byte, start) {
            (b'\\', Some(_)) => {
                bytes.next();
            }
            (b'"', Some(open)) => {
                literals.push((open, at));
                start = None;
            }
            (b'"', None) => start = Some(at + 1),
            _ => {}
        }
    }
    literals
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::logical::Logical;
    use super::*;

    fn line(text: &str) -> Logical {
        let mut line = Logical::new(0, Vec::new());
        line.push(text, 0);
        line
    }

    #[test]
    fn flags_lose_quotes_and_escapes() {
        let line = line(r#"--a="b c" --d=e\ f -- --g h"#);
        let (flags, rest) = split_flags(line.part(), '\\');
        assert_eq!(flags.iter().map(|flag| flag.text.as_str()).collect::<Vec<_>>(), ["--a=b c", "--d=e f"]);
        assert_eq!(rest.text(), "--g h");
    }

    #[test]
    fn quoted_words_keep_their_quotes() {
        let line = line(r#"a="b c" d=e\ f 'g\' h\"#);
        let words: Vec<_> = split_quoted(line.part(), '\\').iter().map(|part| part.text()).collect();
        assert_eq!(words, [r#"a="b c""#, r"d=e\ f", r"'g\'", "h"]);
    }

    #[test]
    fn json_arrays_know_where_their_strings_stand() {
        let line = line(r#"["a\"b", "c"]"#);
        let words = json_array(line.part()).unwrap().unwrap();
        assert_eq!(words[0].node, "a\"b");
        assert_eq!((words[1].span.start, words[1].span.end), (10, 11));
        for (text, want) in [
            (r#"["a\ud800b"]"#, Some("a\u{fffd}b")),
            (r#"["\ud83d\ude00\udc00"]"#, Some("\u{1f600}\u{fffd}")),
            (r#"["\\ud800"]"#, Some("\\ud800")),
            (r#"["\ud8"]"#, None),
        ] {
            let words = json_array(super::tests::line(text).part()).unwrap();
            assert_eq!(words.as_ref().map(|words| words[0].node.as_str()), want, "{text}");
        }
        assert!(json_array(super::tests::line("['a']").part()).unwrap().is_none());
        assert!(json_array(super::tests::line("[1]").part()).is_err());
        assert!(json_array(super::tests::line("[[\"a\"]]").part()).is_err());
    }
}
