//! The filter that hands chosen system calls of a step to the builder.

use super::{Arch, Verdict, architectures, program_of, push_range, table};
use crate::sys::restrict::Instruction;

/// A system call that a step's supervisor wants to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watch {
    /// Its name, as in Docker's profile.
    pub call: &'static str,
    /// Which calls of that name.
    pub when: When,
}

/// Which calls of one name are seen; all others cost next to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// All.
    Always,
    /// Those that have one of these bits in the low half of an argument.
    AnyBit {
        /// The argument, the first being 0.
        argument: u8,
        /// The bits.
        bits: u32,
    },
    /// Those whose argument is not 0.
    NonZero {
        /// The argument, the first being 0.
        argument: u8,
    },
    /// Those whose low half of an argument has this value.
    Equals {
        /// The argument, the first being 0.
        argument: u8,
        /// The value.
        value: u32,
    },
    /// Those whose low half of an argument, a descriptor, is none of the standard streams.
    NotStandardStream {
        /// The argument, the first being 0.
        argument: u8,
    },
}

/// Returns the program that sends the watched calls to a listener and lets all others pass.
pub(in crate::sandbox) fn watch_program(watches: &[Watch]) -> Vec<Instruction> {
    program_of(architectures(), |arch| singled_out(notified(arch, watches)))
}

/// Returns the program that also stops these calls for a tracer, and knows no interface but the first.
pub(in crate::sandbox) fn trace_program(watches: &[Watch], traced: &[&str]) -> Vec<Instruction> {
    program_of(architectures(), |arch| {
        if Some(&arch) != architectures().first() {
            return vec![(0, Verdict::Enosys)];
        }
        let rows = traced.iter().filter_map(|name| table::row(name));
        let mut calls = notified(arch, watches);
        calls.extend(rows.filter_map(|row| Some((arch.number(row)?, Verdict::Trace))));
        singled_out(calls)
    })
}

fn notified(arch: Arch, watches: &[Watch]) -> Vec<(u32, Verdict)> {
    let mut calls: Vec<(u32, Verdict)> = Vec::new();
    for watch in watches {
        let Some(number) = table::row(watch.call).and_then(|row| arch.number(row)) else { continue };
        match calls.iter_mut().find(|(known, _)| *known == number) {
            // Two conditions: whoever asked decides for itself.
            Some((_, verdict)) if *verdict != Verdict::Notify(watch.when) => {
                *verdict = Verdict::Notify(When::Always);
            }
            Some(_) => {}
            None => calls.push((number, Verdict::Notify(watch.when))),
        }
    }
    calls
}

/// Returns the program that lets these calls succeed without doing anything, and all others pass.
pub(in crate::sandbox) fn succeed_program(names: &[&str]) -> Vec<Instruction> {
    program_of(architectures(), |arch| {
        let rows = names.iter().filter_map(|name| table::row(name));
        singled_out(rows.filter_map(|row| Some((arch.number(row)?, Verdict::Succeed))).collect())
    })
}

/// Returns ranges in which all calls but the given are allowed.
pub(super) fn singled_out(mut calls: Vec<(u32, Verdict)>) -> Vec<(u32, Verdict)> {
    calls.sort_by_key(|(number, _)| *number);
    let mut ranges = vec![(0, Verdict::Allow)];
    for (number, verdict) in calls {
        push_range(&mut ranges, number, verdict);
        push_range(&mut ranges, number + 1, Verdict::Allow);
    }
    ranges
}

/// Returns the name of a call by its architecture (`AUDIT_ARCH_*`) and number.
pub(in crate::sandbox) fn call_name(arch: u32, number: i32) -> Option<&'static str> {
    let arch = architectures().iter().find(|known| known.audit() == arch)?;
    let number = u32::try_from(number).ok()?;
    table::rows().find(|row| arch.number(row) == Some(number)).map(|row| row.0)
}
