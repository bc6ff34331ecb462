//! Which sources of ADD are remote.

/// What a source of ADD or COPY is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SourceKind {
    /// A path of the context or a stage.
    Path,
    /// An http(s) URL that is downloaded.
    Http,
    /// A Git repository.
    Git,
}

/// Tells paths, downloads and Git repositories apart, as BuildKit does: an http(s) URL is a repository when its path
/// ends in `.git`; `git@host:path` is one, `github.com/..` is a path.
pub(super) fn classify(source: &str) -> SourceKind {
    let lower = source.to_ascii_lowercase();
    if lower.starts_with("http://") || lower.starts_with("https://") {
        let end = source.find(['#', '?']).unwrap_or(source.len());
        return if source[..end].ends_with(".git") { SourceKind::Git } else { SourceKind::Http };
    }
    if lower.starts_with("git://") || lower.starts_with("ssh://") || is_scp(source) {
        return SourceKind::Git;
    }
    SourceKind::Path
}

/// `user@host:path`, the user and host made of plain characters.
fn is_scp(source: &str) -> bool {
    let Some((account, path)) = source.split_once(':') else { return false };
    let Some((user, host)) = account.split_once('@') else { return false };
    let is_plain = |text: &str, more: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    is_plain(user, "-_.") && is_plain(host, "-.") && !path.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("a/b", SourceKind::Path)]
    #[case("github.com/a/b.git", SourceKind::Path)]
    #[case("./git@x:y", SourceKind::Path)]
    #[case("https://example.com/a.tar", SourceKind::Http)]
    #[case("https://example.com/a.git", SourceKind::Git)]
    #[case("https://example.com/a.git#v1:sub", SourceKind::Git)]
    #[case("https://example.com/a.git?ref=v1", SourceKind::Git)]
    #[case("https://example.com/a?x=.git", SourceKind::Http)]
    #[case("git@example.com:a/b", SourceKind::Git)]
    #[case("git://example.com/a", SourceKind::Git)]
    fn sources_are_told_apart(#[case] source: &str, #[case] expected: SourceKind) {
        assert_eq!(classify(source), expected);
    }
}
