//! What the builder tells the step's process: numbers as JSON, bytes beside them.
//!
//! Paths, arguments and secrets are not always UTF-8 and may be large, so all byte strings lie raw behind the JSON.
//! They travel in a sealed file in memory, not in arguments or environment, where other processes could read them.

use crate::sys::restrict::Instruction;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{OwnedFd, RawFd};

/// A range of the raw bytes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Bytes {
    start: usize,
    len: usize,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Spec {
    /// A mount that is attached nowhere, or a directory to change the root to.
    pub root: RawFd,
    /// How the step comes into its root.
    pub way: Way,

    pub argv: Vec<Bytes>,
    pub env: Vec<Bytes>,
    pub cwd: Bytes,
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub mounts: Vec<Mount>,
    pub has_own_network: bool,
    /// Where the process waits until its network is connected.
    pub network_gate: Option<RawFd>,
    pub hostname: Bytes,
    pub shm_size_bytes: u64,
    /// Resource number, soft and hard limit.
    pub limits: Vec<(u32, u64, u64)>,
    pub is_insecure: bool,
    /// Bit N is the capability N.
    pub capabilities: u64,
    /// Whether it runs in a control group of its own, which is the top of what it sees.
    pub has_own_cgroup: bool,
    pub has_stdin: bool,
    /// What the builder answers system calls for, if it does.
    pub supervision: Option<Supervision>,
    /// Where a [`Failure`] is written; closed by exec.
    pub failure: RawFd,
}

/// How a step comes into its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Way {
    /// By mounts, in namespaces of its own.
    Namespaces,
    /// By chroot.
    Chroot,
    /// Not at all: the builder answers for it.
    Trace,
}

/// How the step's calls reach the builder.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Supervision {
    /// The filter.
    pub program: Vec<Instruction>,
    /// What is installed where no listener can be had: the calls that must not fail succeed.
    pub fallback: Vec<Instruction>,
    /// Where its listener is sent.
    pub socket: RawFd,
    /// Whether the builder also plays user and groups: the process then keeps its own.
    pub plays_user: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Mount {
    /// A mount that is attached nowhere, or the part `source` of it.
    Attach {
        mount: RawFd,
        source: Option<Bytes>,
        target: Bytes,
        read_only: bool,
    },
    /// A device node; `source` is a mount of the machine's.
    Device {
        source: Option<RawFd>,
        target: Bytes,
        is_block: bool,
        major: u32,
        minor: u32,
        mode: u32,
        uid: u32,
        gid: u32,
    },
    Tmpfs {
        target: Bytes,
        size_bytes: Option<u64>,
        mode: u32,
    },
    File {
        target: Bytes,
        content: Bytes,
        mode: u32,
        uid: u32,
        gid: u32,
        read_only: bool,
    },
}

/// Where in the setting up of a step something failed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Failure {
    pub stage: String,
    pub errno: Option<i32>,
    pub detail: String,
}

/// Byte strings in the making.
#[derive(Debug, Default)]
pub(super) struct Pool(Vec<u8>);

impl Pool {
    pub(super) fn put(&mut self, bytes: &[u8]) -> Bytes {
        let start = self.0.len();
        self.0.extend_from_slice(bytes);
        Bytes { start, len: bytes.len() }
    }

    pub(super) fn get(&self, range: Bytes) -> &[u8] {
        range.start.checked_add(range.len).and_then(|end| self.0.get(range.start..end)).unwrap_or_default()
    }
}

/// Writes a specification into a sealed file.
pub(super) fn write(spec: &Spec, pool: &Pool) -> io::Result<OwnedFd> {
    let json = serde_json::to_vec(spec)?;
    crate::sys::process::sealed_memory(c"step", |file| {
        file.write_all(&(json.len() as u64).to_le_bytes())?;
        file.write_all(&json)?;
        file.write_all(&pool.0)
    })
}

/// Reads it back; only the builder can have written it.
pub(super) fn read(fd: OwnedFd) -> io::Result<(Spec, Pool)> {
    let mut all = Vec::new();
    File::from(fd).read_to_end(&mut all)?;
    let short = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let (length, rest) = all.split_first_chunk::<8>().ok_or_else(short)?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| short())?;
    let (json, raw) = rest.split_at_checked(length).ok_or_else(short)?;
    Ok((serde_json::from_slice(json)?, Pool(raw.to_vec())))
}
