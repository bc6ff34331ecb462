//! The threads of a step and what the kernel cannot keep for them: working directory, file mode mask, program.
//!
//! The tracer tells of every new thread before it runs, so nobody is ever unknown.

use super::view::{Directory, ProcLink};
use rustix::io::Errno;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What threads that share it (`CLONE_FS`) change for each other.
#[derive(Debug, Clone)]
pub(super) struct Fs {
    /// The working directory.
    pub cwd: Directory,
    /// The file mode mask.
    pub umask: u32,
}

#[derive(Debug, Clone)]
struct Task {
    process: u32,
    fs: Arc<Mutex<Fs>>,
    /// Real path of the program in the step.
    program: Arc<Path>,
}

/// What a new thread shares with the one that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shares {
    /// It is one of the same process.
    pub process: bool,
    /// They have one working directory and mask.
    pub fs: bool,
}

/// The threads of one step.
#[derive(Debug, Default)]
pub(super) struct Tasks(Mutex<HashMap<u32, Task>>);

/// A thread at the time of one of its calls.
#[derive(Debug)]
pub(super) struct Caller<'a> {
    /// Its number.
    pub thread: u32,
    /// That of its process.
    pub process: u32,
    /// Its working directory and mask.
    pub fs: Fs,
    tasks: &'a Tasks,
}

impl Tasks {
    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Task>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the first process of the step.
    pub(super) fn begin(&self, process: u32, fs: Fs) {
        let program = Path::new("/").into();
        self.lock().insert(process, Task { process, fs: Arc::new(Mutex::new(fs)), program });
    }

    /// Takes a new thread of one that is known.
    pub(super) fn add(&self, parent: u32, thread: u32, shares: Shares) {
        let mut tasks = self.lock();
        let Some(mut task) = tasks.get(&parent).cloned() else { return };
        if !shares.process {
            task.process = thread;
        }
        if !shares.fs {
            let own = lock(&task.fs).clone();
            task.fs = Arc::new(Mutex::new(own));
        }
        tasks.insert(thread, task);
    }

    /// Forgets a thread that has ended.
    pub(super) fn remove(&self, thread: u32) {
        self.lock().remove(&thread);
    }

    /// A thread has executed a program, and is now the only one of its process.
    pub(super) fn execute(&self, before: u32, process: u32, program: &Path) {
        let mut tasks = self.lock();
        let Some(mut task) = tasks.remove(&before) else { return };
        task.process = process;
        task.program = program.into();
        // Execution ends the sharing with whoever made it.
        let own = lock(&task.fs).clone();
        task.fs = Arc::new(Mutex::new(own));
        tasks.insert(process, task);
    }

    /// Returns a thread as it is now.
    pub(super) fn caller(&self, thread: u32) -> Option<Caller<'_>> {
        let tasks = self.lock();
        let task = tasks.get(&thread)?;
        let fs = lock(&task.fs).clone();
        Some(Caller { thread, process: task.process, fs, tasks: self })
    }

    /// Changes what a thread shares with others.
    pub(super) fn change<T>(&self, thread: u32, change: impl FnOnce(&mut Fs) -> T) -> Option<T> {
        let fs = self.lock().get(&thread)?.fs.clone();
        let mut fs = lock(&fs);
        Some(change(&mut fs))
    }

    /// Whether a number is that of a process or thread of the step.
    pub(super) fn has(&self, number: u32) -> bool {
        self.lock().contains_key(&number)
    }

    /// Returns the processes of the step.
    pub(super) fn processes(&self) -> Vec<u32> {
        let mut processes: Vec<u32> = self.lock().values().map(|task| task.process).collect();
        processes.sort_unstable();
        processes.dedup();
        processes
    }
}

fn lock(fs: &Mutex<Fs>) -> MutexGuard<'_, Fs> {
    fs.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Caller<'a> {
    /// Stands for the builder itself, before there is a step.
    pub(super) fn builder(tasks: &'a Tasks, fs: Fs) -> Caller<'a> {
        Caller { thread: 0, process: 0, fs, tasks }
    }

    /// Whether a path of /proc is there for the step: what belongs to its own processes, or to none.
    pub(super) fn sees(&self, path: &Path) -> bool {
        let first = path.strip_prefix("/proc").ok().and_then(|rest| rest.iter().next()?.to_str());
        let number = first.and_then(|first| first.parse::<u32>().ok());
        number.is_none_or(|number| self.tasks.has(number))
    }

    /// Returns where a link of /proc leads, where its text does not say it.
    pub(super) fn proc_link(&self, path: &Path) -> Option<Result<ProcLink, Errno>> {
        let parts: Vec<&str> =
            path.strip_prefix("/proc").ok()?.iter().map(|part| part.to_str().unwrap_or("")).collect();
        let text = |text: PathBuf| Some(Ok(ProcLink::Text(text.into_os_string())));
        let own = match parts[..] {
            ["self"] => return Some(Ok(ProcLink::Text(self.process.to_string().into()))),
            ["thread-self"] => return text(format!("{}/task/{}", self.process, self.thread).into()),
            [_] => return None,
            [_, "task", _, ref rest @ ..] | [_, ref rest @ ..] => rest,
            [] => return None,
        };
        let task = parts[0].parse().ok().and_then(|number: u32| self.tasks.lock().get(&number).cloned());
        let Some(task) = task else { return Some(Err(Errno::NOENT)) };
        match own {
            ["exe"] => text(task.program.to_path_buf()),
            ["cwd"] => text(lock(&task.fs).cwd.path.clone()),
            ["root"] => text("/".into()),
            ["fd", _] => Some(Ok(ProcLink::Descriptor(path.to_owned()))),
            _ => Some(Err(Errno::ACCESS)),
        }
    }

    /// Returns the name in the machine's /proc of one of its descriptors.
    pub(super) fn descriptor(&self, number: u32) -> String {
        format!("/proc/{}/fd/{number}", self.thread)
    }
}
