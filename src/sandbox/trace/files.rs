//! Calls with a path: done by the builder, inside the step's root, with the result handed over.
//!
//! None of them goes on to the kernel with its path, which another thread could change in between: so this is a border for
//! paths and no mere convenience.

use super::Step;
use super::tasks::Caller;
use super::view::{Directory, Found, Node};
use crate::sandbox::supervise::{Answer, CURRENT_DIRECTORY, Call};
use crate::sys::{chmod_at, owner};
use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, Timespec, Timestamps};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const NOFOLLOW: u32 = libc::AT_SYMLINK_NOFOLLOW.unsigned_abs();
const EMPTY_PATH: u32 = libc::AT_EMPTY_PATH.unsigned_abs();

/// What a call with a directory, a path and flags of the `*at` family is about.
pub(super) struct Named {
    pub directory: u32,
    pub path: PathBuf,
    pub follow: bool,
    pub is_empty_allowed: bool,
}

impl Named {
    fn new(call: &Call<'_>, directory: u32, path: usize, flags: u32) -> io::Result<Named> {
        let path = call.path(path)?;
        Ok(Named { directory, path, follow: flags & NOFOLLOW == 0, is_empty_allowed: flags & EMPTY_PATH != 0 })
    }
}

impl Step {
    /// Answers a call about paths.
    pub(super) fn files(&self, call: &Call<'_>) -> Answer {
        let Some(caller) = self.tasks.caller(call.pid()) else { return Answer::Fail(libc::ESRCH) };
        let request = Request { step: self, call, caller };
        match request.answer() {
            Ok(answer) => answer,
            Err(error) => Answer::Fail(error.raw_os_error().unwrap_or(libc::EIO)),
        }
    }

