#![allow(clippy::unwrap_used)]
use super::*;

/// Runs a program on one call, as the kernel does.
fn decide(program: &[Instruction], arch: u32, number: u32, first_argument: u64) -> u32 {
    let (mut at, mut accumulator) = (0, 0);
    loop {
        let instruction = program[at];
        at += 1;
        let jump = |taken: bool| usize::from(if taken { instruction.jump_true } else { instruction.jump_false });
        match instruction.code {
            LOAD => {
                accumulator = match instruction.operand {
                    NUMBER => number,
                    ARCHITECTURE => arch,
                    FIRST_ARGUMENT => first_argument as u32,
                    other => panic!("load of offset {other}"),
                }
            }
            RETURN => return instruction.operand,
            JUMP => at += instruction.operand as usize,
            JUMP_EQUAL => at += jump(accumulator == instruction.operand),
            JUMP_AT_LEAST => at += jump(accumulator >= instruction.operand),
            JUMP_ANY_BIT => at += jump(accumulator & instruction.operand != 0),
            other => panic!("operation {other:#x}"),
        }
    }
}

const ALL: &[Arch] = &[Arch::X86_64, Arch::I386, Arch::Aarch64];

#[test]
fn every_call_of_the_table_is_allowed_and_every_other_refused_on_every_architecture() {
    let program = program(ALL);
    for arch in ALL {
        for number in 0..1000 {
            if CONDITIONAL.iter().any(|(row, _)| arch.number(row) == Some(number)) {
                continue;
            }
            let listed = table::ALLOWED.iter().any(|row| arch.number(row) == Some(number));
            let wanted = if listed { RET_ALLOW } else { RET_EPERM };
            assert_eq!(decide(&program, arch.audit(), number, 0), wanted, "{arch:?} {number}");
        }
        assert_eq!(decide(&program, arch.audit(), 0x3fff_ffff, 0), RET_EPERM);
    }
}

#[test]
fn the_table_is_sorted_and_names_what_docker_allows() {
    assert!(table::ALLOWED.windows(2).all(|pair| pair[0].0 < pair[1].0));
    let has = |name: &str| table::ALLOWED.iter().any(|row| row.0 == name);
    for name in ["read", "openat2", "chroot", "ptrace", "io_setup", "seccomp", "fchmodat2", "landlock_create_ruleset"] {
        assert!(has(name), "{name}");
    }
    for name in
        ["mount", "unshare", "setns", "bpf", "keyctl", "add_key", "init_module", "open_by_handle_at", "kexec_load"]
    {
        assert!(!has(name), "{name}");
    }
}

#[test]
fn arguments_decide_socket_personality_and_clone() {
    let program = program(ALL);
    let x86 = |number, argument| decide(&program, Arch::X86_64.audit(), number, argument);
    for (family, verdict) in
        [(1, RET_ALLOW), (2, RET_ALLOW), (38, RET_EPERM), (39, RET_ALLOW), (40, RET_EPERM), (41, RET_ALLOW)]
    {
        assert_eq!(x86(41, family), verdict, "socket {family}");
    }
    assert_eq!(x86(41, 1 << 32 | 38), RET_EPERM, "the kernel looks at the low half only");
    for (domain, verdict) in [(0, RET_ALLOW), (8, RET_ALLOW), (u64::MAX, RET_ALLOW), (0x4_0000, RET_EPERM)] {
        assert_eq!(x86(135, domain), verdict, "personality {domain:#x}");
    }
    for (flags, verdict) in [(0x11, RET_ALLOW), (0x1000_0000, RET_EPERM), (0x2_0000, RET_EPERM), (0x3d_0f00, RET_ALLOW)]
    {
        assert_eq!(x86(56, flags), verdict, "clone {flags:#x}");
        assert_eq!(decide(&program, Arch::Aarch64.audit(), 220, flags), verdict);
    }
    assert_eq!(x86(435, 0), RET_ENOSYS);
}

#[test]
fn foreign_interfaces_are_refused() {
    let program = program(&[Arch::X86_64, Arch::I386]);
    assert_eq!(decide(&program, Arch::X86_64.audit(), X32_BIT | 1, 0), RET_ENOSYS);
    assert_eq!(decide(&program, Arch::Aarch64.audit(), 64, 0), RET_KILL_PROCESS);
    assert!(program.len() < 4096, "the kernel's limit");
}

#[test]
fn without_a_network_only_sockets_between_processes_are_made() {
    let program = network::local_sockets_program();
    for arch in architectures() {
        let socket = arch.number(table::row("socket").unwrap()).unwrap();
        for family in [2, 10, 16, 17, 38, (1 << 32) | 2] {
            assert_eq!(decide(&program, arch.audit(), socket, family), RET_EAFNOSUPPORT, "{arch:?} {family}");
        }
        assert_eq!(decide(&program, arch.audit(), socket, 1), RET_ALLOW);
        assert_eq!(decide(&program, arch.audit(), 425, 0), RET_ENOSYS);
    }
    if let Some(number) = Arch::I386.number(table::row("socketcall").unwrap()) {
        let is_here = architectures().contains(&Arch::I386);
        assert!(!is_here || decide(&program, Arch::I386.audit(), number, 1) == RET_EAFNOSUPPORT);
        assert!(!is_here || decide(&program, Arch::I386.audit(), number, 3) == RET_ALLOW);
    }
}
