//! One JSON object a line, in the shape of BuildKit's `SolveStatus`, for programs that read BuildKit's.

use super::Display;
use super::summary;
use crate::diag::Diagnostic;
use crate::dockerfile::lint::rule_url;
use crate::event::{Event, Outcome, Stream, TaskId};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::time::Duration;

/// A point of time, in JSON as RFC 3339.
#[derive(Debug, Clone, Copy)]
struct Time(Timestamp);

impl Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

#[derive(Default, Serialize)]
struct Status<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    vertexes: Vec<Vertex<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    statuses: Vec<VertexStatus<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logs: Vec<VertexLog<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<VertexWarning>,
}

#[derive(Serialize)]
struct Vertex<'a> {
    digest: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<Time>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cached: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    error: &'a str,
}

#[derive(Serialize)]
struct VertexStatus<'a> {
    id: &'a str,
    vertex: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    total: u64,
    current: u64,
    timestamp: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<Time>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[derive(Serialize)]
struct VertexLog<'a> {
    vertex: &'a str,
    stream: u8,
    data: String,
    timestamp: Time,
}

#[derive(Serialize)]
struct VertexWarning {
    vertex: String,
    level: u8,
    short: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    url: String,
}

impl VertexWarning {
    fn of(warning: &Diagnostic) -> VertexWarning {
        let line = warning.place.as_ref().map(|place| place.source.line_column(place.span.start).0);
        let (short, url) = match (warning.rule, line) {
            (Some(rule), Some(line)) => (format!("{rule}: {} (line {line})", warning.message), rule_url(rule)),
            _ => (summary::one_line(warning).trim_start_matches("WARN: ").to_owned(), String::new()),
        };
        VertexWarning { vertex: String::new(), level: 1, short: STANDARD.encode(short), url }
    }
}

/// The rawjson form.
pub struct RawJson {
    origin: Timestamp,
    tasks: HashMap<TaskId, Known>,
    notices: u32,
}

struct Known {
    digest: String,
    name: String,
    started: Time,
    items: BTreeMap<String, Time>,
}

impl RawJson {
    /// Returns the form for a build that began at `origin`.
    pub fn new(origin: Timestamp) -> RawJson {
        RawJson { origin, tasks: HashMap::new(), notices: 0 }
    }

    fn time(&self, at: Duration) -> Time {
        Time(self.origin.checked_add(at).unwrap_or(self.origin))
    }
}

/// Returns what stands for a vertex's digest: readers only compare it.
fn vertex_digest(kind: &str, number: u32, name: &str) -> String {
    use sha2::Digest;
    format!("sha256:{}", hex::encode(sha2::Sha256::digest(format!("{kind} {number} {name}"))))
}

fn write(out: &mut dyn Write, status: &Status<'_>) -> io::Result<()> {
    let line = super::json::json_line(status)? + "\n";
    out.write_all(line.as_bytes())
}

impl Display for RawJson {
    fn event(&mut self, at: Duration, event: Event, out: &mut dyn Write) -> io::Result<()> {
        let now = self.time(at);
        match event {
            Event::Started { task, name } => {
                let known =
                    Known { digest: vertex_digest("task", task.0, &name), name, started: now, items: BTreeMap::new() };
                let vertex = known.vertex(None, &Outcome::Done);
                write(out, &Status { vertexes: vec![vertex], ..Status::default() })?;
                self.tasks.insert(task, known);
                Ok(())
            }
            Event::Detail { task, text } => match self.tasks.get(&task) {
                Some(known) => known.detail(&text, now, out),
                None => Ok(()),
            },
            Event::Output { task, stream, bytes } => match self.tasks.get(&task) {
                Some(known) => known.log(stream, &bytes, now, out),
                None => Ok(()),
            },
            Event::Progress { task, item, current_bytes, total_bytes } => match self.tasks.get_mut(&task) {
                Some(known) => known.transfer(item, current_bytes, total_bytes, now, out),
                None => Ok(()),
            },
            Event::Ended { task, outcome, .. } => match self.tasks.remove(&task) {
                Some(known) => {
                    write(out, &Status { vertexes: vec![known.vertex(Some(now), &outcome)], ..Status::default() })
                }
                None => Ok(()),
            },
            Event::Warning(warning) => {
                write(out, &Status { warnings: vec![VertexWarning::of(&warning)], ..Status::default() })
            }
            Event::Notice(name) => {
                self.notices += 1;
                let digest = vertex_digest("notice", self.notices, &name);
                let known = Known { digest, name, started: now, items: BTreeMap::new() };
                let vertex = known.vertex(Some(now), &Outcome::Done);
                write(out, &Status { vertexes: vec![vertex], ..Status::default() })
            }
            // Programs read what was made from the file of `--metadata-file`, as they do with buildx.
            Event::Summary(_) => Ok(()),
        }
    }

