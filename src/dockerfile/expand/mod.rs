//! Word expansion: variables, quotes and escapes of the words of an instruction, as a shell has them.
//!
//! The forms are `$x ${x} ${x:-w} ${x-w} ${x:+w} ${x+w} ${x:?e} ${x?e} ${x#p} ${x##p} ${x%p} ${x%%p} ${x/p/r} ${x//p/r}`,
//! nested at will up to [`MAX_DEPTH`]; patterns know `*` and `?`.

mod lexer;
mod pattern;

use lexer::{Lexer, Mode};
use std::collections::BTreeSet;
use std::ops::Range;

/// The largest result of an expansion in bytes: `ARG A=$A$A` doubles with every line.
pub const MAX_EXPANDED_BYTES: usize = 16 << 20;

/// How deep `${a:-${b:-..}}` may nest.
pub const MAX_DEPTH: usize = 100;

/// The longest pattern of `${x#p}` and its like in bytes; its cost is that of a regular expression.
pub const MAX_PATTERN_BYTES: usize = 4096;

/// Why a word cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// A quote that is not closed.
    #[error("unterminated quote: no matching `{quote}`")]
    UnterminatedQuote {
        /// The opening quote.
        quote: char,
    },
    /// A `${` without its `}`, or a `${x/` without its second `/`.
    #[error("syntax error: missing `{missing}` in `${{}}`")]
    Unclosed {
        /// What was looked for.
        missing: char,
    },
    /// `${}`, `${{x}}`, `${:x}`.
    #[error("syntax error: bad substitution: `${{` is followed by a name, `\\$` is a dollar sign")]
    BadSubstitution,
    /// A character behind the name that stands for no form of expansion.
    #[error(
        "unsupported modifier `{modifier}` in substitution of `{name}`, known are `:-` `-` `:+` `+` `:?` `?` `#` `%` `/`"
    )]
    UnsupportedModifier {
        /// The variable.
        name: String,
        /// What follows it.
        modifier: String,
    },
    /// `${x:?}` or `${x?}` of a variable that has no value.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// The text behind the `?`, or a default.
        message: String,
    },
    /// A pattern with an escape that means nothing, or one that is too long.
    #[error("invalid pattern `{pattern}` in substitution")]
    InvalidPattern {
        /// The pattern.
        pattern: String,
    },
    /// Substitutions in substitutions beyond [`MAX_DEPTH`].
    #[error("substitutions are nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// A result beyond [`MAX_EXPANDED_BYTES`].
    #[error("the expanded text is larger than {MAX_EXPANDED_BYTES} bytes")]
    TooLarge,
}

impl ExpandError {
    /// Returns what was expected where it failed; empty where nothing in the text is wrong.
    pub fn expected(&self) -> &'static str {
        match self {
            ExpandError::UnterminatedQuote { .. } => "this quote is not closed",
            ExpandError::Unclosed { missing: '/' } => "expected a second `/`, as in `${name/pattern/replacement}`",
            ExpandError::Unclosed { .. } => "expected a `}` that closes it",
            ExpandError::BadSubstitution => "expected the name of a variable",
            ExpandError::UnsupportedModifier { .. } => {
                "expected `}`, or one of `:-` `-` `:+` `+` `:?` `?` `#` `##` `%` `%%` `/` `//`"
            }
            ExpandError::InvalidPattern { .. } => {
                "expected plain text, `*` and `?`; a backslash stands before one of these or itself"
            }
            ExpandError::Required { .. } | ExpandError::TooDeep | ExpandError::TooLarge => "",
        }
    }
}

/// A failed expansion, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct ExpandFailure {
    /// What failed.
    pub error: ExpandError,
    /// Bytes of the text that it is about: from the `$` or the quote that began it on.
    pub at: Range<usize>,
}

