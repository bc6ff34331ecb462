//! COPY, ADD and WORKDIR as steps: what is selected, written into a layer of its own.

use super::copy::{self, CopyStats, FileMetadata, Placement};
use super::filesystem::FileSystem;
use super::keys::KnownInput;
use super::layers::{self, View, Workspace};
use super::mode::parse_chmod;
use super::owner::{parse_chown, parse_user};
use super::remote::{Fetched, Page};
use super::steps::Build;
use super::workdir as directory;
use crate::context::ignore::IgnoreRules;
use crate::context::select::{SelectOptions, select, select_path};
use crate::context::selection::{Entry, EntryKind, Selection};
use crate::context::tree::Tree;
use crate::diag::{Diagnostic, Exit};
use crate::layer::ArchiveOptions;
use crate::plan::graph::{ContextId, CopyOp, CopySource, SourceRef, WorkdirOp};
use crate::sys::Root;
use std::path::{Path, PathBuf};

/// Does a COPY or ADD.
pub fn copy(
    build: &Build<'_>,
    op: &CopyOp,
    base: &FileSystem,
    inputs: &[KnownInput],
) -> Result<FileSystem, Diagnostic> {
    let session = build.session;
    // A linked layer does not look at what it will lie on.
    let below = if op.link { FileSystem::default() } else { base.clone() };
    let workspace =
        Workspace::open(session, &below, if op.is_add { layers::Writer::Any } else { layers::Writer::Replacing })?;
    let writer = Writer { build, op, root: workspace.root(), placement: placement(op, workspace.root())? };
    let mut inputs = inputs.iter();
    for source in &op.sources {
        match source {
            CopySource::Inline { name, content } => writer.inline(name, content)?,
            CopySource::Paths { from: SourceRef::Scratch, pattern, .. } => {
                inputs.next();
                writer.nothing(pattern)?;
            }
            CopySource::Paths { from, .. } => writer.paths(*from, inputs.next())?,
            CopySource::Http { .. } | CopySource::Git { .. } => writer.download(inputs.next())?,
        }
    }
    Ok(base.with(workspace.seal(session)?))
}

fn placement(op: &CopyOp, users: &Root) -> Result<Placement, Diagnostic> {
    let usage = |error: &dyn std::error::Error| Diagnostic::from_error(Exit::Usage, error);
    Ok(Placement {
        destination: op.destination.clone(),
        chown: op.chown.as_deref().map(|text| parse_chown(text, users)).transpose().map_err(|error| usage(&error))?,
        chmod: op.chmod.as_deref().map(parse_chmod).transpose().map_err(|error| usage(&error))?,
        parents: op.parents,
        keep_owner: false,
        verify_unchanged: false,
        epoch: op.epoch,
    })
}

/// Writes the sources of one COPY or ADD, one after the other.
struct Writer<'a> {
    build: &'a Build<'a>,
    op: &'a CopyOp,
    root: &'a Root,
    placement: Placement,
}

impl Writer<'_> {
    fn inline(&self, name: &str, content: &str) -> Result<(), Diagnostic> {
        let metadata = FileMetadata { mode: 0o644, mtime: None };
        // The word of a heredoc may look like a path, `../x` even; the file has its last name.
        let name = Path::new(name).file_name().unwrap_or(name.as_ref());
        written(copy::place_bytes(name, content.as_bytes(), metadata, self.root, &self.placement))
    }

    fn paths(&self, from: SourceRef, input: Option<&KnownInput>) -> Result<(), Diagnostic> {
        let Some(selected) = input.and_then(|input| input.selected.as_ref()) else { return Ok(()) };
        match from {
            SourceRef::Scratch => Ok(()),
            SourceRef::Step(step) => {
                let view = layers::view(self.build.session, &self.build.results.get(Some(step)))?;
                let tree = Tree { root: &view.root, ignore: None, keep_owner: true };
                self.selection(tree, &selected.selection, false)
            }
            SourceRef::Context(id) => {
                let context = self.build.contexts.get(id)?;
                self.selection(context.tree(), &selected.selection, true)
            }
        }
    }

    /// Copies from a stage without files: its root and what wildcards find is there, and nothing else.
    fn nothing(&self, pattern: &str) -> Result<(), Diagnostic> {
        let empty = self.build.session.store().empty_directory();
        let root = Root::open(&empty).map_err(|error| super::layers::mount_failure(&error))?;
        let tree = Tree { root: &root, ignore: None, keep_owner: true };
        let options = SelectOptions { parents: self.op.parents, exclude: None };
        let selected = select(tree, &[pattern], options).map_err(|error| {
            error.to_diagnostic().note("the stage has no files, so there is no such file or directory")
        })?;
        self.selection(tree, &selected.selection, false)
    }

    /// Archives among the sources of an ADD are unpacked, the rest is copied.
    fn selection(&self, tree: Tree<'_>, selection: &Selection, may_change: bool) -> Result<(), Diagnostic> {
        let placement =
            Placement { keep_owner: tree.keep_owner, verify_unchanged: may_change, ..self.placement.clone() };
        if !self.op.is_add || self.op.unpack == Some(false) {
            return written(copy::apply(selection, tree.root, self.root, &placement));
        }
        written(copy::apply_add(selection, tree.root, self.root, &placement, &self.archive_options()))
    }

    fn archive_options(&self) -> ArchiveOptions {
        ArchiveOptions { makes_devices: self.build.session.makes_devices(), ..ArchiveOptions::default() }
    }

    fn download(&self, input: Option<&KnownInput>) -> Result<(), Diagnostic> {
        let Some(fetched) = input.and_then(|input| input.fetched.as_ref()) else { return Ok(()) };
        match &**fetched {
            Fetched::Http(page) => self.page(page),
            Fetched::Git(repository) => {
                let checkout = repository.checkout(self.build.session)?;
                let tree = Tree { root: checkout.root(), ignore: None, keep_owner: false };
                let exclude = IgnoreRules::from_patterns(&self.op.exclude)
                    .map_err(|error| Diagnostic::from_error(Exit::Usage, &error))?;
                let exclude = Some(&exclude).filter(|_| !self.op.exclude.is_empty());
                let options = SelectOptions { parents: false, exclude };
                let selected = select(tree, &["/"], options).map_err(|error| error.to_diagnostic())?;
                written(copy::apply(&selected.selection, checkout.root(), self.root, &self.placement))
            }
        }
    }

    fn page(&self, page: &Page) -> Result<(), Diagnostic> {
        let file = page.open(self.build.session)?;
        let name = page.file_name();
        if self.op.unpack == Some(true) {
            let unpacked =
                copy::unpack_file(&file, Path::new(&name), self.root, &self.placement, &self.archive_options());
            if unpacked.map_err(|error| Diagnostic::from_error(Exit::Step, &error))?.is_some() {
                return Ok(());
            }
        }
        // Without a Last-Modified the epoch, so that the same content gives the same layer.
        let metadata = FileMetadata { mode: 0o600, mtime: Some((page.last_modified().unwrap_or(0), 0)) };
        written(copy::place_file(&name, &file, metadata, self.root, &self.placement))
    }
}

