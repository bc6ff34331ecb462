//! Docker's default seccomp profile as a BPF program.
//!
//! A program is a binary search over ranges of call numbers per architecture: eight comparisons rather than one for
//! every call of the profile, which a step feels on each system call that the kernel does not cache.
//!
//! One thing differs from Docker: calls of the x32 interface of x86_64 are answered as by a kernel without it, which
//! most are, instead of being let through.

mod network;
mod table;
mod watch;

pub(super) use network::local_sockets_program;
pub use watch::{Watch, When};
pub(super) use watch::{call_name, succeed_program, trace_program, watch_program};

use crate::sys::capability::Capabilities;
use crate::sys::restrict::Instruction;

/// `AUDIT_ARCH_*` of the architectures that programs may be of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arch {
    X86_64,
    I386,
    Aarch64,
    Arm,
}

impl Arch {
    fn audit(self) -> u32 {
        match self {
            Arch::X86_64 => 0xc000_003e,
            Arch::I386 => 0x4000_0003,
            Arch::Aarch64 => 0xc000_00b7,
            Arch::Arm => 0x4000_0028,
        }
    }

    fn number(self, row: &table::Row) -> Option<u32> {
        let number = match self {
            Arch::X86_64 => row.1,
            Arch::I386 => row.2,
            Arch::Aarch64 => row.3,
            Arch::Arm => row.4,
        };
        u32::try_from(number).ok()
    }
}

/// The interfaces that a kernel of this program's architecture offers.
fn architectures() -> &'static [Arch] {
    if cfg!(target_arch = "aarch64") { &[Arch::Aarch64, Arch::Arm] } else { &[Arch::X86_64, Arch::I386] }
}

const RET_ALLOW: u32 = 0x7fff_0000;
const RET_KILL_PROCESS: u32 = 0x8000_0000;
const RET_NOTIFY: u32 = 0x7fc0_0000;
const RET_TRACE: u32 = 0x7ff0_0000;
const RET_ERRNO: u32 = 0x0005_0000;
const RET_EPERM: u32 = RET_ERRNO | 1;
const RET_ENOSYS: u32 = RET_ERRNO | 0x26;
const RET_EAFNOSUPPORT: u32 = RET_ERRNO | 0x61;

/// Bit of the numbers of the x32 interface; answered as by a kernel without it.
const X32_BIT: u32 = 0x4000_0000;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
/// The low half of the first argument.  Every argument that the profile looks at is an `int` to the kernel, which
/// ignores the high half; to compare it would let `1 << 32 | AF_ALG` through.
const FIRST_ARGUMENT: u32 = 16;

const LOAD: u16 = 0x20;
const RETURN: u16 = 0x06;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_AT_LEAST: u16 = 0x35;
const JUMP_ANY_BIT: u16 = 0x45;

/// Namespace flags that `clone` may not have without CAP_SYS_ADMIN.
const CLONE_NAMESPACES: u32 = 0x7e02_0000;
/// AF_ALG and AF_VSOCK.
const REFUSED_FAMILIES: [u32; 2] = [38, 40];
const AF_UNIX: u32 = 1;
/// `socket` among the calls of `socketcall`.
const SOCKETCALL_SOCKET: u32 = 1;
/// Execution domains that `personality` may set.
const PERSONALITIES: [u32; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Allow,
    Eperm,
    Enosys,
    Socket,
    LocalSocket,
    NoSocketCall,
    Personality,
    Clone,
    Notify(When),
    Succeed,
    Trace,
}

/// Returns the program for this machine's architectures and a step with these capabilities.
pub(super) fn docker_profile(capabilities: Capabilities) -> Vec<Instruction> {
    program(architectures(), capabilities)
}

fn program(architectures: &[Arch], capabilities: Capabilities) -> Vec<Instruction> {
    program_of(architectures, |arch| ranges(arch, capabilities))
}

/// Returns what happens to calls that not everyone may make with every argument.
fn conditional(capabilities: Capabilities) -> impl Iterator<Item = (&'static table::Row, Verdict)> {
    let by_capability = table::BY_CAPABILITY.iter().map(move |(row, needed)| {
        let verdict = match row.0 {
            _ if needed.iter().any(|capability| capabilities.has(*capability)) => Verdict::Allow,
            "clone" => Verdict::Clone,
            // Its flags are behind a pointer; with ENOSYS C libraries fall back to `clone`.
            "clone3" => Verdict::Enosys,
            _ => Verdict::Eperm,
        };
        (row, verdict)
    });
    let by_argument = table::BY_ARGUMENT
        .iter()
        .map(|row| (row, if row.0 == "socket" { Verdict::Socket } else { Verdict::Personality }));
    by_capability.chain(by_argument)
}

/// Returns the program that decides by ranges of call numbers, which differ between architectures.
fn program_of(architectures: &[Arch], ranges: impl Fn(Arch) -> Vec<(u32, Verdict)>) -> Vec<Instruction> {
    let mut code = vec![plain(LOAD, ARCHITECTURE)];
    for arch in architectures {
        let mut body = vec![plain(LOAD, NUMBER)];
        if *arch == Arch::X86_64 {
            body.extend([branch(JUMP_AT_LEAST, X32_BIT, 0, 1), plain(RETURN, RET_ENOSYS)]);
        }
        body.extend(search(&ranges(*arch)));
        code.push(branch(JUMP_EQUAL, arch.audit(), 1, 0));
        code.push(plain(JUMP, body.len() as u32));
        code.extend(body);
    }
    code.push(plain(RETURN, RET_KILL_PROCESS));
    code
}

