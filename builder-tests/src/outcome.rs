//! What one run of cooper said and did.

use std::process::Output;

/// The end of a run: exit code and everything printed.
#[derive(Debug)]
pub struct Outcome {
    /// Exit code; 128 + N when signal N ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// Takes over what a finished process left.
    pub fn of(output: Output) -> Outcome {
        use std::os::unix::process::ExitStatusExt;
        let code = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0));
        Outcome {
            code,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Asserts that it succeeded.
    #[track_caller]
    pub fn success(&self) -> &Outcome {
        self.exits(0)
    }

    /// Asserts the exit code.
    #[track_caller]
    pub fn exits(&self, code: i32) -> &Outcome {
        assert!(self.code == code, "exit code {} instead of {code}\n{}", self.code, self.text());
        self
    }

    /// Asserts that a step was taken from the cache.
    #[track_caller]
    pub fn cached(&self, step: &str) -> &Outcome {
        assert!(self.is_cached(step), "`{step}` is not cached\n{}", self.text());
        self
    }

    /// Asserts that a step was run.
    #[track_caller]
    pub fn ran(&self, step: &str) -> &Outcome {
        assert!(!self.is_cached(step), "`{step}` is cached\n{}", self.text());
        self
    }

    /// Asserts that everything printed holds a text.
    #[track_caller]
    pub fn says(&self, text: &str) -> &Outcome {
        assert!(self.stdout.contains(text) || self.stderr.contains(text), "it does not say `{text}`\n{}", self.text());
        self
    }

    /// Asserts that nothing printed holds a text.
    #[track_caller]
    pub fn silent_about(&self, text: &str) -> &Outcome {
        assert!(!self.stdout.contains(text) && !self.stderr.contains(text), "it says `{text}`\n{}", self.text());
        self
    }

    /// Returns the steps, sorted, each `CACHED step` or `RAN step`, without their numbers.
    pub fn steps(&self) -> Vec<String> {
        let mut steps: Vec<String> = self
            .stderr
            .lines()
            .filter_map(step_of)
            .map(|(id, name)| format!("{} {name}", if self.is_cached_id(id) { "CACHED" } else { "RAN" }))
            .collect();
        steps.sort();
        steps
    }

    /// Returns what a step printed, without the numbers in front.
    #[track_caller]
    pub fn output_of(&self, step: &str) -> String {
        let prefix = format!("#{} ", self.id_of(step));
        let is_time = |word: &str| word.contains('.') && word.parse::<f64>().is_ok();
        let lines = self.stderr.lines().filter_map(|line| line.strip_prefix(&prefix)?.split_once(' '));
        lines.filter(|(time, _)| is_time(time)).map(|(_, text)| format!("{text}\n")).collect()
    }

    fn is_cached(&self, step: &str) -> bool {
        self.is_cached_id(self.id_of(step))
    }

    fn is_cached_id(&self, id: &str) -> bool {
        let line = format!("#{id} CACHED");
        self.stderr.lines().any(|other| other == line)
    }

    #[track_caller]
    fn id_of(&self, step: &str) -> &str {
        let id = self.stderr.lines().filter_map(step_of).find(|(_, name)| *name == step).map(|(id, _)| id);
        id.unwrap_or_else(|| panic!("there is no step `{step}`\n{}", self.text()))
    }

    fn text(&self) -> String {
        format!("--- stdout\n{}--- stderr\n{}", self.stdout, self.stderr)
    }
}

/// Returns number and instruction of a line like `#3 [stage 2/4] COPY a /a`.
fn step_of(line: &str) -> Option<(&str, &str)> {
    let (id, rest) = line.strip_prefix('#')?.split_once(" [")?;
    let (place, name) = rest.split_once("] ")?;
    (id.bytes().all(|byte| byte.is_ascii_digit()) && place.contains('/')).then_some((id, name))
}
