//! Flags that limit what a RUN may use and do: memory, CPU, processes, time, output, capabilities.
//!
//! Names and values are those of `docker build`, `docker run` and `buildah build`.

use super::value::{parse_fields, parse_size};
use crate::diag::{Diagnostic, Exit};
use crate::sandbox::Resources;
use crate::sys::capability::Capabilities;
use clap::Args;
use std::time::Duration;

/// Bytes of one RUN's output that are kept where the command line does not say.
const DEFAULT_LOG_LIMIT: &str = "64m";

/// The flags.
#[derive(Debug, Args)]
pub struct LimitArgs {
    /// Memory of each RUN, e.g. `512m`; as all limits by control groups it needs version 2 of them
    #[arg(short, long, value_name = "BYTES", value_parser = parse_bytes)]
    pub memory: Option<u64>,

    /// Memory and swap together, `-1` for no limit of swap [default: twice the memory]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, allow_hyphen_values = true)]
    pub memory_swap: Option<u64>,

    /// CPUs that each RUN may use at once, e.g. `1.5`
    #[arg(long, value_name = "NUMBER", value_parser = parse_cpus)]
    pub cpus: Option<f64>,

    /// Weight of each RUN when CPUs are short, 1024 being usual
    #[arg(short, long, value_name = "WEIGHT", value_parser = parse_count, allow_hyphen_values = true)]
    pub cpu_shares: Option<u64>,

    /// Microseconds of CPU time that each RUN has in a period
    #[arg(long, value_name = "MICROSECONDS", value_parser = parse_count, allow_hyphen_values = true)]
    pub cpu_quota: Option<u64>,

    /// Length of that period [default: 100000]
    #[arg(long, value_name = "MICROSECONDS", value_parser = parse_count, allow_hyphen_values = true)]
    pub cpu_period: Option<u64>,

    /// CPUs that RUN may use, e.g. `0-3,6`
    #[arg(long, value_name = "LIST", value_parser = parse_numbers)]
    pub cpuset_cpus: Option<String>,

    /// Memory nodes that RUN may use, e.g. `0`
    #[arg(long, value_name = "LIST", value_parser = parse_numbers)]
    pub cpuset_mems: Option<String>,

    /// Processes and threads that each RUN may have at once, `-1` for no limit
    #[arg(long, value_name = "NUMBER", value_parser = parse_count, allow_hyphen_values = true)]
    pub pids_limit: Option<u64>,

    /// Control group below which each RUN has its own [default: found, see docs/isolation.md]
    #[arg(long, value_name = "GROUP")]
    pub cgroup_parent: Option<String>,

    /// Longest time of each RUN, e.g. `90s`, `1h30m` [default: no limit]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub step_timeout: Option<Duration>,

    /// Bytes of each RUN's output that are shown and kept, `-1` for all [default: 64m]
    #[arg(long, value_name = "BYTES", default_value = DEFAULT_LOG_LIMIT, hide_default_value = true, value_parser = parse_bytes,
          allow_hyphen_values = true)]
    pub step_log_limit: u64,

    /// Capability that RUN has besides Docker's, e.g. `SYS_PTRACE`; `ALL` (several, or a comma list)
    #[arg(long, value_name = "NAME,...", value_parser = parse_capabilities)]
    pub cap_add: Vec<CapabilityList>,

    /// Capability that RUN does not have; `ALL` (several, or a comma list)
    #[arg(long, value_name = "NAME,...", value_parser = parse_capabilities)]
    pub cap_drop: Vec<CapabilityList>,
}

/// The capabilities of one flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapabilityList(pub Vec<Capabilities>);

impl LimitArgs {
    /// Returns the limits of control groups, or what is wrong with them together.
    pub fn resources(&self) -> Result<Resources, Diagnostic> {
        // 0 is how docker's flags say that there is no limit; -1 says it too, but for swap, where it differs from 0.
        let given = |value: Option<u64>| value.filter(|value| *value != 0);
        let limit = |value: Option<u64>| given(value).filter(|value| *value != u64::MAX);
        let text = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        let resources = Resources {
            memory_bytes: limit(self.memory),
            memory_swap_bytes: given(self.memory_swap),
            cpus: self.cpus.filter(|cpus| *cpus > 0.0),
            cpu_quota_us: limit(self.cpu_quota),
            cpu_period_us: limit(self.cpu_period),
            cpu_shares: limit(self.cpu_shares),
            cpuset_cpus: text(&self.cpuset_cpus),
            cpuset_mems: text(&self.cpuset_mems),
            pids: limit(self.pids_limit),
            parent: text(&self.cgroup_parent),
        };
        resources.check().map_err(|error| Diagnostic::from_error(Exit::Usage, &error))?;
        Ok(resources)
    }

    /// Returns the capabilities of steps.
    pub fn capabilities(&self) -> Result<Capabilities, Diagnostic> {
        let all = |lists: &[CapabilityList]| lists.iter().flat_map(|list| list.0.clone()).collect::<Vec<_>>();
        Capabilities::DOCKER
            .changed(&all(&self.cap_add), &all(&self.cap_drop))
            .map_err(|error| Diagnostic::from_error(Exit::Usage, &error))
    }

    /// Returns how many bytes of a step's output are kept.
    pub fn log_limit_bytes(&self) -> Option<u64> {
        Some(self.step_log_limit).filter(|limit| *limit != u64::MAX)
    }
}

/// A size, or `-1`, which becomes the largest number.
fn parse_bytes(text: &str) -> Result<u64, String> {
    if text == "-1" { Ok(u64::MAX) } else { parse_size(text) }
}

