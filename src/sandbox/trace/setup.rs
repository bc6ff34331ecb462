//! What a step finds in its root: made ready in a directory beside it and put in its place by the table of the view.

use super::Step;
use super::tasks::{Caller, Fs, Tasks};
use super::tracer::Begin;
use super::view::{Place, View};
use crate::sandbox::request::network_files;
use crate::sandbox::rootfs::{DEVICE_LINKS, DEVICES};
use crate::sandbox::spec::{MountSpec, RunError, RunSpec};
use crate::sys::owner;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use std::collections::HashMap;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};

/// A step that is ready, and what must live as long as it does.
pub(in crate::sandbox) struct Prepared {
    pub step: std::sync::Arc<Step>,
    pub begin: Mutex<Receiver<Begin>>,
    _scratch: tempfile::TempDir,
}

/// Makes a step ready; `aside` is a directory on the file system of its root.
pub(in crate::sandbox) fn prepare(spec: &RunSpec<'_>, aside: &Path) -> Result<Prepared, RunError> {
    let io_error = |stage: &'static str| move |source| RunError::Io { stage, source };
    let scratch =
        tempfile::TempDir::with_prefix_in("step-", aside).map_err(io_error("make a directory for the step"))?;
    let root = spec.root.as_fd().try_clone_to_owned().and_then(|root| Place::of(root, false));
    let view = View::new(root.map_err(io_error("name the root"))?);
    let mut setup = Setup { view, scratch: scratch.path().to_owned(), count: 0 };
    setup.kernel().map_err(io_error("prepare /dev, /proc and /sys"))?;
    for (path, content) in network_files(spec, None)? {
        let path = Path::new(path);
        let put = setup.file(&content, 0o644, (0, 0)).and_then(|file| setup.put(path, file, false));
        put.map_err(|source| RunError::MountPoint { path: path.to_owned(), source })?;
    }
    for mount in &spec.mounts {
        let path = mount.target().to_owned();
        setup.mount(mount).map_err(|source| RunError::MountPoint { path, source })?;
    }
    let cwd = setup.found(&spec.cwd).and_then(|found| setup.view.as_directory(found));
    let cwd = cwd.map_err(|source| RunError::MountPoint { path: spec.cwd.clone(), source })?;
    let (sender, begin) = channel();
    let step = Step {
        view: setup.view,
        tasks: Tasks::default(),
        cwd,
        programs: aside.join("programs"),
        own_umask: own_umask(),
        sockets: Mutex::default(),
        fifos: Mutex::default(),
        given: Mutex::new(HashMap::new()),
        begin: Mutex::new(Some(sender)),
        tokens: Mutex::default(),
        events: Mutex::default(),
    };
    Ok(Prepared { step: std::sync::Arc::new(step), begin: Mutex::new(begin), _scratch: scratch })
}

fn own_umask() -> u32 {
    crate::sandbox::supervise::Status::of(std::process::id()).umask()
}

struct Setup {
    view: View,
    scratch: PathBuf,
    count: usize,
}

impl Setup {
    fn name(&mut self) -> PathBuf {
        self.count += 1;
        self.scratch.join(self.count.to_string())
    }

    fn directory(&mut self, mode: u32) -> io::Result<PathBuf> {
        let path = self.name();
        rustix::fs::mkdir(&path, Mode::RWXU)?;
        rustix::fs::chmod(&path, Mode::from_raw_mode(mode))?;
        Ok(path)
    }

    fn file(&mut self, content: &[u8], mode: u32, owner: (u32, u32)) -> io::Result<OwnedFd> {
        let path = self.name();
        let mut file = std::fs::File::create_new(&path)?;
        file.write_all(content)?;
        owner::set(&file, owner.0, owner.1)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o7777))?;
        open(&path)
    }

    fn kernel(&mut self) -> io::Result<()> {
        for (name, is_read_only) in [("/proc", false), ("/sys", true)] {
            let mut place = Place::of(open(Path::new(name))?, is_read_only)?;
            place.is_proc = name == "/proc";
            self.view.mount(name.into(), place);
        }
        let dev = self.directory(0o755)?;
        for (name, target) in DEVICE_LINKS {
            rustix::fs::symlinkat(target, CWD, dev.join(name))?;
        }
        for name in ["pts", "mqueue"] {
            rustix::fs::mkdir(dev.join(name), Mode::from_raw_mode(0o755))?;
        }
        rustix::fs::mkdir(dev.join("shm"), Mode::RWXU)?;
        rustix::fs::chmod(dev.join("shm"), Mode::from_raw_mode(0o1777))?;
        self.view.mount("/dev".into(), Place::of(open(&dev)?, false)?);
        for (name, ..) in DEVICES {
            // What its entry in a listing stands for.
            std::fs::File::create_new(dev.join(name))?;
            self.view.mount(Path::new("/dev").join(name), Place::of(open(&Path::new("/dev").join(name))?, false)?);
        }
        Ok(())
    }

    fn mount(&mut self, mount: &MountSpec) -> io::Result<()> {
        let (fd, is_read_only) = match mount {
            MountSpec::Bind { source, read_only, .. } => (source.try_clone()?, *read_only),
            MountSpec::Tmpfs { mode, .. } => (self.directory(*mode).and_then(|path| open(&path))?, false),
            MountSpec::File { content, mode, uid, gid, .. } => (self.file(content, *mode, (*uid, *gid))?, true),
            MountSpec::Device { .. } | MountSpec::Overlay { .. } => {
                return Err(io::Error::other("there are no mounts to attach here"));
            }
        };
        self.put(mount.target(), fd, is_read_only)
    }

    /// Puts something at a path, which is made where an earlier mount does not have it.
    fn put(&mut self, target: &Path, fd: OwnedFd, is_read_only: bool) -> io::Result<()> {
        let is_directory = FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) == FileType::Directory;
        let mut at = PathBuf::from("/");
        for name in target.components() {
            at.push(name);
            let found = self.found(&at)?;
            if found.node.is_none() {
                let (parent, name) = found.entry()?;
                if is_directory || at != target {
                    rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755))?;
                } else {
                    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    drop(rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o644))?);
                }
            }
        }
        let path = self.found(target)?.path;
        self.view.mount(path, Place::of(fd, is_read_only)?);
        Ok(())
    }

    fn found(&self, path: &Path) -> io::Result<super::view::Found> {
        let tasks = Tasks::default();
        let caller = Caller::builder(&tasks, Fs { cwd: self.view.root(), umask: 0 });
        self.view.find(&caller, &self.view.root(), path, true)
    }
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}
