//! The contexts of a build: opened when a step first reads from them.

use super::copy::{self, Placement};
use super::session::{Session, store_failure};
use crate::context::digest::{SelectionDigest, selection_digest};
use crate::context::ignore::IgnoreRules;
use crate::context::local::LocalContext;
use crate::context::select::{SelectOptions, Selected, select, select_path};
use crate::context::stat_cache::{STAT_CACHE_LIMIT_BYTES, StatCache};
use crate::context::tree::Tree;
use crate::diag::{Diagnostic, Exit};
use crate::plan::NamedContext;
use crate::plan::graph::ContextId;
use crate::sys::Root;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

/// A context that can be read.
pub struct Context {
    root: Root,
    ignore: Option<IgnoreRules>,
    /// Whether the owners of files count: those of a tar do, those of a directory do not.
    keep_owner: bool,
    digests: StatCache,
    /// Where the digests are kept between builds; `None` for a context of this build alone.
    kept_at: Option<PathBuf>,
    time: Time,
    temporary: Option<tempfile::TempDir>,
}

/// When a context was last changed.
#[derive(Debug, Clone, Copy, Default)]
pub enum Time {
    /// Nobody knows.
    #[default]
    Unknown,
    /// Seconds since the epoch.
    At(i64),
    /// When its newest file was.
    NewestFile,
}

impl Context {
    /// Returns a context over a directory of this machine.
    pub fn local(session: &Session, local: LocalContext) -> Context {
        let cache = session.store().stat_cache_path(local.path.as_os_str().as_bytes());
        let digests = StatCache::load(&cache, STAT_CACHE_LIMIT_BYTES);
        let LocalContext { root, ignore, keep_owner, warnings, .. } = local;
        warnings.into_iter().for_each(|warning| session.reporter().warn(warning));
        Context { root, ignore, keep_owner, digests, kept_at: Some(cache), time: Time::Unknown, temporary: None }
    }

    /// Returns a context over a directory that was unpacked for this build.
    pub fn unpacked(directory: tempfile::TempDir, local: LocalContext) -> Context {
        Context::temporary(directory, local.root, local.ignore, local.keep_owner)
    }

    /// Returns a context over a directory that was made for this build.
    pub fn temporary(
        directory: tempfile::TempDir,
        root: Root,
        ignore: Option<IgnoreRules>,
        keep_owner: bool,
    ) -> Context {
        let digests = StatCache::default();
        Context { root, ignore, keep_owner, digests, kept_at: None, time: Time::Unknown, temporary: Some(directory) }
    }

    /// Says when it was last changed.
    pub fn changed(self, time: Time) -> Context {
        Context { time, ..self }
    }

    /// Returns when it was last changed, seconds since the epoch, if that is known.
    pub fn time(&self) -> Option<i64> {
        match (self.time, &self.temporary) {
            (Time::At(seconds), _) => Some(seconds),
            (Time::NewestFile, Some(directory)) => newest_file(directory.path()),
            _ => None,
        }
    }

    /// Returns the files of it as a build sees them.
    pub fn tree(&self) -> Tree<'_> {
        Tree { root: &self.root, ignore: self.ignore.as_ref(), keep_owner: self.keep_owner }
    }

    /// Returns the root directory, ignored files included: the Dockerfile may be one of them.
    pub fn root(&self) -> &Root {
        &self.root
    }
}

/// All contexts of a build by id.
pub struct Contexts<'a> {
    session: &'a Session,
    slots: Vec<Slot>,
}

struct Slot {
    name: String,
    /// A directory or URL; `None` for the main context, which is open from the start.
    location: Option<String>,
    opening: Mutex<()>,
    context: OnceLock<Context>,
}

