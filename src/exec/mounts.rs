//! What `RUN --mount` brings into a step, made ready on this side of the sandbox.

use super::copy::{self, resolve};
use super::devices;
use super::layers::{View, all_layers, lower_directories, mount_failure, overlay_of, view, view_of};
use super::session::{Session, secret, store_failure};
use super::ssh::{self, Agent, AgentSocket};
use super::steps::Build;
use crate::diag::{Diagnostic, Exit};
use crate::dockerfile::ast::Sharing;
use crate::event::Task;
use crate::plan::graph::{RunMount, RunOp, SourceRef};
use crate::sandbox::{MountSpec, Rung};
use crate::snapshot;
use crate::snapshot::copy::{Sharing as FileSharing, WorkTree};
use crate::store::{HeldMount, Snapshot};
use crate::sys::Root;
use crate::sys::owner;
use rustix::fs::{Mode, OFlags};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The mounts of one step, and what has to live as long as they do.
#[derive(Default)]
pub struct Mounts {
    specs: Vec<MountSpec>,
    env: Vec<(String, String)>,
    additional_gids: Vec<u32>,
    // Dropped after the step, in this order.
    sockets: Vec<AgentSocket>,
    caches: Vec<HeldMount>,
    layers: Vec<Snapshot>,
    views: Vec<View>,
    trees: Vec<WorkTree>,
    directories: Vec<tempfile::TempDir>,
}

/// Where a bind mount's files are.
enum Origin {
    /// In the file system of a step.
    Layers(Snapshot),
    /// In a copy of what a context has, under `mount`.
    Directory(tempfile::TempDir),
}

impl Mounts {
    /// Makes the mounts of a step ready; waits for locked caches.
    pub fn prepare(build: &Build<'_>, op: &RunOp, task: &Task) -> Result<Mounts, Diagnostic> {
        let mut mounts = Mounts::default();
        if let Some(script) = &op.script {
            let (target, content) = ((&script.path).into(), script.content.clone().into_bytes());
            mounts.specs.push(MountSpec::File { target, content, mode: 0o755, uid: 0, gid: 0 });
        }
        for mount in &op.mounts {
            mounts.add(build, mount, task)?;
        }
        if !op.devices.is_empty() {
            let found = devices::find(build, op)?;
            mounts.env.extend(found.env);
            mounts.specs.extend(found.specs);
            mounts.additional_gids = found.additional_gids;
        }
        // As runc is told by BuildKit: a mount on a parent of another one must not hide it, whatever the order they
        // were written in.
        mounts.specs.sort_by_key(|spec| spec.target().components().count());
        Ok(mounts)
    }

    /// Returns the groups that devices bring.
    pub fn additional_gids(&self) -> &[u32] {
        &self.additional_gids
    }

    /// Returns the variables that mounts and devices bring: secrets, the agent's socket.
    pub fn env(&self) -> &[(String, String)] {
        &self.env
    }

    /// Hands the mounts over to the sandbox.
    pub fn take_specs(&mut self) -> Vec<MountSpec> {
        std::mem::take(&mut self.specs)
    }

    fn add(&mut self, build: &Build<'_>, mount: &RunMount, task: &Task) -> Result<(), Diagnostic> {
        match mount {
            RunMount::Bind { .. } => self.add_bind(build, mount)?,
            RunMount::Cache { .. } => self.add_cache(build, mount, task)?,
            RunMount::Tmpfs { target, size_bytes } => {
                self.specs.push(MountSpec::Tmpfs { target: target.into(), size_bytes: *size_bytes, mode: 0o1777 });
            }
            RunMount::Secret { .. } => self.add_secret(build, mount)?,
            RunMount::Ssh { .. } => self.add_ssh(build, mount)?,
        }
        Ok(())
    }

    fn add_bind(&mut self, build: &Build<'_>, mount: &RunMount) -> Result<(), Diagnostic> {
        let RunMount::Bind { from, source, target, writable } = mount else { return Ok(()) };
        let session = build.session;
        let origin = match from {
            SourceRef::Step(step) => Origin::Layers(all_layers(session, &build.results.get(Some(*step)))?),
            SourceRef::Context(context) => {
                let directory = session.store().temporary().map_err(store_failure)?;
                build.contexts.copy_to(*context, source, directory.path(), "mount")?;
                Origin::Directory(directory)
            }
            SourceRef::Scratch => Origin::Layers(Vec::new()),
        };
        let is_part = session.entered().rung == Rung::Chroot || matches!(origin, Origin::Directory(_));
        let inside = if is_part { "/mount" } else { source.as_str() };
        let root = if session.has_overlay() {
            self.overlay(session, origin, *writable)?
        } else {
            self.copy(session, origin, source, *writable)?
        };
        // A missing source is told here, where there is a name for it.
        let part = root
            .open_at(inside.as_ref(), OFlags::PATH, Mode::empty())
            .map_err(|error| source_failure(source, &error))?;
        let (target, read_only) = (target.into(), !writable);
        self.specs.push(if session.has_overlay() {
            MountSpec::Overlay { mount: root.into_fd(), source: inside.into(), target, read_only }
        } else {
            MountSpec::Bind { source: part, target, read_only, is_recursive: false }
        });
        Ok(())
    }

