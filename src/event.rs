//! What happens during a build, as values.
//!
//! Nothing but `progress` prints.  Everything else sends an [`Event`] through a [`Reporter`]; a reporter is cheap to
//! clone and works from any thread.

use crate::diag::Diagnostic;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// Number of a line of work shown to the user: a step, a pull, an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(pub u32);

/// Which stream of a RUN a chunk of output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It ran.
    Done,
    /// Its result was found; nothing ran.
    Cached,
    /// It failed; the text is one line.
    Failed(String),
    /// Another task failed or the user interrupted.
    Canceled,
}

/// One thing that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A task begins.  The name is what BuildKit shows, e.g. `[build 2/4] RUN make`.
    Started {
        /// The task.
        task: TaskId,
        /// One line for the user.
        name: String,
    },
    /// A line of news of a task, e.g. why it missed the cache.
    Detail {
        /// The task.
        task: TaskId,
        /// One line.
        text: String,
    },
    /// Bytes of RUN output, not cut at lines.
    Output {
        /// The task.
        task: TaskId,
        /// Where from.
        stream: Stream,
        /// The bytes as written; they may hold terminal escapes and are not always UTF-8.
        bytes: Vec<u8>,
    },
    /// How far a transfer is.
    Progress {
        /// The task.
        task: TaskId,
        /// What is transferred, e.g. a digest.
        item: String,
        /// Bytes so far.
        current_bytes: u64,
        /// All bytes, 0 where unknown.
        total_bytes: u64,
    },
    /// A task ended.
    Ended {
        /// The task.
        task: TaskId,
        /// How.
        outcome: Outcome,
        /// Time it took.
        elapsed: Duration,
    },
    /// A warning that belongs to no task.
    Warning(Box<Diagnostic>),
    /// One line that belongs to no task, e.g. the isolation chosen.
    Notice(String),
    /// The build is finished.
    Summary(Summary),
}

/// What was made, for the last lines of a build.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Names given to the image.
    pub names: Vec<String>,
    /// Digest of the manifest (or index).
    pub digest: Option<String>,
    /// Sum of the compressed layers and JSON documents.
    pub size_bytes: u64,
    /// Steps whose result was found.
    pub steps_cached: usize,
    /// Steps that ran.
    pub steps_run: usize,
    /// Where files were written, if to a path.
    pub destinations: Vec<String>,
    /// Time of the whole build.
    pub elapsed: Duration,
}

/// Events that may wait to be shown; then a step that writes faster than the terminal waits, instead of filling memory.
const EVENTS_WAITING: usize = 512;

/// Sends events to whoever shows them.
#[derive(Clone)]
pub struct Reporter {
    sender: Option<SyncSender<Event>>,
    next: std::sync::Arc<std::sync::atomic::AtomicU32>,
}

impl Reporter {
    /// Returns a reporter and the end where its events come out.
    pub fn new() -> (Reporter, Receiver<Event>) {
        let (sender, receiver) = sync_channel(EVENTS_WAITING);
        (Reporter { sender: Some(sender), next: Default::default() }, receiver)
    }

    /// Returns a reporter whose events nobody sees.
    pub fn silent() -> Reporter {
        Reporter { sender: None, next: Default::default() }
    }

    /// Sends an event.  That nobody listens any more is no error: the build goes on without a face.
    pub fn send(&self, event: Event) {
        if let Some(sender) = &self.sender {
            let _ = sender.send(event);
        }
    }

    /// Begins a task; dropping it without an end counts as canceled.
    pub fn start(&self, name: impl Into<String>) -> Task {
        let id = TaskId(self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1);
        self.send(Event::Started { task: id, name: name.into() });
        Task { id, reporter: self.clone(), started: std::time::Instant::now(), ended: false }
    }

    /// Sends a warning.
    pub fn warn(&self, diagnostic: Diagnostic) {
        self.send(Event::Warning(Box::new(diagnostic)));
    }

    /// Sends a line that belongs to no task.
    pub fn notice(&self, text: impl Into<String>) {
        self.send(Event::Notice(text.into()));
    }
}

/// A task under way.
pub struct Task {
    id: TaskId,
    reporter: Reporter,
    started: std::time::Instant,
    ended: bool,
}

impl Task {
    /// Returns its number.
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// Sends a line of news.
    pub fn detail(&self, text: impl Into<String>) {
        self.reporter.send(Event::Detail { task: self.id, text: text.into() });
    }

    /// Sends output of the command.
    pub fn output(&self, stream: Stream, bytes: &[u8]) {
        self.reporter.send(Event::Output { task: self.id, stream, bytes: bytes.to_vec() });
    }

    /// Sends how far a transfer is.
    pub fn progress(&self, item: impl Into<String>, current_bytes: u64, total_bytes: u64) {
        self.reporter.send(Event::Progress { task: self.id, item: item.into(), current_bytes, total_bytes });
    }

    /// Ends the task.
    pub fn end(mut self, outcome: Outcome) {
        self.finish(outcome);
    }

    fn finish(&mut self, outcome: Outcome) {
        self.ended = true;
        self.reporter.send(Event::Ended { task: self.id, outcome, elapsed: self.started.elapsed() });
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if !self.ended {
            self.finish(Outcome::Canceled);
        }
    }
}
