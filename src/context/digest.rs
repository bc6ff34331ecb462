//! The digest of a selection: what a cache key holds of the files that a step copies.
//!
//! Names, types, modes, link targets and contents count; times, inodes and (of a local context) owners do not, so that
//! a key outlives `git clone`.

use super::select::Selected;
use super::selection::{Entry, EntryKind, Item};
use super::stat_cache::{ContentDigest, StatCache};
use super::tree::{FileStamp, Tree, join};
use rayon::prelude::*;
use rustix::fs::{FileType, Mode, OFlags};
use std::cell::RefCell;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Begins every record, with the version of what follows.
const DOMAIN: &[u8] = b"cooper selection 1\0";
const BUFFER_SIZE: usize = 128 * 1024;

/// The digest of a selection and of each of its entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectionDigest {
    /// Of everything, in its order.
    pub digest: blake3::Hash,
    /// Of each entry, as far as it counts, with its path in the destination: what the reason of a miss is made from.
    pub files: Vec<(PathBuf, blake3::Hash)>,
}

/// A file that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("read `{}` in the source tree", path.display())]
pub struct DigestError {
    /// Path from the root of the tree.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// Returns the digest of a selection, reading the files whose digests `cache` does not know.
///
/// The paths that the cache knows are those of the tree, so each root needs a cache of its own.
pub fn selection_digest(
    tree: Tree<'_>,
    selected: &Selected,
    cache: &StatCache,
) -> Result<SelectionDigest, DigestError> {
    // All items at once: a wildcard makes as many items as it matches files.
    let nodes: Vec<(&Item, &Entry, &FileStamp)> = selected
        .selection
        .items
        .iter()
        .zip(&selected.stamps)
        .flat_map(|(item, stamps)| item.entries.iter().zip(stamps).map(move |(entry, stamp)| (item, entry, stamp)))
        .collect();
    let contents: Vec<Option<ContentDigest>> = nodes
        .par_iter()
        .with_min_len(16)
        .map(|(item, entry, stamp)| content(&tree, item, entry, stamp, cache))
        .collect::<Result<_, _>>()?;
    let mut contents = contents.into_iter();
    let mut all = blake3::Hasher::new();
    all.update(DOMAIN);
    let mut files = Vec::with_capacity(nodes.len());
    for item in &selected.selection.items {
        count(&mut all, item.parents.len());
        for parent in &item.parents {
            add(&mut all, &mut files, &tree, parent.path.clone(), parent, None);
        }
        count(&mut all, item.entries.len());
        let above = item.parents.last().map_or(Path::new(""), |parent| &parent.path).join(&item.name);
        for (entry, content) in item.entries.iter().zip(&mut contents) {
            add(&mut all, &mut files, &tree, join(&above, &entry.path), entry, content);
        }
    }
    Ok(SelectionDigest { digest: all.finalize(), files })
}

fn count(hasher: &mut blake3::Hasher, count: usize) {
    hasher.update(&(count as u64).to_le_bytes());
}

/// Adds one entry to the digest of all and to the list.
fn add(
    all: &mut blake3::Hasher,
    files: &mut Vec<(PathBuf, blake3::Hash)>,
    tree: &Tree<'_>,
    path: PathBuf,
    entry: &Entry,
    content: Option<ContentDigest>,
) {
    let digest = entry_digest(tree, entry, content);
    count(all, path.as_os_str().len());
    all.update(path.as_os_str().as_bytes());
    all.update(digest.as_bytes());
    files.push((path, digest));
}

/// Returns the digest of what counts of an entry apart from its path.
fn entry_digest(tree: &Tree<'_>, entry: &Entry, content: Option<ContentDigest>) -> blake3::Hash {
    let mut record = Vec::with_capacity(64);
    let (kind, number) = match entry.kind {
        EntryKind::Directory => (b'd', 0),
        EntryKind::File { .. } => (b'f', 0),
        EntryKind::Symlink { .. } => (b'l', 0),
        EntryKind::Fifo => (b'p', 0),
        EntryKind::Socket => (b's', 0),
        EntryKind::CharDevice { rdev } => (b'c', rdev),
        EntryKind::BlockDevice { rdev } => (b'b', rdev),
    };
    record.push(kind);
    record.extend_from_slice(&entry.mode.to_le_bytes());
    record.extend_from_slice(&u64::to_le_bytes(number));
    record.push(u8::from(tree.keep_owner));
    if tree.keep_owner {
        record.extend_from_slice(&entry.uid.to_le_bytes());
        record.extend_from_slice(&entry.gid.to_le_bytes());
    }
    // Last and alone of its kind, so it needs no length.
    match &entry.kind {
        EntryKind::Symlink { target } => record.extend_from_slice(target.as_bytes()),
        _ => record.extend_from_slice(content.as_ref().map_or(&[][..], |content| content)),
    }
    blake3::hash(&record)
}

/// Returns the digest of a regular file's content, known or read; `None` for what is none.
fn content(
    tree: &Tree<'_>,
    item: &Item,
    entry: &Entry,
    stamp: &FileStamp,
    cache: &StatCache,
) -> Result<Option<ContentDigest>, DigestError> {
    if !matches!(entry.kind, EntryKind::File { .. }) {
        return Ok(None);
    }
    let path = join(&item.origin, &entry.path);
    if let Some(digest) = cache.digest_of(&path, stamp) {
        return Ok(Some(digest));
    }
    read(tree, &path, stamp, cache).map(Some).map_err(|source| DigestError { path, source })
}

fn read(tree: &Tree<'_>, path: &Path, stamp: &FileStamp, cache: &StatCache) -> io::Result<ContentDigest> {
    // Without blocking, for what is a FIFO by now; refused below.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = tree.root.open_at(path, flags, Mode::empty())?;
    let read_at = SystemTime::now();
    let before = rustix::fs::fstat(&fd)?;
    if FileType::from_raw_mode(before.st_mode) != FileType::RegularFile {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no longer a regular file"));
    }
    thread_local! {
        static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER_SIZE]);
    }
    let digest = BUFFER.with_borrow_mut(|buffer| {
        let mut hasher = blake3::Hasher::new();
        loop {
            match rustix::io::read(&fd, buffer.as_mut_slice()) {
                Ok(0) => return Ok(hasher.finalize().into()),
                Ok(size) => hasher.update(&buffer[..size]),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error),
            };
        }
    })?;
    // A file that changed since the walk is keyed by what was read now, and not remembered.
    if FileStamp::of(&before) == *stamp && FileStamp::of(&rustix::fs::fstat(&fd)?) == *stamp {
        cache.insert(path, stamp, digest, read_at);
    }
    Ok(digest)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::context::ignore::IgnoreRules;
    use crate::context::select::{SelectOptions, select};
    use crate::sys::Root;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::time::Duration;

    fn digest(directory: &Path, pattern: &str, cache: &StatCache) -> SelectionDigest {
        digest_without(None, directory, pattern, cache)
    }

    fn digest_without(
        ignore: Option<&IgnoreRules>,
        directory: &Path,
        pattern: &str,
        cache: &StatCache,
    ) -> SelectionDigest {
        let root = Root::open(directory).unwrap();
        let tree = Tree { root: &root, ignore, keep_owner: false };
        let selected = select(tree, &[pattern], SelectOptions::default()).unwrap();
        selection_digest(tree, &selected, cache).unwrap()
    }

    fn sample() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("d")).unwrap();
        fs::write(directory.path().join("d/a"), "one").unwrap();
        fs::write(directory.path().join("d/b"), "two").unwrap();
        symlink("a", directory.path().join("d/l")).unwrap();
        directory
    }

    #[test]
    fn a_copy_of_the_tree_has_the_same_digest() {
        let (first, second) = (sample(), sample());
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        fs::File::open(second.path().join("d/a")).unwrap().set_modified(old).unwrap();
        let cache = StatCache::default();
        assert_eq!(digest(first.path(), "d", &cache), digest(second.path(), "d", &StatCache::default()));
    }

    #[test]
    fn content_mode_name_target_and_type_count() {
        type Change = fn(&Path);
        let changes: [Change; 6] = [
            |d| fs::write(d.join("a"), "ONE").unwrap(),
            |d| fs::set_permissions(d.join("a"), Permissions::from_mode(0o4755)).unwrap(),
            |d| fs::rename(d.join("a"), d.join("c")).unwrap(),
            |d| (fs::remove_file(d.join("l")).unwrap(), symlink("b", d.join("l")).unwrap()).1,
            |d| (fs::remove_file(d.join("a")).unwrap(), fs::create_dir(d.join("a")).unwrap()).1,
            |d| fs::set_permissions(d, Permissions::from_mode(0o700)).unwrap(),
        ];
        let base = digest(sample().path(), "d", &StatCache::default());
        for (index, change) in changes.iter().enumerate() {
            let directory = sample();
            change(&directory.path().join("d"));
            assert_ne!(digest(directory.path(), "d", &StatCache::default()).digest, base.digest, "change {index}");
        }
    }

    #[test]
    fn the_list_names_what_changed() {
        let directory = sample();
        let before = digest(directory.path(), "d", &StatCache::default());
        fs::write(directory.path().join("d/b"), "TWO").unwrap();
        let after = digest(directory.path(), "d", &StatCache::default());
        let changed: Vec<_> =
            before.files.iter().zip(&after.files).filter(|(old, new)| old != new).map(|(old, _)| &old.0).collect();
        assert_eq!(changed, [Path::new("d/b")]);
    }

    #[test]
    fn what_the_cache_knows_is_not_read() {
        let directory = sample();
        let file = directory.path().join("d/a");
        fs::File::open(&file).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        std::thread::sleep(Duration::from_millis(40));
        let cache = StatCache::default();
        let real = digest(directory.path(), "d/a", &cache);
        let stamp = FileStamp::of(&rustix::fs::stat(&file).unwrap());
        assert!(cache.digest_of(Path::new("/d/a"), &stamp).is_some());
        cache.insert(Path::new("/d/a"), &stamp, [9; 32], SystemTime::now());
        assert_ne!(digest(directory.path(), "d/a", &cache).digest, real.digest);
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        assert_eq!(digest(directory.path(), "d/a", &cache).digest, real.digest);
    }

    /// Run by hand, optimised: the bound of a build in which nothing changed.
    #[test]
    #[ignore = "a measurement, for an optimised build on a quiet machine"]
    fn a_walk_with_known_digests_costs_little_more_than_statting() {
        const DIRECTORIES: usize = 1000;
        let directory = tempfile::tempdir().unwrap();
        for number in 0..DIRECTORIES * 100 {
            let parent = directory.path().join(format!("p{}/m{}", number / 5000, number / 100));
            if number % 100 == 0 {
                fs::create_dir_all(&parent).unwrap();
            }
            fs::write(parent.join(format!("file{number}.js")), number.to_string()).unwrap();
        }
        std::thread::sleep(Duration::from_millis(100));
        let store = tempfile::tempdir().unwrap();
        let file = store.path().join("cache");
        let cache = StatCache::default();
        let first = digest(directory.path(), ".", &cache);
        cache.save(&file).unwrap();
        let stat_all = || {
            let mut pending = vec![directory.path().to_owned()];
            while let Some(path) = pending.pop() {
                for entry in fs::read_dir(path).unwrap() {
                    let entry = entry.unwrap();
                    if entry.metadata().unwrap().is_dir() {
                        pending.push(entry.path());
                    }
                }
            }
        };
        // What stands in ordinary projects; most of it applies to every file.
        let rules = ".git\n**/node_modules\n**/*.o\n*.md\n!README.md\n**/.DS_Store\ndist\n**/__pycache__\n**/*.py[cod]\n\
            **/*~\n.env*\ntarget/\n**/*.log\n.vscode\n.idea\nDockerfile*\n**/coverage/**\n**/*.test.*\n**/tmp/*\ndocs/**\n";
        let noop = || {
            let rules = IgnoreRules::parse(".dockerignore", rules.as_bytes()).unwrap();
            let cache = StatCache::load(&file, crate::context::stat_cache::STAT_CACHE_LIMIT_BYTES);
            assert_eq!(digest_without(Some(&rules), directory.path(), ".", &cache).digest, first.digest);
        };
        let best = |run: &dyn Fn()| {
            let time = |_| {
                let start = std::time::Instant::now();
                run();
                start.elapsed()
            };
            (0..5).map(time).min().unwrap()
        };
        let (stat, noop) = (best(&stat_all), best(&noop));
        println!("stat {stat:?}, no-op {noop:?}");
        assert!(noop.as_secs_f64() <= stat.as_secs_f64() * 1.3, "stat {stat:?}, no-op {noop:?}");
    }

    #[test]
    fn a_wildcard_counts_the_names_it_matched() {
        let directory = sample();
        let before = digest(directory.path(), "d/*", &StatCache::default());
        fs::rename(directory.path().join("d/b"), directory.path().join("d/bb")).unwrap();
        assert_ne!(digest(directory.path(), "d/*", &StatCache::default()).digest, before.digest);
    }
}
