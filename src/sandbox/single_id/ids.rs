//! Calls that tell or change who a process is.

use super::{SingleId, target};
use crate::sandbox::supervise::{Answer, Call};
use crate::sys::owner;
use rustix::fs::FileType;
use rustix::io::Errno;
use std::io;

/// Supplementary groups that a process can have (`NGROUPS_MAX`).
const GROUP_LIMIT: usize = 65536;
/// Set-user-id and set-group-id bits of a mode.
const SET_USER: u32 = 0o4000;
const SET_GROUP: u32 = 0o2000;

impl SingleId {
    /// Answers a call by its name without the 32 of i386.
    pub(super) fn ids(&mut self, name: &str, call: &Call<'_>) -> Answer {
        // Until Linux 2.4 i386 had ids of 16 bits; lists of those are not worth the trouble.
        let is_short = !call.is_native() && !call.name.ends_with("32");
        let current = self.processes.get(call.pid());
        let answered = match name {
            "getuid" => Ok(i64::from(current.user.real)),
            "geteuid" => Ok(i64::from(current.user.effective)),
            "getgid" => Ok(i64::from(current.group.real)),
            "getegid" => Ok(i64::from(current.group.effective)),
            "getresuid" | "getresgid" | "getgroups" | "setgroups" if is_short => return Answer::Continue,
            "getresuid" | "getresgid" => {
                let ids = if name == "getresuid" { current.user } else { current.group };
                [ids.real, ids.effective, ids.saved]
                    .iter()
                    .enumerate()
                    .try_for_each(|(index, id)| call.write(index, &id.to_ne_bytes()))
                    .map(|()| 0)
            }
            "getgroups" => get_groups(call, &current.groups),
            "setgroups" => self.set_groups(call),
            _ => {
                let mut changed = (*current).clone();
                let result = changed.change(name, [call.number(0), call.number(1), call.number(2)]);
                if changed != *current {
                    self.processes.set(call.pid(), changed);
                }
                result.map(i64::from).map_err(io::Error::from)
            }
        };
        Answer::of(answered)
    }

    fn set_groups(&mut self, call: &Call<'_>) -> io::Result<i64> {
        let count = call.number(0) as usize;
        if count > GROUP_LIMIT {
            return Err(Errno::INVAL.into());
        }
        let list = if count == 0 { Vec::new() } else { call.read(1, 4 * count)? };
        let groups = list.chunks_exact(4).map(|id| u32::from_ne_bytes([id[0], id[1], id[2], id[3]])).collect();
        let mut credentials = (*self.processes.get(call.pid())).clone();
        credentials.set_groups(groups)?;
        self.processes.set(call.pid(), credentials);
        Ok(0)
    }

    /// Gives a process the rights of a set-user-id program before it is executed.
    pub(super) fn execute(&mut self, call: &Call<'_>) -> io::Result<Answer> {
        let credentials = self.processes.get(call.pid());
        let (directory, path, flags) = match call.name {
            "execve" => (libc::AT_FDCWD.cast_unsigned(), call.path(0)?, 0),
            _ => (call.number(0), call.path(1)?, call.number(4)),
        };
        let Ok(Some(program)) = target(call, directory, &path, flags) else { return Ok(Answer::Continue) };
        if program.file_type() != FileType::RegularFile {
            return Ok(Answer::Continue);
        }
        let mut changed = (*credentials).clone();
        let mode = program.stat.st_mode;
        let is_set = mode & (SET_USER | SET_GROUP) != 0;
        let owner = if is_set { owner::recorded(&program.file, &program.stat)? } else { None }.unwrap_or_default();
        changed.execute((mode & SET_USER != 0).then_some(owner.uid), (mode & SET_GROUP != 0).then_some(owner.gid));
        if changed != *credentials {
            self.processes.set(call.pid(), changed);
        }
        Ok(Answer::Continue)
    }

    /// Notes that a process keeps its capabilities, or gives some up; the kernel does the same with its own.
    pub(super) fn keep_capabilities(&mut self, call: &Call<'_>) -> io::Result<Answer> {
        const SET_KEEPCAPS: u32 = libc::PR_SET_KEEPCAPS.unsigned_abs();
        const SET_SECUREBITS: u32 = libc::PR_SET_SECUREBITS.unsigned_abs();
        /// SECBIT_KEEP_CAPS and SECBIT_NO_SETUID_FIXUP.
        const KEEPING: u32 = 1 << 4 | 1 << 2;
        let credentials = self.processes.get(call.pid());
        let mut changed = (*credentials).clone();
        match (call.name, call.number(0)) {
            ("prctl", SET_KEEPCAPS) => changed.capabilities.keeps = call.number(1) == 1,
            ("prctl", SET_SECUREBITS) => changed.capabilities.keeps = call.number(1) & KEEPING != 0,
            ("capset", _) => {
                // Effective, permitted and inheritable, of the first 32.
                let sets = call.read(1, 8)?;
                let set = |at: usize| u32::from_ne_bytes([sets[at], sets[at + 1], sets[at + 2], sets[at + 3]]);
                changed.capabilities.set(set(0), set(4));
            }
            _ => {}
        }
        if changed != *credentials {
            self.processes.set(call.pid(), changed);
        }
        Ok(Answer::Continue)
    }
}

fn get_groups(call: &Call<'_>, groups: &[u32]) -> io::Result<i64> {
    let size = call.number(0).cast_signed();
    if size != 0 {
        if usize::try_from(size).map_or(true, |size| size < groups.len()) {
            return Err(Errno::INVAL.into());
        }
        if !groups.is_empty() {
            call.write(1, &groups.iter().flat_map(|id| id.to_ne_bytes()).collect::<Vec<u8>>())?;
        }
    }
    Ok(i64::try_from(groups.len()).unwrap_or(0))
}
