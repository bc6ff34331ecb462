//! The caller of an intercepted system call: its arguments, its memory, and paths as it means them.

use crate::sys::Root;
use crate::sys::notify::{Listener, Notification, Reply, read_memory, read_path};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// One intercepted call.
#[derive(Debug)]
pub struct Call<'a> {
    /// Its name.
    pub name: &'static str,
    notification: &'a Notification,
    listener: &'a Listener,
    /// The caller's root, if it is that of all processes of the step.
    shared_root: Option<&'a Root>,
    /// What its paths mean, if that is not what the kernel would say.
    paths: Option<&'a dyn Paths>,
}

/// What the paths of a step's threads mean, where the kernel does not know.
pub trait Paths: Send + Sync {
    /// Opens what a path leads to, relative to the descriptor `directory` of a thread (or `AT_FDCWD`).
    fn open(&self, thread: u32, directory: u32, path: &Path, flags: OFlags) -> io::Result<OwnedFd>;

    /// Opens the directory in which the last name of a path is to be made, and returns that name.
    fn parent(&self, thread: u32, directory: u32, path: &Path) -> io::Result<(OwnedFd, OsString)>;

    /// Opens what a descriptor of a thread stands for, by its path only.
    fn opened(&self, thread: u32, number: u32) -> io::Result<OwnedFd>;
}

impl std::fmt::Debug for dyn Paths + '_ {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Paths")
    }
}

