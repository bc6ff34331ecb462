//! Starting a process in new namespaces from a program with threads.
//!
//! The child shares our memory until it executes (`CLONE_VM | CLONE_VFORK`): no page table is copied, however large
//! the builder has grown, and no lock of another thread is in the child's way because it takes none.
#![allow(unsafe_code)]

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::process::{PidfdFlags, Signal, WaitId, WaitIdOptions};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// It exited with this code.
    Code(i32),
    /// A signal with this number ended it.
    Signal(i32),
}

impl ExitStatus {
    /// Whether it exited with 0.
    pub fn success(self) -> bool {
        self == ExitStatus::Code(0)
    }

    /// Returns the number that a shell would show: the code, or 128 plus the signal.
    pub fn shell_code(self) -> i32 {
        match self {
            ExitStatus::Code(code) => code,
            ExitStatus::Signal(signal) => 128 + signal,
        }
    }
}

/// What to start.
#[derive(Debug)]
pub struct Command<'a> {
    /// The program, by descriptor.
    pub executable: BorrowedFd<'a>,
    /// Its arguments, the name first; its environment is empty.
    pub argv: &'a [CString],
    /// `CLONE_NEW*` flags.
    pub namespaces: c_int,
    /// Standard input, output and error.
    pub stdio: [BorrowedFd<'a>; 3],
    /// Further descriptors that it keeps, under their own numbers; it gets no others.
    pub keep: &'a [RawFd],
}

/// A started process; dropping it does not end it.
#[derive(Debug)]
pub struct Child {
    pidfd: OwnedFd,
}

impl Child {
    /// Sends SIGKILL.  The end of a first process of a pid namespace is the end of all processes in it.
    pub fn kill(&self) {
        // The only failure is that it has ended and was waited for.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// Waits until it has ended.
    pub fn wait(&self) -> io::Result<ExitStatus> {
        loop {
            match rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED) {
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
                Ok(None) => continue,
                Ok(Some(status)) => {
                    return Ok(match (status.exit_status(), status.terminating_signal()) {
                        (Some(code), _) => ExitStatus::Code(code),
                        (None, Some(signal)) => ExitStatus::Signal(signal),
                        (None, None) => continue,
                    });
                }
            }
        }
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

struct Start {
    executable: RawFd,
    argv: *const *const c_char,
    envp: *const *const c_char,
    stdio: [RawFd; 3],
    keep: *const RawFd,
    keep_len: usize,
    errno: c_int,
}

/// Starts a process that dies (SIGKILL) with the calling thread.
pub fn spawn(command: &Command<'_>) -> io::Result<Child> {
    let mut argv: Vec<*const c_char> = command.argv.iter().map(|argument| argument.as_ptr()).collect();
    argv.push(std::ptr::null());
    let envp = [std::ptr::null()];
    let mut start = Start {
        executable: command.executable.as_raw_fd(),
        argv: argv.as_ptr(),
        envp: envp.as_ptr(),
        stdio: [command.stdio[0].as_raw_fd(), command.stdio[1].as_raw_fd(), command.stdio[2].as_raw_fd()],
        keep: command.keep.as_ptr(),
        keep_len: command.keep.len(),
        errno: 0,
    };
    let child = clone_vfork(command.namespaces, exec_start, (&raw mut start).cast())?;
    if start.errno != 0 {
        child.wait()?;
        return Err(io::Error::from_raw_os_error(start.errno));
    }
    Ok(child)
}

/// Runs between clone and exec, in the parent's memory: system calls only, no allocation, no lock.
extern "C" fn exec_start(argument: *mut c_void) -> c_int {
    // SAFETY: the parent is suspended until exec or exit, so `argument` points to its live `Start` and nobody else
    // touches it; all pointers in it are live for the same reason.
    unsafe {
        let start = &mut *argument.cast::<Start>();
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::setsid();
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
        for i in 0..start.keep_len {
            libc::fcntl(*start.keep.add(i), libc::F_SETFD, 0);
        }
        for (i, fd) in (0..).zip(start.stdio) {
            if libc::dup2(fd, i) < 0 {
                start.errno = *libc::__errno_location();
                return 127;
            }
        }
        libc::syscall(libc::SYS_execveat, start.executable, c"".as_ptr(), start.argv, start.envp, libc::AT_EMPTY_PATH);
        start.errno = *libc::__errno_location();
    }
    127
}

/// Bytes of stack for the code between clone and exec.
const STACK_BYTES: usize = 64 << 10;

pub(super) fn clone_vfork(
    namespaces: c_int,
    run: extern "C" fn(*mut c_void) -> c_int,
    argument: *mut c_void,
) -> io::Result<Child> {
    let mut stack = vec![0_u128; STACK_BYTES / 16];
    let flags = namespaces | libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    let mut pidfd: c_int = -1;
    // SAFETY: the stack outlives the child's use of it, for CLONE_VFORK suspends us until it executes or exits.
    // All signals are blocked meanwhile: a handler of ours must not run in the child, in our memory.
    let (result, error) = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_BLOCK, &all, &mut before);
        let top = stack.as_mut_ptr().add(stack.len()).cast::<c_void>();
        let result = libc::clone(run, top, flags, argument, &raw mut pidfd);
        let error = io::Error::last_os_error();
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
        (result, error)
    };
    if result < 0 {
        return Err(error);
    }
    // SAFETY: the kernel has stored a new descriptor that nobody else owns.
    Ok(Child { pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } })
}