    fn tick(&mut self, _: Duration, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, _: Duration, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

impl Known {
    fn vertex<'a>(&'a self, completed: Option<Time>, outcome: &'a Outcome) -> Vertex<'a> {
        let error = match outcome {
            Outcome::Failed(error) => error.as_str(),
            Outcome::Canceled => "context canceled",
            Outcome::Done | Outcome::Cached => "",
        };
        Vertex {
            digest: &self.digest,
            name: &self.name,
            started: Some(self.started),
            completed,
            cached: *outcome == Outcome::Cached,
            error,
        }
    }

    fn detail(&self, text: &str, now: Time, out: &mut dyn Write) -> io::Result<()> {
        let status = VertexStatus {
            id: text,
            vertex: &self.digest,
            total: 0,
            current: 0,
            timestamp: now,
            started: Some(now),
            completed: Some(now),
        };
        write(out, &Status { statuses: vec![status], ..Status::default() })
    }

    fn log(&self, stream: Stream, bytes: &[u8], now: Time, out: &mut dyn Write) -> io::Result<()> {
        let stream = match stream {
            Stream::Stdout => 1,
            Stream::Stderr => 2,
        };
        let log = VertexLog { vertex: &self.digest, stream, data: STANDARD.encode(bytes), timestamp: now };
        write(out, &Status { logs: vec![log], ..Status::default() })
    }

    fn transfer(&mut self, item: String, current: u64, total: u64, now: Time, out: &mut dyn Write) -> io::Result<()> {
        let started = *self.items.entry(item.clone()).or_insert(now);
        let completed = (total != 0 && current >= total).then_some(now);
        let status = VertexStatus {
            id: &item,
            vertex: &self.digest,
            total,
            current,
            timestamp: now,
            started: Some(started),
            completed,
        };
        write(out, &Status { statuses: vec![status], ..Status::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::recorded::{self, Recording};
    use super::*;

    #[test]
    fn lines_have_the_shape_of_buildkit() {
        let recording = Recording::default().start(0, 1, "RUN a").output(100, 1, "hi\n").transfer(200, 1, 5, 5).end(
            1500,
            1,
            Outcome::Failed("exit code 2".into()),
        );
        let digest = vertex_digest("task", 1, "RUN a");
        let expected = r#"{"vertexes":[{"digest":"D","name":"RUN a","started":"1970-01-01T00:00:00Z"}]}
{"logs":[{"vertex":"D","stream":1,"data":"aGkK","timestamp":"1970-01-01T00:00:00.1Z"}]}
{"statuses":[{"id":"sha256:aaaa","vertex":"D","total":5,"current":5,"timestamp":"1970-01-01T00:00:00.2Z","started":"1970-01-01T00:00:00.2Z","completed":"1970-01-01T00:00:00.2Z"}]}
{"vertexes":[{"digest":"D","name":"RUN a","started":"1970-01-01T00:00:00Z","completed":"1970-01-01T00:00:01.5Z","error":"exit code 2"}]}
"#;
        let shown = recording.show(&mut RawJson::new(Timestamp::UNIX_EPOCH));
        assert_eq!(shown.replace(&digest, "D"), expected);
    }

    #[test]
    fn every_line_of_a_build_is_json() {
        let shown = recorded::build().show(&mut RawJson::new(Timestamp::UNIX_EPOCH));
        assert_eq!(shown.lines().count(), 18);
        for line in shown.lines() {
            assert!(serde_json::from_str::<serde_json::Value>(line).is_ok_and(|value| value.is_object()), "{line}");
        }
        assert!(shown.contains(r#""cached":true"#));
    }
}
