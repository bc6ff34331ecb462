//! What one RUN step is: its root, its command, its mounts, its limits.

use super::user::UserError;
use crate::plan::graph::Network;
use crate::sys::Root;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// One command to run in a root file system.
#[derive(Debug)]
pub struct RunSpec<'a> {
    /// The root file system, writable: a mount that is attached nowhere, or a directory.
    pub root: &'a Root,
    /// A directory on the root's file system, for what is moved aside while there are no mounts.
    pub aside: Option<PathBuf>,
    /// Command and arguments; the command is looked up in `PATH` of `env`, inside the root.
    pub argv: Vec<OsString>,
    /// The whole environment; `HOME` is added from the image's passwd file where it is missing.
    pub env: Vec<(OsString, OsString)>,
    /// Absolute working directory; made (0:0, 0755) where it is missing.
    pub cwd: PathBuf,
    /// `USER` as written; empty for root.
    pub user: String,
    /// Groups of the user besides those of the image.
    pub additional_gids: Vec<u32>,
    /// Mounts in the order in which they are made.
    pub mounts: Vec<MountSpec>,
    /// The network that it sees.
    pub network: Network,
    /// Name of the machine.
    pub hostname: String,
    /// Further lines of `/etc/hosts`: name and address.
    pub extra_hosts: Vec<(String, String)>,
    /// Size of `/dev/shm`; 64 MiB where not given.
    pub shm_size_bytes: Option<u64>,
    /// Resource limits: name as of `--ulimit` (`nofile`), soft and hard value.
    pub ulimits: Vec<(String, u64, u64)>,
    /// `--security=insecure`: all capabilities, no seccomp filter, nothing masked.
    pub is_insecure: bool,
    /// Standard input; empty where not given.
    pub stdin: Option<Vec<u8>>,
}

/// One mount of a step; targets are absolute paths, resolved inside the root.
#[derive(Debug)]
pub enum MountSpec {
    /// A file or directory (`O_PATH`) that is reachable in this process's mount namespace.
    Bind {
        /// What is mounted; a socket of an agent as well.
        source: OwnedFd,
        /// Where.
        target: PathBuf,
        /// Writes fail.
        read_only: bool,
        /// With the mounts below it.
        is_recursive: bool,
    },
    /// A mount that is attached nowhere (a view of another step), or a path in it.
    Overlay {
        /// The mount; used up by the step.
        mount: OwnedFd,
        /// What of it, resolved inside of it; `/` for all.
        source: PathBuf,
        /// Where.
        target: PathBuf,
        /// Writes fail.
        read_only: bool,
    },
    /// A file system in memory.
    Tmpfs {
        /// Where.
        target: PathBuf,
        /// Its size; half of the memory where not given.
        size_bytes: Option<u64>,
        /// Mode of its root directory.
        mode: u32,
    },
    /// A device node: a new one where one can be made, else the machine's.
    Device {
        /// The machine's node (`O_PATH`), if there is one.
        source: Option<OwnedFd>,
        /// Where.
        target: PathBuf,
        /// Whether it is a block device, major and minor number.
        number: (bool, u32, u32),
        /// Mode.
        mode: u32,
        /// Owner; the step's user where not given.
        uid: Option<u32>,
        /// Group; that of the step's user where not given.
        gid: Option<u32>,
    },
    /// A read-only file whose content is in memory only: a secret, a script.
    File {
        /// Where.
        target: PathBuf,
        /// What is in it.
        content: Vec<u8>,
        /// Mode.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
}

impl MountSpec {
    /// Returns where it is mounted.
    pub fn target(&self) -> &std::path::Path {
        match self {
            MountSpec::Bind { target, .. }
            | MountSpec::Overlay { target, .. }
            | MountSpec::Tmpfs { target, .. }
            | MountSpec::Device { target, .. }
            | MountSpec::File { target, .. } => target,
        }
    }
}

/// Why a step could not be run; that its command failed is no error but an exit status.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The command is empty.
    #[error("the command is empty")]
    NoCommand,
    /// A string of the command, the environment or a path holds a NUL byte.
    #[error("{0} holds a NUL byte")]
    Nul(&'static str),
    /// The user cannot be had.
    #[error(transparent)]
    User(#[from] UserError),
    /// An unknown limit.
    #[error("unknown resource limit `{0}`")]
    Limit(String),
    /// A name or address of `extra_hosts` that would break the file.
    #[error("a host name and an address must not hold white space: `{0}`")]
    Host(String),
    /// The image has something else where the kernel's file systems belong.
    #[error("the image has no directory at `{0}` but something else, which nothing can be mounted onto")]
    HostileMountPoint(&'static str),
    /// The working directory is not one of the image.
    #[error("the working directory is inside a file system of the kernel: `{0}`")]
    WorkingDirectory(PathBuf),
    /// A mount point or the working directory cannot be made.
    #[error("make `{}` in the root file system", path.display())]
    MountPoint {
        /// The target.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The step's process could not be set up.
    #[error("set up the step: {stage}{}{detail}", if detail.is_empty() { "" } else { " " })]
    Setup {
        /// What was being done.
        stage: String,
        /// With what.
        detail: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The builder's side failed.
    #[error("run the step: {stage}")]
    Io {
        /// What was being done.
        stage: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// Something that a step asks for needs a namespace or a mount.
    #[error("{0} is not possible with isolation `chroot`")]
    NeedsNamespaces(&'static str),
    /// The build was interrupted.
    #[error("canceled")]
    Canceled,
}
