//! Ctrl-C and SIGTERM: the first asks the build to stop, the second ends the process.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

static REQUESTED: AtomicBool = AtomicBool::new(false);
static CURSOR_HIDDEN: AtomicBool = AtomicBool::new(false);
static WAKE: AtomicI32 = AtomicI32::new(-1);
static EVENT: OnceLock<OwnedFd> = OnceLock::new();

/// What makes a terminal's cursor visible again.
const SHOW_CURSOR: &[u8] = b"\x1b[?25h\n";

/// The exit code of an interrupted program: 128 and the number of SIGINT.
pub const EXIT_CODE: u8 = 130;

/// Catches SIGINT and SIGTERM from now on.  Handlers end at `exec`, so children get the signals as usual.
pub fn install() -> io::Result<()> {
    if EVENT.get().is_some() {
        return Ok(());
    }
    let event =
        rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK)?;
    WAKE.store(event.as_raw_fd(), Ordering::SeqCst);
    let _ = EVENT.set(event);
    let action = nix::sys::signal::SigAction::new(
        nix::sys::signal::SigHandler::Handler(on_signal),
        nix::sys::signal::SaFlags::SA_RESTART,
        nix::sys::signal::SigSet::empty(),
    );
    for signal in [nix::sys::signal::Signal::SIGINT, nix::sys::signal::Signal::SIGTERM] {
        // SAFETY: `on_signal` uses only atomics, write(2) and _exit(2), which are async-signal-safe.
        unsafe { nix::sys::signal::sigaction(signal, &action) }?;
    }
    Ok(())
}

/// Whether the user asked to stop.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// Returns a descriptor that is readable, for good, once the user asked to stop; for `poll` beside other descriptors.
pub fn descriptor() -> Option<BorrowedFd<'static>> {
    EVENT.get().map(AsFd::as_fd)
}

/// Tells whether the terminal's cursor is hidden, so that a sudden end can show it.
pub fn set_cursor_hidden(hidden: bool) {
    CURSOR_HIDDEN.store(hidden, Ordering::SeqCst);
}

/// Shows the cursor again if it is hidden.
pub fn show_cursor() {
    if CURSOR_HIDDEN.swap(false, Ordering::SeqCst) {
        let _ = io::Write::write_all(&mut io::stderr(), SHOW_CURSOR);
    }
}

extern "C" fn on_signal(_: libc::c_int) {
    let again = REQUESTED.swap(true, Ordering::SeqCst);
    let wake = WAKE.load(Ordering::SeqCst);
    let one: u64 = 1;
    // SAFETY: write and _exit are async-signal-safe; the buffers live through the calls; that a write fails (closed
    // terminal, counter full) changes nothing.  errno is put back for the code that was interrupted.
    unsafe {
        let errno = *libc::__errno_location();
        libc::write(wake, (&raw const one).cast(), size_of::<u64>());
        if again {
            if CURSOR_HIDDEN.load(Ordering::SeqCst) {
                libc::write(libc::STDERR_FILENO, SHOW_CURSOR.as_ptr().cast(), SHOW_CURSOR.len());
            }
            libc::_exit(i32::from(EXIT_CODE));
        }
        *libc::__errno_location() = errno;
    }
}