impl<'a> Contexts<'a> {
    /// Returns the contexts in the order of their ids: main, named, remote.
    pub fn new(
        session: &'a Session,
        main: Context,
        named: &[(String, NamedContext)],
        remote: &[String],
    ) -> Contexts<'a> {
        let slot = |name: &str, location: Option<&String>| Slot {
            name: name.to_owned(),
            location: location.cloned(),
            opening: Mutex::new(()),
            context: OnceLock::new(),
        };
        let mut slots = vec![slot("context", None)];
        let _ = slots[0].context.set(main);
        slots.extend(named.iter().map(|(name, context)| match context {
            NamedContext::Files(location) => slot(name, Some(location)),
            // Images are steps and never looked up here; the slot keeps the numbers in step.
            NamedContext::Image(location) | NamedContext::OciLayout(location) => slot(name, Some(location)),
        }));
        slots.extend(remote.iter().map(|url| slot(url, Some(url))));
        Contexts { session, slots }
    }

    /// Returns what a context is called.
    pub fn name(&self, id: ContextId) -> &str {
        &self.slots[id.0 as usize].name
    }

    /// Returns a context, opening or fetching it if this is its first use.
    pub fn get(&self, id: ContextId) -> Result<&Context, Diagnostic> {
        let slot = &self.slots[id.0 as usize];
        if let Some(context) = slot.context.get() {
            return Ok(context);
        }
        let _opening = slot.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(context) = slot.context.get() {
            return Ok(context);
        }
        let location = slot.location.as_deref().unwrap_or_default();
        let context = super::remote::open_named(self.session, location)
            .map_err(|error| error.note(format!("this is the build context `{}`", slot.name)))?;
        Ok(slot.context.get_or_init(|| context))
    }

    /// Returns what patterns select in a context, and a digest of it.
    pub fn select(
        &self,
        id: ContextId,
        patterns: &[&str],
        options: SelectOptions<'_>,
    ) -> Result<(Selected, SelectionDigest), Diagnostic> {
        let context = self.get(id)?;
        let selected = select(context.tree(), patterns, options).map_err(|error| error.to_diagnostic())?;
        let digest = self.digest(context, &selected)?;
        Ok((selected, digest))
    }

    /// Returns what a bind mount of a path shows, and a digest of it.
    pub fn select_path(&self, id: ContextId, path: &str) -> Result<(Selected, SelectionDigest), Diagnostic> {
        let context = self.get(id)?;
        let selected = select_path(context.tree(), Path::new(path)).map_err(|error| error.to_diagnostic())?;
        let digest = self.digest(context, &selected)?;
        Ok((selected, digest))
    }

    /// Copies a path of a context and what is below it, as a build sees it, to `name` in an existing directory.
    pub fn copy_to(&self, id: ContextId, path: &str, directory: &Path, name: &str) -> Result<(), Diagnostic> {
        let context = self.get(id)?;
        let selected = select_path(context.tree(), Path::new(path)).map_err(|error| error.to_diagnostic())?;
        let dest = Root::open(directory).map_err(|error| {
            Diagnostic::error(Exit::Step, format!("cannot open `{}`", directory.display())).note(error.to_string())
        })?;
        let placement = Placement {
            destination: format!("/{name}"),
            keep_owner: context.keep_owner,
            verify_unchanged: true,
            ..Placement::default()
        };
        copy::apply(&selected.selection, &context.root, &dest, &placement)
            .map_err(|e| Diagnostic::from_error(Exit::Step, &e))?;
        Ok(())
    }

    /// Keeps what was learned about unchanged files for the next build.
    pub fn save_digests(&self) {
        for context in self.slots.iter().filter_map(|slot| slot.context.get()) {
            // A cache that cannot be written only costs time next time.
            let _ = context.kept_at.as_ref().map(|file| context.digests.save(file));
        }
    }

    fn digest(&self, context: &Context, selected: &Selected) -> Result<SelectionDigest, Diagnostic> {
        selection_digest(context.tree(), selected, &context.digests)
            .map_err(|error| Diagnostic::from_error(Exit::Usage, &error))
    }
}

/// Returns the time of the regular file below a directory that was changed last.
pub(super) fn newest_file(directory: &Path) -> Option<i64> {
    let mut open = vec![directory.to_owned()];
    let mut newest = None;
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            // Of the entry itself, not of what a link leads to.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                open.push(entry.path());
            } else if metadata.is_file() {
                newest = newest.max(Some(metadata.mtime()));
            }
        }
    }
    newest
}

/// Returns a directory below the store's `tmp/` as a root.
pub(super) fn temporary_root(session: &Session) -> Result<(tempfile::TempDir, Root, PathBuf), Diagnostic> {
    let directory = session.store().temporary().map_err(store_failure)?;
    let path = directory.path().join("tree");
    let made = std::fs::create_dir(&path).and_then(|()| Root::open(&path));
    let root = made.map_err(|error| {
        Diagnostic::error(Exit::Step, format!("cannot make `{}`", path.display())).note(error.to_string())
    })?;
    Ok((directory, root, path))
}
