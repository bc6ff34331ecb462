//! `--chown` and `USER`: names and numbers into ids, by the text of the image's own `/etc/passwd` and `/etc/group`.
//!
//! The files are parsed here and nothing of the host (NSS, libraries) takes part: a helper loaded from inside an image
//! ran with the builder's rights once (docker CVE-2019-14271).

use crate::sys::Root;
use std::io;
use std::path::Path;

/// Largest passwd or group file that is read, bytes.
const MAX_USER_FILE_BYTES: u64 = 10 << 20;

/// Largest id: above it ids turn negative in runtimes that hold them in 32 bits (containerd CVE-2024-40635).
const MAX_ID: u32 = i32::MAX as u32;

/// A user or group that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// A number that is no id.
    #[error("`{text}` is not a user or group id between 0 and {MAX_ID}")]
    Range {
        /// As written.
        text: String,
    },
    /// The image's file could not be read.
    #[error("cannot look up `{name}` in `{file}` of the image")]
    Lookup {
        /// The user or group.
        name: String,
        /// The file.
        file: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// Returns user and group that `--chown` names.
///
/// `user[:group]`, each a name or a number.  A number alone is user and group; a name alone takes the group of its
/// passwd entry.  Names that the image does not know are 0, as in BuildKit.
pub fn parse_chown(text: &str, image: &Root) -> Result<(u32, u32), OwnerError> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let (uid, mut gid) = match parse_id(user)? {
        Some(id) => (id, id),
        None => find(image, "/etc/passwd", user, passwd_ids)?.unwrap_or((0, 0)),
    };
    if let Some(group) = group {
        gid = match parse_id(group)? {
            Some(id) => id,
            // BuildKit takes an empty group for 0.
            None if group.is_empty() => 0,
            None => find(image, "/etc/group", group, group_id)?.unwrap_or(gid),
        };
    }
    Ok((uid, gid))
}

/// Returns user and group of the `USER` in force, owner of what WORKDIR makes; an empty text is root.
pub fn parse_user(text: &str, image: &Root) -> Result<(u32, u32), OwnerError> {
    if text.is_empty() { Ok((0, 0)) } else { parse_chown(text, image) }
}

/// Returns the id that a text is, `None` for a name.
fn parse_id(text: &str) -> Result<Option<u32>, OwnerError> {
    if text == "root" {
        return Ok(Some(0));
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id <= MAX_ID => Ok(Some(id)),
        _ => Err(OwnerError::Range { text: text.to_owned() }),
    }
}

type ReadLine<T> = fn(&[&str]) -> Option<T>;

/// Returns what the first line for `name` says.
fn find<T>(image: &Root, file: &'static str, name: &str, read_line: ReadLine<T>) -> Result<Option<T>, OwnerError> {
    if name.is_empty() {
        return Ok(None);
    }
    let failed = |source| OwnerError::Lookup { name: name.to_owned(), file, source };
    let Some(content) = image.read_limited(Path::new(file), MAX_USER_FILE_BYTES).map_err(failed)? else {
        return Ok(None);
    };
    for line in String::from_utf8_lossy(&content).lines() {
        let fields: Vec<&str> = line.trim().split(':').collect();
        if fields[0] == name {
            let bad = || failed(io::Error::new(io::ErrorKind::InvalidData, format!("bad entry of `{name}`")));
            return read_line(&fields).map(Some).ok_or_else(bad);
        }
    }
    Ok(None)
}

fn passwd_ids(fields: &[&str]) -> Option<(u32, u32)> {
    Some((field_id(fields, 2)?, field_id(fields, 3)?))
}

fn group_id(fields: &[&str]) -> Option<u32> {
    field_id(fields, 2)
}

fn field_id(fields: &[&str], index: usize) -> Option<u32> {
    fields.get(index)?.trim().parse().ok().filter(|id| *id <= MAX_ID)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn image() -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("etc")).unwrap();
        let root = Root::open(directory.path()).unwrap();
        (directory, root)
    }

    #[test]
    fn names_and_numbers_are_looked_up_as_buildkit_does() {
        let (directory, root) = image();
        let passwd = "root:x:0:0::/:/bin/sh\n\nuser:x:1000:1001::/:\nuser:x:7:7::/:\nmail:x:8:12\n";
        std::fs::write(directory.path().join("etc/passwd"), passwd).unwrap();
        std::fs::write(directory.path().join("etc/group"), "root:x:0:\nstaff:x:50:user\n").unwrap();
        for (text, expected) in [
            ("user", (1000, 1001)),
            ("user:staff", (1000, 50)),
            ("mail", (8, 12)),
            ("root", (0, 0)),
            ("5", (5, 5)),
            ("1000", (1000, 1000)),
            ("5:6", (5, 6)),
            (":7", (0, 7)),
            (":staff", (0, 50)),
            ("user:", (1000, 0)),
            ("nobody", (0, 0)),
            ("nobody:nobody", (0, 0)),
            ("5:nogroup", (5, 5)),
            ("user:root", (1000, 0)),
            ("2147483647", (2147483647, 2147483647)),
        ] {
            assert_eq!(parse_chown(text, &root).unwrap(), expected, "{text}");
        }
        assert_eq!(parse_user("", &root).unwrap(), (0, 0));
        assert_eq!(parse_user("user", &root).unwrap(), (1000, 1001));
    }

    #[test]
    fn numbers_out_of_range_are_errors() {
        let (_directory, root) = image();
        for text in ["-1", "4294967296", "4294967295", "2147483648:0", "0:-5", "0:99999999999999999999"] {
            assert!(matches!(parse_chown(text, &root), Err(OwnerError::Range { .. })), "{text}");
        }
    }

    #[test]
    fn an_image_without_users_gives_root() {
        let (directory, root) = image();
        assert_eq!(parse_chown("user:group", &root).unwrap(), (0, 0));
        std::fs::remove_dir(directory.path().join("etc")).unwrap();
        std::fs::write(directory.path().join("etc"), "a file").unwrap();
        assert_eq!(parse_chown("user:group", &root).unwrap(), (0, 0));
    }

    #[test]
    fn a_fifo_or_a_link_to_the_host_is_never_read() {
        let (directory, root) = image();
        let passwd = directory.path().join("etc/passwd");
        rustix::fs::mknodat(rustix::fs::CWD, &passwd, rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap();
        assert!(matches!(parse_chown("user", &root), Err(OwnerError::Lookup { .. })));
        std::fs::remove_file(&passwd).unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("passwd"), "user:x:66:66::/:\n").unwrap();
        symlink(outside.path().join("passwd"), &passwd).unwrap();
        assert_eq!(parse_chown("user", &root).unwrap(), (0, 0));
    }

    #[test]
    fn a_bad_id_of_the_image_is_an_error() {
        let (directory, root) = image();
        std::fs::write(directory.path().join("etc/passwd"), "user:x:4294967296:0::/:\nshort:x\n").unwrap();
        assert!(matches!(parse_chown("user", &root), Err(OwnerError::Lookup { .. })));
        assert!(matches!(parse_chown("short", &root), Err(OwnerError::Lookup { .. })));
    }
}