/// Returns the verdicts as (first number, verdict) of ranges, the first of them starting at 0.
fn ranges(arch: Arch, capabilities: Capabilities) -> Vec<(u32, Verdict)> {
    let mut calls: Vec<(u32, Verdict)> =
        table::ALLOWED.iter().filter_map(|row| Some((arch.number(row)?, Verdict::Allow))).collect();
    calls.extend(conditional(capabilities).filter_map(|(row, verdict)| Some((arch.number(row)?, verdict))));
    calls.sort_by_key(|(number, _)| *number);
    let mut ranges = vec![(0, Verdict::Eperm)];
    let mut next = 0;
    for (number, verdict) in calls {
        if number > next {
            push_range(&mut ranges, next, Verdict::Eperm);
        }
        push_range(&mut ranges, number, verdict);
        next = number + 1;
    }
    push_range(&mut ranges, next, Verdict::Eperm);
    ranges
}

fn push_range(ranges: &mut Vec<(u32, Verdict)>, start: u32, verdict: Verdict) {
    match ranges.last_mut() {
        Some(last) if last.1 == verdict => {}
        Some(last) if last.0 == start => last.1 = verdict,
        _ => ranges.push((start, verdict)),
    }
}

fn search(ranges: &[(u32, Verdict)]) -> Vec<Instruction> {
    let [single] = ranges else {
        let (low, high) = ranges.split_at(ranges.len() / 2);
        let mut code = vec![Instruction { code: 0, jump_true: 0, jump_false: 0, operand: 0 }; 2];
        let low = search(low);
        code[0] = branch(JUMP_AT_LEAST, high[0].0, 0, 1);
        code[1] = plain(JUMP, low.len() as u32);
        code.extend(low);
        code.extend(search(high));
        return code;
    };
    leaf(single.1)
}

fn leaf(verdict: Verdict) -> Vec<Instruction> {
    let one_of = |values: &[u32], found: u32, otherwise: u32| {
        let mut code = vec![plain(LOAD, FIRST_ARGUMENT)];
        for (i, value) in values.iter().enumerate() {
            code.push(branch(JUMP_EQUAL, *value, (values.len() - i) as u8, 0));
        }
        code.extend([plain(RETURN, otherwise), plain(RETURN, found)]);
        code
    };
    match verdict {
        Verdict::Allow => vec![plain(RETURN, RET_ALLOW)],
        // The errno 0.
        Verdict::Succeed => vec![plain(RETURN, RET_ERRNO)],
        Verdict::Trace => vec![plain(RETURN, RET_TRACE)],
        Verdict::Eperm => vec![plain(RETURN, RET_EPERM)],
        Verdict::Enosys => vec![plain(RETURN, RET_ENOSYS)],
        Verdict::Socket => one_of(&REFUSED_FAMILIES, RET_EPERM, RET_ALLOW),
        Verdict::LocalSocket => one_of(&[AF_UNIX], RET_ALLOW, RET_EAFNOSUPPORT),
        Verdict::NoSocketCall => one_of(&[SOCKETCALL_SOCKET], RET_EAFNOSUPPORT, RET_ALLOW),
        Verdict::Personality => one_of(&PERSONALITIES, RET_ALLOW, RET_EPERM),
        Verdict::Notify(When::Always) => vec![plain(RETURN, RET_NOTIFY)],
        Verdict::Notify(When::AnyBit { argument, bits }) => vec![
            plain(LOAD, FIRST_ARGUMENT + 8 * u32::from(argument)),
            branch(JUMP_ANY_BIT, bits, 0, 1),
            plain(RETURN, RET_NOTIFY),
            plain(RETURN, RET_ALLOW),
        ],
        Verdict::Notify(When::NotStandardStream { argument }) => vec![
            plain(LOAD, FIRST_ARGUMENT + 8 * u32::from(argument)),
            branch(JUMP_AT_LEAST, 3, 0, 1),
            plain(RETURN, RET_NOTIFY),
            plain(RETURN, RET_ALLOW),
        ],
        Verdict::Notify(When::Equals { argument, value }) => vec![
            plain(LOAD, FIRST_ARGUMENT + 8 * u32::from(argument)),
            branch(JUMP_EQUAL, value, 0, 1),
            plain(RETURN, RET_NOTIFY),
            plain(RETURN, RET_ALLOW),
        ],
        Verdict::Notify(When::NonZero { argument }) => vec![
            plain(LOAD, FIRST_ARGUMENT + 8 * u32::from(argument)),
            branch(JUMP_EQUAL, 0, 0, 2),
            plain(LOAD, FIRST_ARGUMENT + 8 * u32::from(argument) + 4),
            branch(JUMP_EQUAL, 0, 1, 0),
            plain(RETURN, RET_NOTIFY),
            plain(RETURN, RET_ALLOW),
        ],
        Verdict::Clone => vec![
            plain(LOAD, FIRST_ARGUMENT),
            branch(JUMP_ANY_BIT, CLONE_NAMESPACES, 0, 1),
            plain(RETURN, RET_EPERM),
            plain(RETURN, RET_ALLOW),
        ],
    }
}

fn plain(code: u16, operand: u32) -> Instruction {
    branch(code, operand, 0, 0)
}

fn branch(code: u16, operand: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction { code, jump_true, jump_false, operand }
}

#[cfg(test)]
mod tests;
