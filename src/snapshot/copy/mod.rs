//! Root file systems as plain directories, for where overlayfs is refused.
//!
//! A work tree is the merge of a stack of layers: made once, then moved forward from step to step.  What a step did is found by
//! comparing the tree with what was there before it, and only that is copied into the step's layer, which has the same form as
//! an overlay's upper directory: keys, exports and other builders of the same store see no difference.

mod diff;
mod merge;
mod node;

#[cfg(test)]
mod tests;

pub use diff::Unchanged;

use crate::store::WorkDirectory;
use crate::sys::Root;
use crate::sys::overlay::OverlayForm;
use diff::Record;
use merge::Widened;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Whether the files of a work tree are the layers' own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Hard links into the layers: for readers, and for steps that this program does itself, which replace files and never
    /// write to one.
    Linked,
    /// Copies (clones where the file system can): for commands, which may write into a file.
    Copied,
}

/// A merged root file system in a directory of its own, removed when dropped.
#[derive(Debug)]
pub struct WorkTree {
    directory: WorkDirectory,
    root: Root,
    sharing: Sharing,
    record: Option<Record>,
    widened: Widened,
}

impl WorkTree {
    /// Makes an empty one in a directory, which should be on the file system of the layers.
    pub fn new(directory: WorkDirectory, sharing: Sharing) -> io::Result<WorkTree> {
        let path = directory.path().join("root");
        std::fs::create_dir(&path)?;
        let root = Root::open(&path)?;
        Ok(WorkTree { directory, root, sharing, record: None, widened: Widened::new() })
    }

    /// Returns the root of the merged tree.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Returns how its files belong to it.
    pub fn sharing(&self) -> Sharing {
        self.sharing
    }

    /// Returns a directory on the same file system for what must be kept apart for a while.
    pub fn aside(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    /// Puts the tree of a layer on top of what is there.
    pub fn apply(&mut self, layer: &Path, form: OverlayForm) -> io::Result<()> {
        self.record = None;
        merge::apply(&Root::open(layer)?, &self.root, self.sharing, form, &mut self.widened)
    }

    /// Notes what is there before a step, unless the step before has left that.
    pub fn begin(&mut self) -> io::Result<()> {
        let record = match self.record.take() {
            Some(record) => record,
            None => Record::of(&self.root)?,
        };
        // A change within the clock tick of the last one before the step would leave size and times as they are.
        if self.sharing == Sharing::Copied {
            wait_until_after(record.newest_change());
        }
        self.record = Some(record);
        Ok(())
    }

    /// Writes what has changed since [`WorkTree::begin`] into an empty directory, in overlay form.
    pub fn write_changes(&mut self, layer: &Root, form: OverlayForm, unchanged: &Unchanged) -> io::Result<()> {
        let before = self.record.take().unwrap_or_default();
        self.record = Some(diff::write(&before, self, layer, form, unchanged)?);
        Ok(())
    }
}

/// Waits until the clock of the file system has left the tick of a time stamp (seconds, nanoseconds).
fn wait_until_after((seconds, nanoseconds): (i64, u32)) {
    /// More than a tick of the slowest kernels (100 Hz).
    const TICK: Duration = Duration::from_millis(11);
    let Ok(seconds) = u64::try_from(seconds) else { return };
    let stamp = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds);
    // An error is a time in the future, which says nothing of the clock.
    if let Ok(age) = SystemTime::now().duration_since(stamp)
        && let Some(rest) = TICK.checked_sub(age)
    {
        std::thread::sleep(rest);
    }
}