impl<'a> Call<'a> {
    pub(super) fn new(
        name: &'static str,
        notification: &'a Notification,
        listener: &'a Listener,
        shared_root: Option<&'a Root>,
    ) -> Call<'a> {
        Call { name, notification, listener, shared_root, paths: None }
    }

    pub(super) fn with_paths(self, paths: Option<&'a dyn Paths>) -> Call<'a> {
        Call { paths, ..self }
    }

    /// Returns the calling thread.
    pub fn pid(&self) -> u32 {
        self.notification.pid
    }

    /// Whether the caller uses this machine's first interface, so that structures have the layout that they have here.
    pub fn is_native(&self) -> bool {
        /// Of `AUDIT_ARCH_*`: the interface of 64-bit programs.
        const ARCH_64BIT: u32 = 0x8000_0000;
        self.notification.arch & ARCH_64BIT != 0
    }

    /// Returns an argument as it stands in its register.
    pub fn argument(&self, index: usize) -> u64 {
        self.notification.arguments.get(index).copied().unwrap_or(0)
    }

    /// Returns an argument that is a 32-bit number.
    pub fn number(&self, index: usize) -> u32 {
        // The kernel ignores the high half of such an argument.
        self.argument(index) as u32
    }

    /// Reads the path that an argument points to.
    pub fn path(&self, index: usize) -> io::Result<PathBuf> {
        Ok(PathBuf::from(OsString::from_vec(read_path(self.pid(), self.argument(index))?)))
    }

    /// Reads bytes that an argument points to.
    pub fn read(&self, index: usize, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.read_into(index, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads as many bytes as fit from where an argument points.
    pub fn read_into(&self, index: usize, bytes: &mut [u8]) -> io::Result<()> {
        let count = read_memory(self.pid(), self.argument(index), bytes)?;
        if count == bytes.len() { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EFAULT)) }
    }

    /// Writes to where an argument points.
    pub fn write(&self, index: usize, bytes: &[u8]) -> io::Result<()> {
        // Opened first and checked then: what is open stays the caller's memory, whoever has its number later.
        let memory = std::fs::File::options().write(true).open(self.proc_path("mem"))?;
        self.is_still_there()?;
        memory.write_all_at(bytes, self.argument(index)).map_err(|_| Errno::FAULT.into())
    }

    /// Fails where the caller has ended: its number may be another process's, and what was found by it that one's.
    ///
    /// To be asked after the last look into `/proc` and before anything is done.
    pub fn is_still_there(&self) -> io::Result<()> {
        if self.listener.is_valid(self.notification) { Ok(()) } else { Err(Errno::SRCH.into()) }
    }

    /// Returns the means to answer it later, from another thread, after [`super::Answer::Later`].
    pub fn reply(&self) -> io::Result<Reply> {
        self.listener.reply(self.notification)
    }

    /// Returns the name of one of the caller's files in `/proc`: `root`, `cwd`, `fd/3`.
    pub fn proc_path(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.pid())
    }

    /// Returns the name in `/proc` of the descriptor that an argument is.
    pub fn descriptor_path(&self, index: usize) -> String {
        self.proc_path(&format!("fd/{}", self.number(index)))
    }

    /// Opens the caller's root.
    pub fn root(&self) -> io::Result<Root> {
        let root = Root::open(Path::new(&self.proc_path("root")))?;
        self.is_still_there()?;
        Ok(root)
    }

    /// Opens what a path of the caller means, relative to the descriptor `directory` (or `AT_FDCWD`).
    ///
    /// Links into `/proc` (`/dev/stdout`, `/proc/self/fd/3`) are refused with ELOOP: they would be the builder's own.
    pub fn open(&self, directory: u32, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        if let Some(paths) = self.paths {
            return paths.open(self.pid(), directory, path, flags);
        }
        if path.is_absolute() {
            return self.open_in_root(path, flags);
        }
        let start = self.directory(directory)?;
        self.is_still_there()?;
        let here = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        match open_beneath(start.as_fd(), here, flags) {
            // The path leaves the directory, by `..` or by an absolute link.
            Err(Errno::XDEV | Errno::PERM | Errno::NOSYS | Errno::AGAIN) => {
                let whole = self.directory_path(directory)?.join(path);
                self.is_still_there()?;
                self.open_in_root(&whole, flags)
            }
            result => Ok(result?),
        }
    }

    fn open_in_root(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        match self.shared_root {
            Some(root) => root.open_at(path, flags, Mode::empty()),
            None => self.root()?.open_at(path, flags, Mode::empty()),
        }
    }

    /// Opens what a descriptor of the caller stands for, by its path only.
    pub fn opened(&self, number: u32) -> io::Result<OwnedFd> {
        if let Some(paths) = self.paths {
            return paths.opened(self.pid(), number);
        }
        let path = self.proc_path(&format!("fd/{number}"));
        match rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
            Err(Errno::NOENT) => Err(Errno::BADF.into()),
            file => Ok(file?),
        }
    }

    /// Opens the directory of a path of the caller, and returns the last name, which is not followed.
    ///
    /// A path without a last name, or with a slash after it, is an error (EINVAL).
    pub fn parent(&self, directory: u32, path: &Path) -> io::Result<(OwnedFd, OsString)> {
        if let Some(paths) = self.paths {
            return paths.parent(self.pid(), directory, path);
        }
        let bytes = path.as_os_str().as_bytes();
        let name = path.file_name().filter(|_| !bytes.ends_with(b"/.")).ok_or(Errno::INVAL)?;
        let above = path.parent().unwrap_or(Path::new(""));
        let parent = self.open(directory, above, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC)?;
        Ok((parent, name.to_owned()))
    }

    fn directory(&self, directory: u32) -> io::Result<OwnedFd> {
        let path = self.directory_name(directory);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::openat(CWD, path.as_str(), flags, Mode::empty()) {
            Err(Errno::NOENT) => Err(Errno::BADF.into()),
            result => Ok(result?),
        }
    }

    /// Returns the path of a directory, as the caller's mount namespace has it.
    fn directory_path(&self, directory: u32) -> io::Result<PathBuf> {
        let path = rustix::fs::readlink(self.directory_name(directory), Vec::new())?;
        let root = rustix::fs::readlink(self.proc_path("root"), Vec::new())?;
        let path = Path::new(OsStr::from_bytes(path.as_bytes()));
        // In a root of its own (chroot), the caller's paths begin there.
        let inside = path.strip_prefix(OsStr::from_bytes(root.as_bytes())).unwrap_or(path);
        Ok(Path::new("/").join(inside))
    }

    fn directory_name(&self, directory: u32) -> String {
        if directory == CURRENT_DIRECTORY { self.proc_path("cwd") } else { self.proc_path(&format!("fd/{directory}")) }
    }
}

/// `AT_FDCWD`.
pub const CURRENT_DIRECTORY: u32 = libc::AT_FDCWD.cast_unsigned();

fn open_beneath(directory: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(directory, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}
