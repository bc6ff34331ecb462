//! A step's own layer: where it is written, how the layers below are seen while it is.

use super::base::{held_base, unpack_base};
use super::filesystem::FileSystem;
use super::session::{Session, store_failure};
use super::trees;
use crate::diag::{Diagnostic, Exit};
use crate::snapshot::copy::{Sharing, Unchanged, WorkTree};
use crate::snapshot::{self, Mounted};
use crate::store::{HeldLayer, LayerMeta, PendingLayer, Snapshot};
use crate::sys::Root;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Who writes to a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// This program, which replaces files and writes to none that is there.
    Replacing,
    /// A command or an archive, which may change a file in place.
    Any,
}

/// A file system with a fresh layer on top, ready for writing.
pub struct Workspace {
    pending: PendingLayer,
    upper: Upper,
    below: Snapshot,
    writer: Writer,
}

/// How the layer comes about.
enum Upper {
    /// As the upper directory of an overlay.
    Mounted(Mounted),
    /// As the difference of a copy.
    Copy(Box<WorkTree>),
    /// By itself: there is nothing below it.
    Alone(Root),
}

impl Workspace {
    /// Puts an empty layer on top of `below`.
    pub fn open(session: &Session, below: &FileSystem, writer: Writer) -> Result<Workspace, Diagnostic> {
        let layers = all_layers(session, below)?;
        let pending = session.store().new_layer().map_err(store_failure)?;
        let upper = if session.has_overlay() {
            let lower = lower_directories(session, &layers);
            Upper::Mounted(mount(session, &lower, &pending).map_err(|error| mount_failure(&error))?)
        } else if layers.is_empty() {
            Upper::Alone(Root::open(&pending.tree()).map_err(|error| trees::failure(&error))?)
        } else {
            let sharing = if writer == Writer::Replacing { Sharing::Linked } else { Sharing::Copied };
            let mut tree = session.trees().take(session, &layers, sharing)?;
            tree.begin().map_err(|error| trees::failure(&error))?;
            Upper::Copy(Box::new(tree))
        };
        Ok(Workspace { pending, upper, below: layers, writer })
    }

    /// Returns the root of the merged file system.
    pub fn root(&self) -> &Root {
        match &self.upper {
            Upper::Mounted(mounted) => &mounted.root,
            Upper::Copy(tree) => tree.root(),
            Upper::Alone(root) => root,
        }
    }

    /// Returns a directory on the same file system, for what is moved aside during a step.
    pub fn aside(&self) -> PathBuf {
        match &self.upper {
            Upper::Copy(tree) => tree.aside(),
            Upper::Mounted(_) | Upper::Alone(_) => self.pending.work(),
        }
    }

    /// Seals the layer of a step that had mounts at `targets`, without the copies of directories that these brought in.
    pub fn seal_without(self, session: &Session, targets: &[PathBuf]) -> Result<HeldLayer, Diagnostic> {
        let unchanged = match &self.upper {
            Upper::Copy(tree) => touched_by_mounts(tree.root(), targets),
            Upper::Mounted(_) | Upper::Alone(_) => Unchanged::default(),
        };
        self.finish(session, &unchanged, |upper, lower| {
            let parents = targets.iter().filter_map(|target| target.parent());
            parents.chain([Path::new("/etc")]).try_for_each(|parent| snapshot::drop_untouched(upper, lower, parent))
        })
    }

    /// Gives the layer its name; what is below stays as it was.
    pub fn seal(self, session: &Session) -> Result<HeldLayer, Diagnostic> {
        self.finish(session, &Unchanged::default(), |_, _| Ok(()))
    }