fn written<E: std::error::Error>(result: Result<CopyStats, E>) -> Result<(), Diagnostic> {
    result.map(drop).map_err(|error| Diagnostic::from_error(Exit::Step, &error))
}

/// Does a WORKDIR.
pub fn workdir(build: &Build<'_>, op: &WorkdirOp, base: &FileSystem) -> Result<FileSystem, Diagnostic> {
    let workspace = Workspace::open(build.session, base, layers::Writer::Replacing)?;
    let owner = parse_user(&op.user, workspace.root()).map_err(|error| Diagnostic::from_error(Exit::Usage, &error))?;
    directory::make(workspace.root(), Path::new(&op.path), owner, op.epoch)
        .map_err(|error| Diagnostic::from_error(Exit::Step, &error))?;
    Ok(base.with(workspace.seal(build.session)?))
}

/// Makes a file system of a context: `FROM` a directory.
pub fn tree(build: &Build<'_>, context: ContextId, inputs: &[KnownInput]) -> Result<FileSystem, Diagnostic> {
    let workspace = Workspace::open(build.session, &FileSystem::default(), layers::Writer::Replacing)?;
    if let Some(selected) = inputs.first().and_then(|input| input.selected.as_ref()) {
        let context = build.contexts.get(context)?;
        let placement = Placement {
            destination: "/".into(),
            keep_owner: context.tree().keep_owner,
            verify_unchanged: true,
            ..Placement::default()
        };
        written(copy::apply(&selected.selection, context.root(), workspace.root(), &placement))?;
    }
    Ok(FileSystem::default().with(workspace.seal(build.session)?))
}

/// Copies a path of a root and all below it into a directory, owners kept.
pub fn copy_tree(source: &Root, path: &str, directory: &Path) -> Result<(), Diagnostic> {
    copy_part(source, path, directory, "")
}

/// Copies a path of a root and all below it to a name in a directory, owners kept.
pub fn copy_part(source: &Root, path: &str, directory: &Path, name: &str) -> Result<(), Diagnostic> {
    write_tree(source, &select_tree(source, path, true)?, directory, name, true)
}

fn select_tree(source: &Root, path: &str, keep_owner: bool) -> Result<Selection, Diagnostic> {
    let tree = Tree { root: source, ignore: None, keep_owner };
    Ok(select_path(tree, Path::new(path)).map_err(|error| error.to_diagnostic())?.selection)
}

fn write_tree(
    source: &Root,
    selection: &Selection,
    directory: &Path,
    name: &str,
    keep_owner: bool,
) -> Result<(), Diagnostic> {
    let dest = Root::open(directory).map_err(|error| {
        Diagnostic::error(Exit::Step, format!("cannot open `{}`", directory.display())).note(error.to_string())
    })?;
    let placement = Placement { destination: format!("/{name}"), keep_owner, ..Placement::default() };
    copy::apply(selection, source, &dest, &placement)
        .map(drop)
        .map_err(|error| Diagnostic::from_error(Exit::Step, &error))
}

/// Copies a whole file system into a directory, `type=local`, and returns the device nodes that were left out: in a directory
/// of the user's, an image's `mem` or `sda` would open those of this machine.  `mtime` is the time of everything, in seconds.
///
/// Owners that are kept aside are of no use outside of the store: there the files are the user's.
pub fn export_tree(view: &View, directory: &Path, mtime: Option<i64>) -> Result<Vec<PathBuf>, Diagnostic> {
    std::fs::create_dir_all(directory).map_err(|error| {
        Diagnostic::error(Exit::Step, format!("cannot make `{}`", directory.display())).note(error.to_string())
    })?;
    let keep_owner = !crate::sys::owner::is_aside();
    let mut selection = select_tree(&view.root, "/", keep_owner)?;
    let is_device = |entry: &Entry| matches!(entry.kind, EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. });
    let mut left_out = Vec::new();
    for item in &mut selection.items {
        left_out.extend(item.entries.extract_if(.., |entry| is_device(entry)).map(|entry| entry.path));
        if let Some(seconds) = mtime {
            item.entries.iter_mut().for_each(|entry| (entry.mtime_seconds, entry.mtime_nanoseconds) = (seconds, 0));
        }
    }
    write_tree(&view.root, &selection, directory, "", keep_owner)?;
    Ok(left_out)
}
