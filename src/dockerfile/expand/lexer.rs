//! One walk over a word: quotes, escapes and substitutions.
//!
//! The reference implementation collects the split words in one buffer that nested substitutions share and clear; that
//! is kept (see `Lexer::words`), because what `EXPOSE` puts into the image depends on it.

use super::pattern::{replace, trim_prefix, trim_suffix};
use super::{ExpandError, ExpandFailure, MAX_DEPTH, MAX_EXPANDED_BYTES};
use std::collections::BTreeSet;
use std::ops::Range;

/// What is kept as written.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mode {
    /// Quotes stay in the result.
    pub(super) keep_quotes: bool,
    /// Escape characters stay in the result.
    pub(super) keep_escapes: bool,
    /// Substitutions of undefined variables stay as written.
    pub(super) keep_unset: bool,
    /// Quotes mean nothing.
    pub(super) quotes_are_plain: bool,
    /// The words are wanted, not only the text.
    pub(super) splits: bool,
}

/// The state of a walk.
pub(super) struct Lexer<'a> {
    text: &'a str,
    rest: &'a str,
    escape: char,
    mode: Mode,
    lookup: &'a dyn Fn(&str) -> Option<String>,
    /// The split word under way, shared by all levels of nesting.
    word: String,
    depth: usize,
    /// Where the innermost thing that failed stands.
    fault: Option<Range<usize>>,
    pub(super) used: BTreeSet<String>,
    pub(super) unmatched: BTreeSet<String>,
}