    /// Returns the source of a bind mount as a mount; with `writable` under a throw-away layer that nobody sees afterwards.
    fn overlay(&mut self, session: &Session, origin: Origin, writable: bool) -> Result<Root, Diagnostic> {
        let lower = match origin {
            Origin::Layers(layers) if !writable => {
                let view = view_of(session, layers)?;
                let root = view.root.try_clone().map_err(|error| mount_failure(&error))?;
                self.views.push(view);
                return Ok(root);
            }
            Origin::Layers(layers) => {
                let lower = lower_directories(session, &layers);
                self.layers.push(layers);
                lower
            }
            Origin::Directory(directory) => {
                let path = directory.path().to_owned();
                self.directories.push(directory);
                vec![path]
            }
        };
        if !writable {
            return overlay_of(session, &lower);
        }
        let scratch = session.store().temporary().map_err(store_failure)?;
        let (upper, work) = (scratch.path().join("upper"), scratch.path().join("work"));
        let mounted = make_directory(&upper, 0o755)
            .and_then(|()| make_directory(&work, 0o700))
            .and_then(|()| snapshot::mount(&lower, &upper, &work, session.form()))
            .map_err(|error| mount_failure(&error))?;
        self.directories.push(scratch);
        Ok(mounted.root)
    }

    /// Returns the source of a bind mount as a directory; with `writable` one that is nobody else's.
    ///
    /// Without mounts it is moved into the step's root file system, so it is nobody else's either way.
    fn copy(&mut self, session: &Session, origin: Origin, source: &str, writable: bool) -> Result<Root, Diagnostic> {
        let root = match origin {
            Origin::Directory(directory) => {
                let root = Root::open(directory.path());
                self.directories.push(directory);
                root
            }
            Origin::Layers(layers) if session.entered().rung == Rung::Chroot => {
                let view = view_of(session, layers)?;
                let directory = session.store().temporary().map_err(store_failure)?;
                super::files::copy_part(&view.root, source, directory.path(), "mount")?;
                let root = Root::open(directory.path());
                self.directories.push(directory);
                root
            }
            Origin::Layers(layers) if writable => {
                let tree = session.trees().make(session, &layers, FileSharing::Copied)?;
                let root = tree.root().try_clone();
                self.trees.push(tree);
                root
            }
            Origin::Layers(layers) => {
                let view = view_of(session, layers)?;
                let root = view.root.try_clone();
                self.views.push(view);
                root
            }
        };
        root.map_err(|error| mount_failure(&error))
    }

    fn add_cache(&mut self, build: &Build<'_>, mount: &RunMount, task: &Task) -> Result<(), Diagnostic> {
        let RunMount::Cache { id, target, sharing, from, source, mode, uid, gid, read_only, start_empty } = mount
        else {
            return Ok(());
        };
        let store = build.session.store();
        if *start_empty {
            store.reset_mount(id).map_err(store_failure)?;
        }
        // Without mounts a cache is moved to where the step looks for it, and cannot be in two places.
        let can_share = build.session.entered().rung != Rung::Chroot;
        let held = match sharing {
            Sharing::Shared if can_share => store.shared_mount(id),
            Sharing::Private => store.private_mount(id),
            Sharing::Shared | Sharing::Locked => store
                .locked_mount(id, || task.detail(format!("waiting for cache mount `{id}`, which another step uses"))),
        };
        let mut held = held.map_err(store_failure)?;
        let failed = |error: io::Error| source_failure(&format!("cache `{id}`"), &error);
        if held.is_new {
            self.fill_cache(build, &held, *from, source)?;
            if mode.is_some() || uid.is_some() || gid.is_some() || from.is_none() {
                let permissions = std::fs::Permissions::from_mode(mode.unwrap_or(0o755));
                std::fs::set_permissions(held.path(), permissions).map_err(failed)?;
                let directory = std::fs::File::open(held.path()).map_err(failed)?;
                owner::set(&directory, uid.unwrap_or(0), gid.unwrap_or(0)).map_err(failed)?;
            }
            held.mark_filled().map_err(store_failure)?;
        }
        let root = Root::open(&held.path()).map_err(failed)?;
        let inside = if from.is_some() { Path::new("/") } else { Path::new(source) };
        if from.is_none() {
            resolve(&root, inside)
                .and_then(|path| copy::make_directories(&root, &path, None, 0o755))
                .map_err(|error| Diagnostic::from_error(Exit::Step, &error))?;
        }
        let source = root.open_at(inside, OFlags::PATH, Mode::empty()).map_err(failed)?;
        self.specs.push(MountSpec::Bind { source, target: target.into(), read_only: *read_only, is_recursive: false });
        self.caches.push(held);
        Ok(())
    }

