//! Recorded events with their times, for tests that compare whole outputs.

use super::Display;
use crate::diag::{Diagnostic, Source, Span};
use crate::event::{Event, Outcome, Stream, Summary, TaskId};
use std::time::Duration;

/// Events and ticks (`None`), each with its time in milliseconds.
#[derive(Default)]
pub struct Recording {
    steps: Vec<(u64, Option<Event>)>,
}

impl Recording {
    pub fn event(mut self, at: u64, event: Event) -> Recording {
        self.steps.push((at, Some(event)));
        self
    }

    pub fn tick(mut self, at: u64) -> Recording {
        self.steps.push((at, None));
        self
    }

    pub fn start(self, at: u64, task: u32, name: &str) -> Recording {
        self.event(at, Event::Started { task: TaskId(task), name: name.into() })
    }

    pub fn output(self, at: u64, task: u32, text: &str) -> Recording {
        self.event(at, Event::Output { task: TaskId(task), stream: Stream::Stdout, bytes: text.into() })
    }

    pub fn transfer(self, at: u64, task: u32, current_bytes: u64, total_bytes: u64) -> Recording {
        let item = "sha256:aaaa".into();
        self.event(at, Event::Progress { task: TaskId(task), item, current_bytes, total_bytes })
    }

    pub fn end(self, at: u64, task: u32, outcome: Outcome) -> Recording {
        let is_start = |event: &Event| matches!(event, Event::Started { task: id, .. } if id.0 == task);
        let started = self.steps.iter().find(|(_, event)| event.as_ref().is_some_and(is_start));
        let elapsed = Duration::from_millis(at - started.map_or(0, |(at, _)| *at));
        self.event(at, Event::Ended { task: TaskId(task), outcome, elapsed })
    }

    /// Returns all that a display writes.
    pub fn show(self, display: &mut dyn Display) -> String {
        let mut out = Vec::new();
        let mut now = Duration::ZERO;
        for (at, event) in self.steps {
            now = Duration::from_millis(at);
            match event {
                Some(event) => display.event(now, event, &mut out),
                None => display.tick(now, &mut out),
            }
            .expect("a vector takes everything");
        }
        display.finish(now, &mut out).expect("a vector takes everything");
        String::from_utf8(out).expect("all output is UTF-8")
    }
}

/// Returns the events of a small build of three steps, one after the other.
pub fn build() -> Recording {
    let warning = Diagnostic { rule: Some("Untagged"), ..Diagnostic::warning("no tag") }
        .at(&Source::new("Dockerfile", "FROM alpine\n"), Span::new(5, 11));
    let summary = Summary {
        names: vec!["app:1".into(), "app:latest".into()],
        digest: Some("sha256:bbbb".into()),
        size_bytes: 4_200_000,
        steps_cached: 1,
        steps_run: 2,
        destinations: vec!["out.tar".into()],
        elapsed: Duration::from_millis(1700),
    };
    Recording::default()
        .event(0, Event::Notice("isolation: root".into()))
        .start(0, 1, "[internal] load build definition from Dockerfile")
        .end(10, 1, Outcome::Done)
        .event(10, Event::Warning(Box::new(warning.clone())))
        .event(11, Event::Warning(Box::new(warning)))
        .start(100, 2, "[1/3] FROM docker.io/library/alpine")
        .transfer(200, 2, 1_000_000, 4_000_000)
        .transfer(210, 2, 1_000_001, 4_000_000)
        .transfer(900, 2, 4_000_000, 4_000_000)
        .end(1100, 2, Outcome::Done)
        .start(1200, 3, "[2/3] COPY . /src")
        .end(1210, 3, Outcome::Cached)
        .start(1300, 4, "[3/3] RUN make")
        .event(1300, Event::Detail { task: TaskId(4), text: "missed the cache: changed: src/a.c".into() })
        .output(1400, 4, "cc a.c\n\x1b[3")
        .output(1500, 4, "1mred\x1b[0m\n10%\r")
        .output(1600, 4, "100%\nlast")
        .end(1600, 4, Outcome::Done)
        .event(1700, Event::Summary(summary))
}
