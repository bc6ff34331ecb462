//! The regular expression of an ignore pattern.
//!
//! moby/patternmatcher makes a Go regular expression of a pattern, character by character, and some of what it makes is
//! surely not meant: `[*]` becomes `[[^/]*]`, `\d` a digit.  To match the same files the same text is made here first and
//! then read as Go's `regexp/syntax` reads it; what both engines understand differently is written out.

use std::iter::Peekable;
use std::str::Chars;

/// What kind of matching a pattern needs, as moby/patternmatcher decides it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The path is the pattern.
    Exact,
    /// The path starts with the pattern without its last two characters (`foo/**`).
    Prefix,
    /// The path ends with the pattern without its first two characters (`**/foo`).
    Suffix,
    /// The path matches the expression, in the syntax of the `regex` crate.
    Expression(String),
}

/// Returns the form of a cleaned pattern, or the reason why it has none.
pub(super) fn translate(pattern: &str) -> Result<Form, &'static str> {
    match go_form(pattern) {
        Form::Expression(expression) => Ok(Form::Expression(Reader::new(&expression).read()?)),
        form => Ok(form),
    }
}

/// Returns the form with the expression in Go's syntax.
fn go_form(pattern: &str) -> Form {
    let mut out = String::from("^");
    let mut form = Form::Exact;
    let regex = || Form::Expression(String::new());
    let mut chars = pattern.chars().peekable();
    let mut is_first = true;
    while let Some(character) = chars.next() {
        match character {
            '*' if chars.next_if_eq(&'*').is_some() => {
                chars.next_if_eq(&'/');
                if chars.peek().is_none() {
                    if form == Form::Exact {
                        form = Form::Prefix;
                    } else {
                        out.push_str(".*");
                        form = regex();
                    }
                } else {
                    out.push_str("(.*/)?");
                    form = regex();
                }
                if is_first {
                    form = Form::Suffix;
                }
            }
            '*' => {
                out.push_str("[^/]*");
                form = regex();
            }
            '?' => {
                out.push_str("[^/]");
                form = regex();
            }
            '.' | '+' | '(' | ')' | '|' | '{' | '}' | '$' => out.extend(['\\', character]),
            '\\' => {
                out.push('\\');
                if let Some(next) = chars.next() {
                    out.push(next);
                    form = regex();
                }
            }
            '[' | ']' => {
                out.push(character);
                form = regex();
            }
            _ => out.push(character),
        }
        is_first = false;
    }
    match form {
        Form::Expression(_) => Form::Expression(out + "$"),
        form => form,
    }
}

/// Rewrites a Go expression for the `regex` crate.
struct Reader<'a> {
    chars: Peekable<Chars<'a>>,
    out: String,
}

const BAD_ESCAPE: &str = "a backslash before a letter or digit has no meaning here";
const BAD_CLASS: &str = "a character class is not closed";
const BAD_RANGE: &str = "a range in a character class ends before it starts";

impl<'a> Reader<'a> {
    fn new(expression: &'a str) -> Reader<'a> {
        Reader { chars: expression.chars().peekable(), out: String::new() }
    }

    fn read(mut self) -> Result<String, &'static str> {
        while let Some(character) = self.chars.next() {
            match character {
                '[' => self.class()?,
                '\\' => self.escape()?,
                // Only what was made above for `*` and `**`, and the anchors.
                '(' | ')' | '?' | '*' | '.' | '^' | '$' => self.out.push(character),
                _ => self.literal(character),
            }
        }
        Ok(self.out)
    }

    fn literal(&mut self, character: char) {
        self.out.push_str(&regex::escape(character.encode_utf8(&mut [0; 4])));
    }

