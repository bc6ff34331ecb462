//! The thread that traces a step: it sees every new thread before it runs, and executes programs for the step.
//!
//! A program is not executed by the path that the step gave, which could be another one by then, but by a descriptor: the
//! call is first replaced by one that the builder answers with the descriptor, then made again with it.  What was loaded is
//! looked at before its first instruction, so that a race can only be lost.

use super::program::{Named, Program};
use super::tasks::Shares;
use super::{Step, stack};
use crate::sandbox::supervise::CURRENT_DIRECTORY;
use crate::sys::notify::read_path;
use crate::sys::trace::{self, Registers, Resume, Stop};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender};

/// A thread that is to be traced, and where to say whether it is.
pub(in crate::sandbox) type Begin = (u32, Sender<io::Result<()>>);

/// Where a thread is that executes a program.
enum Execution {
    /// It waits for the descriptor.
    Asking(Program),
    /// It has the descriptor, and executes it.
    Loading(Program, i64),
    /// That has failed with this result; it closes the descriptor.
    Closing { result: i64, has_begun: bool },
}

/// What is known of the threads of one step.
pub(super) struct Tracer<'a> {
    step: &'a Step,
    /// Threads that have stopped before their parent has told of them.
    early: HashSet<u32>,
    /// With the registers at the time of the call.
    executions: HashMap<u32, (Registers, Execution)>,
}

impl Step {
    /// Traces the step from its first process, which `begin` tells, to the end of the last.
    pub(in crate::sandbox) fn trace(&self, begin: &Mutex<Receiver<Begin>>) -> io::Result<()> {
        let Ok((thread, told)) = super::lock(begin).recv() else { return Ok(()) };
        let seized = trace::seize(thread);
        let is_traced = seized.is_ok();
        // The one who asked may have gone meanwhile.
        let _ = told.send(seized);
        if !is_traced {
            return Ok(());
        }
        let mut tracer = Tracer { step: self, early: HashSet::new(), executions: HashMap::new() };
        while let Some((thread, stop)) = trace::wait()? {
            match tracer.stopped(thread, stop) {
                // Killed while it was stopped: its end is the next that is heard of it.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                result => result?,
            }
        }
        Ok(())
    }
}

