#![allow(clippy::unwrap_used)]
use super::*;
use serde_json::Value;
use std::collections::HashMap;

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

const ALL: &[Arch] = &[Arch::X86_64, Arch::I386, Arch::Aarch64, Arch::Arm];

/// Docker's profile as its authors publish it: the rules that name a call.
struct Published(HashMap<String, Vec<Value>>);

impl Published {
    fn read() -> Published {
        let text = include_str!("../../../tests/data/docker-seccomp.json");
        let profile: Value = serde_json::from_str(text).unwrap();
        let mut rules: HashMap<String, Vec<Value>> = HashMap::new();
        for rule in profile["syscalls"].as_array().unwrap() {
            let mut conditions = rule.clone();
            conditions.as_object_mut().unwrap().remove("names");
            for name in strings(&rule["names"]) {
                rules.entry(name.to_owned()).or_default().push(conditions.clone());
            }
        }
        Published(rules)
    }

    /// Returns what it says of a call, as the daemon reads it for a machine and a container's capabilities.
    fn verdict(&self, name: &str, arch: Arch, capabilities: Capabilities, argument: u64) -> u32 {
        let machine = if matches!(arch, Arch::X86_64 | Arch::I386) { "amd64" } else { "arm64" };
        let has = |name: &str| capabilities.has(Capabilities::named(name).unwrap().0.trailing_zeros());
        let applies = |rule: &&Value| {
            let (with, without) = (&rule["includes"], &rule["excludes"]);
            let arches = &with["arches"];
            (arches.is_null() || strings(arches).any(|known| known == machine))
                && strings(&with["caps"]).all(has)
                && !strings(&without["arches"]).any(|known| known == machine)
                && !strings(&without["caps"]).any(has)
                && rule["args"].as_array().into_iter().flatten().all(|condition| holds(condition, argument))
        };
        let rules: Vec<&Value> = self.0[name].iter().filter(applies).collect();
        match rules.iter().find(|rule| rule["action"] != "SCMP_ACT_ALLOW") {
            _ if rules.iter().any(|rule| rule["action"] == "SCMP_ACT_ALLOW") => RET_ALLOW,
            Some(rule) => RET_ERRNO | u32::try_from(rule["errnoRet"].as_u64().unwrap()).unwrap(),
            None => RET_EPERM,
        }
    }
}

fn strings(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().map(|item| item.as_str().unwrap())
}

/// Whether a condition on the first argument holds.
fn holds(condition: &Value, argument: u64) -> bool {
    let value = condition["value"].as_u64().unwrap();
    assert_eq!(condition["index"], 0);
    match condition["op"].as_str().unwrap() {
        "SCMP_CMP_LT" => argument < value,
        "SCMP_CMP_GT" => argument > value,
        "SCMP_CMP_EQ" => argument == value,
        "SCMP_CMP_MASKED_EQ" => argument & value == condition["valueTwo"].as_u64().unwrap_or(0),
        other => panic!("{other}"),
    }
}

/// Docker's capabilities, none, all, and Docker's with each single one more that the profile knows.
fn capability_sets() -> Vec<Capabilities> {
    let mut numbers: Vec<u32> = table::BY_CAPABILITY.iter().flat_map(|(_, numbers)| *numbers).copied().collect();
    numbers.sort_unstable();
    numbers.dedup();
    let more = numbers.into_iter().map(|number| Capabilities(Capabilities::DOCKER.0 | 1 << number));
    [Capabilities::DOCKER, Capabilities::NONE, Capabilities::ALL].into_iter().chain(more).collect()
}

#[test]
fn every_call_has_the_verdict_of_dockers_profile_on_every_architecture_with_every_capability() {
    let published = Published::read();
    let arguments = [0, 1, 8, 38, 39, 40, 41, 0x11, 0x2_0000, 0x2_0008, 0x1000_0000, 0x7e02_0000, 0xffff_ffff];
    for capabilities in capability_sets() {
        let program = program(ALL, capabilities);
        for (arch, row) in ALL.iter().flat_map(|arch| table::rows().map(move |row| (*arch, row))) {
            let Some(number) = arch.number(row) else { continue };
            let has_conditions = ["clone", "personality", "socket"].contains(&row.0);
            for argument in arguments.into_iter().take(if has_conditions { arguments.len() } else { 1 }) {
                let wanted = published.verdict(row.0, arch, capabilities, argument);
                let found = decide(&program, arch.audit(), number, argument);
                assert_eq!(found, wanted, "{} {argument:#x} on {arch:?} with {capabilities}", row.0);
            }
        }
    }
}

#[test]
fn every_name_of_dockers_profile_is_in_the_table_if_an_architecture_of_ours_has_the_call() {
    let published = Published::read();
    let mut names: Vec<&str> = published.0.keys().map(String::as_str).collect();
    names.sort_unstable();
    let (known, unknown): (Vec<&str>, Vec<&str>) = names.into_iter().partition(|name| table::row(name).is_some());
    let elsewhere = [
        "riscv_flush_icache",
        "riscv_hwprobe",
        "s390_pci_mmio_read",
        "s390_pci_mmio_write",
        "s390_runtime_instr",
        "swapcontext",
        // The name of powerpc; arm has the call as `arm_sync_file_range`.
        "sync_file_range2",
    ];
    assert_eq!(unknown, elsewhere, "calls that only other architectures have");
    assert_eq!(known.len(), table::rows().count());
    let counts = [table::ALLOWED.len(), table::BY_CAPABILITY.len(), table::BY_ARGUMENT.len()];
    assert_eq!(counts, [370, 47, 2], "a change of the profile is a change of these numbers");
}

#[test]
fn numbers_that_no_call_of_the_profile_has_are_refused() {
    let program = program(ALL, Capabilities::ALL);
    for arch in ALL {
        for number in (0..1000).chain([0x3fff_ffff, 0xf_0006]) {
            if !table::rows().any(|row| arch.number(row) == Some(number)) {
                assert_eq!(decide(&program, arch.audit(), number, 0), RET_EPERM, "{arch:?} {number}");
            }
        }
    }
}

#[test]
fn tables_are_sorted_and_numbers_are_used_once() {
    assert!(table::ALLOWED.windows(2).all(|pair| pair[0].0 < pair[1].0));
    assert!(table::BY_CAPABILITY.windows(2).all(|pair| pair[0].0.0 < pair[1].0.0));
    for arch in ALL {
        let mut numbers: Vec<(u32, &str)> = table::rows().filter_map(|row| Some((arch.number(row)?, row.0))).collect();
        numbers.sort_unstable();
        for pair in numbers.windows(2) {
            assert_ne!(pair[0].0, pair[1].0, "{arch:?} {pair:?}");
        }
    }
}

#[test]
fn the_kernel_looks_at_the_low_half_of_an_argument_and_so_does_the_program() {
    let program = program(ALL, Capabilities::DOCKER);
    let x86 = |number, argument| decide(&program, Arch::X86_64.audit(), number, argument);
    assert_eq!(x86(41, 1 << 32 | 38), RET_EPERM, "socket of AF_ALG");
    assert_eq!(x86(135, u64::MAX), RET_ALLOW, "personality, asked what it is");
}

#[test]
fn foreign_interfaces_are_refused() {
    let program = program(&[Arch::X86_64, Arch::I386], Capabilities::ALL);
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
