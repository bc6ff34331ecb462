//! Calls that reach for other processes: only those of the step are there.
//!
//! The builder and all else of the same user in the container would get the signal otherwise.

use super::Step;
use super::tasks::Caller;
use crate::sandbox::supervise::{Answer, Call};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, getpgid};

impl Step {
    /// Answers a call that names a process, which is all that it says by memory or registers.
    pub(super) fn process(&self, call: &Call<'_>, caller: &Caller<'_>) -> Result<Answer, Errno> {
        let number = match call.name {
            "tgkill" | "rt_tgsigqueueinfo" => call.number(1),
            _ => call.number(0),
        };
        let is_there = match (call.name, number.cast_signed()) {
            ("kill", -1) => return self.kill_all(call.number(1).cast_signed(), caller),
            ("kill", group) if group < -1 => self.has_group(group.unsigned_abs()),
            // Oneself, or the own group.
            (_, 0) => true,
            _ => self.tasks.has(number),
        };
        if is_there { Ok(Answer::Continue) } else { Err(Errno::SRCH) }
    }

    fn has_group(&self, group: u32) -> bool {
        let pids = self.tasks.processes().into_iter().filter_map(|pid| Pid::from_raw(pid.cast_signed()));
        pids.filter_map(|pid| getpgid(Some(pid)).ok()).any(|found| found.as_raw_nonzero().get().unsigned_abs() == group)
    }

    fn kill_all(&self, signal: i32, caller: &Caller<'_>) -> Result<Answer, Errno> {
        let others = self.tasks.processes().into_iter().filter(|process| *process != caller.process);
        let mut is_any = false;
        for pid in others.filter_map(|pid| Pid::from_raw(pid.cast_signed())) {
            is_any = true;
            if let Some(signal) = Signal::from_named_raw(signal) {
                // One that has just ended needs none.
                let _ = rustix::process::kill_process(pid, signal);
            }
        }
        if is_any { Ok(Answer::Return(0)) } else { Err(Errno::SRCH) }
    }
}
