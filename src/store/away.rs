//! What builds that were killed leave: cache mounts that are not in their place, and directories of work.
//!
//! Where nothing can be mounted a cache is moved into the root file system of a step and back.  A note beside its place says
//! where it is meanwhile, so that no cache goes with the work of a build that died.

use super::lock::{self, Mode};
use super::{IoContext, Store, StoreError, file};
use crate::sys::Root;
use rustix::fs::CWD;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The file beside a mount's data.
const NOTE: &str = "away";
/// Bytes of a note: three paths.
const NOTE_LIMIT_BYTES: u64 = 64 << 10;
/// Starts the name of a directory of work.
const WORK: &str = "w-";
/// Starts the name of a layer in the making.
const LAYER: &str = "l-";
/// How old something has to be before nobody who has just made it can be about to lock it.
const LOCKED_AGE: Duration = Duration::from_secs(1);
/// How often a directory of work is made again that is taken for another's.
const ATTEMPT_LIMIT: usize = 8;

/// Keeps the note of one cache mount.
#[derive(Debug, Clone)]
pub struct Away {
    directory: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    /// Where it belongs, below the mount's directory.
    from: PathBuf,
    /// The root file system that it is in, below the store.
    root: PathBuf,
    /// Where in it: a path without links.
    path: PathBuf,
}

impl Away {
    pub(super) fn of(directory: &Path) -> Away {
        Away { directory: directory.to_owned() }
    }

    /// Says that what belongs at `from` is going to be at `path` of the tree at `root`, both in the store.
    pub fn note(&self, from: &Path, root: &Path, path: &Path) -> io::Result<()> {
        let outside = |_| io::Error::other("a cache mount and its step are not in one store");
        let from = from.strip_prefix(&self.directory).map_err(outside)?.to_owned();
        let root = root.strip_prefix(self.store()).map_err(outside)?.to_owned();
        let content = serde_json::to_vec(&Note { from, root, path: path.to_owned() })?;
        std::fs::write(self.directory.join(NOTE), content)
    }

    /// Says that it is where it belongs.
    pub fn is_back(&self) -> io::Result<()> {
        std::fs::remove_file(self.directory.join(NOTE))
    }

    /// The directory of a mount is `mounts/NAME` of the store.
    fn store(&self) -> &Path {
        self.directory.ancestors().nth(2).unwrap_or(Path::new("/"))
    }

    pub(super) fn is_noted(&self) -> bool {
        self.directory.join(NOTE).exists()
    }

    /// Moves what a killed build has left elsewhere back.  The mount must be locked for the caller alone.
    pub(super) fn bring_back(&self) -> Result<(), StoreError> {
        if !self.is_noted() {
            return Ok(());
        }
        if let Some(note) = self.read()? {
            self.take(&note).during("bring back", &self.directory)?;
        }
        self.is_back().during("remove the note of", &self.directory)
    }

    /// Half a note was never followed by a move, and counts as none.
    fn read(&self) -> Result<Option<Note>, StoreError> {
        let content = file::read_limited(&self.directory.join(NOTE), NOTE_LIMIT_BYTES)?;
        Ok(content.and_then(|content| serde_json::from_slice(&content).ok()))
    }

