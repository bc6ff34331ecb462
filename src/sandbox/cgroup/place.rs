//! Finds the control group below which the groups of steps are made.
//!
//! A group that has processes cannot hand controllers to groups below it (the kernel's rule of no internal
//! processes), and this program is in one.  So the place is, in this order: what `--cgroup-parent` names; the top of
//! the hierarchy, which is exempt; this program's own group, if nobody else is in it or if it is a container's, after
//! all that is in it has moved one level down; the group above, beside our own, if ours has no limits that a step
//! would so escape.

use super::leaf::{processes, read, write};
use crate::sandbox::probe::Wall;
use crate::sandbox::subid;
use rustix::fs::{Access, access};
use rustix::process::{Pid, getpid};
use std::collections::BTreeSet;
use std::io;
use std::path::{Component, Path, PathBuf};

/// The group that this program and its container's processes move into.
const BUILDER: &str = "cooper-builder";
/// How often the list of a container's processes is read again while they move.
const ROUNDS: usize = 10;
/// Files that limit a group, where they say neither `max` nor nothing.
const LIMITS: [&str; 6] = ["memory.max", "memory.high", "memory.swap.max", "pids.max", "cpu.max", "cpuset.cpus"];

/// What steps can be limited by.
const CONTROLLERS: [&str; 4] = ["memory", "cpu", "cpuset", "pids"];

/// The control groups that this process sees.
#[derive(Debug)]
pub(super) struct View {
    /// Where the hierarchy is mounted.
    mount: PathBuf,
    /// This process's group.
    own: PathBuf,
    /// Controllers that version 1 has.
    legacy: Vec<String>,
    pid: Pid,
}

/// A group below which the groups of steps are made.
#[derive(Debug)]
pub(super) struct Place {
    directory: PathBuf,
    /// This program has moved out of `directory`, and the controllers that were handed down for it.
    moved: Option<Vec<&'static str>>,
}

impl Place {
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(controllers) = self.moved.take() else { return };
        // Everything as it was; what does not work stays, and the next build finds it so.
        let _ = hand_down(&self.directory, '-', &controllers);
        let _ = write(&self.directory.join("cgroup.procs"), "0");
        let _ = std::fs::remove_dir(self.directory.join(BUILDER));
    }
}

impl View {
    /// Looks where this process is.
    pub(super) fn of_this_process() -> Result<View, Wall> {
        let unreadable = |error: io::Error| Wall::new(format!("/proc/self cannot be read ({error})"), "mount /proc");
        let groups = read(Path::new("/proc/self/cgroup")).map_err(unreadable)?;
        let mounts = read(Path::new("/proc/self/mountinfo")).map_err(unreadable)?;
        let (mount, own) = locate(&groups, &mounts).ok_or_else(|| {
            Wall::new("this machine has no control groups of version 2, or this container does not see them", V2)
        })?;
        Ok(View { mount, own, legacy: legacy(&groups), pid: getpid() })
    }

    /// Returns the place for groups with these controllers; `parent` is `--cgroup-parent`.
    pub(super) fn place(&self, needed: &BTreeSet<&'static str>, parent: Option<&str>) -> Result<Place, Wall> {
        if let Some(controller) = needed.iter().find(|name| self.legacy.iter().any(|known| known == *name)) {
            let what = format!("the controller `{controller}` is one of control groups of version 1 on this machine");
            return Err(Wall::new(what, V2));
        }
        let is_top = !self.own.join("cgroup.type").exists();
        let is_alone = || matches!(processes(&self.own).as_deref(), Ok([only]) if *only == self.pid);
        match parent {
            Some(name) => self.named(name, needed),
            None if is_top => {
                self.enable(&self.own, needed).map(|()| Place { directory: self.own.clone(), moved: None })
            }
            None if is_alone() || self.own == self.mount => self.inside(needed, is_alone()),
            None => self.beside(needed),
        }
    }

