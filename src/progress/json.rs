//! JSON that may be read on a terminal.

use serde::Serialize;

/// Returns a value as JSON on one line.
pub fn json_line<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<String> {
    serde_json::to_string(value).map(printable)
}

/// Returns a value as indented JSON.
pub fn json_pretty<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<String> {
    serde_json::to_string_pretty(value).map(printable)
}

/// Escapes what JSON itself does not: DEL and the control characters of U+0080 to U+009F, which a terminal obeys as it
/// does ESC.  Outside of its strings JSON has none.
fn printable(json: String) -> String {
    let steers = |c: char| matches!(c, '\u{7f}'..='\u{9f}');
    if !json.contains(steers) {
        return json;
    }
    let mut printed = String::with_capacity(json.len() + 64);
    for c in json.chars() {
        match c {
            c if steers(c) => printed.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => printed.push(c),
        }
    }
    printed
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn no_control_character_is_printed_and_none_is_lost() {
        let text: String = (0..0x200).filter_map(char::from_u32).collect();
        for json in [json_line(&[&text]).unwrap(), json_pretty(&[&text]).unwrap()] {
            assert!(!json.contains(|c: char| c.is_control() && c != '\n'), "{}", json.escape_debug());
            assert_eq!(serde_json::from_str::<Vec<String>>(&json).unwrap(), [text.as_str()]);
        }
    }
}
