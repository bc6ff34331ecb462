//! Owners of files and devices, where the file system cannot hold them: in user namespaces.
//!
//! In one with a single id the kernel knows one user, and every owner that is wanted is kept aside: in an extended attribute of
//! the file, which goes with it through renames, hard links, and the copying that overlayfs does before a change.  So
//! nothing has to follow what a step does with its files, and a file that is removed takes its record along.  Files
//! without a record belong to root, as nearly all do.
//!
//! The kernel allows such attributes on regular files and directories only.  The owners of links and FIFOs are kept
//! in memory, by inode, and are written beside a layer's tree when it is sealed.  A device, which no user namespace
//! can make, is an empty regular file whose record says what it is; where there are subordinate ids, that is all that
//! is kept aside, and owners are real.
//!
//! What is kept aside is a fact of the process, as its namespace is.

use super::{Root, read_directory, read_xattr};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, StatxFlags, Uid, XattrFlags};
use rustix::io::Errno;
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// The attribute of a record: `uid:gid`, and for a device `:c` or `:b` and its numbers.
pub const OWNER_XATTR: &str = "user.cooper.owner";

/// The attribute in which file capabilities are kept where the kernel refuses them (`security.capability`).
pub const KEPT_CAPABILITY_XATTR: &str = "user.cooper.capability";

/// What the names of attributes begin with that only this program sets.
pub const OWN_XATTRS: &str = "user.cooper.";

const CAPABILITY_XATTR: &str = "security.capability";

/// Largest record, bytes: three numbers of ten digits more than needed.
const RECORD_BYTES: usize = 64;

/// What a file is to be in the image, where it cannot be that on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The device that an empty regular file stands for.
    pub device: Option<Device>,
}

/// A device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Whether it is a block device; else a character device.
    pub is_block: bool,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

impl Owner {
    /// An owner of something that is no device.
    pub fn new(uid: u32, gid: u32) -> Owner {
        Owner { uid, gid, device: None }
    }

    fn to_text(self) -> String {
        let ids = format!("{}:{}", self.uid, self.gid);
        match self.device {
            None => ids,
            Some(Device { is_block, major, minor }) => {
                format!("{ids}:{}:{major}:{minor}", if is_block { "b" } else { "c" })
            }
        }
    }

    fn parse(text: &[u8]) -> Option<Owner> {
        let fields: Vec<&str> = std::str::from_utf8(text).ok()?.split(':').collect();
        let number = |text: &str| text.parse::<u32>().ok();
        let id = |text: &str| number(text).filter(|id| *id != u32::MAX);
        match fields[..] {
            [uid, gid] => Some(Owner::new(id(uid)?, id(gid)?)),
            [uid, gid, kind @ ("c" | "b"), major, minor] => {
                let device = Device { is_block: kind == "b", major: number(major)?, minor: number(minor)? };
                Some(Owner { uid: id(uid)?, gid: id(gid)?, device: Some(device) })
            }
            _ => None,
        }
    }
}

static ASIDE: AtomicU8 = AtomicU8::new(NOTHING);
const NOTHING: u8 = 0;
const OTHERS_DEVICES: u8 = 1;
const DEVICES: u8 = 2;
const EVERYTHING: u8 = 3;

/// From now on owners and devices are kept aside.  For a process that has entered a user namespace with one id.
pub fn keep_aside() {
    ASIDE.store(EVERYTHING, Ordering::Relaxed);
}

/// From now on files that stand for devices are read as such, but none is made.  For a process that can make devices, in a
/// store where others could not.
pub fn read_devices_aside() {
    // Whoever keeps more aside does so already.
    let _ = ASIDE.compare_exchange(NOTHING, OTHERS_DEVICES, Ordering::Relaxed, Ordering::Relaxed);
}

/// From now on devices are kept aside.  For a process that has entered a user namespace with subordinate ids.
pub fn keep_devices_aside() {
    ASIDE.store(DEVICES, Ordering::Relaxed);
}

/// Whether owners are kept aside in this process.
pub fn is_aside() -> bool {
    ASIDE.load(Ordering::Relaxed) == EVERYTHING
}

/// Whether devices are kept aside in this process.
pub fn are_devices_aside() -> bool {
    ASIDE.load(Ordering::Relaxed) >= DEVICES
}

/// Gives an open file or directory an owner.  As chown(2) it may clear set-user-id bits and capabilities.
pub fn set(file: impl AsFd, uid: u32, gid: u32) -> io::Result<()> {
    if is_aside() {
        return record_open(&file, Owner::new(uid, gid));
    }
    let (uid, gid) = ids(uid, gid)?;
    Ok(rustix::fs::fchown(file, Some(uid), Some(gid))?)
}