    /// Says which limits the groups of steps could have, without making any.
    pub(super) fn delegated(&self) -> Result<String, Wall> {
        let is_own = !self.own.join("cgroup.type").exists() || self.own == self.mount;
        let is_alone = matches!(processes(&self.own).as_deref(), Ok([only]) if *only == self.pid);
        let directory = if is_own || is_alone { &self.own } else { self.own.parent().unwrap_or(&self.mount) };
        for path in [directory.to_owned(), directory.join("cgroup.procs")] {
            access(&path, Access::WRITE_OK).map_err(|error| self.not_ours(directory, &error.into()))?;
        }
        let available = read(&directory.join("cgroup.controllers")).unwrap_or_default();
        let found: Vec<&str> = CONTROLLERS.into_iter().filter(|name| has(&available, name)).collect();
        if found.is_empty() {
            let what = format!("the control group `{}` has no controllers of version 2", self.name(directory));
            return Err(Wall::new(what, if self.legacy.is_empty() { DELEGATE } else { V2 }));
        }
        Ok(format!("version 2, for limits of {}", found.join(", ")))
    }

    fn named(&self, name: &str, needed: &BTreeSet<&'static str>) -> Result<Place, Wall> {
        let mend = "name a group that exists or can be made, without processes of its own";
        let path =
            relative(name).ok_or_else(|| Wall::new(format!("`{name}` is not the name of a control group"), mend))?;
        let directory = self.mount.join(path);
        std::fs::create_dir_all(&directory)
            .map_err(|error| Wall::new(format!("the control group `{name}` cannot be made ({error})"), mend))?;
        self.enable(&directory, needed)?;
        Ok(Place { directory, moved: None })
    }

    /// Moves what is in our group one level down.
    fn inside(&self, needed: &BTreeSet<&'static str>, is_alone: bool) -> Result<Place, Wall> {
        let builder = self.own.join(BUILDER);
        let made = match std::fs::create_dir(&builder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            result => result,
        };
        let moved = made.and_then(|()| self.move_all(&builder));
        let place = Place { directory: self.own.clone(), moved: Some(needed.iter().copied().collect()) };
        moved.map_err(|error| self.not_ours(&self.own, &error))?;
        self.enable(&self.own, needed)?;
        // What else is in a container stays where it is now: it was moved for the next build too.
        Ok(if is_alone { place } else { self.stay(place) })
    }

    fn stay(&self, mut place: Place) -> Place {
        place.moved = None;
        place
    }

    fn move_all(&self, to: &Path) -> io::Result<()> {
        for _ in 0..ROUNDS {
            let left = processes(&self.own)?;
            if left.is_empty() {
                break;
            }
            for pid in left {
                match write(&to.join("cgroup.procs"), &pid.to_string()) {
                    // It has ended.
                    Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                    result => result?,
                }
            }
        }
        Ok(())
    }

    fn beside(&self, needed: &BTreeSet<&'static str>) -> Result<Place, Wall> {
        let directory = self.own.parent().unwrap_or(&self.mount).to_owned();
        if let Some(file) = LIMITS.iter().find(|file| is_limit(&read(&self.own.join(file)).unwrap_or_default())) {
            let what =
                format!("this program's control group has a limit (`{file}`) that a group beside it would not have");
            return Err(Wall::new(what, scope()));
        }
        // To move a process needs the right to write to the group above both.
        for path in [directory.clone(), directory.join("cgroup.procs")] {
            access(&path, Access::WRITE_OK).map_err(|error| self.not_ours(&directory, &error.into()))?;
        }
        self.enable(&directory, needed)?;
        Ok(Place { directory, moved: None })
    }

    /// Hands controllers down to a group and to those in it.
    fn enable(&self, directory: &Path, needed: &BTreeSet<&'static str>) -> Result<(), Wall> {
        let mut path: Vec<&Path> = directory.ancestors().take_while(|path| path.starts_with(&self.mount)).collect();
        path.reverse();
        for group in path {
            let words = |file: &str| read(&group.join(file)).unwrap_or_default();
            let enabled = words("cgroup.subtree_control");
            let missing: Vec<&str> = needed.iter().copied().filter(|name| !has(&enabled, name)).collect();
            let available = words("cgroup.controllers");
            if let Some(name) = missing.iter().find(|name| !has(&available, name)) {
                let what = format!("the controller `{name}` is not there for the control group `{}`", self.name(group));
                return Err(Wall::new(what, DELEGATE));
            }
            if !missing.is_empty() {
                hand_down(group, '+', &missing).map_err(|error| self.not_ours(group, &error))?;
            }
        }
        Ok(())
    }