    fn take(&self, note: &Note) -> io::Result<()> {
        let root = match Root::open(&self.store().join(&note.root)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            root => root?,
        };
        // The command may have put a link anywhere: the way to it must stay in the root.
        let (parent, name) = match root.parent(&note.path) {
            Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOENT | Errno::NOTDIR)) => return Ok(()),
            place => place?,
        };
        match rustix::fs::renameat(parent, name, CWD, self.directory.join(&note.from)) {
            // It was not moved yet, or is back already and has something in it.
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// A directory below `tmp/`, removed when dropped, or by the next build if this one is killed.
#[derive(Debug)]
pub struct WorkDirectory {
    directory: tempfile::TempDir,
    _lock: File,
}

impl WorkDirectory {
    /// Returns it.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Store {
    /// Makes a directory for what is too large, or too secret, to be left for long.
    pub fn work_directory(&self) -> Result<WorkDirectory, StoreError> {
        let tmp = self.root().join("tmp");
        for _ in 0..ATTEMPT_LIMIT {
            let directory =
                tempfile::Builder::new().prefix(WORK).tempdir_in(&tmp).during("make a directory in", &tmp)?;
            match lock::try_lock(directory.path(), Mode::Shared) {
                Ok(Some(lock)) => return Ok(WorkDirectory { directory, _lock: lock }),
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).during("lock", &tmp),
                // Another build thought that nobody uses it.
                _ => {}
            }
        }
        Err(io::Error::from(io::ErrorKind::ResourceBusy)).during("lock", &tmp)
    }

    /// Brings cache mounts back that killed builds left elsewhere, and removes their work.
    pub fn clear_abandoned(&self) -> Result<(), StoreError> {
        let tmp = self.root().join("tmp");
        let mut abandoned = Vec::new();
        for entry in std::fs::read_dir(&tmp).during("read", &tmp)? {
            let entry = entry.during("read", &tmp)?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if (name.starts_with(WORK) || name.starts_with(LAYER)) && is_old(&entry.path()) {
                abandoned.push(entry.path());
            }
        }
        // Whoever uses something of its own still holds it.
        let mut locked: Vec<_> = abandoned
            .into_iter()
            .filter_map(|path| Some((lock::try_lock(&path, Mode::Exclusive).ok()??, path)))
            .collect();
        if locked.is_empty() {
            return Ok(());
        }
        self.bring_back_mounts()?;
        for (_lock, path) in locked.drain(..) {
            // Another build may be removing it too.
            let _ = std::fs::remove_dir_all(path);
        }
        Ok(())
    }

    /// Brings cache mounts back that nobody holds.
    pub(super) fn bring_back_mounts(&self) -> Result<(), StoreError> {
        let mounts = self.root().join("mounts");
        let mut noted = Vec::new();
        for entry in std::fs::read_dir(&mounts).during("read", &mounts)? {
            let away = Away::of(&entry.during("read", &mounts)?.path());
            if let Some(note) = away.read()? {
                noted.push((note.path.components().count(), away));
            }
        }
        // One cache may have been in another.
        noted.sort_by_key(|(depth, _)| std::cmp::Reverse(*depth));
        for (_, away) in noted {
            if let Ok(Some(_lock)) = lock::try_lock(&away.directory, Mode::Exclusive) {
                away.bring_back()?;
            }
        }
        Ok(())
    }
}

fn is_old(path: &Path) -> bool {
    let modified = std::fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| SystemTime::now().duration_since(modified).unwrap_or_default() >= LOCKED_AGE)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        (directory, store)
    }

    /// A cache with a file that is in the root of a step when the build dies.
    fn killed(store: &Store) -> PathBuf {
        let mut held = store.locked_mount("id", || ()).unwrap();
        held.mark_filled().unwrap();
        std::fs::write(held.path().join("kept"), "x").unwrap();
        let root = store.root().join("tmp/w-dead/root");
        std::fs::create_dir_all(root.join("cache")).unwrap();
        held.away().note(&held.path(), &root, Path::new("/cache/here")).unwrap();
        std::fs::rename(held.path(), root.join("cache/here")).unwrap();
        held.path()
    }

    #[test]
    fn a_cache_that_a_killed_build_moved_comes_back() {
        for shared in [false, true] {
            let (_directory, store) = store();
            let path = killed(&store);
            let held = match shared {
                true => store.shared_mount("id").unwrap(),
                false => store.private_mount("id").unwrap(),
            };
            assert!(held.path() == path && held.path().join("kept").exists() && !held.is_new);
            assert!(!Away::of(path.parent().unwrap()).is_noted());
        }
    }

    #[test]
    fn work_of_killed_builds_goes_and_their_caches_stay() {
        let (_directory, store) = store();
        let path = killed(&store);
        let living = store.work_directory().unwrap();
        for directory in [&store.root().join("tmp/w-dead"), living.path()] {
            let time = SystemTime::now() - Duration::from_secs(9);
            File::open(directory).unwrap().set_modified(time).unwrap();
        }
        store.clear_abandoned().unwrap();
        assert!(path.join("kept").exists() && living.path().exists());
        assert!(!store.root().join("tmp/w-dead").exists());
    }

    #[test]
    fn a_link_in_the_way_leads_nowhere() {
        let (directory, store) = store();
        let path = killed(&store);
        let root = store.root().join("tmp/w-dead/root");
        std::fs::create_dir_all(directory.path().join("outside/here")).unwrap();
        std::fs::rename(root.join("cache"), root.join("moved")).unwrap();
        std::os::unix::fs::symlink(directory.path().join("outside"), root.join("cache")).unwrap();
        store.bring_back_mounts().unwrap();
        assert!(directory.path().join("outside/here").exists() && !path.join("kept").exists());
    }
}
