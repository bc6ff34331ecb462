//! The regular expression of an ignore pattern.
//!
//! moby/patternmatcher makes a Go regular expression of a pattern, character by character, and some of what it makes is
//! surely not meant: `[*]` becomes `[[^/]*]`, `\d` a digit, and `{`, `|` and `}` keep the meaning they have in expressions
//! (the table of what is escaped has no room for them).  To match the same files the same text is made here first and
//! then read as Go's `regexp/syntax` reads it; what both engines understand differently is written out.

use super::unicode;
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
            '.' | '+' | '(' | ')' | '$' => out.extend(['\\', character]),
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
    /// What a repetition that comes next would repeat.
    last: Last,
}

/// What was read last, as far as a repetition behind it cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    /// Something that can be repeated.
    Item,
    /// A repetition, which cannot be repeated itself.
    Repetition,
    /// Nothing: the start of an alternative.
    Nothing,
}

/// Characters between braces that are worth looking at.
const BRACES_LIMIT: usize = 16;
/// Greatest number of repetitions, Go's limit.
const REPEAT_LIMIT: u32 = 1000;

const BAD_ESCAPE: &str = "a backslash before a letter or digit has no meaning here";
const BAD_REPETITION: &str = "a repetition in braces has nothing to repeat, or a number above 1000";
const BAD_CLASS: &str = "a character class is not closed";
const BAD_RANGE: &str = "a range in a character class ends before it starts";

impl<'a> Reader<'a> {
    fn new(expression: &'a str) -> Reader<'a> {
        Reader { chars: expression.chars().peekable(), out: String::new(), last: Last::Nothing }
    }

    fn read(mut self) -> Result<String, &'static str> {
        while let Some(character) = self.chars.next() {
            self.last = match character {
                '{' => self.repetition()?,
                '[' => self.class().map(|()| Last::Item)?,
                '\\' => self.escape()?,
                '|' | '(' => {
                    self.out.push(character);
                    Last::Nothing
                }
                // Only what was made above for `*` and `**`.
                '?' | '*' => {
                    self.out.push(character);
                    Last::Repetition
                }
                ')' | '.' | '^' | '$' => {
                    self.out.push(character);
                    Last::Item
                }
                _ => {
                    self.literal(character);
                    Last::Item
                }
            };
        }
        Ok(self.out)
    }

    fn literal(&mut self, character: char) {
        self.out.push_str(&regex::escape(character.encode_utf8(&mut [0; 4])));
    }