    fn not_ours(&self, group: &Path, error: &io::Error) -> Wall {
        let why = match error.kind() {
            io::ErrorKind::PermissionDenied => "is not delegated to this user".to_owned(),
            io::ErrorKind::ReadOnlyFilesystem => "is read-only in this container".to_owned(),
            io::ErrorKind::ResourceBusy => "has other processes in it".to_owned(),
            _ => format!("cannot be used ({error})"),
        };
        let mend = match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem => "limit the container instead".to_owned(),
            _ => scope(),
        };
        Wall::new(format!("the control group `{}` {why}", self.name(group)), mend)
    }

    fn name(&self, group: &Path) -> String {
        format!("/{}", group.strip_prefix(&self.mount).unwrap_or(group).display())
    }
}

const V2: &str = "boot with `systemd.unified_cgroup_hierarchy=1`, or limit the whole build from outside";
const DELEGATE: &str = "for users: a file `/etc/systemd/system/user@.service.d/delegate.conf` with `[Service]` and \
                        `Delegate=cpu cpuset io memory pids`, then log in anew";

fn scope() -> String {
    // In a user namespace everyone looks like root; who is root of a container has the same need.
    let map = subid::parse_map(&subid::read(Path::new("/proc/self/uid_map")).unwrap_or_default());
    let is_root = rustix::process::getuid().is_root() && map.iter().all(|line| line.inside == line.outside);
    let user = if is_root { "" } else { "--user " };
    format!("start it in a group of its own: `systemd-run {user}--scope -p Delegate=yes cooper build ...`")
}

fn hand_down(group: &Path, sign: char, controllers: &[&str]) -> io::Result<()> {
    let words: Vec<String> = controllers.iter().map(|name| format!("{sign}{name}")).collect();
    if words.is_empty() { Ok(()) } else { write(&group.join("cgroup.subtree_control"), &words.join(" ")) }
}

fn has(list: &str, name: &str) -> bool {
    list.split_ascii_whitespace().any(|word| word == name)
}

fn is_limit(text: &str) -> bool {
    text.split_ascii_whitespace().next().is_some_and(|first| first != "max")
}

/// Returns where the hierarchy of version 2 is mounted and where in it this process is.
fn locate(groups: &str, mounts: &str) -> Option<(PathBuf, PathBuf)> {
    let own = Path::new(groups.lines().find_map(|line| line.strip_prefix("0::"))?);
    // `/..` is outside of what this namespace shows.
    if own.components().any(|part| part == Component::ParentDir) {
        return None;
    }
    mounts.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let (root, point) = (mount.split(' ').nth(3)?, mount.split(' ').nth(4)?);
        if filesystem.split(' ').next() != Some("cgroup2") {
            return None;
        }
        let below = own.strip_prefix(root).ok()?;
        // Without the slash at the end that joining nothing would leave.
        let own = below.components().fold(PathBuf::from(point), |path, part| path.join(part));
        Some((PathBuf::from(point), own))
    })
}