/// A whole number, or `-1`, which becomes the largest.
fn parse_count(text: &str) -> Result<u64, String> {
    match text.parse() {
        _ if text == "-1" => Ok(u64::MAX),
        Ok(number) => Ok(number),
        Err(_) => Err(format!("`{text}` is not a whole number of at least 0, or -1")),
    }
}

fn parse_cpus(text: &str) -> Result<f64, String> {
    let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match text.parse::<f64>() {
        Ok(number) if is_decimal && number < 1e6 => Ok(number),
        _ => Err(format!("`{text}` is not a number of CPUs such as `1.5`")),
    }
}

/// A list of numbers and ranges, `0-3,6`; the kernel would take more forms, but docker does not.
fn parse_numbers(text: &str) -> Result<String, String> {
    let number = |text: &str| text.parse::<u32>().ok();
    let is_item = |item: &str| match item.split_once('-') {
        Some((first, last)) => number(first).zip(number(last)).is_some_and(|(first, last)| first <= last),
        None => number(item).is_some(),
    };
    match text.is_empty() || text.split(',').all(is_item) {
        true => Ok(text.to_owned()),
        false => Err(format!("`{text}` is not a list such as `0-3,6`")),
    }
}

/// A duration: seconds, or numbers with the units `h`, `m`, `s`, `ms`, as Go writes them.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{text}` is not a duration such as `90s` or `1h30m`");
    if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        return positive(text.parse().map(Duration::from_secs).map_err(|_| bad())?, bad);
    }
    let (mut rest, mut total) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let (number, unit) = rest.split_at(digits);
        let length = unit.find(|c: char| c.is_ascii_digit()).unwrap_or(unit.len());
        let seconds = match &unit[..length] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => return Err(bad()),
        };
        let number: f64 = number.parse().map_err(|_| bad())?;
        let part = Duration::try_from_secs_f64(number * seconds).map_err(|_| bad())?;
        total = total.checked_add(part).ok_or_else(bad)?;
        rest = &unit[length..];
    }
    positive(total, bad)
}

fn positive(duration: Duration, bad: impl Fn() -> String) -> Result<Duration, String> {
    if duration.is_zero() { Err(bad()) } else { Ok(duration) }
}

fn parse_capabilities(text: &str) -> Result<CapabilityList, String> {
    let names = parse_fields(text)?;
    let sets: Result<Vec<_>, _> = names.iter().map(|name| Capabilities::named(name)).collect();
    sets.map(CapabilityList).map_err(|error| error.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Flags {
        #[command(flatten)]
        limits: LimitArgs,
    }

    fn limits(flags: &[&str]) -> LimitArgs {
        Flags::try_parse_from([&["x"], flags].concat()).unwrap().limits
    }

    #[test]
    fn values_are_written_as_for_docker() {
        let flags = limits(&["-m", "64m", "--memory-swap=-1", "--cpus", "1.5", "--pids-limit", "20", "-c", "512"]);
        let wanted = Resources {
            memory_bytes: Some(64 << 20),
            memory_swap_bytes: Some(u64::MAX),
            cpus: Some(1.5),
            pids: Some(20),
            cpu_shares: Some(512),
            ..Resources::default()
        };
        assert_eq!(flags.resources().unwrap(), wanted);
        let none =
            limits(&["--memory=0", "--memory-swap", "0", "--pids-limit", "-1", "--cpu-quota", "-1", "--cpus", "0"]);
        assert!(none.resources().unwrap().is_empty());
        let lists =
            limits(&["--cpuset-cpus", "0-3,6", "--cpuset-mems", "0", "--cgroup-parent", "/ci"]).resources().unwrap();
        assert_eq!(lists.flags(), ["--cpuset-cpus", "--cpuset-mems", "--cgroup-parent"]);
        assert_eq!(limits(&["--memory", "1k"]).resources().unwrap_err().message, "`--memory` must be at least 6m");
    }

    #[test]
    fn values_that_make_no_sense_are_refused() {
        for flag in [
            "--memory=x",
            "--cpus=-1",
            "--cpus=1e3",
            "--pids-limit=-2",
            "--cpuset-cpus=3-1",
            "--cpuset-cpus=a",
            "--step-timeout=0",
            "--step-timeout=5",
            "--step-timeout=1x",
            "--cap-add=NOTHING",
        ] {
            let parsed = Flags::try_parse_from(["x", flag]);
            assert_eq!(parsed.is_err(), flag != "--step-timeout=5", "{flag}");
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        for bad in ["", "h", "1", "1d", "-1s", "1h30"] {
            assert_eq!(parse_duration(bad).is_err(), bad != "1", "{bad}");
        }
    }

    #[test]
    fn capabilities_are_added_and_dropped() {
        let set = |flags: &[&str]| limits(flags).capabilities().map(|set| set.0).map_err(|error| error.message);
        assert_eq!(set(&[]), Ok(Capabilities::DOCKER.0));
        assert_eq!(
            set(&["--cap-add", "net_admin,CAP_SYS_TIME", "--cap-drop", "chown"]),
            Ok(0xa804_25fb & !1 | 1 << 12 | 1 << 25)
        );
        assert_eq!(set(&["--cap-drop", "ALL", "--cap-add", "SETUID"]), Ok(1 << 7));
        assert!(set(&["--cap-drop", "SETUID", "--cap-add", "SETUID"]).is_err());
    }

    #[test]
    fn output_has_a_limit_unless_all_of_it_is_wanted() {
        assert_eq!(limits(&[]).log_limit_bytes(), Some(64 << 20));
        assert_eq!(limits(&["--step-log-limit", "1k"]).log_limit_bytes(), Some(1024));
        assert_eq!(limits(&["--step-log-limit", "-1"]).log_limit_bytes(), None);
    }
}
