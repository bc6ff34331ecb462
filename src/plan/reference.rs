//! Image names as users write them.

use crate::image::Reference;

/// Returns why a text cannot name an image.
pub(super) fn check(name: &str) -> Result<Reference, String> {
    let invalid = |reason: &str| format!("invalid reference format: {reason}: `{name}`");
    let reference: Reference = name.parse().map_err(|error| format!("invalid reference format: {error}"))?;
    let repository = &reference.repository;
    if repository.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(invalid("repository name must be lowercase"));
    }
    let is_component = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.ends_with(|c: char| c.is_ascii_alphanumeric())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    if !repository.split('/').all(is_component) {
        return Err(invalid("not an image name"));
    }
    Ok(reference)
}

/// Returns the short form under which `--build-context` names are kept: `docker.io/library/busybox:latest` is `busybox`.
pub(super) fn familiar(name: &str) -> &str {
    let name = name.strip_prefix("index.docker.io/").or_else(|| name.strip_prefix("docker.io/")).unwrap_or(name);
    let name = match name.strip_prefix("library/") {
        Some(rest) if !rest.contains('/') => rest,
        _ => name,
    };
    name.strip_suffix(":latest").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("docker.io/library/busybox:latest", "busybox")]
    #[case("busybox:1.36", "busybox:1.36")]
    #[case("docker.io/me/app", "me/app")]
    #[case("ghcr.io/me/app:latest", "ghcr.io/me/app")]
    fn names_are_shortened(#[case] name: &str, #[case] expected: &str) {
        assert_eq!(familiar(name), expected);
    }

    #[rstest]
    #[case("busybox", true)]
    #[case("localhost:5000/a/b:c", true)]
    #[case("BUG_stage", false)]
    #[case("", false)]
    #[case("a//b", false)]
    fn references_are_checked(#[case] name: &str, #[case] expected: bool) {
        assert_eq!(check(name).is_ok(), expected);
    }
}