    fn escape(&mut self) -> Result<(), &'static str> {
        match self.chars.next().ok_or(BAD_ESCAPE)? {
            'A' => self.out.push_str(r"\A"),
            'z' => self.out.push_str(r"\z"),
            'b' => self.out.push_str(r"(?-u:\b)"),
            kind => match (perl_class(kind), control(kind)) {
                (Some(class), _) => {
                    self.out.push('[');
                    self.out.push_str(class);
                    self.out.push(']');
                }
                (None, Some(character)) => self.literal(character),
                (None, None) => return Err(BAD_ESCAPE),
            },
        }
        Ok(())
    }

    /// Reads a class whose `[` is taken.
    fn class(&mut self) -> Result<(), &'static str> {
        self.out.push('[');
        if self.chars.next_if_eq(&'^').is_some() {
            self.out.push('^');
        }
        let mut is_first = true;
        loop {
            match self.chars.peek().copied().ok_or(BAD_CLASS)? {
                ']' if !is_first => break,
                '[' if self.named_class() => {}
                _ => self.class_item()?,
            }
            is_first = false;
        }
        self.chars.next();
        self.out.push(']');
        Ok(())
    }

    /// Takes `[:alpha:]` and its like, if one stands here.
    fn named_class(&mut self) -> bool {
        const NAMES: [&str; 14] = [
            "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper",
            "word", "xdigit",
        ];
        let rest: String = self.chars.clone().take(12).collect();
        let Some((name, _)) = rest.strip_prefix("[:").and_then(|rest| rest.split_once(":]")) else { return false };
        if !NAMES.contains(&name.trim_start_matches('^')) {
            return false;
        }
        self.out.push_str(&format!("[:{name}:]"));
        self.chars.nth(name.len() + 3);
        true
    }

    fn class_item(&mut self) -> Result<(), &'static str> {
        let low = match self.chars.next().ok_or(BAD_CLASS)? {
            '\\' => match self.class_escape()? {
                Ok(character) => character,
                Err(class) => {
                    self.out.push_str(class);
                    return Ok(());
                }
            },
            character => character,
        };
        let mut ahead = self.chars.clone();
        let is_range = ahead.next() == Some('-') && ahead.next().is_some_and(|next| next != ']');
        self.literal(low);
        if !is_range {
            return Ok(());
        }
        self.chars.next();
        let high = match self.chars.next().ok_or(BAD_CLASS)? {
            '\\' => self.class_escape()?.map_err(|_| BAD_RANGE)?,
            character => character,
        };
        self.out.push('-');
        self.literal(high);
        if low <= high { Ok(()) } else { Err(BAD_RANGE) }
    }

    /// Returns the character of an escape in a class, or the inside of a class that it stands for.
    fn class_escape(&mut self) -> Result<Result<char, &'static str>, &'static str> {
        let kind = self.chars.next().ok_or(BAD_ESCAPE)?;
        match perl_class(kind) {
            Some(class) => Ok(Err(class)),
            None => control(kind).map(Ok).ok_or(BAD_ESCAPE),
        }
    }
}

/// The classes of Perl, of ASCII alone as in Go.
fn perl_class(kind: char) -> Option<&'static str> {
    Some(match kind {
        'd' => "[0-9]",
        'D' => "[^0-9]",
        's' => r"[\t\n\f\r ]",
        'S' => r"[^\t\n\f\r ]",
        'w' => "[0-9A-Za-z_]",
        'W' => "[^0-9A-Za-z_]",
        _ => return None,
    })
}

/// The character that an escaped character stands for: a control character or punctuation itself.
fn control(kind: char) -> Option<char> {
    Some(match kind {
        'a' => '\x07',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        _ if kind.is_ascii() && !kind.is_ascii_alphanumeric() => kind,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn forms_are_those_of_moby() {
        assert_eq!(translate("foo/bar").unwrap(), Form::Exact);
        assert_eq!(translate("foo/**").unwrap(), Form::Prefix);
        assert_eq!(translate("**/foo").unwrap(), Form::Suffix);
        assert_eq!(translate("**").unwrap(), Form::Suffix);
        assert_eq!(translate("*.go").unwrap(), Form::Expression(r"^[^/]*\.go$".into()));
        assert_eq!(translate("a/**/b").unwrap(), Form::Expression("^a/(.*/)?b$".into()));
    }

    #[test]
    fn expressions_compile_or_are_refused() {
        for pattern in
            ["[*]", "[a&&b]", "[a~~b]", "[[:alpha:]]", r"\d", r"[\d]", "[[]", "a^b", "é[à-ü]", r"\é", r"\q", r"\Qa"]
        {
            match translate(pattern) {
                Ok(Form::Expression(expression)) => drop(regex::Regex::new(&expression).unwrap()),
                Ok(form) => assert_eq!(form, Form::Exact, "{pattern}"),
                Err(_) => assert!(pattern.starts_with('\\'), "{pattern}"),
            }
        }
    }

    #[test]
    fn a_reversed_range_is_an_error() {
        assert_eq!(translate("[z-a]"), Err(BAD_RANGE));
    }
}
