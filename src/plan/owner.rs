//! What `--chown` and USER need of an image: names are looked up in its files, numbers stand for themselves.

/// Returns whether a user or group of `user[:group]` is a name that the image's files have to explain.
///
/// `root` is 0 everywhere, and so is a part that is left out.
pub(super) fn has_name(text: &str) -> bool {
    let is_name = |part: &str| !part.is_empty() && part != "root" && !is_number(part);
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    is_name(user) || is_name(group)
}

fn is_number(part: &str) -> bool {
    let digits = part.strip_prefix(['-', '+']).unwrap_or(part);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("", false)]
    #[case("root", false)]
    #[case("root:root", false)]
    #[case("7", false)]
    #[case("7:8", false)]
    #[case(":8", false)]
    #[case("7:", false)]
    #[case("user", true)]
    #[case("7:staff", true)]
    #[case("user:8", true)]
    #[case(":staff", true)]
    #[case("7a", true)]
    fn names(#[case] text: &str, #[case] expected: bool) {
        assert_eq!(has_name(text), expected);
    }
}