/// The words of one level of nesting.
#[derive(Default)]
struct Words {
    done: Vec<String>,
    in_word: bool,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(
        text: &'a str,
        escape: char,
        mode: Mode,
        lookup: &'a dyn Fn(&str) -> Option<String>,
    ) -> Lexer<'a> {
        let (used, unmatched) = (BTreeSet::new(), BTreeSet::new());
        Lexer { text, rest: text, escape, mode, lookup, word: String::new(), depth: 0, fault: None, used, unmatched }
    }

    /// Returns the expanded text and its words.
    pub(super) fn run(&mut self) -> Result<(String, Vec<String>), ExpandFailure> {
        let result = self.until(None, self.mode.keep_escapes);
        result.map_err(|error| ExpandFailure { error, at: self.fault.take().unwrap_or(0..self.text.len()) })
    }

    /// Returns how many bytes have been taken.
    fn at(&self) -> usize {
        self.text.len() - self.rest.len()
    }

    /// Notes where something failed that began at `start`, unless something in it did.
    fn noted<T>(&mut self, start: usize, result: Result<T, ExpandError>) -> Result<T, ExpandError> {
        if result.is_err() && self.fault.is_none() {
            self.fault = Some(start..self.at());
        }
        result
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next();
        self.rest = chars.as_str();
        next
    }

    /// Consumes `c` if it is next.
    fn eat(&mut self, c: char) -> bool {
        match self.rest.strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Expands up to a stop character, which is consumed, or to the end of the text.
    fn until(&mut self, stop: Option<char>, keep_escapes: bool) -> Result<(String, Vec<String>), ExpandError> {
        if self.depth >= MAX_DEPTH {
            return Err(ExpandError::TooDeep);
        }
        let outer = std::mem::replace(&mut self.mode.keep_escapes, keep_escapes);
        self.depth += 1;
        self.word.clear();
        let result = self.level(stop);
        self.depth -= 1;
        self.mode.keep_escapes = outer;
        result
    }

    fn level(&mut self, stop: Option<char>) -> Result<(String, Vec<String>), ExpandError> {
        let mut result = String::new();
        let mut words = Words::default();
        while let Some(c) = self.peek() {
            if Some(c) == stop {
                self.next();
                return Ok((result, self.finish(words)));
            }
            match c {
                '$' => {
                    let value = self.dollar()?;
                    self.add(&mut words, &value);
                    append(&mut result, &value)?;
                }
                '<' => {
                    let opening = self.angle();
                    self.add_raw(&mut words, &opening);
                    append(&mut result, &opening)?;
                }
                '\'' | '"' if !self.mode.quotes_are_plain => {
                    let start = self.at();
                    let quoted = if c == '"' { self.double_quote() } else { self.single_quote() };
                    let quoted = self.noted(start, quoted)?;
                    self.add_raw(&mut words, &quoted);
                    append(&mut result, &quoted)?;
                }
                _ => self.plain(&mut words, &mut result)?,
            }
        }
        match stop {
            Some(missing) => Err(ExpandError::Unclosed { missing }),
            None => Ok((result, self.finish(words))),
        }
    }

    /// Takes an ordinary character, or an escape and what it escapes.
    fn plain(&mut self, words: &mut Words, result: &mut String) -> Result<(), ExpandError> {
        let Some(c) = self.next() else { return Ok(()) };
        let mut buffer = [0; 4];
        if c != self.escape {
            let plain = c.encode_utf8(&mut buffer);
            self.add(words, plain);
            return append(result, plain);
        }
        if self.mode.keep_escapes {
            let escape = c.encode_utf8(&mut buffer);
            self.add_raw(words, escape);
            append(result, escape)?;
        }
        let Some(escaped) = self.next() else { return Ok(()) };
        let escaped = escaped.encode_utf8(&mut buffer);
        self.add_raw(words, escaped);
        append(result, escaped)
    }

    /// Adds text to the word under way; white space ends the word.
    fn add(&mut self, words: &mut Words, text: &str) {
        if !self.mode.splits {
            return;
        }
        for c in text.chars() {
            if !c.is_whitespace() {
                self.word.push(c);
                words.in_word = true;
            } else if words.in_word && !self.word.is_empty() {
                words.done.push(std::mem::take(&mut self.word));
                words.in_word = false;
            }
        }
    }

    /// Adds quoted text to the word under way.
    fn add_raw(&mut self, words: &mut Words, text: &str) {
        if self.mode.splits {
            self.word.push_str(text);
            words.in_word = true;
        }
    }

    fn finish(&mut self, mut words: Words) -> Vec<String> {
        if !self.word.is_empty() {
            words.done.push(std::mem::take(&mut self.word));
        }
        words.done
    }

    /// `'..'`: nothing in it means anything.
    fn single_quote(&mut self) -> Result<String, ExpandError> {
        let body = &self.rest[1..];
        let Some(end) = body.find('\'') else {
            self.rest = "";
            return Err(ExpandError::UnterminatedQuote { quote: '\'' });
        };
        let raw = &self.rest[..end + 2];
        self.rest = &body[end + 1..];
        Ok(if self.mode.keep_quotes { raw.to_owned() } else { body[..end].to_owned() })
    }

    /// `".."`: substitutions work, and the escape of `"`, `$` and itself.
    fn double_quote(&mut self) -> Result<String, ExpandError> {
        let mut result = String::new();
        self.next();
        if self.mode.keep_quotes {
            result.push('"');
        }
        loop {
            match self.peek() {
                None => return Err(ExpandError::UnterminatedQuote { quote: '"' }),
                Some('"') => {
                    self.next();
                    if self.mode.keep_quotes {
                        result.push('"');
                    }
                    return Ok(result);
                }
                Some('$') => {
                    let value = self.dollar()?;
                    append(&mut result, &value)?;
                }
                Some(c) => {
                    self.next();
                    self.quoted(c, &mut result)?;
                }
            }
        }
    }

    /// Takes an ordinary character in double quotes.
    fn quoted(&mut self, c: char, result: &mut String) -> Result<(), ExpandError> {
        let mut taken = c;
        if c == self.escape {
            if self.mode.keep_escapes {
                result.push(c);
            }
            match self.peek() {
                None => return Ok(()),
                Some(next) if next == '"' || next == '$' || next == self.escape => {
                    self.next();
                    taken = next;
                }
                Some(_) => {}
            }
        }
        append(result, taken.encode_utf8(&mut [0; 4]))
    }

    /// `<` or `<<`: the blanks behind `<<` belong to the word, so that `<< EOF` is one.
    fn angle(&mut self) -> String {
        self.next();
        if !self.eat('<') {
            return "<".to_owned();
        }
        let blanks = self.rest.len() - self.rest.trim_start_matches(['\t', '\r', ' ']).len();
        let (taken, rest) = self.rest.split_at(blanks);
        self.rest = rest;
        format!("<<{taken}")
    }

    /// `$name` or `${..}`.
    fn dollar(&mut self) -> Result<String, ExpandError> {
        let start = self.at();
        let value = self.substitution();
        self.noted(start, value)
    }

    fn substitution(&mut self) -> Result<String, ExpandError> {
        self.next();
        if !self.eat('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(match self.value(name) {
                None if self.mode.keep_unset => format!("${name}"),
                value => value.unwrap_or_default(),
            });
        }
        match self.peek() {
            None => return Err(ExpandError::Unclosed { missing: '}' }),
            Some('{' | '}' | ':') => {
                let start = self.at();
                self.next();
                return self.noted(start, Err(ExpandError::BadSubstitution));
            }
            Some(_) => {}
        }
        let name = self.name();
        let operator = self.at();
        match self.next() {
            None => Err(ExpandError::Unclosed { missing: '}' }),
            Some('}') => Ok(match self.value(name) {
                None if self.mode.keep_unset => format!("${{{name}}}"),
                value => value.unwrap_or_default(),
            }),
            Some(':') => match self.next() {
                Some(operator) => self.operation(name, operator, true),
                None => Err(ExpandError::Unclosed { missing: '}' }),
            },
            Some(operator @ ('+' | '-' | '?' | '#' | '%')) => self.operation(name, operator, false),
            Some('/') => self.replacement(name),
            Some(other) => self.noted(operator, Err(unsupported(name, other.to_string()))),
        }
    }

    /// Reads a variable's name: letters, digits and `_`; digits alone; or one special character.
    fn name(&mut self) -> &'a str {
        let is_special = |c: char| matches!(c, '@' | '*' | '#' | '?' | '-' | '$' | '!');
        let length = match self.peek() {
            Some(c) if c.is_ascii_digit() => length_while(self.rest, |c| c.is_ascii_digit()),
            Some(c) if is_special(c) => c.len_utf8(),
            _ => length_while(self.rest, |c| c.is_alphanumeric() || c == '_'),
        };
        let (name, rest) = self.rest.split_at(length);
        self.rest = rest;
        name
    }

    fn value(&mut self, name: &str) -> Option<String> {
        let value = (self.lookup)(name);
        let set = if value.is_some() { &mut self.used } else { &mut self.unmatched };
        if !set.contains(name) {
            set.insert(name.to_owned());
        }
        value
    }

    /// `${name<operator>word}`; `null_is_unset` when a `:` stood before the operator.
    fn operation(&mut self, name: &str, operator: char, null_is_unset: bool) -> Result<String, ExpandError> {
        let colon = if null_is_unset { ":" } else { "" };
        let is_trim = matches!(operator, '#' | '%');
        let modifier = format!("{colon}{operator}");
        let start = self.at() - modifier.len();
        let modifier_at = start..self.at();
        if null_is_unset && is_trim {
            return self.noted(start, Err(unsupported(name, modifier)));
        }
        let (word, _) = self.until(Some('}'), is_trim)?;
        let value = self.value(name);
        if value.is_none() && self.mode.keep_unset {
            return Ok(format!("${{{name}{colon}{operator}{word}}}"));
        }
        let set = value.as_deref().filter(|value| !(null_is_unset && value.is_empty()));
        match operator {
            '-' => Ok(set.map_or(word, str::to_owned)),
            '+' => Ok(set.map(|_| word).unwrap_or_default()),
            '?' => match set {
                Some(value) => Ok(value.to_owned()),
                None => Err(required(name, word, value.is_some())),
            },
            '#' | '%' => {
                let (is_greedy, pattern) = match word.strip_prefix(operator) {
                    Some(pattern) => (true, pattern),
                    None => (false, word.as_str()),
                };
                let trim = if operator == '#' { trim_prefix } else { trim_suffix };
                trim(pattern, set.unwrap_or_default(), is_greedy)
            }
            _ => {
                self.fault.get_or_insert(modifier_at);
                Err(unsupported(name, modifier))
            }
        }
    }

    /// `${name/pattern/replacement}` and `${name//pattern/replacement}`.
    fn replacement(&mut self, name: &str) -> Result<String, ExpandError> {
        let all = self.eat('/');
        let (pattern, _) = self.until(Some('/'), true)?;
        let (replacement, _) = self.until(Some('}'), true)?;
        match self.value(name) {
            None if self.mode.keep_unset => Ok(format!("${{{name}/{pattern}/{replacement}}}")),
            value => replace(&pattern, &value.unwrap_or_default(), &replacement, all),
        }
    }
}

fn append(result: &mut String, text: &str) -> Result<(), ExpandError> {
    if result.len() + text.len() > MAX_EXPANDED_BYTES {
        return Err(ExpandError::TooLarge);
    }
    result.push_str(text);
    Ok(())
}

fn length_while(text: &str, is_part: impl Fn(char) -> bool) -> usize {
    text.find(|c| !is_part(c)).unwrap_or(text.len())
}

fn unsupported(name: &str, modifier: String) -> ExpandError {
    ExpandError::UnsupportedModifier { name: name.to_owned(), modifier }
}

fn required(name: &str, message: String, is_set: bool) -> ExpandError {
    let default = if is_set { "is not allowed to be empty" } else { "is not allowed to be unset" };
    let message = if message.is_empty() { default.to_owned() } else { message };
    ExpandError::Required { name: name.to_owned(), message }
}
