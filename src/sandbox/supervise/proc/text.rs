//! Files of /proc whose content is made up: what the kernel would say is the builder's, or nothing.

use crate::sys::process::sealed_memory;
use rustix::fs::{Stat, major, minor};
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The file system that a root is on, as `/proc/PID/mountinfo` has it.
#[derive(Debug, PartialEq, Eq)]
struct Disk {
    device: String,
    options: String,
    kind: String,
    source: String,
}

/// Returns `/proc/mounts` and `/proc/self/mountinfo` as a step would see them that had mounts.
///
/// `root` is the root's real path; the size of `/dev/shm` is what was asked for, which nothing enforces.
pub(super) fn mounts(root: &Path, shm_size_bytes: u64) -> (Vec<u8>, Vec<u8>) {
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let disk = disk_of(&mountinfo, root).unwrap_or_else(|| Disk {
        device: "0:0".into(),
        options: "rw".into(),
        kind: "none".into(),
        source: "none".into(),
    });
    let Disk { device, options, kind, source } = disk;
    let mut table = format!("{source} / {kind} {options} 0 0\n");
    let mut info = format!("1 0 {device} / / {options} - {kind} {source} {options}\n");
    let shm = format!(",size={}k", shm_size_bytes >> 10);
    let others = [("/proc", "proc", "rw", ""), ("/sys", "sysfs", "ro", ""), ("/dev/shm", "tmpfs", "rw", shm.as_str())];
    for (id, (path, kind, mode, more)) in (2..).zip(others) {
        let Ok(Stat { st_dev, .. }) = rustix::fs::stat(path) else { continue };
        let options = format!("{mode},nosuid,nodev,noexec,relatime{more}");
        table.push_str(&format!("{kind} {path} {kind} {options} 0 0\n"));
        let device = format!("{}:{}", major(st_dev), minor(st_dev));
        info.push_str(&format!("{id} 1 {device} / {path} {options} - {kind} {kind} {mode}\n"));
    }
    (table.into_bytes(), info.into_bytes())
}

/// Finds the mount that a path is on.
fn disk_of(mountinfo: &str, path: &Path) -> Option<Disk> {
    let lines = mountinfo.lines().filter_map(|line| {
        let (mount, disk) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(2);
        let (device, _, point, options) = (mount.next()?, mount.next()?, mount.next()?, mount.next()?);
        let mut disk = disk.split(' ');
        let (kind, source) = (disk.next()?, disk.next()?);
        let disk = Disk { device: device.into(), options: options.into(), kind: kind.into(), source: source.into() };
        let point = unescape(point);
        path.starts_with(&point).then_some((point, disk))
    });
    // Of several at one place the last is on top.
    lines.max_by_key(|(point, _)| point.as_os_str().len()).map(|(_, disk)| disk)
}

/// Replaces `\040` and its like.
fn unescape(text: &str) -> PathBuf {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = bytes.get(at + 1..at + 4).filter(|_| bytes[at] == b'\\');
        let value = octal.and_then(|octal| u8::from_str_radix(std::str::from_utf8(octal).ok()?, 8).ok());
        plain.push(value.unwrap_or(bytes[at]));
        at += if value.is_some() { 4 } else { 1 };
    }
    OsStr::from_bytes(&plain).into()
}

/// Returns a file with this content.
pub(super) fn file(content: &[u8]) -> io::Result<OwnedFd> {
    sealed_memory(c"proc", |file| file.write_all(content))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_disk_is_that_of_the_innermost_mount() {
        let mountinfo = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
                         30 22 0:25 / /tmp rw,nosuid - tmpfs tmp rw\n\
                         31 22 0:26 / /a\\040b rw - xfs /dev/x rw\n";
        let kind = |path: &str| disk_of(mountinfo, Path::new(path)).unwrap().kind;
        assert_eq!(
            (kind("/tmp/x").as_str(), kind("/tmpfs").as_str(), kind("/a b/c").as_str()),
            ("tmpfs", "ext4", "xfs")
        );
        assert_eq!(disk_of("nonsense\n", Path::new("/")), None);
    }

    #[test]
    fn a_step_sees_its_root_proc_and_sys() {
        let (table, info) = mounts(Path::new("/tmp"), 64 << 20);
        assert!(String::from_utf8_lossy(&table).contains(",size=65536k "));
        let points = |text: Vec<u8>, column: usize| -> Vec<String> {
            let text = String::from_utf8(text).unwrap();
            text.lines().map(|line| line.split(' ').nth(column).unwrap().to_owned()).collect()
        };
        assert_eq!(points(table, 1), ["/", "/proc", "/sys", "/dev/shm"]);
        assert_eq!(points(info, 4), ["/", "/proc", "/sys", "/dev/shm"]);
    }
}