/// Gives a name in a directory an owner; a link there is not followed.
pub fn set_at(directory: impl AsFd, name: &OsStr, uid: u32, gid: u32) -> io::Result<()> {
    if is_aside() {
        let file = rustix::fs::openat(directory, name, PATH_ONLY, Mode::empty())?;
        return record(&file, Owner::new(uid, gid));
    }
    let (uid, gid) = ids(uid, gid)?;
    Ok(rustix::fs::chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Refuses what chown(2) takes for `leave it as it is`.
fn ids(uid: u32, gid: u32) -> io::Result<(Uid, Gid)> {
    if uid == u32::MAX || gid == u32::MAX {
        return Err(Errno::INVAL.into());
    }
    Ok((Uid::from_raw(uid), Gid::from_raw(gid)))
}

const PATH_ONLY: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Makes a device, or the file that stands for it; mode and owner are the caller's business.
pub fn make_device(directory: impl AsFd, name: &OsStr, device: Device, mode: Mode) -> rustix::io::Result<()> {
    if !are_devices_aside() {
        let kind = if device.is_block { FileType::BlockDevice } else { FileType::CharacterDevice };
        return rustix::fs::mknodat(directory, name, kind, mode, rustix::fs::makedev(device.major, device.minor));
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, name, flags, mode)?;
    let text = Owner { device: Some(device), ..Owner::default() }.to_text();
    rustix::fs::fsetxattr(&file, OWNER_XATTR, text.as_bytes(), XattrFlags::empty())
}

/// Keeps the owner of a file aside; the descriptor may be one of its path only.
///
/// A record that says of a file that it is a device goes on to say so.
pub fn record(file: &OwnedFd, owner: Owner) -> io::Result<()> {
    let stat = rustix::fs::fstat(file)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile | FileType::Directory => record_open(file, owner),
        _ => {
            if let Some(node) = Node::of(file)? {
                let mut nodes = nodes();
                nodes.recorded += 1;
                nodes.owners.insert(node, owner);
            }
            Ok(())
        }
    }
}

fn record_open(file: impl AsFd, owner: Owner) -> io::Result<()> {
    let path = descriptor_path(&file);
    let record = || record_at_path(&path, owner).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO));
    Ok(overriding(file, record)?)
}

fn record_at_path(path: &str, owner: Owner) -> io::Result<()> {
    let known = read_at_path(path)?;
    let device = owner.device.or(known.and_then(|known| known.device));
    let owner = Owner { device, ..owner };
    // Not only to save the call: without privileges a file must be writable for it.
    if known.unwrap_or_default() == owner {
        return Ok(());
    }
    if owner != Owner::default() {
        return Ok(rustix::fs::setxattr(path, OWNER_XATTR, owner.to_text().as_bytes(), XattrFlags::empty())?);
    }
    match rustix::fs::removexattr(path, OWNER_XATTR) {
        Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Returns what is kept aside of a file; `None` where nothing is: then it is root's and what it looks like.
///
/// The descriptor may be one of its path only; `stat` is the file's.
pub fn recorded(file: &OwnedFd, stat: &Stat) -> io::Result<Option<Owner>> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile | FileType::Directory => read_at_path(&descriptor_path(file)),
        _ => Ok(Node::of(file)?.and_then(|node| nodes().owners.get(&node).copied())),
    }
}

/// Returns what a file is to be in the image, as far as `stat` does not say it; `None` where that says all.
///
/// `open` is called where something may be kept aside; it may return a descriptor of the path only.
pub fn wanted(stat: &Stat, open: impl FnOnce() -> io::Result<OwnedFd>) -> io::Result<Option<Owner>> {
    let may_be_device = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_size == 0;
    match ASIDE.load(Ordering::Relaxed) {
        EVERYTHING => Ok(Some(recorded(&open()?, stat)?.unwrap_or_default())),
        DEVICES | OTHERS_DEVICES if may_be_device => {
            let device = recorded(&open()?, stat)?.and_then(|record| record.device);
            Ok(device.map(|device| Owner { uid: stat.st_uid, gid: stat.st_gid, device: Some(device) }))
        }
        _ => Ok(None),
    }
}

/// Like [`wanted`] for a name in a directory; a link there is not followed.
pub fn wanted_at(directory: impl AsFd, name: &OsStr, stat: &Stat) -> io::Result<Option<Owner>> {
    wanted(stat, || Ok(rustix::fs::openat(directory, name, PATH_ONLY, Mode::empty())?))
}

