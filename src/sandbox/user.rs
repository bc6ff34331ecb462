//! Who a step runs as: `USER` looked up in the text of the image's own `/etc/passwd` and `/etc/group`.
//!
//! Never by the C library: it would read the builder's files, or load a library of the image into the builder
//! (docker CVE-2019-14271).  A FIFO, a device or ten gigabytes in the place of the files are errors, and links are
//! followed inside the image only (buildah CVE-2024-9676).

use crate::sys::Root;
use std::io;
use std::path::Path;

/// Bytes that `/etc/passwd` and `/etc/group` may have, BuildKit's limit.
pub const USER_FILE_LIMIT_BYTES: u64 = 10 << 20;

/// Greatest id: those above wrap to others, root among them, in programs that hold them signed
/// (containerd CVE-2024-40635).
const MAX_ID: u32 = i32::MAX as u32;

/// A user of an image with its groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups, the primary one among them.
    pub groups: Vec<u32>,
    /// Home directory; `/` where the image does not know the user.
    pub home: String,
}

/// Why a `USER` cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// No such user name.
    #[error("unable to find user {0}: no matching entries in passwd file")]
    NoUser(String),
    /// No such group name.
    #[error("unable to find group {0}: no matching entries in group file")]
    NoGroup(String),
    /// A number that is no id.
    #[error("uids and gids must be in range 0-2147483647: `{0}`")]
    Range(String),
    /// A file of the image cannot be read.
    #[error("read `{path}` of the image")]
    Read {
        /// The file.
        path: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// Returns the user that `wanted` (`name`, `uid`, `name:group`, `:group` or empty for root) is in the image.
pub fn resolve(root: &Root, wanted: &str) -> Result<User, UserError> {
    let passwd = read(root, "/etc/passwd")?;
    let group = read(root, "/etc/group")?;
    resolve_in(&passwd, &group, wanted)
}

fn read(root: &Root, path: &'static str) -> Result<String, UserError> {
    let bytes =
        root.read_limited(Path::new(path), USER_FILE_LIMIT_BYTES).map_err(|source| UserError::Read { path, source })?;
    Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn accounts(passwd: &str) -> impl Iterator<Item = Account<'_>> {
    passwd.lines().filter_map(|line| {
        let fields: Vec<&str> = line.trim().split(':').collect();
        let [name, _, uid, gid, ..] = fields[..] else { return None };
        Some(Account {
            name,
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
            home: fields.get(5).copied().unwrap_or(""),
        })
    })
}

fn groups(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
        Some((name, gid.parse().ok()?, fields.next().unwrap_or("")))
    })
}

fn resolve_in(passwd: &str, group: &str, wanted: &str) -> Result<User, UserError> {
    // What stands behind a second colon counts for nothing, as in runc.
    let mut parts = wanted.split(':');
    let (name, group_name) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let name = if name.is_empty() { "0" } else { name };
    let number = parse_id(name)?;
    // A number is an id, also where a user has it for a name.
    let is_wanted = |account: &Account<'_>| number.map_or(account.name == name, |uid| account.uid == uid);
    let account = accounts(passwd).find(is_wanted);
    let (uid, primary) = match (&account, number) {
        (Some(account), _) => (account.uid, account.gid),
        (None, Some(uid)) => (uid, 0),
        // An image without files knows root all the same.
        (None, None) if name == "root" => (0, 0),
        (None, None) => return Err(UserError::NoUser(name.to_owned())),
    };
    let gid = if group_name.is_empty() { primary } else { resolve_group(group, group_name)? };
    if uid > MAX_ID || gid > MAX_ID {
        return Err(UserError::Range(wanted.to_owned()));
    }
    let mut list = vec![gid];
    if let (Some(account), true) = (&account, group_name.is_empty()) {
        for (_, id, members) in groups(group) {
            if members.split(',').any(|member| member == account.name) && !list.contains(&id) && id <= MAX_ID {
                list.push(id);
            }
        }
    }
    // Of several users with one id the first gives the home, as in runc.
    let home = accounts(passwd).find(|account| account.uid == uid).map_or("", |account| account.home);
    let home = if home.is_empty() { "/" } else { home };
    Ok(User { uid, gid, groups: list, home: home.to_owned() })
}

fn resolve_group(group: &str, wanted: &str) -> Result<u32, UserError> {
    let named = || groups(group).find(|(name, _, _)| *name == wanted).map(|(_, gid, _)| gid);
    parse_id(wanted)?.or_else(named).ok_or_else(|| UserError::NoGroup(wanted.to_owned()))
}

/// Returns the number, `None` for what is a name, and an error for a number that is no id.
fn parse_id(text: &str) -> Result<Option<u32>, UserError> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id <= MAX_ID => Ok(Some(id)),
        _ => Err(UserError::Range(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:App:/home/app:/bin/sh\nbroken\n7:x:70:71::/seven:\n\
                          neg:x:4294967295:0::/:\n";
    const GROUP: &str = "root:x:0:root\napp:x:1001:\nwheel:x:10:root,app\nvideo:x:44:app\nodd\n";

    fn found(wanted: &str) -> (u32, u32, Vec<u32>, String) {
        let user = resolve_in(PASSWD, GROUP, wanted).unwrap();
        (user.uid, user.gid, user.groups, user.home)
    }

    #[test]
    fn users_are_found_as_docker_finds_them() {
        assert_eq!(found(""), (0, 0, vec![0, 10], "/root".into()));
        assert_eq!(found("app"), (1000, 1001, vec![1001, 10, 44], "/home/app".into()));
        assert_eq!(found("1000"), (1000, 1001, vec![1001, 10, 44], "/home/app".into()));
        assert_eq!(found("app:video"), (1000, 44, vec![44], "/home/app".into()));
        assert_eq!(found("app:video:x"), (1000, 44, vec![44], "/home/app".into()));
        assert_eq!(found("1234"), (1234, 0, vec![0], "/".into()));
        assert_eq!(found("1234:55"), (1234, 55, vec![55], "/".into()));
        assert_eq!(found(":wheel"), (0, 10, vec![10], "/root".into()));
        assert_eq!(found("7"), (7, 0, vec![0], "/".into()), "digits are a number and never a name");
        let passwd = "first:x:9:1::/first:\nsecond:x:9:2::/second:\n";
        let second = resolve_in(passwd, GROUP, "second").unwrap();
        assert_eq!((second.gid, second.home.as_str()), (2, "/first"), "the home is that of the id");
    }

    #[test]
    fn an_image_without_files_knows_root_and_numbers() {
        assert_eq!(resolve_in("", "", "root").unwrap().uid, 0);
        assert_eq!(resolve_in("", "", "5:6").unwrap().groups, [6]);
    }

    #[test]
    fn unknown_names_and_numbers_out_of_range_are_errors() {
        let message = |wanted: &str| resolve_in(PASSWD, GROUP, wanted).unwrap_err().to_string();
        assert_eq!(message("nosuch"), "unable to find user nosuch: no matching entries in passwd file");
        assert_eq!(message("app:nosuch"), "unable to find group nosuch: no matching entries in group file");
        for wanted in ["4294967296", "-1", "2147483648:0", "0:-1", "99999999999999999999", "neg"] {
            assert!(message(wanted).starts_with("uids and gids must be in range"), "{wanted}");
        }
    }
}
