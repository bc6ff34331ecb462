//! Wildcards of COPY and ADD sources, as Go's `filepath.Match` defines them.
//!
//! `*` and `?` stop at `/`, classes do not; `**` is no more than `*`.  (The matching with `**` that `--parents` needs is
//! that of ignore files, see [`super::ignore`].)  A `*` takes the first place where the text behind it matches and never
//! comes back, so the time is bounded by the product of both lengths.

/// A pattern that is not well formed: an open class, an empty one, a reversed escape at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern")]
pub struct BadPattern;

/// Returns whether the whole `name` matches `pattern`.
///
/// Classes and `?` take one character of UTF-8 (or one byte that is none), everything else compares bytes.
/// As in Go an error in a part that is not reached is not seen, except that a part without `*` is always read to its end.
pub fn go_match(pattern: impl AsRef<[u8]>, name: impl AsRef<[u8]>) -> Result<bool, BadPattern> {
    let (mut pattern, mut name) = (pattern.as_ref(), name.as_ref());
    while !pattern.is_empty() {
        let (star, chunk, rest) = next_chunk(pattern);
        pattern = rest;
        if star && chunk.is_empty() {
            return Ok(!name.contains(&b'/'));
        }
        match place_of_chunk(chunk, name, star, rest.is_empty())? {
            Some(after) => name = after,
            None => return Ok(false),
        }
    }
    Ok(name.is_empty())
}

/// Returns whether a component of a source has wildcards; one without is taken as it stands, backslashes included.
pub fn has_wildcards(component: &[u8]) -> bool {
    let mut bytes = component.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}

/// Splits off leading stars and the text up to the next star outside of a class.
fn next_chunk(pattern: &[u8]) -> (bool, &[u8], &[u8]) {
    let stars = pattern.iter().take_while(|byte| **byte == b'*').count();
    let text = &pattern[stars..];
    let (mut at, mut in_class) = (0, false);
    while at < text.len() {
        match text[at] {
            b'\\' if at + 1 < text.len() => at += 1,
            b'[' => in_class = true,
            b']' => in_class = false,
            b'*' if !in_class => break,
            _ => {}
        }
        at += 1;
    }
    (stars > 0, &text[..at], &text[at..])
}

/// Finds the chunk at the start of `name`, or behind what a star before it may take; returns what follows it.
fn place_of_chunk<'a>(chunk: &[u8], name: &'a [u8], star: bool, is_last: bool) -> Result<Option<&'a [u8]>, BadPattern> {
    let mut skipped = 0;
    loop {
        if let Some(after) = match_chunk(chunk, &name[skipped..])?
            && (after.is_empty() || !is_last)
        {
            return Ok(Some(after));
        }
        if !star || skipped == name.len() || name[skipped] == b'/' {
            return Ok(None);
        }
        skipped += 1;
    }
}

/// Matches a chunk without stars at the start of `text`; goes on after a mismatch to find errors.
fn match_chunk<'a>(mut chunk: &[u8], text: &'a [u8]) -> Result<Option<&'a [u8]>, BadPattern> {
    let mut left = Some(text);
    while let Some((&first, rest)) = chunk.split_first() {
        left = left.filter(|text| !text.is_empty());
        chunk = match first {
            b'[' => {
                let (character, size) = left.map_or(('\0', 0), first_character);
                let (is_match, rest) = match_class(rest, character)?;
                left = left.filter(|_| is_match).map(|text| &text[size..]);
                rest
            }
            b'?' => {
                left = left.filter(|text| text[0] != b'/').map(|text| &text[first_character(text).1..]);
                rest
            }
            _ => {
                let (literal, rest) = match first {
                    b'\\' => rest.split_first().map(|(literal, rest)| (*literal, rest)).ok_or(BadPattern)?,
                    _ => (first, rest),
                };
                left = left.filter(|text| text[0] == literal).map(|text| &text[1..]);
                rest
            }
        };
    }
    Ok(left)
}

/// Matches one character against the class whose `[` is already taken.
fn match_class(mut class: &[u8], character: char) -> Result<(bool, &[u8]), BadPattern> {
    let is_negated = class.first() == Some(&b'^');
    if is_negated {
        class = &class[1..];
    }
    let (mut is_in, mut ranges) = (false, 0);
    loop {
        if ranges > 0 && class.first() == Some(&b']') {
            return Ok((is_in != is_negated, &class[1..]));
        }
        let (low, rest) = class_character(class)?;
        let (high, rest) = if rest.first() == Some(&b'-') { class_character(&rest[1..])? } else { (low, rest) };
        is_in |= (low..=high).contains(&character);
        ranges += 1;
        class = rest;
    }
}

/// Takes one character of a class, which is never the last of the pattern.
fn class_character(class: &[u8]) -> Result<(char, &[u8]), BadPattern> {
    let text = match class.first() {
        None | Some(b'-' | b']') => return Err(BadPattern),
        Some(b'\\') => &class[1..],
        Some(_) => class,
    };
    if text.is_empty() {
        return Err(BadPattern);
    }
    let (character, size) = first_character(text);
    let is_invalid = character == char::REPLACEMENT_CHARACTER && size == 1;
    if is_invalid || size == text.len() { Err(BadPattern) } else { Ok((character, &text[size..])) }
}

/// Returns the first character of a text that is not empty and its size; U+FFFD and 1 for a byte that is not UTF-8.
pub(super) fn first_character(text: &[u8]) -> (char, usize) {
    let window = &text[..text.len().min(4)];
    let valid = match std::str::from_utf8(window) {
        Ok(valid) => valid,
        Err(error) => std::str::from_utf8(&window[..error.valid_up_to()]).unwrap_or_default(),
    };
    valid.chars().next().map_or((char::REPLACEMENT_CHARACTER, 1), |character| (character, character.len_utf8()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[derive(serde::Deserialize)]
    struct Table {
        names: Vec<String>,
        rows: Vec<Row>,
    }

    #[derive(serde::Deserialize)]
    struct Row {
        pattern: String,
        #[serde(rename = "match")]
        matches: Option<String>,
    }

    #[test]
    fn every_row_of_the_table_agrees_with_go() {
        let table: Table = serde_json::from_str(include_str!("../../tests/data/glob.json")).unwrap();
        assert!(table.rows.len() > 100);
        for row in &table.rows {
            let found: Result<String, BadPattern> = table
                .names
                .iter()
                .map(|name| go_match(&row.pattern, name).map(|is_match| if is_match { '1' } else { '0' }))
                .collect();
            assert_eq!(found.ok(), row.matches, "pattern {:?}", row.pattern);
        }
    }

    #[test]
    fn bytes_that_are_no_utf8_count_as_one_character_each() {
        assert_eq!(go_match(b"a?b", b"a\xffb"), Ok(true));
        assert_eq!(go_match(b"a?b", b"a\xff\xfeb"), Ok(false));
        assert_eq!(go_match(b"a*", b"a\xff\xfe"), Ok(true));
        assert_eq!(go_match(b"[\xff]", b"a"), Err(BadPattern));
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let name = "a".repeat(4000);
        assert_eq!(go_match("*a".repeat(200) + "b", name), Ok(false));
    }

    #[test]
    fn an_escaped_star_is_no_wildcard() {
        assert!(!has_wildcards(br"a\*b"));
        assert!(has_wildcards(br"a\\*b"));
        assert!(has_wildcards(b"[[]x"));
    }
}
