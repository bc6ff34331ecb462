//! A step's own layer: where it is written, how the layers below are seen while it is.

use super::base::{held_base, unpack_base};
use super::filesystem::FileSystem;
use super::session::{Session, store_failure};
use crate::diag::{Diagnostic, Exit};
use crate::snapshot::{self, Mounted};
use crate::store::{HeldLayer, LayerMeta, PendingLayer, Snapshot};
use crate::sys::Root;
use std::io;
use std::path::{Path, PathBuf};

/// A file system with a fresh layer on top, mounted for writing.
pub struct Workspace {
    pending: PendingLayer,
    mounted: Mounted,
    below: Snapshot,
}

impl Workspace {
    /// Mounts `below` with an empty layer on top.
    pub fn open(session: &Session, below: &FileSystem) -> Result<Workspace, Diagnostic> {
        let layers = all_layers(session, below)?;
        let pending = session.store().new_layer().map_err(store_failure)?;
        let lower = lower_directories(session, &layers);
        let mounted = mount(session, &lower, &pending).map_err(|error| mount_failure(&error))?;
        Ok(Workspace { pending, mounted, below: layers })
    }

    /// Returns the root of the merged file system.
    pub fn root(&self) -> &Root {
        &self.mounted.root
    }

    /// Seals the layer of a step that had mounts at `targets`, without the copies of directories that these brought in.
    pub fn seal_without(self, session: &Session, targets: &[PathBuf]) -> Result<HeldLayer, Diagnostic> {
        drop(self.mounted);
        let drop_untouched = || -> io::Result<()> {
            let upper = Root::open(&self.pending.tree())?;
            let lower: Vec<Root> =
                self.below.iter().rev().map(|layer| Root::open(&layer.tree())).collect::<io::Result<_>>()?;
            let parents = targets.iter().filter_map(|target| target.parent());
            parents.chain([Path::new("/etc")]).try_for_each(|parent| snapshot::drop_untouched(&upper, &lower, parent))
        };
        drop_untouched().map_err(|error| {
            Diagnostic::error(Exit::Step, "cannot tidy up the layer of a step").note(error.to_string())
        })?;
        seal(session, self.pending)
    }

    /// Gives the layer its name; what is below stays as it was.
    pub fn seal(self, session: &Session) -> Result<HeldLayer, Diagnostic> {
        drop(self.mounted);
        seal(session, self.pending)
    }
}

/// Seals a layer that was filled without a mount.
pub fn seal(session: &Session, pending: PendingLayer) -> Result<HeldLayer, Diagnostic> {
    let meta = LayerMeta::new(jiff::Timestamp::now().as_second());
    session.store().seal_layer(pending, None, &meta).map_err(store_failure)
}

/// Returns the root of a file system for reading.
pub fn view(session: &Session, filesystem: &FileSystem) -> Result<View, Diagnostic> {
    let layers = all_layers(session, filesystem)?;
    let lower = lower_directories(session, &layers);
    let root = view_of(session, &lower)?;
    Ok(View { root, _layers: layers })
}

/// Returns the merged root of some layer trees for reading, the uppermost first.
pub fn view_of(session: &Session, lower: &[PathBuf]) -> Result<Root, Diagnostic> {
    let empty = session.store().empty_directory();
    if lower == [empty.clone()] {
        // Overlayfs does not take one directory twice.
        let other = session.store().temporary().map_err(store_failure)?;
        let both = [empty.clone(), other.path().to_owned()];
        return snapshot::view(&both, &empty, session.form()).map_err(|error| mount_failure(&error));
    }
    // A single layer is stacked onto the empty directory: it may hold marks that mean nothing to a plain reader.
    let stacked = [lower, std::slice::from_ref(&empty)].concat();
    snapshot::view(if lower.len() == 1 { &stacked } else { lower }, &empty, session.form())
        .map_err(|error| mount_failure(&error))
}

/// A file system mounted for reading.
pub struct View {
    /// Its root.
    pub root: Root,
    _layers: Snapshot,
}

/// Returns every layer of a file system, the base's unpacked if need be, lowest first.
pub fn all_layers(session: &Session, filesystem: &FileSystem) -> Result<Snapshot, Diagnostic> {
    let mut layers = match &filesystem.base {
        None => Vec::new(),
        Some(facts) => match held_base(session, facts)? {
            Some(held) => held,
            // A base that only a cached step stands on is unpacked when it is first looked into.
            None => {
                let task = session.reporter().start(format!("[internal] unpack {}", facts.manifest.digest));
                let result = unpack_base(session, facts, &task);
                super::base::end_task(task, &result);
                result?
            }
        },
    };
    layers.extend(filesystem.own.iter().cloned());
    Ok(layers)
}

/// Returns the trees of layers as an overlay wants them: uppermost first, at least one.
pub fn lower_directories(session: &Session, layers: &[HeldLayer]) -> Vec<PathBuf> {
    if layers.is_empty() {
        return vec![session.store().empty_directory()];
    }
    layers.iter().rev().map(HeldLayer::tree).collect()
}

fn mount(session: &Session, lower: &[PathBuf], pending: &PendingLayer) -> io::Result<Mounted> {
    // The merged root takes its metadata from the uppermost layer, so a fresh one begins with that of the layer below.
    let top = Root::open(&lower[0])?;
    let upper = Root::open(&pending.tree())?;
    snapshot::copy_directory_metadata(std::slice::from_ref(&top), &upper, "".as_ref())?;
    snapshot::mount(lower, &pending.tree(), &pending.work(), session.form())
}

/// Says that the kernel refused an overlay.
pub fn mount_failure(error: &io::Error) -> Diagnostic {
    Diagnostic::error(Exit::Isolation, "cannot mount the root file system of a step").note(error.to_string()).hint(
        "put the store on a file system that can carry an overlay: set COOPER_ROOT to a directory on a plain disk",
    )
}
