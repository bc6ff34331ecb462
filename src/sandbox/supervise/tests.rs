//! Calls of a thread of this process, answered by another.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::sys::notify::{install_listener, send_descriptor};
use std::path::Path;

/// Answers everything that it watches in the same way.
struct Fixed<F>(Vec<Watch>, F);

impl<F: FnMut(&Call<'_>) -> Answer + Send> Emulation for Fixed<F> {
    fn watches(&self) -> Vec<Watch> {
        self.0.clone()
    }

    fn answer(&mut self, call: &Call<'_>) -> Answer {
        (self.1)(call)
    }
}

fn watch(call: &'static str, when: When) -> Watch {
    Watch { call, when }
}

/// Runs `work` in a thread whose calls the emulations answer.
fn supervised<T: Send>(emulations: Vec<Box<dyn Emulation + '_>>, work: impl FnOnce() -> T + Send) -> T {
    let mut supervisor = Supervisor::new(emulations);
    let program = supervisor.program();
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    std::thread::scope(|scope| {
        let worker = scope.spawn(move || {
            // Of this thread only, as the filter is.
            rustix::thread::set_no_new_privs(true).unwrap();
            let listener = install_listener(&program).unwrap();
            send_descriptor(&theirs, listener.as_fd()).unwrap();
            drop((theirs, listener));
            work()
        });
        supervisor.serve(&ours.into()).unwrap();
        worker.join().unwrap()
    })
}

#[test]
fn a_call_is_answered_let_through_or_refused() {
    let answer = |call: &Call<'_>| match call.name {
        "getuid" => Answer::Return(1234),
        "mkdirat" if call.path(1).unwrap() == Path::new("/refused") => Answer::Fail(libc::EROFS),
        _ => Answer::Continue,
    };
    let watches = ["getuid", "mkdirat", "getpgid"].map(|call| watch(call, When::Always)).to_vec();
    let (uid, refused, group) = supervised(vec![Box::new(Fixed(watches, answer))], || {
        let mkdir = rustix::fs::mkdirat(rustix::fs::CWD, "/refused", rustix::fs::Mode::empty());
        (rustix::process::getuid().as_raw(), mkdir, rustix::process::getpgid(None).unwrap())
    });
    assert_eq!((uid, refused), (1234, Err(rustix::io::Errno::ROFS)));
    assert_eq!(group, rustix::process::getpgid(None).unwrap());
}

#[test]
fn conditions_keep_calls_from_the_supervisor() {
    let seen = std::sync::Mutex::new(Vec::new());
    let answer = |call: &Call<'_>| {
        seen.lock().unwrap().push((call.name, call.number(0)));
        Answer::Continue
    };
    let watches = vec![
        watch("umask", When::AnyBit { argument: 0, bits: 0o20 }),
        watch("fchdir", When::NotStandardStream { argument: 0 }),
    ];
    let directory = std::fs::File::open("/").unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&directory).unsigned_abs();
    supervised(vec![Box::new(Fixed(watches, answer))], || {
        rustix::process::umask(0o7.into());
        rustix::process::umask(0o22.into());
        let _ = rustix::process::fchdir(std::io::stdin());
        let _ = rustix::process::fchdir(&directory);
    });
    assert_eq!(*seen.lock().unwrap(), [("umask", 0o22), ("fchdir", number)]);
}

#[test]
fn descriptors_are_given_and_the_first_answer_wins() {
    let give = |call: &Call<'_>| match call.path(1) {
        Ok(path) if path == Path::new("/virtual") => {
            Answer::Descriptor { fd: std::fs::File::open("/proc/self/comm").unwrap().into(), close_on_exec: true }
        }
        _ => Answer::Continue,
    };
    let refuse = |call: &Call<'_>| match call.path(1) {
        Ok(path) if path.starts_with("/virtual") => Answer::Fail(libc::EPERM),
        _ => Answer::Continue,
    };
    let watches = || vec![watch("openat", When::Always), watch("open", When::Always)];
    let emulations: Vec<Box<dyn Emulation>> =
        vec![Box::new(Fixed(watches(), give)), Box::new(Fixed(watches(), refuse))];
    let (given, refused, passed) = supervised(emulations, || {
        let given = std::fs::read_to_string("/virtual");
        (
            given.is_ok(),
            std::fs::read("/virtual/x").unwrap_err().raw_os_error(),
            std::fs::read("/proc/self/comm").is_ok(),
        )
    });
    assert_eq!((given, refused, passed), (true, Some(libc::EPERM), true));
}

#[test]
fn paths_are_those_of_the_caller() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(directory.path().join("a/b")).unwrap();
    std::fs::write(directory.path().join("file"), "").unwrap();
    std::os::unix::fs::symlink("../file", directory.path().join("a/link")).unwrap();
    let inode = rustix::fs::stat(directory.path().join("file")).unwrap().st_ino;
    let answer = |call: &Call<'_>| {
        let path = call.path(1).unwrap();
        let found = call.open(call.number(0), &path, rustix::fs::OFlags::PATH);
        Answer::of(found.and_then(|fd| Ok(i64::from(rustix::fs::fstat(&fd)?.st_ino != inode))))
    };
    let below = std::fs::File::open(directory.path().join("a/b")).unwrap();
    let watches = vec![watch("mkdirat", When::Always)];
    let results = supervised(vec![Box::new(Fixed(watches, answer))], || {
        let whole = directory.path().join("file");
        let paths = ["../../file", "../link", whole.to_str().unwrap(), "../../none"];
        paths.map(|path| rustix::fs::mkdirat(&below, path, rustix::fs::Mode::empty()))
    });
    let found = Ok(());
    use rustix::io::Errno;
    assert_eq!(results, [found, found, found, Err(Errno::NOENT)]);
}