/// Lets a new file stand for the device that another one stands for, if it does.
pub fn copy_device(from: &OwnedFd, to: &OwnedFd, stat: &Stat) -> io::Result<()> {
    match wanted(stat, || from.try_clone())? {
        Some(owner @ Owner { device: Some(_), .. }) => record(to, owner),
        _ => Ok(()),
    }
}

fn read_at_path(path: &str) -> io::Result<Option<Owner>> {
    let mut record = [0_u8; RECORD_BYTES];
    match rustix::fs::getxattr(path, OWNER_XATTR, &mut record[..]) {
        Ok(length) => Ok(Owner::parse(&record[..length])),
        // Nothing, or not by us; or, without privileges, not to be read by anybody (0000), as only root's own files are.
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE | Errno::ACCESS) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Gives an open file capabilities, or keeps them aside where that is refused.
pub fn set_capability(file: &OwnedFd, value: &[u8]) -> rustix::io::Result<()> {
    match rustix::fs::fsetxattr(file, CAPABILITY_XATTR, value, XattrFlags::empty()) {
        Err(Errno::PERM) if is_aside() => {
            overriding(file, || rustix::fs::fsetxattr(file, KEPT_CAPABILITY_XATTR, value, XattrFlags::empty()))
        }
        result => result,
    }
}

/// Returns the capabilities of an open file, also those that are kept aside.
pub fn capability(file: &OwnedFd) -> io::Result<Option<Vec<u8>>> {
    match read_xattr(file, CAPABILITY_XATTR)? {
        None if is_aside() => match read_xattr(file, KEPT_CAPABILITY_XATTR) {
            // One that its mode closes to its owner can be executed by nobody.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(None),
            kept => kept,
        },
        value => Ok(value),
    }
}

/// Takes away capabilities that are kept aside, as the kernel takes its own when the owner changes.
pub fn drop_capability(file: &OwnedFd) -> io::Result<()> {
    let path = descriptor_path(file);
    match overriding(file, || rustix::fs::removexattr(&path, KEPT_CAPABILITY_XATTR)) {
        Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::PERM | Errno::ACCESS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Does something that the mode of a file refuses to its owner (EACCES), as root could: the mode is widened for the moment.
///
/// For a process that keeps owners aside and has no privileges; the descriptor may be one of a path only.
pub fn overriding<T>(file: impl AsFd, mut operation: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    const OWN: u32 = 0o700;
    let refused = match operation() {
        Err(Errno::ACCESS) if is_aside() => Errno::ACCESS,
        result => return result,
    };
    let path = descriptor_path(&file);
    let stat = rustix::fs::fstat(&file)?;
    let bits = if FileType::from_raw_mode(stat.st_mode) == FileType::Directory { OWN } else { OWN & 0o666 };
    let mode = stat.st_mode & 0o7777;
    if stat.st_uid != rustix::process::geteuid().as_raw() || mode & bits == bits {
        return Err(refused);
    }
    rustix::fs::chmod(&path, Mode::from_raw_mode(mode | bits))?;
    let result = operation();
    rustix::fs::chmod(&path, Mode::from_raw_mode(mode))?;
    result
}

/// Attributes cannot be reached through a descriptor of a path, but by its name.
fn descriptor_path(file: impl AsFd) -> String {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd())
}

/// A file that can bear no attribute, across its names and mounts: inode and time of birth.
///
/// The time tells a file from another one that got its inode number later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Node {
    inode: u64,
    birth: (i64, u32),
}

impl Node {
    fn of(file: &OwnedFd) -> io::Result<Option<Node>> {
        let wanted = StatxFlags::INO | StatxFlags::BTIME;
        let found = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, wanted)?;
        // Without a time of birth a later file could inherit an owner.
        let has_birth = found.stx_mask & StatxFlags::BTIME.bits() != 0;
        let birth = (found.stx_btime.tv_sec, found.stx_btime.tv_nsec);
        Ok(has_birth.then_some(Node { inode: found.stx_ino, birth }))
    }
}

/// What is kept in memory.
#[derive(Default)]
struct Nodes {
    owners: HashMap<Node, Owner>,
    /// Trees whose list was read.
    learned: HashSet<PathBuf>,
    /// How often an owner was recorded.
    recorded: u64,
}

fn nodes() -> MutexGuard<'static, Nodes> {
    static NODES: LazyLock<Mutex<Nodes>> = LazyLock::new(Mutex::default);
    NODES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns how many owners were recorded in memory so far: where it has not changed, [`list_nodes`] finds nothing new.