    /// Opens what a path of a thread leads to.
    pub(super) fn open_path(&self, thread: u32, directory: u32, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let caller = self.tasks.caller(thread).ok_or(Errno::SRCH)?;
        let from = self.start(&caller, directory, path)?;
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let found = self.view.find(&caller, &from, path, !flags.contains(OFlags::NOFOLLOW))?;
        let node = found.existing()?;
        if flags.contains(OFlags::DIRECTORY) && node.file_type() != FileType::Directory {
            return Err(Errno::NOTDIR.into());
        }
        if flags.contains(OFlags::PATH) {
            return node.fd.try_clone();
        }
        Ok(rustix::fs::open(node.own_path(), (flags & !OFlags::NOFOLLOW) | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// Fails where a change of owner is about something that cannot be changed.
    pub(super) fn refuse_change(&self, call: &Call<'_>) -> io::Result<()> {
        let caller = self.tasks.caller(call.pid()).ok_or(Errno::SRCH)?;
        let request = Request { step: self, call, caller };
        let is_read_only = match call.name {
            "fchown" => request.descriptor(call.number(0))?.is_read_only,
            "fchownat" => request.node(&Named::new(call, call.number(0), 1, call.number(4))?)?.1,
            name => request.named(CURRENT_DIRECTORY, 0, name != "lchown")?.is_read_only,
        };
        if is_read_only { Err(Errno::ROFS.into()) } else { Ok(()) }
    }

    /// Returns the directory that a path of a thread begins at.
    pub(super) fn start(&self, caller: &Caller<'_>, directory: u32, path: &Path) -> io::Result<Directory> {
        if path.is_absolute() {
            return Ok(self.view.root());
        }
        if directory == CURRENT_DIRECTORY {
            return Ok(caller.fs.cwd.clone());
        }
        self.view.directory(self.open_descriptor(caller, directory)?)
    }
}

pub(super) struct Request<'a> {
    pub step: &'a Step,
    pub call: &'a Call<'a>,
    pub caller: Caller<'a>,
}

/// Something that exists, and whether changes of it are refused.
pub(super) struct Subject {
    pub node: Node,
    pub is_read_only: bool,
}

/// Whether an open ends only when another process opens the other end, which may be waiting for us.
fn waits_for_other_end(node: &Node, flags: OFlags) -> bool {
    let does_not = OFlags::NONBLOCK | OFlags::RDWR | OFlags::PATH | OFlags::DIRECTORY;
    let is_refused = flags.contains(OFlags::CREATE | OFlags::EXCL);
    node.file_type() == FileType::Fifo && !flags.intersects(does_not) && !is_refused
}

fn is_plain(kind: FileType) -> bool {
    matches!(kind, FileType::RegularFile | FileType::Directory)
}

/// Answers `prctl`, which is about registers only.
fn process_control(option: u32) -> Answer {
    match option.cast_signed() {
        // A process that cannot be looked into could not be answered; and what root may do is played.
        libc::PR_SET_DUMPABLE | libc::PR_SET_SECUREBITS | libc::PR_CAPBSET_DROP => Answer::Return(0),
        _ => Answer::Continue,
    }
}

const DONE: io::Result<Answer> = Ok(Answer::Return(0));

impl Request<'_> {
    fn answer(&self) -> io::Result<Answer> {
        let call = self.call;
        let at = |index: usize| call.number(index);
        const HERE: u32 = CURRENT_DIRECTORY;
        const REMOVE_DIRECTORY: u32 = libc::AT_REMOVEDIR.unsigned_abs();
        match call.name {
            "open" => self.open(HERE, 0, at(1), at(2)),
            "openat" => self.open(at(0), 1, at(2), at(3)),
            "creat" => self.open(HERE, 0, (OFlags::CREATE | OFlags::WRONLY | OFlags::TRUNC).bits(), at(1)),
            // What has an owner to tell was answered before; what is left is an error.
            "stat" => self.missing(HERE, 0, 0),
            "lstat" => self.missing(HERE, 0, NOFOLLOW),
            "newfstatat" => self.missing(at(0), 1, at(3)),
            "statx" => self.missing(at(0), 1, at(2)),
            "fstat" => self.step.open_descriptor(&self.caller, at(0)).and(Err(Errno::IO.into())),
            "access" => self.access(HERE, 0, at(1), 0),
            "faccessat" => self.access(at(0), 1, at(2), 0),
            "faccessat2" => self.access(at(0), 1, at(2), at(3)),
            "readlink" => self.read_link(HERE, 0),
            "readlinkat" => self.read_link(at(0), 1),
            "mkdir" => self.make_directory(HERE, 0, at(1)),
            "mkdirat" => self.make_directory(at(0), 1, at(2)),
            "mknod" => self.make_node(HERE, 0, at(1)),
            "mknodat" => self.make_node(at(0), 1, at(2)),
            "symlink" => self.make_link(HERE, 1),
            "symlinkat" => self.make_link(at(1), 2),
            "link" => self.link((HERE, 0), (HERE, 1), 0),
            "linkat" => self.link((at(0), 1), (at(2), 3), at(4)),
            "unlink" => self.unlink(HERE, 0, 0),
            "rmdir" => self.unlink(HERE, 0, REMOVE_DIRECTORY),
            "unlinkat" => self.unlink(at(0), 1, at(2)),
            "rename" => self.rename((HERE, 0), (HERE, 1), 0),
            "renameat" => self.rename((at(0), 1), (at(2), 3), 0),
            "renameat2" => self.rename((at(0), 1), (at(2), 3), at(4)),
            "chmod" => self.chmod(HERE, 0, at(1), 0),
            "fchmodat" => self.chmod(at(0), 1, at(2), 0),
            "fchmodat2" => self.chmod(at(0), 1, at(2), at(3)),
            "truncate" => self.truncate(),
            "utime" | "utimes" | "futimesat" | "utimensat" => self.set_times(),
            "statfs" => self.stat_file_system(),
            "chdir" => self.change_directory(),
            "fchdir" => self.enter(self.step.view.directory(self.step.open_descriptor(&self.caller, at(0))?)?),
            "getcwd" => self.working_directory(),
            "umask" => self.set_mask(at(0)),
            "prctl" => Ok(process_control(at(0))),
            // Played where it matters; the kernel's own set is empty.
            "capset" => DONE,
            "fchmod" => self.change_open(at(0)),
            // What is played of them was answered before, and they say no path.
            "setrlimit" | "getrlimit" | "getsockopt" => Ok(Answer::Continue),
            "socket" | "bind" | "connect" | "sendto" => self.step.socket(call, &self.caller),
            "kill" | "tkill" | "tgkill" | "rt_sigqueueinfo" | "rt_tgsigqueueinfo" | "pidfd_open" | "prlimit64" => {
                Ok(self.step.process(call, &self.caller)?)
            }
            name if name.ends_with("xattr") => self.attribute(),
            name => Ok(Answer::Fail(super::refusal(name))),
        }
    }

    fn find(&self, named: &Named) -> io::Result<Found> {
        let from = self.step.start(&self.caller, named.directory, &named.path)?;
        self.step.view.find(&self.caller, &from, &named.path, named.follow)
    }

    /// Finds something that must exist; an empty path may stand for the descriptor itself.
    fn node(&self, named: &Named) -> io::Result<(Node, bool)> {
        if !named.path.as_os_str().is_empty() || !named.is_empty_allowed {
            let found = self.find(named)?;
            let is_read_only = found.is_read_only;
            return Ok((found.node.ok_or(Errno::NOENT)?, is_read_only));
        }
        let fd = match named.directory {
            CURRENT_DIRECTORY => self.caller.fs.cwd.fd.try_clone()?,
            number => self.step.open_descriptor(&self.caller, number)?,
        };
        self.step.view.opened(fd)
    }

    /// Finds what a path leads to.
    pub(super) fn named(&self, directory: u32, path: usize, follow: bool) -> io::Result<Subject> {
        let named = Named { directory, path: self.call.path(path)?, follow, is_empty_allowed: false };
        self.node(&named).map(|(node, is_read_only)| Subject { node, is_read_only })
    }

    /// Takes what a descriptor stands for.
    pub(super) fn descriptor(&self, number: u32) -> io::Result<Subject> {
        let (node, is_read_only) = self.step.view.opened(self.step.open_descriptor(&self.caller, number)?)?;
        Ok(Subject { node, is_read_only })
    }

    /// A change of something open goes on to the kernel, for it says no path, unless it is refused.
    fn change_open(&self, number: u32) -> io::Result<Answer> {
        if self.descriptor(number)?.is_read_only { Err(Errno::ROFS.into()) } else { Ok(Answer::Continue) }
    }

    fn open(&self, directory: u32, path: usize, flags: u32, mode: u32) -> io::Result<Answer> {
        let flags = OFlags::from_bits_retain(flags);
        let follow = !flags.contains(OFlags::NOFOLLOW) && !flags.contains(OFlags::CREATE | OFlags::EXCL);
        let named = Named { directory, path: self.call.path(path)?, follow, is_empty_allowed: false };
        let close_on_exec = flags.contains(OFlags::CLOEXEC);
        loop {
            let found = self.find(&named)?;
            if let Some(node) = found.node.as_ref().filter(|node| waits_for_other_end(node, flags)) {
                return self.open_fifo(node, flags & !(OFlags::CREATE | OFlags::NOFOLLOW));
            }
            let opened = match &found.node {
                Some(node) => self.open_node(node, &found, flags, mode),
                None if flags.contains(OFlags::CREATE) => match self.create(&found, flags, mode) {
                    // Somebody else was first; whether that is an error depends on what was asked.
                    Err(error) if Errno::from_io_error(&error) == Some(Errno::EXIST) => continue,
                    result => result,
                },
                None => return Err(Errno::NOENT.into()),
            };
            return Ok(Answer::Descriptor { fd: opened?, close_on_exec });
        }
    }

    /// Opens a FIFO as soon as somebody opens its other end, in a thread of its own.
    fn open_fifo(&self, node: &Node, flags: OFlags) -> io::Result<Answer> {
        let (path, fd, reply) = (node.own_path(), node.fd.clone(), self.call.reply()?);
        super::lock(&self.step.fifos).push(fd.clone());
        let opener = move || {
            let opened = rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty());
            drop(fd);
            let close_on_exec = flags.contains(OFlags::CLOEXEC);
            let answer = match opened {
                Ok(fd) => Answer::Descriptor { fd, close_on_exec },
                Err(error) => Answer::Fail(error.raw_os_error()),
            };
            // The caller may have been killed.
            let _ = reply.answer(answer);
        };
        std::thread::Builder::new().name("fifo".to_owned()).spawn(opener)?;
        Ok(Answer::Later)
    }

