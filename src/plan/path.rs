//! Paths of instructions, by the rules of the target's operating system.

/// Returns whether a path of an instruction is absolute.
pub(super) fn is_absolute(path: &str, os: &str) -> bool {
    to_slash(&without_drive(path, os), os).starts_with('/')
}

/// Returns the `WorkingDir` that `WORKDIR new` leaves in the config: a relative one joined to the old and cleaned, an
/// absolute one as written (BuildKit's habit, which users see with `docker inspect`).
pub(super) fn working_dir(current: &str, new: &str, os: &str) -> String {
    let new = to_slash(&without_drive(new, os), os);
    let result = if new.starts_with('/') { new } else { join(&to_slash(current, os), &new) };
    if os == "windows" { result.replace('/', "\\") } else { result }
}

/// Returns the path with forward slashes.
pub(super) fn to_slash(path: &str, os: &str) -> String {
    if os == "windows" { path.replace('\\', "/") } else { path.to_owned() }
}

/// Returns the absolute, cleaned form of a COPY destination; a trailing slash stands for "this is a directory".
pub(super) fn destination(cwd: &str, path: &str, os: &str) -> String {
    let path = to_slash(&without_drive(path, os), os);
    let is_directory = matches!(path.as_str(), "" | "." | "..") || path.ends_with('/') || path.ends_with("/.");
    let mut result = join(cwd, &path);
    if is_directory && !result.ends_with('/') {
        result.push('/');
    }
    result
}

/// Returns `path` below `parent` unless it is absolute, cleaned; `..` stops at the root.
pub(super) fn join(parent: &str, path: &str) -> String {
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{parent}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Returns a path of the context cleaned, relative to its root: `.` for the root, `..` in front kept.
pub(super) fn clean_relative(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if path.starts_with('/') => {}
            part => parts.push(part),
        }
    }
    match (path.starts_with('/'), parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

/// Returns the last component, `/` of the root and `.` of nothing.
pub(super) fn base_name(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    match (path.is_empty(), trimmed.is_empty()) {
        (true, _) => ".",
        (_, true) => "/",
        _ => trimmed.rsplit('/').next().unwrap_or(trimmed),
    }
}

fn without_drive(path: &str, os: &str) -> String {
    let has_drive = os == "windows" && path.len() > 2 && path.as_bytes()[1] == b':' && path.is_char_boundary(2);
    if has_drive { path[2..].to_owned() } else { path.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("", "a/b", "linux", "/a/b")]
    #[case("/x", "../../y", "linux", "/y")]
    #[case("/x", "//double//slash", "linux", "//double//slash")]
    #[case("/x", "/abs/sub/../x", "linux", "/abs/sub/../x")]
    #[case("\\", "foo", "windows", "\\foo")]
    #[case("\\", "C:\\foo/bar", "windows", "\\foo\\bar")]
    fn working_dir_keeps_absolute_values(
        #[case] old: &str,
        #[case] new: &str,
        #[case] os: &str,
        #[case] expected: &str,
    ) {
        assert_eq!(working_dir(old, new, os), expected);
    }

    #[rstest]
    #[case("/w", ".", "/w/")]
    #[case("/w", "", "/w/")]
    #[case("/w", "a", "/w/a")]
    #[case("/w", "a/", "/w/a/")]
    #[case("/w", "/a/.", "/a/")]
    #[case("/w", "../../../a", "/a")]
    #[case("/", ".", "/")]
    fn a_destination_is_absolute_and_keeps_its_slash(#[case] cwd: &str, #[case] path: &str, #[case] expected: &str) {
        assert_eq!(destination(cwd, path, "linux"), expected);
    }
}