pub fn nodes_recorded() -> u64 {
    nodes().recorded
}

/// Returns the files of a tree whose owners are kept in memory only, with their paths, as [`learn_nodes`] takes them.
pub fn list_nodes(tree: &Root) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        let fd = tree.open_at(&directory, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
        for entry in read_directory(&fd)? {
            let path = directory.join(&entry.name);
            let stat = rustix::fs::statat(&fd, &entry.name, AtFlags::SYMLINK_NOFOLLOW)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => directories.push(path),
                FileType::RegularFile => {}
                _ => {
                    let file = rustix::fs::openat(&fd, &entry.name, PATH_ONLY, Mode::empty())?;
                    if let Some(owner) = recorded(&file, &stat)? {
                        text.extend(format!("{} ", owner.to_text()).as_bytes());
                        text.extend(path.as_os_str().as_bytes());
                        text.push(0);
                    }
                }
            }
        }
    }
    Ok(text)
}

/// Takes over what [`list_nodes`] returned for the tree at `place`; what is not there any more is left out.
///
/// `text` is asked for the first time only.
pub fn learn_nodes(place: &Path, text: impl FnOnce() -> io::Result<Vec<u8>>) -> io::Result<()> {
    if !nodes().learned.insert(place.to_owned()) {
        return Ok(());
    }
    let text = text()?;
    if text.is_empty() {
        return Ok(());
    }
    let tree = Root::open(place)?;
    for line in text.split(|byte| *byte == 0) {
        let Some(space) = line.iter().position(|byte| *byte == b' ') else { continue };
        let Some(owner) = Owner::parse(&line[..space]) else { continue };
        match tree.open_at(Path::new(OsStr::from_bytes(&line[space + 1..])), PATH_ONLY, Mode::empty()) {
            Ok(file) => {
                if let Some(node) = Node::of(&file)? {
                    nodes().owners.insert(node, owner);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn records_are_read_as_they_were_written() {
        let device = Some(Device { is_block: true, major: 8, minor: 1 });
        for owner in [Owner::new(1000, 7), Owner::default(), Owner { uid: 0, gid: 6, device }] {
            assert_eq!(Owner::parse(owner.to_text().as_bytes()), Some(owner));
        }
        for text in ["", "1", "1:x", "1:2:c", "1:2:d:3:4", "4294967296:0", "1:2:c:3:4:5"] {
            assert_eq!(Owner::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn files_and_links_keep_their_owners_and_lose_them_with_themselves() {
        let directory = tempfile::tempdir_in("/tmp").unwrap();
        let root = Root::open(directory.path()).unwrap();
        let open = |name: &str| root.open_at(Path::new(name), PATH_ONLY, Mode::empty()).unwrap();
        let of = |name: &str| {
            let file = open(name);
            recorded(&file, &rustix::fs::fstat(&file).unwrap()).unwrap()
        };
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("file"), "").unwrap();
        std::os::unix::fs::symlink("file", path("link")).unwrap();
        for name in ["file", "link"] {
            assert_eq!(of(name), None);
            record(&open(name), Owner::new(5, 6)).unwrap();
            std::fs::rename(path(name), path("moved")).unwrap();
            assert_eq!(of("moved"), Some(Owner::new(5, 6)), "{name}");
            std::fs::rename(path("moved"), path(name)).unwrap();
        }
        record(&open("file"), Owner::default()).unwrap();
        assert_eq!(of("file"), None);
        std::fs::remove_file(path("link")).unwrap();
        std::os::unix::fs::symlink("file", path("link")).unwrap();
        assert_eq!(of("link"), None, "a new link, perhaps with the old inode number");
    }

    #[test]
    fn a_tree_lists_its_links_for_another_process() {
        let directory = tempfile::tempdir_in("/tmp").unwrap();
        std::fs::create_dir(directory.path().join("d")).unwrap();
        std::os::unix::fs::symlink("x", directory.path().join("d/link")).unwrap();
        let list = [b"7:8 d/link\0".as_slice(), b"9:9 gone\0"].concat();
        learn_nodes(directory.path(), || Ok(list)).unwrap();
        let link =
            Root::open(&directory.path().join("d")).unwrap().open_at(Path::new("link"), PATH_ONLY, Mode::empty());
        let link = link.unwrap();
        assert_eq!(recorded(&link, &rustix::fs::fstat(&link).unwrap()).unwrap(), Some(Owner::new(7, 8)));
        learn_nodes(directory.path(), || panic!("asked for twice")).unwrap();
    }
}