    fn open_node(&self, node: &Node, found: &Found, flags: OFlags, mode: u32) -> io::Result<OwnedFd> {
        let writes = flags.intersects(OFlags::WRONLY | OFlags::RDWR | OFlags::TRUNC);
        let is_temporary = flags.contains(OFlags::TMPFILE);
        match node.file_type() {
            _ if flags.contains(OFlags::CREATE | OFlags::EXCL) => return Err(Errno::EXIST.into()),
            FileType::Symlink if !flags.contains(OFlags::PATH) => return Err(Errno::LOOP.into()),
            kind if !is_plain(kind) && flags.contains(OFlags::PATH) && !flags.contains(OFlags::DIRECTORY) => {
                return self.step.token(node);
            }
            FileType::Directory if flags.contains(OFlags::CREATE) => return Err(Errno::ISDIR.into()),
            FileType::Directory | FileType::RegularFile if writes && found.is_read_only => {
                return Err(Errno::ROFS.into());
            }
            FileType::Directory => {}
            _ if flags.contains(OFlags::DIRECTORY) => return Err(Errno::NOTDIR.into()),
            _ => {}
        }
        // The descriptor of a path alone cannot be handed over.  One for reading can do all that it can.
        let flags = if flags.contains(OFlags::PATH) { flags & OFlags::DIRECTORY } else { flags };
        let left_out = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let own = OFlags::NOCTTY | OFlags::CLOEXEC;
        let mode =
            if is_temporary { Mode::from_raw_mode(mode & 0o7777 & !self.caller.fs.umask) } else { Mode::empty() };
        let path = node.own_path();
        Ok(owner::overriding(&node.fd, || rustix::fs::open(&path, (flags & !left_out) | own, mode))?)
    }

