//! What `--chmod` accepts: octal numbers up to 7777 and chmod(1)'s symbolic modes.

/// Returns whether a value of `--chmod` can be applied.
pub(super) fn is_valid(text: &str) -> bool {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return text.bytes().all(|b| (b'0'..=b'7').contains(&b))
            && u32::from_str_radix(text, 8).is_ok_and(|mode| mode <= 0o7777);
    }
    !text.is_empty() && text.split(',').all(is_clause)
}

/// `[ugoa]*([-+=]([rwxXst]*|[ugo]))+`
fn is_clause(clause: &str) -> bool {
    let actions = clause.trim_start_matches(['u', 'g', 'o', 'a']);
    actions.starts_with(['+', '-', '='])
        && actions[1..].split(['+', '-', '=']).all(|permissions| {
            matches!(permissions, "u" | "g" | "o") || permissions.chars().all(|c| "rwxXst".contains(c))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("0755", true)]
    #[case("7777", true)]
    #[case("10000", false)]
    #[case("64a", false)]
    #[case("u=rw,g=r,o=", true)]
    #[case("a+X", true)]
    #[case("g=u", true)]
    #[case("go-w+r", true)]
    #[case("u+q", false)]
    #[case("", false)]
    fn modes(#[case] text: &str, #[case] expected: bool) {
        assert_eq!(is_valid(text), expected);
    }
}