impl Tracer<'_> {
    fn stopped(&mut self, thread: u32, stop: Stop) -> io::Result<()> {
        match stop {
            Stop::Begun if !self.step.tasks.has(thread) => {
                self.early.insert(thread);
                Ok(())
            }
            Stop::Begun => trace::resume(thread, Resume::Run),
            Stop::Made(new) => self.made(thread, new),
            Stop::Filtered => self.filtered(thread),
            Stop::Call => self.called(thread),
            Stop::Executed(before) => self.executed(before, thread),
            Stop::Signal(signal) => trace::resume(thread, Resume::Signal(signal)),
            Stop::Group => trace::resume(thread, Resume::Listen),
            Stop::Ended => {
                self.executions.remove(&thread);
                self.early.remove(&thread);
                self.step.tasks.remove(thread);
                Ok(())
            }
        }
    }

    fn made(&mut self, thread: u32, new: u32) -> io::Result<()> {
        let registers = Registers::read(thread)?;
        let flags = if registers.call() == libc::SYS_clone { registers.argument(0) } else { 0 };
        let has = |flag: libc::c_int| flags & u64::from(flag.unsigned_abs()) != 0;
        let shares = Shares { process: has(libc::CLONE_THREAD), fs: has(libc::CLONE_FS) };
        self.step.tasks.add(thread, new, shares);
        if self.early.remove(&new) {
            trace::resume(new, Resume::Run)?;
        }
        trace::resume(thread, Resume::Run)
    }

    /// A thread is about to execute something.
    fn filtered(&mut self, thread: u32) -> io::Result<()> {
        let registers = Registers::read(thread)?;
        if let Some((_, Execution::Loading(_, fd))) = self.executions.get(&thread)
            && registers.call() == libc::SYS_execveat
            && registers.argument(0) == fd.cast_unsigned()
            && registers.argument(4) == u64::from(libc::AT_EMPTY_PATH.unsigned_abs())
        {
            return trace::resume(thread, Resume::Call);
        }
        match self.program(thread, &registers) {
            Ok(program) => {
                self.step.give(thread, program.file.try_clone()?);
                trace::replace_call(thread, &registers, super::ASKING)?;
                self.executions.insert(thread, (registers, Execution::Asking(program)));
                trace::resume(thread, Resume::Call)
            }
            Err(error) => {
                self.executions.remove(&thread);
                let errno = error.raw_os_error().unwrap_or(libc::EIO);
                trace::skip_call(thread, &registers, -i64::from(errno))?;
                trace::resume(thread, Resume::Run)
            }
        }
    }

    fn program(&self, thread: u32, registers: &Registers) -> io::Result<Program> {
        let caller = self.step.tasks.caller(thread).ok_or(rustix::io::Errno::SRCH)?;
        let path =
            |index: usize| read_path(thread, registers.argument(index)).map(|path| OsString::from_vec(path).into());
        // The kernel ignores the high half of a descriptor and of flags.
        let named = match registers.call() {
            libc::SYS_execveat => {
                Named { directory: registers.argument(0) as u32, path: path(1)?, flags: registers.argument(4) as u32 }
            }
            _ => Named { directory: CURRENT_DIRECTORY, path: path(0)?, flags: 0 },
        };
        self.step.program(&caller, &named)
    }

    /// A call that was to be stopped at has begun or ended.
    fn called(&mut self, thread: u32) -> io::Result<()> {
        let Some((before, execution)) = self.executions.remove(&thread) else {
            return trace::resume(thread, Resume::Run);
        };
        let registers = Registers::read(thread)?;
        let result = registers.result();
        match execution {
            Execution::Asking(program) if result >= 0 => {
                let is_at = before.call() == libc::SYS_execveat;
                let (path, lists) = if is_at { (1, [2, 3]) } else { (0, [1, 2]) };
                let [arguments, environment] = lists.map(|index| before.argument(index));
                // Its end is the empty path that is needed.
                let empty = before.argument(path) + read_path(thread, before.argument(path))?.len() as u64;
                let flags = u64::from(libc::AT_EMPTY_PATH.unsigned_abs());
                let list = [result.cast_unsigned(), empty, arguments, environment, flags];
                trace::next_call(thread, &before, libc::SYS_execveat, &list)?;
                self.executions.insert(thread, (before, Execution::Loading(program, result)));
                trace::resume(thread, Resume::Run)
            }
            Execution::Loading(_, fd) => {
                trace::next_call(thread, &before, libc::SYS_close, &[fd.cast_unsigned()])?;
                self.executions.insert(thread, (before, Execution::Closing { result, has_begun: false }));
                trace::resume(thread, Resume::Call)
            }
            Execution::Closing { result, has_begun: false } => {
                self.executions.insert(thread, (before, Execution::Closing { result, has_begun: true }));
                trace::resume(thread, Resume::Call)
            }
            Execution::Asking(_) => self.give_back(thread, &before, result),
            Execution::Closing { result, has_begun: true } => self.give_back(thread, &before, result),
        }
    }

    /// Lets a thread go on behind its call.
    fn give_back(&self, thread: u32, before: &Registers, result: i64) -> io::Result<()> {
        before.with_result(result).write(thread)?;
        trace::resume(thread, Resume::Run)
    }

    fn executed(&mut self, before: u32, process: u32) -> io::Result<()> {
        let execution = self.executions.remove(&before).map(|(_, execution)| execution);
        self.executions.remove(&process);
        let started = match execution {
            Some(Execution::Loading(program, _)) if is_loaded(process, &program) => {
                self.step.tasks.execute(before, process, &program.path);
                self.step.set_rights(process, &program);
                Registers::read(process)
                    .and_then(|registers| stack::rewrite(process, &registers, &program.prefix, &program.name))
            }
            _ => Err(io::Error::from_raw_os_error(libc::EACCES)),
        };
        if started.is_err()
            && let Some(pid) = Pid::from_raw(process.cast_signed())
        {
            // It runs something else than was found, or cannot be given what it needs.
            let _ = kill_process(pid, Signal::KILL);
        }
        trace::resume(process, Resume::Run)
    }
}

/// Whether a process runs what was found.
fn is_loaded(process: u32, program: &Program) -> bool {
    let found = rustix::fs::stat(format!("/proc/{process}/exe"));
    found.is_ok_and(|found| (found.st_dev, found.st_ino) == (program.stat.st_dev, program.stat.st_ino))
}
