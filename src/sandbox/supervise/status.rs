//! What `/proc` says of a calling thread.

/// The text of `/proc/PID/status`; empty for a thread that has ended, whose answer nobody waits for.
pub struct Status(String);

impl Status {
    /// Reads that of a thread.
    pub fn of(thread: u32) -> Status {
        Status(std::fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default())
    }

    /// Returns the process that it belongs to.
    pub fn process(&self) -> Option<u32> {
        self.field("Tgid:")?.parse().ok()
    }

    /// Returns the process that its process is a child of.
    pub fn parent(&self) -> Option<u32> {
        self.field("PPid:")?.parse().ok()
    }

    /// Returns the mask for the modes of new files.
    pub fn umask(&self) -> u32 {
        /// What shells start with.
        const DEFAULT: u32 = 0o022;
        self.field("Umask:").and_then(|mask| u32::from_str_radix(mask, 8).ok()).unwrap_or(DEFAULT)
    }

    /// Whether it has a capability, by number, in its user namespace.
    pub fn has_capability(&self, capability: u32) -> bool {
        let set = self.field("CapEff:").and_then(|set| u64::from_str_radix(set, 16).ok());
        set.is_some_and(|set| set & (1 << capability) != 0)
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_belongs_to_its_process_and_one_that_is_gone_to_none() {
        let own = Status::of(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs());
        assert_eq!(own.process(), Some(std::process::id()));
        assert_eq!(own.parent(), rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs()));
        let gone = Status::of(u32::MAX);
        assert_eq!((gone.process(), gone.parent(), gone.umask(), gone.has_capability(0)), (None, None, 0o022, false));
    }
}