    fn finish(
        self,
        session: &Session,
        unchanged: &Unchanged,
        tidy: impl FnOnce(&Root, &[Root]) -> io::Result<()>,
    ) -> Result<HeldLayer, Diagnostic> {
        let Workspace { pending, upper, mut below, writer } = self;
        let tree = match upper {
            Upper::Mounted(_) | Upper::Alone(_) => None,
            Upper::Copy(mut tree) => {
                let written =
                    Root::open(&pending.tree()).and_then(|layer| tree.write_changes(&layer, session.form(), unchanged));
                written.map_err(|error| trees::failure(&error))?;
                Some(tree)
            }
        };
        // What this program writes replaces no link by a directory and needs no tidying.
        if writer == Writer::Any {
            let tidied = Root::open(&pending.tree()).and_then(|upper| {
                let lower = below.iter().rev().map(|layer| Root::open(&layer.tree()));
                let lower: Vec<Root> = lower.collect::<io::Result<_>>()?;
                tidy(&upper, &lower)?;
                snapshot::drop_idle_marks(&upper, &lower, session.form())
            });
            tidied.map_err(|error| {
                Diagnostic::error(Exit::Step, "cannot tidy up the layer of a step").note(error.to_string())
            })?;
        }
        let layer = seal(session, pending)?;
        if let Some(tree) = tree {
            below.push(layer.clone());
            session.trees().give_back(&below, *tree);
        }
        Ok(layer)
    }
}

/// Returns what only seems to have changed because something was put over it for the time of a step.
fn touched_by_mounts(root: &Root, targets: &[PathBuf]) -> Unchanged {
    let fixed = ["/etc/hosts", "/etc/resolv.conf", "/proc", "/dev", "/sys"].map(Path::new);
    let targets = targets.iter().map(PathBuf::as_path).chain(fixed);
    let mut touched = Unchanged::new();
    for target in targets {
        let Some((parent, name)) = target.parent().zip(target.file_name()) else { continue };
        // What cannot be found any more has changed.
        let Ok(parent) = root.canonical(parent) else { continue };
        let relative = parent.strip_prefix("/").unwrap_or(&parent);
        touched.extend([relative.to_owned(), relative.join(name)]);
        if let Ok(real) = root.canonical(&parent.join(name)) {
            touched.insert(real.strip_prefix("/").unwrap_or(&real).to_owned());
        }
    }
    touched
}

/// Seals a layer that was filled without a mount.
pub fn seal(session: &Session, pending: PendingLayer) -> Result<HeldLayer, Diagnostic> {
    let meta = LayerMeta::new(jiff::Timestamp::now().as_second());
    session.store().seal_layer(pending, None, &meta).map_err(store_failure)
}

/// Returns the root of a file system for reading.
pub fn view(session: &Session, filesystem: &FileSystem) -> Result<View, Diagnostic> {
    view_of(session, all_layers(session, filesystem)?)
}

/// Returns the merge of some layers for reading.
pub fn view_of(session: &Session, layers: Snapshot) -> Result<View, Diagnostic> {
    if !session.has_overlay() {
        let tree = session.trees().view(session, &layers)?;
        let root = tree.root().try_clone().map_err(|error| trees::failure(&error))?;
        return Ok(View { root, _tree: Some(tree), _layers: layers });
    }
    let lower = lower_directories(session, &layers);
    let root = overlay_of(session, &lower)?;
    Ok(View { root, _tree: None, _layers: layers })
}

/// Returns the merged root of some layer trees for reading, the uppermost first.
pub fn overlay_of(session: &Session, lower: &[PathBuf]) -> Result<Root, Diagnostic> {
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

/// A file system ready for reading.
pub struct View {
    /// Its root.
    pub root: Root,
    _tree: Option<Arc<WorkTree>>,
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
    // What stands in for no layer at all is the store's own directory, and nobody else's to enter.
    if lower[0] != session.store().empty_directory() {
        let top = Root::open(&lower[0])?;
        let upper = Root::open(&pending.tree())?;
        snapshot::copy_directory_metadata(std::slice::from_ref(&top), &upper, "".as_ref())?;
    }
    snapshot::mount(lower, &pending.tree(), &pending.work(), session.form())
}

/// Says that the kernel refused an overlay.
pub fn mount_failure(error: &io::Error) -> Diagnostic {
    Diagnostic::error(Exit::Isolation, "cannot mount the root file system of a step").note(error.to_string()).hint(
        "put the store on a file system that can carry an overlay: set COOPER_ROOT to a directory on a plain disk",
    )
}
