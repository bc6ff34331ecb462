//! Patterns of `${x#p}`, `${x%p}` and `${x/p/r}`: `*` and `?`, no brackets.

use super::{ExpandError, MAX_EXPANDED_BYTES, MAX_PATTERN_BYTES};
use regex::Regex;

/// Memory that a compiled pattern may take, in bytes.
const MAX_REGEX_BYTES: usize = 8 << 20;

/// Removes the shortest, or the longest, prefix that matches.
pub(super) fn trim_prefix(pattern: &str, value: &str, is_greedy: bool) -> Result<String, ExpandError> {
    let regex = compile(pattern, is_greedy, true)?;
    Ok(regex.find(value).map_or(value, |found| &value[found.end()..]).to_owned())
}

/// Removes the shortest, or the longest, suffix that matches.
///
/// A search finds the leftmost match, not the shortest rightmost one; so both pattern and value are turned around.
pub(super) fn trim_suffix(pattern: &str, value: &str, is_greedy: bool) -> Result<String, ExpandError> {
    let reversed: String = value.chars().rev().collect();
    let rest = trim_prefix(&reverse_pattern(pattern), &reversed, is_greedy)?;
    Ok(rest.chars().rev().collect())
}

/// Replaces the first match, or all matches, by a literal text.
pub(super) fn replace(pattern: &str, value: &str, replacement: &str, all: bool) -> Result<String, ExpandError> {
    let regex = compile(pattern, true, false)?;
    let mut result = String::new();
    let mut behind_last = 0;
    for found in regex.find_iter(value).take(if all { usize::MAX } else { 1 }) {
        result.push_str(&value[behind_last..found.start()]);
        result.push_str(replacement);
        behind_last = found.end();
        if result.len() > MAX_EXPANDED_BYTES {
            return Err(ExpandError::TooLarge);
        }
    }
    result.push_str(&value[behind_last..]);
    Ok(result)
}

/// Turns a pattern around, an escape staying in front of what it escapes.
fn reverse_pattern(pattern: &str) -> String {
    let mut reversed: Vec<char> = Vec::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match (c, chars.clone().next()) {
            ('\\', Some(escaped)) => {
                chars.next();
                reversed.extend([escaped, '\\']);
            }
            _ => reversed.push(c),
        }
    }
    reversed.into_iter().rev().collect()
}

/// Returns the regular expression of a pattern.
fn compile(pattern: &str, is_greedy: bool, is_anchored: bool) -> Result<Regex, ExpandError> {
    let invalid = || ExpandError::InvalidPattern { pattern: pattern.chars().take(80).collect() };
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err(invalid());
    }
    let mut expression = String::with_capacity(pattern.len() + 4);
    if is_anchored {
        expression.push('^');
    }
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' => expression.push_str(if is_greedy { ".*" } else { ".*?" }),
            '?' => expression.push('.'),
            // The escape that keeps `}` and `/` from ending the pattern is no part of it.
            '\\' if matches!(chars.peek(), Some('}' | '/')) => {}
            '\\' => match chars.next() {
                Some(escaped @ ('*' | '?' | '\\')) => expression.extend(['\\', escaped]),
                _ => return Err(invalid()),
            },
            _ => expression.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    regex::RegexBuilder::new(&expression).size_limit(MAX_REGEX_BYTES).build().map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escape_stays_in_front_when_a_pattern_is_turned_around() {
        for (pattern, want) in [(r"a\*c", r"c\*a"), ("abc", "cba"), (r"\\a", r"a\\"), ("é*", "*é")] {
            assert_eq!(reverse_pattern(pattern), want);
        }
    }

    #[test]
    fn long_patterns_are_refused() {
        assert!(trim_prefix(&"*a".repeat(MAX_PATTERN_BYTES), "aaa", true).is_err());
    }
}
