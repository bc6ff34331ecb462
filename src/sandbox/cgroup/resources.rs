//! What `--memory` and its like ask for, and the files of a control group that say so.

use std::collections::BTreeSet;

/// Docker's smallest limit: below it a process can hardly start.
const LEAST_MEMORY_BYTES: u64 = 6 << 20;
/// The kernel's bounds of a period of CPU time.
const PERIODS_US: std::ops::RangeInclusive<u64> = 1_000..=1_000_000;
/// The period where none is given.
const DEFAULT_PERIOD_US: u64 = 100_000;
/// The kernel's least quota.
const LEAST_QUOTA_US: u64 = 1_000;

/// What all processes of one step may use together; what is `None` is not limited.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resources {
    /// `--memory`.
    pub memory_bytes: Option<u64>,
    /// `--memory-swap`: memory and swap together; `u64::MAX` is no limit of swap.
    pub memory_swap_bytes: Option<u64>,
    /// `--cpus`: how many CPUs.
    pub cpus: Option<f64>,
    /// `--cpu-quota`: microseconds of CPU time in a period.
    pub cpu_quota_us: Option<u64>,
    /// `--cpu-period`: its length in microseconds.
    pub cpu_period_us: Option<u64>,
    /// `--cpu-shares`: weight against other groups, 2 to 262144, 1024 being usual.
    pub cpu_shares: Option<u64>,
    /// `--cpuset-cpus`: a list such as `0-2,5`.
    pub cpuset_cpus: Option<String>,
    /// `--cpuset-mems`: memory nodes.
    pub cpuset_mems: Option<String>,
    /// `--pids-limit`.
    pub pids: Option<u64>,
    /// `--cgroup-parent`.
    pub parent: Option<String>,
}

/// What is wrong with limits taken together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResourcesError {
    /// Too little memory.
    #[error("`--memory` must be at least 6m")]
    Memory,
    /// Swap without memory.
    #[error("`--memory-swap` is memory and swap together and needs `--memory`")]
    SwapAlone,
    /// Less than the memory.
    #[error("`--memory-swap` is memory and swap together and cannot be below `--memory`")]
    Swap,
    /// Two ways to say it.
    #[error("`--cpus` is a quota and cannot be given with `--cpu-quota` or `--cpu-period`")]
    TwoQuotas,
    /// Out of the kernel's bounds.
    #[error("`--cpu-period` must be between 1000 and 1000000 microseconds")]
    Period,
    /// Out of the kernel's bounds.
    #[error("the CPU time must be at least 1000 microseconds in a period (0.01 CPUs)")]
    Quota,
}

/// One value of a control group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub flag: &'static str,
    pub file: &'static str,
    pub value: String,
    /// Follows from another flag, and is left out where the kernel does not have the file.
    pub is_implied: bool,
}

impl Resources {
    /// Whether nothing is limited and no group is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Resources::default()
    }

    /// Returns the flags that were given, for messages.
    pub fn flags(&self) -> Vec<&'static str> {
        [
            ("--memory", self.memory_bytes.is_some()),
            ("--memory-swap", self.memory_swap_bytes.is_some()),
            ("--cpus", self.cpus.is_some()),
            ("--cpu-quota", self.cpu_quota_us.is_some()),
            ("--cpu-period", self.cpu_period_us.is_some()),
            ("--cpu-shares", self.cpu_shares.is_some()),
            ("--cpuset-cpus", self.cpuset_cpus.is_some()),
            ("--cpuset-mems", self.cpuset_mems.is_some()),
            ("--pids-limit", self.pids.is_some()),
            ("--cgroup-parent", self.parent.is_some()),
        ]
        .into_iter()
        .filter_map(|(flag, is_given)| is_given.then_some(flag))
        .collect()
    }

    /// Checks what no single flag can know.
    pub fn check(&self) -> Result<(), ResourcesError> {
        if self.memory_bytes.is_some_and(|bytes| bytes < LEAST_MEMORY_BYTES) {
            return Err(ResourcesError::Memory);
        }
        match (self.memory_bytes, self.memory_swap_bytes) {
            (None, Some(_)) => return Err(ResourcesError::SwapAlone),
            (Some(memory), Some(total)) if total < memory => return Err(ResourcesError::Swap),
            _ => {}
        }
        if self.cpus.is_some() && (self.cpu_quota_us.is_some() || self.cpu_period_us.is_some()) {
            return Err(ResourcesError::TwoQuotas);
        }
        if self.cpu_period_us.is_some_and(|period| !PERIODS_US.contains(&period)) {
            return Err(ResourcesError::Period);
        }
        match self.quota_us() {
            Some(quota) if quota < LEAST_QUOTA_US => Err(ResourcesError::Quota),
            _ => Ok(()),
        }
    }

    fn quota_us(&self) -> Option<u64> {
        self.cpus.map(|cpus| (cpus * DEFAULT_PERIOD_US as f64).round() as u64).or(self.cpu_quota_us)
    }

    /// Returns the controllers that the settings belong to.
    pub(super) fn controllers(&self) -> BTreeSet<&'static str> {
        self.settings().iter().filter_map(|setting| setting.file.split('.').next()).collect()
    }

    /// Returns what is written into a step's group.
    pub(super) fn settings(&self) -> Vec<Setting> {
        let setting = |flag, file, value: String| Setting { flag, file, value, is_implied: false };
        let mut settings = Vec::new();
        if let Some(memory) = self.memory_bytes {
            settings.push(setting("--memory", "memory.max", memory.to_string()));
            settings.push(match self.memory_swap_bytes {
                Some(u64::MAX) => setting("--memory-swap", "memory.swap.max", "max".to_owned()),
                Some(total) => setting("--memory-swap", "memory.swap.max", (total - memory).to_string()),
                // As Docker has it: as much swap as memory.
                None => Setting { is_implied: true, ..setting("--memory", "memory.swap.max", memory.to_string()) },
            });
        }
        if self.quota_us().is_some() || self.cpu_period_us.is_some() {
            let flag = if self.cpus.is_some() { "--cpus" } else { "--cpu-quota" };
            let quota = self.quota_us().map_or_else(|| "max".to_owned(), |quota| quota.to_string());
            let period = self.cpu_period_us.unwrap_or(DEFAULT_PERIOD_US);
            settings.push(setting(flag, "cpu.max", format!("{quota} {period}")));
        }
        if let Some(shares) = self.cpu_shares {
            settings.push(setting("--cpu-shares", "cpu.weight", weight(shares).to_string()));
        }
        if let Some(cpus) = &self.cpuset_cpus {
            settings.push(setting("--cpuset-cpus", "cpuset.cpus", cpus.clone()));
        }
        if let Some(nodes) = &self.cpuset_mems {
            settings.push(setting("--cpuset-mems", "cpuset.mems", nodes.clone()));
        }
        if let Some(pids) = self.pids {
            settings.push(setting("--pids-limit", "pids.max", pids.to_string()));
        }
        settings
    }
}