/// An expanded word.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expanded {
    /// The text, quotes and escapes removed.
    pub text: String,
    /// The variables that were looked up and found.
    pub used: BTreeSet<String>,
    /// The variables that were looked up and are not defined, those with a default included.
    pub unmatched: BTreeSet<String>,
}

/// Expands words with one set of variables.
#[derive(Clone, Copy)]
pub struct Expander<'a> {
    escape: char,
    lookup: &'a dyn Fn(&str) -> Option<String>,
}

impl std::fmt::Debug for Expander<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Expander").field("escape", &self.escape).finish_non_exhaustive()
    }
}

impl<'a> Expander<'a> {
    /// Returns an expander; `escape` is the escape character of the Dockerfile, `lookup` returns a variable's value.
    pub fn new(escape: char, lookup: &'a dyn Fn(&str) -> Option<String>) -> Expander<'a> {
        Expander { escape, lookup }
    }

    /// Expands a word; blanks in it and in values stay.
    ///
    /// # Errors
    /// See [`ExpandError`].
    pub fn word(&self, word: &str) -> Result<Expanded, ExpandFailure> {
        self.expand(word, self.escape, Mode::default())
    }

    /// Expands a text and splits it at blanks, those that values bring along included; quoted blanks do not split.
    ///
    /// What stands directly before a `${x<operator>..}` is lost from its word, as it is with `EXPOSE` in BuildKit, the
    /// only instruction that splits: the same Dockerfile must give the same image.
    ///
    /// # Errors
    /// See [`ExpandError`].
    pub fn words(&self, text: &str) -> Result<Vec<String>, ExpandFailure> {
        let mode = Mode { splits: true, ..Mode::default() };
        let mut lexer = Lexer::new(text, self.escape, mode, self.lookup);
        lexer.run().map(|(_, words)| words)
    }

    /// Expands the body of a here document of `COPY` or `ADD`: quotes are ordinary characters, the escape character is
    /// always `\`.
    ///
    /// # Errors
    /// See [`ExpandError`].
    pub fn heredoc(&self, body: &str) -> Result<Expanded, ExpandFailure> {
        self.expand(body, '\\', Mode { quotes_are_plain: true, ..Mode::default() })
    }

    /// Expands a command for people to read: quotes and variables that are not defined stay.
    ///
    /// # Errors
    /// See [`ExpandError`].
    pub fn shown(&self, text: &str) -> Result<Expanded, ExpandFailure> {
        self.expand(text, self.escape, Mode { keep_quotes: true, keep_unset: true, ..Mode::default() })
    }

    fn expand(&self, text: &str, escape: char, mode: Mode) -> Result<Expanded, ExpandFailure> {
        if !text.contains(['$', '\'', '"', escape]) {
            return Ok(Expanded { text: text.to_owned(), ..Expanded::default() });
        }
        let mut lexer = Lexer::new(text, escape, mode, self.lookup);
        let (text, _) = lexer.run()?;
        Ok(Expanded { text, used: lexer.used, unmatched: lexer.unmatched })
    }
}

/// Splits a line as a shell would, nothing expanded, quotes and escapes kept; no words if it cannot be split.
pub(super) fn shell_words(line: &str) -> Vec<String> {
    let mode = Mode { keep_quotes: true, keep_escapes: true, keep_unset: true, quotes_are_plain: false, splits: true };
    Lexer::new(line, '\\', mode, &|_| None).run().map(|(_, words)| words).unwrap_or_default()
}

/// Returns the terminator that `word` names, quotes removed, and whether a part of it was quoted.
///
/// `None` when it is not exactly one word.
pub(super) fn heredoc_name(word: &str) -> Option<(String, bool)> {
    let mode = Mode { keep_unset: true, splits: true, ..Mode::default() };
    let mut words = Lexer::new(word, '\\', mode, &|_| None).run().ok()?.1;
    let raw_mode = Mode { keep_quotes: true, ..mode };
    let raw = Lexer::new(word, '\\', raw_mode, &|_| None).run().ok()?.1;
    let quotes = |word: &String| word.matches(['\'', '"']).count();
    match (words.as_slice(), raw.as_slice()) {
        ([name], [raw]) => {
            let is_quoted = quotes(name) != quotes(raw);
            words.pop().map(|name| (name, is_quoted))
        }
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "x" => Some("v w".into()),
            "empty" => Some(String::new()),
            "lines" => Some("a\nb".into()),
            "dollar" => Some("a.b.c".into()),
            _ => None,
        }
    }

