//! The live view on a terminal of a fixed size, played by [`Screen`].

use super::super::recorded::{self, Recording};
use super::*;

/// A terminal that understands what the view writes, and nothing else.
struct Screen {
    lines: Vec<String>,
    row: usize,
    column: usize,
}

impl Screen {
    /// Returns what a terminal of 60 columns shows after `bytes`, scrolled lines included.
    fn after(text: &str) -> String {
        let mut screen = Screen { lines: vec![String::new()], row: 0, column: 0 };
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            match c {
                '\r' => screen.column = 0,
                '\n' => screen.new_line(),
                '\x1b' => rest = screen.escape(rest),
                c => screen.put(c),
            }
        }
        screen.lines.join("\n")
    }

    fn new_line(&mut self) {
        self.row += 1;
        self.column = 0;
        if self.row == self.lines.len() {
            self.lines.push(String::new());
        }
    }

    fn put(&mut self, c: char) {
        assert!(self.column < 60, "the line `{}` is too wide", self.lines[self.row]);
        let mut cells: Vec<char> = self.lines[self.row].chars().collect();
        cells.resize(cells.len().max(self.column + 1), ' ');
        cells[self.column] = c;
        self.lines[self.row] = cells.into_iter().collect();
        self.column += 1;
    }

    fn escape<'a>(&mut self, rest: &'a str) -> &'a str {
        let end = rest.find(|c: char| c.is_ascii_alphabetic()).expect("a sequence has an end");
        let (number, after) = (&rest[1..end], &rest[end + 1..]);
        match &rest[end..=end] {
            "A" => self.row -= number.parse::<usize>().expect("a number of lines"),
            "K" => self.lines[self.row] = self.lines[self.row].chars().take(self.column).collect(),
            "J" => self.lines.truncate(self.row + 1),
            "m" | "h" | "l" => {}
            other => panic!("unknown sequence `{other}`"),
        }
        after
    }
}

fn size() -> Size {
    Size { columns: 60, rows: 10 }
}

fn view() -> Tty {
    Tty::new(Style::default(), size)
}

/// Returns the screen before the last picture replaces it.
fn while_running(recording: Recording, at: u64) -> String {
    let mut shown = recording.tick(at).show(&mut view());
    let pictures: Vec<usize> = shown.match_indices("\x1b[J").map(|(at, _)| at).collect();
    shown.truncate(pictures[pictures.len() - 2]);
    Screen::after(&shown)
}

#[test]
fn the_last_picture_is_compact() {
    let shown = recorded::build().tick(1650).show(&mut view());
    assert!(shown.starts_with(HIDE_CURSOR) && shown.ends_with(SHOW_CURSOR));
    assert_eq!(
        Screen::after(&shown),
        "\
isolation: root
[+] Building 1.6s (4/4) FINISHED
 => [internal] load build definition from Dockerfile   0.0s
 => [1/3] FROM docker.io/library/alpine                1.0s
 => CACHED [2/3] COPY . /src                           0.0s
 => [3/3] RUN make                                     0.3s

WARN: Dockerfile:1:6: Untagged: no tag

image   app:1, app:latest
digest  sha256:bbbb
size    4.20MB
wrote   out.tar
steps   1 cached, 2 run
time    1.7s
"
    );
}

#[test]
fn running_tasks_show_transfers_and_their_last_lines() {
    let recording = Recording::default()
        .start(0, 1, "FROM alpine")
        .transfer(100, 1, 1_000_000, 4_000_000)
        .start(200, 2, "RUN make")
        .output(300, 2, "one\ntwo\nthree\n10%\r50%")
        .tick(400)
        .output(500, 2, "\rfour\n");
    assert_eq!(
        while_running(recording, 1000),
        "\
[+] Building 1.0s (0/2)
 => FROM alpine                                        1.0s
 => => sha256:aaaa 1.00MB / 4.00MB                     0.9s
 => RUN make                                           0.8s
 => => # one
 => => # two
 => => # three
 => => # four
"
    );
}

#[test]
fn a_small_terminal_keeps_what_runs() {
    let mut recording = Recording::default();
    for task in 1..=12 {
        recording = recording.start(0, task, "done").end(10, task, Outcome::Done);
    }
    recording = recording.start(20, 13, "RUN a").output(30, 13, "1\n2\n3\n4\n5\n6\n7\n8\n");
    let shown = while_running(recording, 1000);
    assert_eq!(shown.lines().count(), 9, "{shown}");
    assert!(shown.contains("RUN a") && shown.contains("# 8") && !shown.contains("# 2"), "{shown}");
}

#[test]
fn a_failed_step_shows_its_last_lines() {
    let recording = Recording::default()
        .start(0, 1, "RUN make")
        .start(0, 2, "RUN sleep")
        .output(100, 1, "cc a.c\n\x1b[2Jerror: x")
        .end(200, 1, Outcome::Failed("exit code 2".into()))
        .end(300, 2, Outcome::Canceled);
    assert_eq!(
        Screen::after(&recording.show(&mut view())),
        "\
[+] Building 0.3s (2/2) FAILED
 => ERROR RUN make                                     0.2s
 => CANCELED RUN sleep                                 0.3s
------
 > RUN make:
cc a.c
error: x
------
"
    );
}

#[test]
fn no_terminal_is_too_narrow() {
    for columns in [0, 1, 2, 10, 29, 30, 31] {
        let tasks = BTreeMap::from([(TaskId(1), Task::new("RUN 日本語 make everything".into(), Duration::ZERO))]);
        let lines = Picture::new(&tasks, Duration::from_secs(100), columns, true).fitting(0);
        assert_eq!(lines.len(), 2, "{columns}");
    }
}