    /// Fills a new cache with what its `from` and `source` name.
    fn fill_cache(
        &mut self,
        build: &Build<'_>,
        held: &HeldMount,
        from: Option<SourceRef>,
        source: &str,
    ) -> Result<(), Diagnostic> {
        match from {
            None | Some(SourceRef::Scratch) => Ok(()),
            Some(SourceRef::Context(context)) => build.contexts.copy_to(context, source, &held.path(), ""),
            Some(SourceRef::Step(step)) => {
                let view = view(build.session, &build.results.get(Some(step)))?;
                super::files::copy_tree(&view.root, source, &held.path())
            }
        }
    }

    fn add_secret(&mut self, build: &Build<'_>, mount: &RunMount) -> Result<(), Diagnostic> {
        let RunMount::Secret { id, target, env, required, mode, uid, gid } = mount else { return Ok(()) };
        let Some(content) = secret(build.request, id)? else {
            if !required {
                return Ok(());
            }
            return Err(Diagnostic::error(Exit::Usage, format!("secret `{id}` not found"))
                .hint(format!("give it with `--secret id={id},src=FILE` or `--secret id={id},env=NAME`")));
        };
        build.given_secrets.add(id, &content);
        if let Some(name) = env {
            let value = String::from_utf8(content.clone()).map_err(|_| {
                Diagnostic::error(
                    Exit::Usage,
                    format!("secret `{id}` is not UTF-8 and cannot be the value of `{name}`"),
                )
            })?;
            self.env.push((name.clone(), value));
        }
        if let Some(target) = target {
            self.specs.push(MountSpec::File { target: target.into(), content, mode: *mode, uid: *uid, gid: *gid });
        }
        Ok(())
    }

    fn add_ssh(&mut self, build: &Build<'_>, mount: &RunMount) -> Result<(), Diagnostic> {
        let RunMount::Ssh { id, target, required, mode, uid, gid } = mount else { return Ok(()) };
        // Told even without an agent, as BuildKit does: what runs decides whether it needs one.
        if !self.env.iter().any(|(name, _)| name == "SSH_AUTH_SOCK") {
            self.env.push(("SSH_AUTH_SOCK".into(), target.clone()));
        }
        let Some(agent) = ssh::agent(build, id)? else {
            if !required {
                return Ok(());
            }
            return Err(Diagnostic::error(Exit::Usage, format!("no ssh agent was given for `{id}`"))
                .hint(format!("give one with `--ssh {id}`, after `ssh-add` to the agent of SSH_AUTH_SOCK, or a key with `--ssh {id}=FILE`")));
        };
        let place = match &agent {
            Agent::Socket(path) => format!("the ssh agent `{id}` cannot be reached at `{}`", path.display()),
            Agent::Keys(_) => format!("the ssh agent `{id}` cannot be started"),
        };
        let failed = |error: io::Error| Diagnostic::error(Exit::Usage, &*place).note(error.to_string());
        let directory = build.session.store().temporary().map_err(store_failure)?;
        let socket = AgentSocket::open(directory.path().join("agent"), agent, *mode, *uid, *gid).map_err(failed)?;
        let root = Root::open(directory.path()).map_err(failed)?;
        let source = root.open_at("agent".as_ref(), OFlags::PATH, Mode::empty()).map_err(failed)?;
        self.specs.push(MountSpec::Bind { source, target: target.into(), read_only: false, is_recursive: false });
        self.sockets.push(socket);
        self.directories.push(directory);
        Ok(())
    }
}

fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    std::fs::create_dir(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

fn source_failure(source: &str, error: &io::Error) -> Diagnostic {
    if error.kind() == io::ErrorKind::NotFound {
        return Diagnostic::error(Exit::Usage, format!("the source of a mount, `{source}`, is not there: not found"));
    }
    Diagnostic::error(Exit::Step, format!("cannot mount `{source}`")).note(error.to_string())
}