    fn word(text: &str) -> Result<String, ExpandError> {
        Expander::new('\\', &lookup).word(text).map(|expanded| expanded.text).map_err(|failure| failure.error)
    }

    #[test]
    fn a_failure_points_at_what_is_wrong() {
        for (text, expected) in [
            ("a${x", "${x"),
            ("a${x:-${y}b", "${x:-${y}b"),
            ("a${x:-${y", "${y"),
            ("a${}b", "}"),
            ("a${x^y}b", "^"),
            ("a${x:=y}b", ":="),
            ("a${x:#y}b", ":#"),
            ("a${x/b}c", "${x/b}c"),
            ("a'b", "'b"),
            ("é\"b$x", "\"b$x"),
            ("\"${nope?no}\"b", "${nope?no}"),
        ] {
            let failure = Expander::new('\\', &lookup).word(text).unwrap_err();
            assert_eq!(&text[failure.at], expected, "{text}");
            assert!(!failure.error.expected().is_empty() || text.contains('?'), "{text}");
        }
    }

    #[test]
    fn used_and_undefined_variables_are_told_apart() {
        let expanded = Expander::new('\\', &lookup).word("$x ${nope:-$also} '$quoted'").unwrap();
        assert_eq!(expanded.text, "v w  $quoted");
        assert_eq!(expanded.used.iter().collect::<Vec<_>>(), ["x"]);
        assert_eq!(expanded.unmatched.iter().collect::<Vec<_>>(), ["also", "nope"]);
    }

    #[test]
    fn the_message_of_a_required_variable_is_told() {
        let error = word("${nope:?foo missing}").unwrap_err();
        assert_eq!(error.to_string(), "nope: foo missing");
        assert_eq!(word("${empty:?}").unwrap_err().to_string(), "empty: is not allowed to be empty");
        assert_eq!(word("${empty?}").unwrap(), "");
    }

    #[test]
    fn the_escape_character_may_be_a_backtick() {
        let expander = Expander::new('`', &lookup);
        assert_eq!(expander.word(r"c:\$x`$x").unwrap().text, r"c:\v w$x");
    }

    #[test]
    fn heredocs_keep_their_quotes() {
        let expander = Expander::new('`', &lookup);
        assert_eq!(expander.heredoc("'$x' \"\\$x\" \\\\ \\\nend").unwrap().text, "'v w' \"$x\" \\ \nend");
    }

    #[test]
    fn a_replacement_is_literal_text() {
        assert_eq!(word("${dollar//./\\$0}").unwrap(), "a$0b$0c".replace("$0", "\\$0"));
    }

    #[test]
    fn results_and_nesting_have_limits() {
        let big = "b".repeat(MAX_EXPANDED_BYTES / 2 + 1);
        let lookup = |_: &str| Some(big.clone());
        let expander = Expander::new('\\', &lookup);
        assert!(expander.word("$b").is_ok());
        assert_eq!(expander.word("$b$b").unwrap_err().error, ExpandError::TooLarge);
        assert_eq!(expander.word("\"$b$b\"").unwrap_err().error, ExpandError::TooLarge);
        assert_eq!(expander.word("${b//b/bb}").unwrap_err().error, ExpandError::TooLarge);
        assert_eq!(word(&format!("{}{}", "${a:-".repeat(100_000), "}".repeat(100_000))), Err(ExpandError::TooDeep));
    }
}