/// Gives the first process of a pid namespace a clean start: default signal actions, none blocked.
pub fn reset_signals() {
    // SAFETY: only the disposition and the mask of this single-threaded process change.
    unsafe {
        for signal in 1..=libc::SIGRTMAX() {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
}

/// Makes standard input a duplicate of this descriptor.
pub fn replace_stdin(fd: &OwnedFd) -> io::Result<()> {
    // SAFETY: nothing in this program owns descriptor 0.
    if unsafe { libc::dup2(fd.as_raw_fd(), 0) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Takes over a descriptor that was passed by number.
///
/// Fails on a number that is not open.  Each number must be taken once only.
pub fn take_descriptor(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD has no effect but to fail for a number that is not open; the number was passed to this process
    // for it to own, and the caller takes it once.
    unsafe {
        if number < 0 || libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) < 0 {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        Ok(OwnedFd::from_raw_fd(number))
    }
}

/// Returns a sealed file in memory with this content, readable from its start; not executable.
pub fn sealed_memory(name: &CStr, fill: impl FnOnce(&mut std::fs::File) -> io::Result<()>) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    seal(rustix::fs::memfd_create(name, flags)?, fill)
}

/// Returns a sealed program in memory.
pub fn sealed_program(name: &CStr, fill: impl FnOnce(&mut std::fs::File) -> io::Result<()>) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Before Linux 6.3 the flag is unknown and every such file is executable; since then `vm.memfd_noexec` may say
    // otherwise for files without it.
    let fd = match rustix::fs::memfd_create(name, flags | MemfdFlags::EXEC) {
        Err(rustix::io::Errno::INVAL) => rustix::fs::memfd_create(name, flags)?,
        result => result?,
    };
    seal(fd, fill)
}

fn seal(fd: OwnedFd, fill: impl FnOnce(&mut std::fs::File) -> io::Result<()>) -> io::Result<OwnedFd> {
    let mut file = std::fs::File::from(fd);
    fill(&mut file)?;
    file.flush()?;
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    Ok(file.into())
}

/// Replaces this process.  Returns only on failure.
pub fn exec(path: &CStr, argv: &[CString], envp: &[CString]) -> io::Error {
    let pointers = |list: &[CString]| -> Vec<*const c_char> {
        list.iter().map(|item| item.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(argv), pointers(envp));
    // SAFETY: all strings end in NUL, both lists end in a null pointer, and all are live.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    io::Error::last_os_error()
}

/// Returns a handle of a running process.
pub fn pidfd(pid: rustix::process::Pid) -> io::Result<OwnedFd> {
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// A forked copy of this process; in the child's branch only while the program has a single thread.
#[derive(Debug)]
pub enum Fork {
    /// We are the new process.
    Child,
    /// We are the old one; the new one's handle.
    Parent(Child),
}

/// Forks.  The program must have a single thread.
pub fn fork_single_threaded() -> io::Result<Fork> {
    // SAFETY: with a single thread no lock can be held by a thread that does not exist in the child.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => {
            let pid = rustix::process::Pid::from_raw(pid).ok_or(io::ErrorKind::Other)?;
            Ok(Fork::Parent(Child { pidfd: pidfd(pid)? }))
        }
    }
}

/// Ends a forked process without running what the program does at its end.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` never returns and touches no memory.
    unsafe { libc::_exit(code) }
}

/// Moves this process into new namespaces (`CLONE_NEW*`).
pub fn unshare(namespaces: c_int) -> io::Result<()> {
    // SAFETY: no memory is involved; the flags only replace namespaces of this process.
    if unsafe { libc::unshare(namespaces) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
