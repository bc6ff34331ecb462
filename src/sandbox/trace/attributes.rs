//! Extended attributes of the step's files, without those that the builder keeps there.

use super::files::Request;
use crate::sandbox::supervise::{Answer, CURRENT_DIRECTORY};
use crate::sys::owner;
use rustix::fs::{FileType, XattrFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;

/// Largest value, and largest list of names.
const VALUE_BYTES: usize = 64 << 10;
/// Longest name.
const NAME_BYTES: usize = 255;
/// What the names of the builder's own begin with.
const OWN: &[u8] = owner::OWN_XATTRS.as_bytes();
/// File capabilities, which are kept aside where they cannot be set.
const CAPABILITY: &str = "security.capability";

impl Request<'_> {
    /// Answers a call of the xattr families.
    pub(super) fn attribute(&self) -> io::Result<Answer> {
        let name = self.call.name;
        let node = match name.as_bytes()[0] {
            b'f' => self.descriptor(self.call.number(0))?,
            first => self.named(CURRENT_DIRECTORY, 0, first != b'l' || name.starts_with("list"))?,
        };
        if node.node.file_type() == FileType::Symlink {
            // They can bear none that a program may set.
            return Err(if name.contains("list") { Errno::OPNOTSUPP } else { Errno::PERM }.into());
        }
        let path = node.node.own_path();
        if name.contains("list") {
            return self.list(&path);
        }
        let attribute = self.attribute_name()?;
        let is_own = attribute.as_bytes().starts_with(OWN);
        if name.contains("get") {
            if is_own {
                return Err(Errno::NODATA.into());
            }
            let mut value = vec![0; VALUE_BYTES];
            let length = match rustix::fs::getxattr(&path, &attribute, &mut value[..]) {
                Err(Errno::NODATA) if attribute == CAPABILITY => {
                    rustix::fs::getxattr(&path, owner::KEPT_CAPABILITY_XATTR, &mut value[..])?
                }
                result => result?,
            };
            return self.give(2, 3, &value[..length]);
        }
        if is_own {
            return Err(Errno::PERM.into());
        }
        if node.is_read_only {
            return Err(Errno::ROFS.into());
        }
        if name.contains("remove") {
            if attribute == CAPABILITY {
                owner::drop_capability(&node.node.fd)?;
            }
            match rustix::fs::removexattr(&path, &attribute) {
                Err(Errno::PERM) if attribute == CAPABILITY => {}
                result => result?,
            }
        } else {
            let size = usize::try_from(self.call.argument(3)).unwrap_or(usize::MAX);
            if size > VALUE_BYTES {
                return Err(Errno::TOOBIG.into());
            }
            let value = if size == 0 { Vec::new() } else { self.call.read(2, size)? };
            let set = |name: &OsStr, flags| {
                owner::overriding(&node.node.fd, || rustix::fs::setxattr(&path, name, &value, flags))
            };
            match set(&attribute, XattrFlags::from_bits_retain(self.call.number(4))) {
                Err(Errno::PERM) if attribute == CAPABILITY => {
                    set(OsStr::new(owner::KEPT_CAPABILITY_XATTR), XattrFlags::empty())?;
                }
                result => result?,
            }
        }
        Ok(Answer::Return(0))
    }

    fn attribute_name(&self) -> io::Result<OsString> {
        let name = self.call.path(1)?.into_os_string();
        if name.is_empty() || name.len() > NAME_BYTES { Err(Errno::RANGE.into()) } else { Ok(name) }
    }

    fn list(&self, path: &str) -> io::Result<Answer> {
        let mut list = vec![0; VALUE_BYTES];
        let length = rustix::fs::listxattr(path, &mut list[..])?;
        let names = || list[..length].split_inclusive(|byte| *byte == 0);
        let kept = names().any(|name| name.strip_suffix(b"\0") == Some(owner::KEPT_CAPABILITY_XATTR.as_bytes()));
        let mut names: Vec<u8> = names().filter(|name| !name.starts_with(OWN)).flatten().copied().collect();
        if kept {
            names.extend([CAPABILITY.as_bytes(), b"\0"].concat());
        }
        self.give(1, 2, &names)
    }

    /// Writes an answer of variable size; without room the size is all that is asked for.
    fn give(&self, at: usize, size: usize, value: &[u8]) -> io::Result<Answer> {
        match usize::try_from(self.call.argument(size)).unwrap_or(usize::MAX) {
            0 => {}
            size if size < value.len() => return Err(Errno::RANGE.into()),
            _ => self.call.write(at, value)?,
        }
        Ok(Answer::Return(i64::try_from(value.len()).unwrap_or(0)))
    }
}