    /// Takes `{2}`, `{2,}` or `{2,3}` behind its `{`; all else is a brace.
    fn repetition(&mut self) -> Result<Last, &'static str> {
        let ahead: String = self.chars.clone().take_while(|c| *c != '}').take(BRACES_LIMIT).collect();
        let has_end = self.chars.clone().nth(ahead.chars().count()) == Some('}');
        let (low, high) = ahead.split_once(',').map_or((ahead.as_str(), None), |(low, high)| (low, Some(high)));
        let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u32>().ok());
        // Go's numbers do not begin with a zero.
        let is_number =
            |text: &str| number(text).is_some() && !text.is_empty() && (text == "0" || !text.starts_with('0'));
        if !has_end || !is_number(low) || high.is_some_and(|high| !high.is_empty() && !is_number(high)) {
            self.literal('{');
            return Ok(Last::Item);
        }
        let limited = |text: &str| number(text).flatten().filter(|count| *count <= REPEAT_LIMIT).ok_or(BAD_REPETITION);
        let least = limited(low)?;
        let is_reversed = match high.filter(|high| !high.is_empty()) {
            Some(high) => limited(high)? < least,
            None => false,
        };
        if is_reversed || self.last != Last::Item {
            return Err(BAD_REPETITION);
        }
        self.out.push_str(&format!("{{{ahead}}}"));
        self.chars.nth(ahead.len());
        Ok(Last::Repetition)
    }

    fn escape(&mut self) -> Result<Last, &'static str> {
        match self.chars.next().ok_or(BAD_ESCAPE)? {
            'A' => self.out.push_str(r"\A"),
            'z' => self.out.push_str(r"\z"),
            'b' => self.out.push_str(r"(?-u:\b)"),
            // By the words of Unicode; Go's are of ASCII, a difference that only text beside a letter with an accent shows.
            'B' => self.out.push_str(r"\B"),
            'Q' => return Ok(self.quoted()),
            kind @ ('p' | 'P') => {
                let class = unicode::class(kind, &mut self.chars)?;
                self.out.push_str(&class);
            }
            kind => match perl_class(kind) {
                Some(class) => {
                    self.out.push('[');
                    self.out.push_str(class);
                    self.out.push(']');
                }
                None => {
                    let character = self.character(kind)?;
                    self.literal(character);
                }
            },
        }
        Ok(Last::Item)
    }

    /// Takes what stands between `\Q` and `\E`, or the end, as it is.
    fn quoted(&mut self) -> Last {
        let mut last = self.last;
        while let Some(character) = self.chars.next() {
            if character == '\\' && self.chars.next_if_eq(&'E').is_some() {
                break;
            }
            self.literal(character);
            last = Last::Item;
        }
        last
    }

    /// Returns the character that an escape stands for, whose first character behind the backslash is taken.
    fn character(&mut self, kind: char) -> Result<char, &'static str> {
        let code = match kind {
            // A lone digit would refer to a group, which there is not.
            '1'..='7' => match self.digits(8, 2) {
                more if more.is_empty() => return Err(BAD_ESCAPE),
                more => u32::from_str_radix(&format!("{kind}{more}"), 8),
            },
            '0' => u32::from_str_radix(&format!("0{}", self.digits(8, 2)), 8),
            'x' if self.chars.next_if_eq(&'{').is_some() => {
                let code = self.digits(16, BRACES_LIMIT);
                self.chars.next_if_eq(&'}').ok_or(BAD_ESCAPE)?;
                u32::from_str_radix(&code, 16)
            }
            'x' => match self.digits(16, 2) {
                code if code.len() == 2 => u32::from_str_radix(&code, 16),
                _ => return Err(BAD_ESCAPE),
            },
            _ => return control(kind).ok_or(BAD_ESCAPE),
        };
        code.ok().and_then(char::from_u32).ok_or(BAD_ESCAPE)
    }

    /// Takes as many digits as there are, at most `count`.
    fn digits(&mut self, radix: u32, count: usize) -> String {
        let mut text = String::new();
        while text.len() < count
            && let Some(digit) = self.chars.next_if(|c| c.is_digit(radix))
        {
            text.push(digit);
        }
        text
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
                    self.out.push_str(&class);
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
    fn class_escape(&mut self) -> Result<Result<char, String>, &'static str> {
        let kind = self.chars.next().ok_or(BAD_ESCAPE)?;
        match perl_class(kind) {
            Some(class) => Ok(Err(class.to_owned())),
            None if matches!(kind, 'p' | 'P') => unicode::class(kind, &mut self.chars).map(Err),
            None => self.character(kind).map(Ok),
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
        for pattern in [
            "[*]",
            "[a&&b]",
            "[a~~b]",
            "[[:alpha:]]",
            r"\d",
            r"[\d]",
            "[[]",
            "a^b",
            "é[à-ü]",
            r"\é",
            r"\q",
            "{2}?",
            "?|x",
        ] {
            match translate(pattern) {
                Ok(Form::Expression(expression)) => drop(regex::Regex::new(&expression).unwrap()),
                Ok(form) => assert_eq!(form, Form::Exact, "{pattern}"),
                Err(_) => assert!(pattern.starts_with('\\'), "{pattern}"),
            }
        }
    }

    #[test]
    fn escapes_and_braces_are_those_of_go() {
        for (pattern, expected) in [
            (r"a\x62", "^ab$"),
            (r"a\x{62}", "^ab$"),
            (r"a\141b", "^aab$"),
            (r"\pL", r"^\p{L}$"),
            (r"a\p{^Lu}", r"^a\P{Lu}$"),
            (r"\P{Greek}", r"^\P{Script=Greek}$"),
            (r"[\p{L}]b", r"^[\p{L}]b$"),
            (r"[\x61]b", "^[a]b$"),
            (r"\Qa", r"^a\$"),
            (r"\Qa\Eb", "^ab$"),
            (r"a\B", r"^a\B$"),
            ("a{2}?", "^a{2}[^/]$"),
            ("?{x}", r"^[^/]\{x\}$"),
            ("?{02}", r"^[^/]\{02\}$"),
            ("a{2,}?", "^a{2,}[^/]$"),
            ("[a]|x", "^[a]|x$"),
            ("c{*", r"^c\{[^/]*$"),
        ] {
            assert_eq!(translate(pattern), Ok(Form::Expression(expected.into())), "{pattern}");
        }
        for pattern in [
            r"\x6",
            r"\xzz",
            r"\x{}",
            r"\x{110000}",
            r"\1",
            r"\8",
            r"\p{Nope}",
            r"\p{L",
            r"\p",
            r"a\C",
            r"a\E",
            r"a\Z",
            r"[\b]",
            r"[\Q]a",
            r"\u0061",
            "*{2}",
            "x|{2}?",
            "a{2,1}?",
            "a{1001}?",
            "a{2}{3}?",
        ] {
            assert!(translate(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn a_reversed_range_is_an_error() {
        assert_eq!(translate("[z-a]"), Err(BAD_RANGE));
    }
}
