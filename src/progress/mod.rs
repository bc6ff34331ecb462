//! Shows what happens: events come in, text for people or machines goes to standard error; nothing else prints.
//!
//! The face has a thread of its own, so that a slow terminal does not hold up a build.  Every form is a [`Display`]
//! that gets the time from outside: its whole output can be compared in a test.

mod format;
mod json;
mod plain;
mod quiet;
mod rawjson;
mod summary;
mod tail;
mod text;
mod tty;

#[cfg(test)]
mod recorded;

pub use format::{bytes as format_bytes, seconds as format_seconds};
pub use json::{json_line, json_pretty};
pub use text::without_ci_commands;

use crate::cli::diagnostic::Style;
use crate::event::Event;
use std::io::{self, BufWriter, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Time between two pictures of the live view.
const TICK: Duration = Duration::from_millis(100);

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "lower")]
pub enum Mode {
    /// `tty` in a terminal, else `plain`.
    Auto,
    /// A live view.
    Tty,
    /// Lines, for logs.
    Plain,
    /// A JSON object a line, as BuildKit's.
    RawJson,
    /// Nothing but the digest of the image on standard output, and errors.
    Quiet,
    /// Nothing but errors.
    None,
}

impl Mode {
    /// Returns the mode of a name as `--progress` takes it.
    pub fn from_name(name: &str) -> Option<Mode> {
        <Mode as clap::ValueEnum>::from_str(name, false).ok()
    }

    /// Returns the name that `--progress` takes.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Auto => "auto",
            Mode::Tty => "tty",
            Mode::Plain => "plain",
            Mode::RawJson => "rawjson",
            Mode::Quiet => "quiet",
            Mode::None => "none",
        }
    }
}

/// One way of showing events.  Times count from the start of the build.
trait Display: Send {
    /// Takes an event.
    fn event(&mut self, at: Duration, event: Event, out: &mut dyn Write) -> io::Result<()>;
    /// Is called about ten times a second.
    fn tick(&mut self, at: Duration, out: &mut dyn Write) -> io::Result<()>;
    /// Is called once, when no event can come any more.
    fn finish(&mut self, at: Duration, out: &mut dyn Write) -> io::Result<()>;
}

/// The thread that shows a build.
pub struct Face {
    thread: Option<JoinHandle<()>>,
}

impl Face {
    /// Starts to show on standard error what comes out of `receiver`, until its last sender is dropped.
    pub fn start(mode: Mode, style: Style, receiver: Receiver<Event>) -> Face {
        let display = display(mode, style);
        let spawned = std::thread::Builder::new().name("progress".to_owned()).spawn(move || {
            let started = Instant::now();
            pump(&receiver, display, || started.elapsed(), &mut BufWriter::new(io::stderr()));
        });
        // Without a thread the build goes on without a face: sending to nobody is no error.
        Face { thread: spawned.ok() }
    }

    /// Waits until everything is shown.
    pub fn join(self) {
        if let Some(thread) = self.thread {
            let _ = thread.join();
        }
    }
}

fn display(mode: Mode, style: Style) -> Box<dyn Display> {
    match mode {
        Mode::Auto if style.terminal => Box::new(tty::Tty::new(style, tty::terminal_size)),
        Mode::Tty => Box::new(tty::Tty::new(style, tty::terminal_size)),
        Mode::Auto | Mode::Plain => Box::new(plain::Plain::new(style)),
        Mode::RawJson => Box::new(rawjson::RawJson::new(jiff::Timestamp::now())),
        Mode::Quiet | Mode::None => Box::new(quiet::Quiet::new(style)),
    }
}

/// Moves events to the display.  When standard error is gone events are still taken, or their queue would grow.
fn pump(receiver: &Receiver<Event>, mut display: Box<dyn Display>, clock: impl Fn() -> Duration, out: &mut dyn Write) {
    let mut last_tick = Duration::ZERO;
    let mut result = Ok(());
    loop {
        let wait = (last_tick + TICK).saturating_sub(clock());
        match receiver.recv_timeout(wait) {
            Ok(event) if result.is_ok() => result = display.event(clock(), event, out),
            Ok(_) => continue,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if clock() >= last_tick + TICK {
            last_tick = clock();
            result = result.and_then(|()| display.tick(last_tick, out)).and_then(|()| out.flush());
        }
    }
    let _ = result.and_then(|()| display.finish(clock(), out)).and_then(|()| out.flush());
}