/// Returns the weight of version 2 (1 to 10000, 100 being usual) for the shares of version 1.
///
/// The curve of runc since 2025: through (2, 1), (1024, 100) and (262144, 10000).  The straight line that came before
/// made 1024 a weight of 39, so that whoever asked for the usual got less than the usual.
fn weight(shares: u64) -> u64 {
    let log = (shares.clamp(2, 262_144) as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    (10f64.powf(exponent).ceil() as u64).clamp(1, 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(resources: &Resources) -> Vec<String> {
        resources.settings().iter().map(|setting| format!("{}={}", setting.file, setting.value)).collect()
    }

    #[test]
    fn settings_are_those_that_docker_makes_of_the_same_flags() {
        let none = Resources::default();
        let memory =
            |memory, total| Resources { memory_bytes: Some(memory), memory_swap_bytes: total, ..Resources::default() };
        assert!(none.is_empty() && lines(&none).is_empty() && none.controllers().is_empty());
        assert_eq!(lines(&memory(64 << 20, None)), ["memory.max=67108864", "memory.swap.max=67108864"]);
        assert_eq!(lines(&memory(64 << 20, Some(64 << 20))), ["memory.max=67108864", "memory.swap.max=0"]);
        assert_eq!(lines(&memory(64 << 20, Some(u64::MAX))), ["memory.max=67108864", "memory.swap.max=max"]);
        assert_eq!(lines(&Resources { cpus: Some(1.5), ..none.clone() }), ["cpu.max=150000 100000"]);
        assert_eq!(lines(&Resources { cpu_period_us: Some(50_000), ..none.clone() }), ["cpu.max=max 50000"]);
        let both = Resources { cpu_quota_us: Some(20_000), cpu_period_us: Some(50_000), ..none.clone() };
        assert_eq!(lines(&both), ["cpu.max=20000 50000"]);
        let rest = Resources {
            cpuset_cpus: Some("0-1".into()),
            pids: Some(9),
            cpu_shares: Some(1024),
            parent: Some("x".into()),
            ..none
        };
        assert_eq!(lines(&rest), ["cpu.weight=100", "cpuset.cpus=0-1", "pids.max=9"]);
        assert_eq!(rest.controllers().into_iter().collect::<Vec<_>>(), ["cpu", "cpuset", "pids"]);
        assert_eq!(rest.flags(), ["--cpu-shares", "--cpuset-cpus", "--pids-limit", "--cgroup-parent"]);
    }

    #[test]
    fn shares_become_weights_on_runcs_curve() {
        for (shares, wanted) in
            [(0, 1), (2, 1), (512, 59), (1024, 100), (2048, 174), (262_144, 10_000), (1 << 40, 10_000)]
        {
            assert_eq!(weight(shares), wanted, "{shares}");
        }
    }

    #[test]
    fn limits_that_contradict_each_other_are_refused() {
        let none = Resources::default();
        let bad = [
            (Resources { memory_bytes: Some(1), ..none.clone() }, ResourcesError::Memory),
            (Resources { memory_swap_bytes: Some(1 << 30), ..none.clone() }, ResourcesError::SwapAlone),
            (
                Resources { memory_bytes: Some(1 << 30), memory_swap_bytes: Some(1 << 29), ..none.clone() },
                ResourcesError::Swap,
            ),
            (Resources { cpus: Some(1.0), cpu_quota_us: Some(5000), ..none.clone() }, ResourcesError::TwoQuotas),
            (Resources { cpu_period_us: Some(10), ..none.clone() }, ResourcesError::Period),
            (Resources { cpus: Some(0.001), ..none.clone() }, ResourcesError::Quota),
        ];
        for (resources, error) in bad {
            assert_eq!(resources.check(), Err(error), "{resources:?}");
        }
        let good =
            Resources { memory_bytes: Some(1 << 30), memory_swap_bytes: Some(u64::MAX), cpus: Some(0.01), ..none };
        assert_eq!(good.check(), Ok(()));
    }
}
