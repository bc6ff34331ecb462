//! The rungs of the isolation ladder, and the account that each is attacked under.

use super::bench::Bench;
use cooper::sandbox::Rung;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// All rungs: what an attack on archives, contexts, caches and outputs must not get through on any.
pub const EVERY: &[Rung] = &Rung::ALL;
/// Those on which RUN works.
pub const WITH_RUN: &[Rung] = &[Rung::Root, Rung::Rootless, Rung::SingleId, Rung::Chroot, Rung::Trace];
/// Those that keep a RUN apart from the machine; on rung 4 the container around the builder is the border.
pub const APART: &[Rung] = &[Rung::Root, Rung::Rootless, Rung::SingleId];

/// Names, separated by commas, of the only rungs to attack.
const ONLY: &str = "COOPER_TEST_RUNGS";
/// Set where nothing may be skipped.
const COMPLETE: &str = "COOPER_TESTS_COMPLETE";

/// Who runs the program, and how RUN is isolated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    pub uid: u32,
    pub gid: u32,
    pub rung: Rung,
}

/// Runs an attack on each of these rungs that this machine allows.
pub fn on(rungs: &[Rung], attack: impl Fn(Bench)) {
    for account in rungs.iter().filter_map(|rung| usable(*rung)) {
        eprintln!("on rung {}", account.rung);
        attack(Bench::new(account));
    }
}

/// Returns one account, for attacks whose outcome cannot depend on the isolation.
pub fn any_account() -> Account {
    let us = rustix::process::geteuid();
    let rung = if us.is_root() { Rung::Root } else { Rung::None };
    [rung, Rung::Chroot, Rung::SingleId].into_iter().find_map(allowed).unwrap_or(account(Rung::None).unwrap())
}

/// Returns who can attack on a rung; says why nobody can.
pub fn usable(rung: Rung) -> Option<Account> {
    let only = std::env::var(ONLY).unwrap_or_default();
    if !only.is_empty() && !only.split(',').any(|name| name == rung.name()) {
        return None;
    }
    let account = allowed(rung);
    assert!(account.is_some() || std::env::var_os(COMPLETE).is_none(), "rung {rung} cannot be skipped here");
    account
}

fn allowed(rung: Rung) -> Option<Account> {
    if rung != Rung::None && !Path::new("/bin/busybox").exists() {
        eprintln!("skipped: no static /bin/busybox");
        return None;
    }
    let Some(account) = account(rung) else {
        eprintln!("skipped: nobody here to run on rung {rung}");
        return None;
    };
    match wall(account) {
        None => Some(account),
        Some(reason) => {
            eprintln!("skipped: rung {rung}: {reason}");
            None
        }
    }
}

/// Returns the account of a rung: root for those that need it, else a user with subordinate ids.
fn account(rung: Rung) -> Option<Account> {
    let (us, group) = (rustix::process::geteuid(), rustix::process::getegid());
    let own = Account { uid: us.as_raw(), gid: group.as_raw(), rung };
    match rung {
        Rung::Root | Rung::Chroot => us.is_root().then_some(own),
        _ if us.is_root() => subordinate().map(|(uid, gid)| Account { uid, gid, rung }),
        _ => Some(own),
    }
}

/// Returns ids of the first user, not root, who has subordinate ones.
fn subordinate() -> Option<(u32, u32)> {
    let ranges = fs::read_to_string("/etc/subuid").ok()?;
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let names: Vec<&str> = ranges.lines().filter_map(|line| line.split(':').next()).collect();
    users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, ..] = fields.as_slice() else { return None };
        let (uid, gid) = (uid.parse().ok()?, gid.parse().ok()?);
        (uid != 0 && names.contains(name)).then_some((uid, gid))
    })
}

/// Returns what stands in the way of a rung, as the program itself says.
fn wall(account: Account) -> Option<String> {
    let bench = Bench::new(account);
    let output = match bench.program().args(["doctor", "--format=json"]).output() {
        Ok(output) => output,
        Err(error) => return Some(format!("user {} cannot run the program: {error}", account.uid)),
    };
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rungs = report["rungs"].as_array().unwrap();
    let rung = rungs.iter().find(|rung| rung["name"] == account.rung.name()).unwrap();
    (rung["works"] != true).then(|| rung["reason"].to_string())
}
