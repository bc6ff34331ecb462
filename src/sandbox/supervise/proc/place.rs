//! What a path of the step below /proc, /sys or /dev stands for.

use crate::sandbox::rootfs::{MASKED_PROC, MASKED_SYS, READ_ONLY_PROC};
use std::path::{Component, Path, PathBuf};

/// Links of /proc/PID that lead to what another process has; below them lies no part of /proc.
const MAGIC: [&str; 4] = ["root", "cwd", "exe", "fd"];

/// Where something is in the builder's /proc or /sys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// What the path leads to.
    pub path: PathBuf,
    /// The path's last name itself, where that is a link that this module follows.
    pub link: Option<Link>,
    /// Content that is made up.
    pub text: Option<Text>,
    /// The path below the step's /proc, for a descriptor or a program of a process.
    pub magic: Option<PathBuf>,
    /// Whether writing is refused as on a file system that is mounted read-only.
    pub is_read_only: bool,
}

/// A link that is followed here, because it leads elsewhere in the builder's /proc.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub path: PathBuf,
    pub text: String,
}

/// Files whose content would be the builder's, or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Text {
    Mounts,
    MountInfo,
    HostName,
}

/// What the step says by a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// /proc itself.
    Proc,
    /// Something in it, or in /sys.
    Place(Place),
    /// A link in /dev that leads to something in it.
    Device(Place),
    /// A process that is none of the step.
    Absent,
}

/// The calling process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Caller {
    pub process: u32,
    pub thread: u32,
}

/// Tells what a path means; `None` if it is nothing of these file systems, or something that the kernel resolves as well.
///
/// `process_of` returns the process that the step sees under a number.
pub(super) fn meaning(path: &Path, caller: Caller, process_of: impl FnOnce(&str) -> Option<u32>) -> Option<Meaning> {
    if path.components().any(|component| component == Component::ParentDir) {
        return None;
    }
    if let Ok(device) = path.strip_prefix("/dev") {
        let path = Path::new("/proc/self").join(standard_stream(device)?);
        return match meaning(&path, caller, process_of)? {
            // What lies below the link `/dev/fd` is in /proc.
            Meaning::Place(place) if device.parent() == Some(Path::new("")) => Some(Meaning::Device(place)),
            other => Some(other),
        };
    }
    if let Ok(rest) = path.strip_prefix("/sys") {
        return sys(rest);
    }
    let mut components = path.strip_prefix("/proc").ok()?.components();
    let Some(first) = components.next() else { return Some(Meaning::Proc) };
    let (first, rest) = (first.as_os_str().to_str()?, components.as_path());
    let process = caller.process.to_string();
    // With a slash behind it a link is not meant itself.
    let is_last = rest.as_os_str().is_empty() && path.as_os_str().as_encoded_bytes().ends_with(first.as_bytes());
    let link = |text: &str| {
        let path = Path::new("/proc").join(first);
        is_last.then(|| Link { path, text: text.to_owned() })
    };
    match first {
        "self" => of_process(&process, first, rest, link(&process)),
        "thread-self" => {
            let own = format!("{process}/task/{}", caller.thread);
            of_process(&own, first, rest, link(&own))
        }
        "mounts" | "net" => {
            let rest = path_below(first, "", rest);
            of_process(&process, "self", &rest, link(&format!("self/{first}")))
        }
        number if number.bytes().all(|byte| byte.is_ascii_digit()) => match process_of(number) {
            Some(process) => of_process(&process.to_string(), number, rest, None),
            None => Some(Meaning::Absent),
        },
        _ if MASKED_PROC.contains(&first) => masked(&path_below("/proc", first, rest)),
        _ => {
            let path = path_below("/proc", first, rest);
            let text = (path == Path::new("/proc/sys/kernel/hostname")).then_some(Text::HostName);
            let is_read_only = READ_ONLY_PROC.contains(&first);
            Some(Meaning::Place(Place { path, link: None, text, magic: None, is_read_only }))
        }
    }
}

/// `own` is the process's directory in the builder's /proc, `name` what the step calls it.
fn of_process(own: &str, name: &str, rest: &Path, link: Option<Link>) -> Option<Meaning> {
    let mut parts = rest.iter();
    let file = parts.next().and_then(|file| file.to_str()).unwrap_or_default();
    let depth = parts.count();
    let is_magic = MAGIC.contains(&file);
    // Further down the path is in the file system of the step, which it resolves itself.
    if is_magic && depth > usize::from(file == "fd") {
        return None;
    }
    let text = match file {
        "mounts" if depth == 0 => Some(Text::Mounts),
        "mountinfo" if depth == 0 => Some(Text::MountInfo),
        _ => None,
    };
    let magic = (is_magic && (file != "fd" || depth == 1)).then(|| Path::new(name).join(rest));
    let path = path_below("/proc", own, rest);
    Some(Meaning::Place(Place { path, link, text, magic, is_read_only: false }))
}