    fn create(&self, found: &Found, flags: OFlags, mode: u32) -> io::Result<OwnedFd> {
        if found.path.as_os_str().is_empty() {
            return Err(Errno::NOENT.into());
        }
        let (directory, name) = found.entry()?;
        let flags = flags | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
        let mode = mode & 0o7777 & !self.caller.fs.umask;
        let make = || rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(mode));
        let fd = owner::overriding(directory, make)?;
        if mode & self.step.own_umask != 0 {
            rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode))?;
        }
        Ok(fd)
    }

    fn missing(&self, directory: u32, path: usize, flags: u32) -> io::Result<Answer> {
        self.node(&Named::new(self.call, directory, path, flags)?)?;
        // It has come in between: the caller was early.
        Err(Errno::NOENT.into())
    }

    fn access(&self, directory: u32, path: usize, mode: u32, flags: u32) -> io::Result<Answer> {
        let wanted = Access::from_bits_retain(mode);
        let (node, is_read_only) = self.node(&Named::new(self.call, directory, path, flags)?)?;
        let kind = node.file_type();
        let is_stored = matches!(kind, FileType::RegularFile | FileType::Directory);
        if wanted.contains(Access::WRITE_OK) && is_read_only && is_stored {
            return Err(Errno::ROFS.into());
        }
        // Root may do all but execute what nobody may.
        if wanted.contains(Access::EXEC_OK) && kind == FileType::RegularFile && node.stat.st_mode & 0o111 == 0 {
            return Err(Errno::ACCESS.into());
        }
        DONE
    }

    fn read_link(&self, directory: u32, path: usize) -> io::Result<Answer> {
        let named = Named {
            directory,
            path: self.call.path(path)?,
            follow: false,
            is_empty_allowed: directory != CURRENT_DIRECTORY,
        };
        let target = if named.path.as_os_str().is_empty() {
            let (node, _) = self.node(&named)?;
            rustix::fs::readlinkat(&*node.fd, "", Vec::new())?.into_bytes()
        } else {
            let found = self.find(&named)?;
            self.step.view.read_link(&self.caller, &found)?.into_encoded_bytes()
        };
        let size = usize::try_from(self.call.number(path + 2).cast_signed()).unwrap_or(0);
        if size == 0 {
            return Err(Errno::INVAL.into());
        }
        let target = &target[..target.len().min(size)];
        self.call.write(path + 1, target)?;
        Ok(Answer::Return(target.len() as i64))
    }

    /// Finds where something new is to be made.
    fn place(&self, directory: u32, path: usize) -> io::Result<Found> {
        let named = Named { directory, path: self.call.path(path)?, follow: false, is_empty_allowed: false };
        let found = self.find(&named)?;
        if found.node.is_some() { Err(Errno::EXIST.into()) } else { Ok(found) }
    }

    /// Gives something new the mode that it was to have, where the builder's own mask has cut it.
    fn restore_mode(&self, found: &Found, mode: u32) -> io::Result<()> {
        if mode & self.step.own_umask == 0 {
            return Ok(());
        }
        let (directory, name) = found.entry()?;
        chmod_at(directory, name, Mode::from_raw_mode(mode))
    }

    fn make_directory(&self, directory: u32, path: usize, mode: u32) -> io::Result<Answer> {
        let found = self.place(directory, path)?;
        let mode = mode & 0o1777 & !self.caller.fs.umask;
        let (parent, name) = found.entry()?;
        owner::overriding(parent, || rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(mode)))?;
        if mode & self.step.own_umask != 0 {
            // The bit that it has from its parent stays.
            let set_group = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode & 0o2000;
            self.restore_mode(&found, mode | set_group)?;
        }
        DONE
    }

    fn make_node(&self, directory: u32, path: usize, mode: u32) -> io::Result<Answer> {
        let found = self.place(directory, path)?;
        let kind = match FileType::from_raw_mode(mode) {
            FileType::Unknown => FileType::RegularFile,
            kind => kind,
        };
        let mode = mode & 0o7777 & !self.caller.fs.umask;
        let (parent, name) = found.entry()?;
        owner::overriding(parent, || rustix::fs::mknodat(parent, name, kind, Mode::from_raw_mode(mode), 0))?;
        self.restore_mode(&found, mode)?;
        DONE
    }

    fn make_link(&self, directory: u32, path: usize) -> io::Result<Answer> {
        let found = self.place(directory, path)?;
        let (parent, name) = found.entry()?;
        let target = self.call.path(0)?;
        owner::overriding(parent, || rustix::fs::symlinkat(&target, parent, name))?;
        DONE
    }

    fn link(&self, old: (u32, usize), new: (u32, usize), flags: u32) -> io::Result<Answer> {
        const FOLLOW: u32 = libc::AT_SYMLINK_FOLLOW.unsigned_abs();
        let nofollow = if flags & FOLLOW == 0 { NOFOLLOW } else { 0 };
        let named = Named::new(self.call, old.0, old.1, nofollow | flags & EMPTY_PATH)?;
        let (node, _) = self.node(&named)?;
        let found = self.place(new.0, new.1)?;
        let (parent, name) = found.entry()?;
        if !found.can_hold(&node) {
            return Err(Errno::XDEV.into());
        }
        if node.file_type() == FileType::Symlink {
            let source = self.find(&named)?;
            let (directory, old) = source.entry()?;
            owner::overriding(parent, || rustix::fs::linkat(directory, old, parent, name, AtFlags::empty()))?;
        } else {
            let path = node.own_path();
            owner::overriding(parent, || rustix::fs::linkat(CWD, &path, parent, name, AtFlags::SYMLINK_FOLLOW))?;
        }
        DONE
    }

    fn unlink(&self, directory: u32, path: usize, flags: u32) -> io::Result<Answer> {
        let found =
            self.find(&Named { directory, path: self.call.path(path)?, follow: false, is_empty_allowed: false })?;
        found.existing()?;
        let (parent, name) = found.entry()?;
        owner::overriding(parent, || rustix::fs::unlinkat(parent, name, AtFlags::from_bits_retain(flags)))?;
        DONE
    }

    fn rename(&self, old: (u32, usize), new: (u32, usize), flags: u32) -> io::Result<Answer> {
        let find = |(directory, path): (u32, usize)| {
            self.find(&Named { directory, path: self.call.path(path)?, follow: false, is_empty_allowed: false })
        };
        let (old, new) = (find(old)?, find(new)?);
        old.existing()?;
        if !old.is_beside(&new) {
            return Err(Errno::XDEV.into());
        }
        let ((from, name), (to, new)) = (old.entry()?, new.entry()?);
        let flags = RenameFlags::from_bits_retain(flags);
        let rename = || match flags.is_empty() {
            true => rustix::fs::renameat(from, name, to, new),
            false => rustix::fs::renameat_with(from, name, to, new, flags),
        };
        owner::overriding(from, || owner::overriding(to, rename))?;
        DONE
    }

    fn chmod(&self, directory: u32, path: usize, mode: u32, flags: u32) -> io::Result<Answer> {
        let (node, is_read_only) = self.node(&Named::new(self.call, directory, path, flags)?)?;
        match node.file_type() {
            FileType::Symlink => return Err(Errno::OPNOTSUPP.into()),
            _ if is_read_only => return Err(Errno::ROFS.into()),
            _ => {}
        }
        rustix::fs::chmod(node.own_path(), Mode::from_raw_mode(mode & 0o7777))?;
        DONE
    }

    fn truncate(&self) -> io::Result<Answer> {
        let (node, is_read_only) = self.node(&Named::new(self.call, CURRENT_DIRECTORY, 0, 0)?)?;
        if is_read_only {
            return Err(Errno::ROFS.into());
        }
        if node.file_type() == FileType::Directory {
            return Err(Errno::ISDIR.into());
        }
        let (path, flags) = (node.own_path(), OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC);
        let file = owner::overriding(&node.fd, || rustix::fs::open(&path, flags, Mode::empty()))?;
        rustix::fs::ftruncate(file, self.call.argument(1))?;
        DONE
    }

    fn set_times(&self) -> io::Result<Answer> {
        let call = self.call;
        let (directory, path, times, flags) = match call.name {
            "utime" | "utimes" => (CURRENT_DIRECTORY, 0, 1, 0),
            "futimesat" => (call.number(0), 1, 2, 0),
            _ => (call.number(0), 1, 2, call.number(3)),
        };
        if call.argument(path) == 0 {
            return self.change_open(directory);
        }
        let times = self.times(times)?;
        let named = Named::new(call, directory, path, flags)?;
        let (node, is_read_only) = self.node(&named)?;
        if is_read_only {
            return Err(Errno::ROFS.into());
        }
        if node.file_type() == FileType::Symlink {
            let found = self.find(&named)?;
            let (parent, name) = found.entry()?;
            rustix::fs::utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        } else {
            rustix::fs::utimensat(CWD, node.own_path(), &times, AtFlags::empty())?;
        }
        DONE
    }

    fn times(&self, index: usize) -> io::Result<Timestamps> {
        let now = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
        if self.call.argument(index) == 0 {
            return Ok(Timestamps { last_access: now, last_modification: now });
        }
        let (count, scale) = match self.call.name {
            "utime" => (2, None),
            "utimensat" => (4, Some(1)),
            _ => (4, Some(1000)),
        };
        let bytes = self.call.read(index, 8 * count)?;
        let number = |at: usize| i64::from_ne_bytes(bytes[8 * at..8 * at + 8].try_into().unwrap_or_default());
        let time = |at: usize| match scale {
            None => Timespec { tv_sec: number(at), tv_nsec: 0 },
            Some(scale) => Timespec { tv_sec: number(2 * at), tv_nsec: number(2 * at + 1).saturating_mul(scale) },
        };
        Ok(Timestamps { last_access: time(0), last_modification: time(1) })
    }

    fn stat_file_system(&self) -> io::Result<Answer> {
        let (node, _) = self.node(&Named::new(self.call, CURRENT_DIRECTORY, 0, 0)?)?;
        let found = rustix::fs::fstatfs(&*node.fd)?;
        self.call.write(1, crate::sys::notify::statfs_bytes(&found))?;
        DONE
    }

    fn change_directory(&self) -> io::Result<Answer> {
        let found = self.find(&Named::new(self.call, CURRENT_DIRECTORY, 0, 0)?)?;
        self.enter(self.step.view.as_directory(found)?)
    }

    fn enter(&self, directory: Directory) -> io::Result<Answer> {
        self.step.tasks.change(self.caller.thread, |fs| fs.cwd = directory).ok_or(Errno::SRCH)?;
        DONE
    }

    fn working_directory(&self) -> io::Result<Answer> {
        // Asked anew: the directory may have been moved since it was entered.
        let name = super::view::name_of(self.caller.fs.cwd.fd.as_fd())?;
        let path = self.step.view.inside(&name).ok_or(Errno::NOENT)?;
        let text = [path.as_os_str().as_bytes(), b"\0"].concat();
        if usize::try_from(self.call.argument(1)).is_ok_and(|size| size < text.len()) {
            return Err(Errno::RANGE.into());
        }
        self.call.write(0, &text)?;
        Ok(Answer::Return(text.len() as i64))
    }

    fn set_mask(&self, mask: u32) -> io::Result<Answer> {
        self.step.tasks.change(self.caller.thread, |fs| fs.umask = mask & 0o777).ok_or(Errno::SRCH)?;
        // What the kernel itself makes, and who asks it, goes by its own.
        Ok(Answer::Continue)
    }
}
