//! `\p{..}` of an ignore pattern: characters by category or script, by the names that Go knows.

use std::iter::Peekable;
use std::str::Chars;

const BAD_NAME: &str = "unknown category or script of characters behind `\\p`";

/// Unicode's general categories, and Go's `Any`.
const CATEGORIES: [&str; 39] = [
    "Any", "C", "Cc", "Cf", "Cn", "Co", "Cs", "L", "LC", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N",
    "Nd", "Nl", "No", "P", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm", "So", "Z", "Zl", "Zp",
    "Zs",
];

/// Takes the name behind a `\p` or `\P` and returns the class in the syntax of the `regex` crate.
pub(super) fn class(kind: char, chars: &mut Peekable<Chars<'_>>) -> Result<String, &'static str> {
    let mut is_negated = kind == 'P';
    let mut name = String::new();
    match chars.next().ok_or(BAD_NAME)? {
        '{' => loop {
            match chars.next().ok_or(BAD_NAME)? {
                '}' => break,
                '^' if name.is_empty() => is_negated = !is_negated,
                character => name.push(character),
            }
        },
        character => name.push(character),
    }
    let sign = if is_negated { 'P' } else { 'p' };
    if CATEGORIES.contains(&name.as_str()) {
        return compiled(format!("\\{sign}{{{name}}}"));
    }
    let is_word =
        name.starts_with(|c: char| c.is_ascii_uppercase()) && name.chars().all(|c| c.is_ascii_alphabetic() || c == '_');
    if is_word { compiled(format!("\\{sign}{{Script={name}}}")) } else { Err(BAD_NAME) }
}

fn compiled(class: String) -> Result<String, &'static str> {
    regex::Regex::new(&class).map(|_| class).map_err(|_| BAD_NAME)
}