fn sys(rest: &Path) -> Option<Meaning> {
    let path = path_below("/sys", "", rest);
    if MASKED_SYS.iter().any(|masked| rest.starts_with(masked)) {
        return masked(&path);
    }
    Some(Meaning::Place(Place { path, link: None, text: None, magic: None, is_read_only: true }))
}

/// What is hidden is an empty file, or an empty directory.
fn masked(path: &Path) -> Option<Meaning> {
    let path = match std::fs::symlink_metadata(path) {
        // The kernel keeps this one for programs of old, and nothing is ever in it.
        Ok(there) if there.is_dir() => Path::new("/proc/tty/ldisc"),
        Ok(_) => Path::new("/dev/null"),
        Err(_) => path,
    };
    Some(Meaning::Place(Place { path: path.into(), link: None, text: None, magic: None, is_read_only: true }))
}

/// Joins paths; with nothing to join there is no slash at the end, which would ask for a directory.
fn path_below(top: &str, first: &str, rest: &Path) -> PathBuf {
    let mut path = PathBuf::from(top);
    for part in [Path::new(first), rest] {
        if !part.as_os_str().is_empty() {
            path.push(part);
        }
    }
    path
}

/// Returns the file of /proc/self that a name in /dev is a link to.
fn standard_stream(device: &Path) -> Option<PathBuf> {
    match device.to_str()? {
        "stdin" => Some("fd/0".into()),
        "stdout" => Some("fd/1".into()),
        "stderr" => Some("fd/2".into()),
        _ if device.starts_with("fd") => Some(device.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn look(path: &str) -> Option<Meaning> {
        meaning(Path::new(path), Caller { process: 7, thread: 9 }, |number| match number {
            "1" => Some(5),
            "7" => Some(7),
            _ => None,
        })
    }

    fn path(path: &str) -> String {
        match look(path) {
            Some(Meaning::Place(place) | Meaning::Device(place)) => place.path.display().to_string(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn paths_lead_to_the_callers_own_files() {
        let wanted = [
            ("/proc/self", "/proc/7"),
            ("/proc/self/", "/proc/7"),
            ("/proc/thread-self/stat", "/proc/7/task/9/stat"),
            ("/proc/mounts", "/proc/7/mounts"),
            ("/proc/net/tcp", "/proc/7/net/tcp"),
            ("/proc/1/comm", "/proc/5/comm"),
            ("/proc/7/task/9/fd/0", "/proc/7/task/9/fd/0"),
            ("/proc//cpuinfo", "/proc/cpuinfo"),
            ("/dev/stdout", "/proc/7/fd/1"),
            ("/dev/fd/63", "/proc/7/fd/63"),
            ("/dev/fd", "/proc/7/fd"),
            ("/proc/keys", if Path::new("/proc/keys").exists() { "/dev/null" } else { "/proc/keys" }),
            ("/sys", "/sys"),
            ("/sys/kernel/mm", "/sys/kernel/mm"),
            ("/proc/2/comm", "Some(Absent)"),
            ("/proc/", "Some(Proc)"),
        ];
        for (said, meant) in wanted {
            assert_eq!(path(said), meant, "{said}");
        }
        for nothing in
            ["/process", "/dev/null", "/proc/../etc/passwd", "/proc/self/root/etc", "/proc/self/cwd/x", "/system"]
        {
            assert_eq!(look(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn links_that_are_followed_are_known_as_links() {
        let link = |path| match look(path) {
            Some(Meaning::Place(place)) => place.link.map(|link| (link.path.display().to_string(), link.text)),
            _ => None,
        };
        assert_eq!(link("/proc/self"), Some(("/proc/self".into(), "7".into())));
        assert_eq!(link("/proc/mounts"), Some(("/proc/mounts".into(), "self/mounts".into())));
        assert_eq!(link("/proc/thread-self"), Some(("/proc/thread-self".into(), "7/task/9".into())));
        assert_eq!((link("/proc/self/stat"), link("/proc/cpuinfo"), link("/proc/self/")), (None, None, None));
    }

    #[test]
    fn what_needs_more_than_a_path_is_told() {
        let place = |path| match look(path) {
            Some(Meaning::Place(place) | Meaning::Device(place)) => place,
            other => panic!("{other:?}"),
        };
        assert_eq!(place("/proc/self/exe").magic, Some("self/exe".into()));
        assert_eq!(place("/dev/fd/3").magic, Some("self/fd/3".into()));
        assert_eq!(place("/proc/self/fd").magic, None);
        assert_eq!(place("/proc/mounts").text, Some(Text::Mounts));
        assert_eq!(place("/proc/7/mountinfo").text, Some(Text::MountInfo));
        assert_eq!(place("/proc/sys/kernel/hostname").text, Some(Text::HostName));
        assert!(place("/proc/sys/vm").is_read_only && place("/sys/x").is_read_only);
        assert!(!place("/proc/self/oom_score_adj").is_read_only);
    }
}