/// Returns the controllers of version 1.
fn legacy(groups: &str) -> Vec<String> {
    let names = groups.lines().filter_map(|line| line.split(':').nth(1));
    names.flat_map(|names| names.split(',')).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Returns the path of a group by its name; a slice `a-b.slice` is in `a.slice`, as systemd has it.
fn relative(name: &str) -> Option<PathBuf> {
    let path = Path::new(name.trim_start_matches('/'));
    if path.as_os_str().is_empty() || !path.components().all(|part| matches!(part, Component::Normal(_))) {
        return None;
    }
    match name.strip_suffix(".slice") {
        Some(stem) if !name.contains('/') => {
            let ends = stem.char_indices().filter(|(_, c)| *c == '-').map(|(at, _)| at).chain([stem.len()]);
            Some(ends.map(|end| format!("{}.slice", &stem[..end])).collect())
        }
        _ => Some(path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    #[test]
    fn the_own_group_is_found_in_the_mount_that_shows_it() {
        let located = |groups, mounts| {
            locate(groups, mounts).map(|(mount, own)| (mount.display().to_string(), own.display().to_string()))
        };
        let machine = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let pair = |mount: &str, own: &str| Some((mount.to_owned(), own.to_owned()));
        assert_eq!(
            located("0::/user.slice/x.scope\n", machine),
            pair("/sys/fs/cgroup", "/sys/fs/cgroup/user.slice/x.scope")
        );
        assert_eq!(located("0::/\n", machine), pair("/sys/fs/cgroup", "/sys/fs/cgroup"));
        let part = "30 23 0:26 /docker/1 /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n";
        assert_eq!(located("0::/docker/1/a\n", part), pair("/sys/fs/cgroup", "/sys/fs/cgroup/a"));
        assert_eq!(located("0::/elsewhere\n", part), None);
        assert_eq!(located("0::/../other\n", machine), None);
        assert_eq!(located("4:memory:/\n", machine), None);
        assert_eq!(located("0::/\n", "30 23 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"), None);
    }

    #[test]
    fn names_of_groups_stay_inside_and_slices_are_nested() {
        let name = |text| relative(text).map(|path| path.display().to_string());
        assert_eq!(name("/a/b"), Some("a/b".into()));
        assert_eq!(name("build.slice"), Some("build.slice".into()));
        assert_eq!(name("a-b-c.slice"), Some("a.slice/a-b.slice/a-b-c.slice".into()));
        assert_eq!(name("x/a-b.slice"), Some("x/a-b.slice".into()));
        for bad in ["", "/", "..", "a/../b", "/../x"] {
            assert_eq!(name(bad), None, "{bad}");
        }
    }

    /// Makes a group with these files; plain files take what the kernel's would.
    fn group(path: &Path, processes: &str, controllers: &str) {
        fs::create_dir_all(path).unwrap();
        for (file, text) in [
            ("cgroup.type", "domain\n"),
            ("cgroup.procs", processes),
            ("cgroup.controllers", controllers),
            ("cgroup.subtree_control", ""),
        ] {
            fs::write(path.join(file), text).unwrap();
        }
    }

    fn view(mount: &Path, own: &str) -> View {
        View { mount: mount.to_owned(), own: mount.join(own), legacy: Vec::new(), pid: getpid() }
    }

    #[test]
    fn beside_other_processes_the_group_above_is_taken_unless_ours_is_limited() {
        let top = tempfile::tempdir().unwrap();
        group(top.path(), "", "cpu memory pids");
        group(&top.path().join("s"), "", "cpu memory pids");
        group(&top.path().join("s/own"), "1\n2\n", "cpu memory pids");
        let needed = BTreeSet::from(["memory"]);
        let place = view(top.path(), "s/own").place(&needed, None).unwrap();
        assert_eq!(place.directory(), top.path().join("s"));
        assert_eq!(fs::read_to_string(top.path().join("s/cgroup.subtree_control")).unwrap(), "+memory");
        assert_eq!(fs::read_to_string(top.path().join("s/own/cgroup.subtree_control")).unwrap(), "");

        fs::write(top.path().join("s/own/cpu.max"), "max 100000\n").unwrap();
        fs::write(top.path().join("s/own/memory.max"), "1000000\n").unwrap();
        let wall = view(top.path(), "s/own").place(&needed, None).unwrap_err();
        assert!(wall.what.contains("`memory.max`"), "{wall}");
    }

    #[test]
    fn a_controller_that_is_not_there_is_named() {
        let top = tempfile::tempdir().unwrap();
        group(top.path(), "", "cpu pids");
        group(&top.path().join("own"), "1\n", "cpu pids");
        let wall = view(top.path(), "own").place(&BTreeSet::from(["memory"]), None).unwrap_err();
        assert_eq!(wall.what, "the controller `memory` is not there for the control group `/`");
        let old = View { legacy: legacy("4:memory:/x\n3:cpu,cpuacct:/\n0::/\n"), ..view(top.path(), "own") };
        let wall = old.place(&BTreeSet::from(["cpu"]), None).unwrap_err();
        assert!(wall.what.contains("`cpu` is one of control groups of version 1"), "{wall}");
    }

    #[test]
    fn alone_in_its_group_the_program_moves_one_level_down_and_back() {
        let top = tempfile::tempdir().unwrap();
        group(top.path(), "", "memory");
        group(&top.path().join("own"), &format!("{}\n", getpid()), "memory");
        group(&top.path().join("own").join(BUILDER), "", "memory");
        let place = view(top.path(), "own").place(&BTreeSet::from(["memory"]), None).unwrap();
        assert_eq!(place.directory(), top.path().join("own"));
        let moved = fs::read_to_string(top.path().join("own").join(BUILDER).join("cgroup.procs")).unwrap();
        assert_eq!(moved, getpid().to_string());
        drop(place);
        assert_eq!(fs::read_to_string(top.path().join("own/cgroup.subtree_control")).unwrap(), "-memory");
        assert!(fs::read_to_string(top.path().join("own/cgroup.procs")).unwrap().starts_with('0'));
    }
}
