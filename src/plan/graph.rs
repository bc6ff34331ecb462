//! The build graph: what there is to do, in what order, and what image comes out.

use crate::diag::Place;
use crate::dockerfile::ast::Sharing;
use crate::image::{Descriptor, Digest, History, ImageConfig, Platform};
use crate::sys::capability::Capabilities;
use std::sync::Arc;

/// Index of a step in [`Graph::steps`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepId(pub u32);

/// What is to be done.
#[derive(Debug, Default)]
pub struct Graph {
    /// The steps; every input of a step stands before it.
    pub steps: Vec<Step>,
    /// The image (one for each platform).
    pub targets: Vec<Target>,
}

/// The image that a build makes.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its platform: of the descriptor; the config's is in [`Target::config`].
    pub platform: Platform,
    /// Its file system; `None` for an empty one.
    pub root: Option<StepId>,
    /// Its config but for `rootfs.diff_ids`, `created` and the history's times of this build's entries.
    pub config: ImageConfig,
    /// The history of the base (in front, as it was) and of this build.
    pub history: Vec<HistoryItem>,
    /// SOURCE_DATE_EPOCH in force, seconds.
    pub epoch: Option<i64>,
}

/// One entry of the image's history.
#[derive(Debug, Clone)]
pub enum HistoryItem {
    /// An entry of the base image, kept as it was.
    Base(History),
    /// An entry of this build; `created` is filled in when it is written.  With a layer unless `empty_layer`.
    New(History),
}

/// One node: makes a file system or reads a source.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its index.
    pub id: StepId,
    /// What BuildKit shows, e.g. `[build 2/4] RUN make`.
    pub label: String,
    /// Name of the stage, or its number.
    pub stage: String,
    /// Where it was written; `None` for what flags bring in.
    pub place: Option<Place>,
    /// What it does.
    pub op: Op,
    /// Whether a found result must not be used (`--no-cache`, `--no-cache-filter`).
    pub no_cache: bool,
    /// Platform of the stage.
    pub platform: Platform,
}

/// What a step does.
#[derive(Debug, Clone)]
pub enum Op {
    /// Has the layers of an image.
    Image(ImageOp),
    /// Has the files of a local directory, as `FROM name` with `--build-context name=DIR` asks.
    Tree(ContextId),
    /// Runs a command.
    Run(Box<RunOp>),
    /// Copies files.
    Copy(Box<CopyOp>),
    /// Makes a directory.
    Workdir(WorkdirOp),
}

/// An image used as a file system.
#[derive(Debug, Clone)]
pub struct ImageOp {
    /// What it was called, for people.
    pub name: String,
    /// What is known of it.
    pub facts: Arc<ImageFacts>,
}

/// What is known of an image without its layers.
#[derive(Debug, Clone)]
pub struct ImageFacts {
    /// Where its blobs can be had: an opaque word for the one who answered, e.g. a reference with registry.
    pub origin: String,
    /// Its manifest.
    pub manifest: Descriptor,
    /// Its layers, lowest first; as many as `config.rootfs.diff_ids`.
    pub layers: Vec<Descriptor>,
    /// Its config.
    pub config: ImageConfig,
}

/// A place that files are read from, other than a step: a context.
///
/// 0 is the main context, the others are `--build-context` ones in the order of [`super::Options::contexts`], or
/// remote sources (git, http) in the order they were met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContextId(pub u32);

/// Where files come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceRef {
    /// The file system that a step has made.
    Step(StepId),
    /// A context.
    Context(ContextId),
    /// No files at all (`--from` a stage that is empty, `docker-image://scratch`).
    Scratch,
}

/// `RUN`.
#[derive(Debug, Clone)]
pub struct RunOp {
    /// The file system it starts from; `None` is empty.
    pub base: Option<StepId>,
    /// Program and arguments, the shell's included.
    pub argv: Vec<String>,
    /// A heredoc that the command reads: standard input, or a script with a shebang.
    pub script: Option<Script>,
    /// Environment in order: the image's, then ARGs; part of the key.  Steps between which nothing sets one share it.
    pub env: Arc<Vec<(String, String)>>,
    /// Environment that is not part of the key: proxies.
    pub unkeyed_env: Vec<(String, String)>,
    /// Working directory, absolute.
    pub cwd: String,
    /// `USER` in force, as written in the config; empty is root.
    pub user: String,
    /// Mounts in order.
    pub mounts: Vec<RunMount>,
    /// Network.
    pub network: Network,
    /// `--security=insecure`.
    pub insecure: bool,
    /// Qualified names of its devices, `vendor/class=name`.
    pub devices: Vec<String>,
    /// Size of /dev/shm in bytes, when given.
    pub shm_size_bytes: Option<u64>,
    /// `--ulimit`, name, soft and hard.
    pub ulimits: Vec<(String, u64, u64)>,
    /// Capabilities; with `insecure` it has all.
    pub capabilities: Capabilities,
    /// `--add-host`, name and address.
    pub extra_hosts: Vec<(String, String)>,
    /// Host name (BUILDKIT_SANDBOX_HOSTNAME or the default).
    pub hostname: Option<String>,
}

/// A heredoc of RUN that is not simply the shell's script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Text, mounted as an executable file and run (it starts with a shebang).
    pub content: String,
    /// Path in the step at which argv\[0\] expects it.
    pub path: String,
}

/// How a RUN reaches the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Network {
    /// The machine's (cooper's default too).
    #[default]
    Default,
    /// Only a loopback interface.
    None,
    /// The machine's, asked for by name.
    Host,
    /// One of its own that reaches what the machine reaches; only the command line can ask for it.
    Private,
}

/// A mount of a RUN; targets are absolute.
#[derive(Debug, Clone)]
pub enum RunMount {
    /// Files of a context or a step.
    Bind {
        /// From where.
        from: SourceRef,
        /// Path in it.
        source: String,
        /// Where in the step.
        target: String,
        /// Writes are allowed, and dropped after the step.
        writable: bool,
    },
    /// A directory that outlives the build.
    Cache {
        /// Its id.
        id: String,
        /// Where in the step.
        target: String,
        /// Who may use it at the same time.
        sharing: Sharing,
        /// What a new one starts with.
        from: Option<SourceRef>,
        /// Path in it (in `from` for a new one).
        source: String,
        /// Mode of a new one.
        mode: Option<u32>,
        /// Owner of a new one.
        uid: Option<u32>,
        /// Group of a new one.
        gid: Option<u32>,
        /// Writes are dropped.
        read_only: bool,
        /// `--no-cache`: a new one where uid, gid or mode were given.
        start_empty: bool,
    },
    /// A file system in memory.
    Tmpfs {
        /// Where in the step.
        target: String,
        /// Size in bytes.
        size_bytes: Option<u64>,
    },
    /// A secret as file, variable or both.
    Secret {
        /// Which.
        id: String,
        /// The file, if there is one.
        target: Option<String>,
        /// The variable, if there is one.
        env: Option<String>,
        /// Whether its absence is an error.
        required: bool,
        /// Mode of the file.
        mode: u32,
        /// Owner of the file.
        uid: u32,
        /// Group of the file.
        gid: u32,
    },
    /// A socket of an ssh agent.
    Ssh {
        /// Which.
        id: String,
        /// The socket.
        target: String,
        /// Whether its absence is an error.
        required: bool,
        /// Mode of the socket.
        mode: u32,
        /// Owner of the socket.
        uid: u32,
        /// Group of the socket.
        gid: u32,
    },
}

/// `COPY` and `ADD`.
#[derive(Debug, Clone)]
pub struct CopyOp {
    /// The file system it is copied onto; `None` is empty.
    pub base: Option<StepId>,
    /// What is copied, in order.
    pub sources: Vec<CopySource>,
    /// Where to: absolute; a trailing slash means that it is a directory.
    pub destination: String,
    /// `--chown`, expanded; names are looked up in the image.
    pub chown: Option<String>,
    /// `--chmod`, expanded; octal or symbolic.
    pub chmod: Option<String>,
    /// `--link`: independent of what is below.
    pub link: bool,
    /// `--parents`.
    pub parents: bool,
    /// `--exclude`, expanded.
    pub exclude: Vec<String>,
    /// Whether it is ADD, which unpacks local archives.
    pub is_add: bool,
    /// `--unpack`.
    pub unpack: Option<bool>,
    /// SOURCE_DATE_EPOCH for what is made rather than copied, seconds.
    pub epoch: Option<i64>,
}

/// What is copied.
#[derive(Debug, Clone)]
pub enum CopySource {
    /// Paths or wildcards of a context or a step.
    Paths {
        /// From where.
        from: SourceRef,
        /// The pattern, expanded.
        pattern: String,
        /// Where it was written, for messages.
        place: Option<Place>,
    },
    /// A heredoc.
    Inline {
        /// Name of the file.
        name: String,
        /// Its content, expanded.
        content: String,
    },
    /// ADD of an http(s) URL.
    Http {
        /// The URL.
        url: String,
        /// Digest that the content must have.
        checksum: Option<Digest>,
    },
    /// ADD of a Git repository.
    Git {
        /// The URL with `#ref:subdir` or query.
        url: String,
        /// `--keep-git-dir`.
        keep_git_dir: bool,
        /// Commit that it must be, or a prefix of it.
        checksum: Option<String>,
    },
}

/// `WORKDIR`.
#[derive(Debug, Clone)]
pub struct WorkdirOp {
    /// The file system it is made in; `None` is empty.
    pub base: Option<StepId>,
    /// Absolute, cleaned path.
    pub path: String,
    /// `USER` in force, owner of what is made.
    pub user: String,
    /// SOURCE_DATE_EPOCH for the directory, seconds.
    pub epoch: Option<i64>,
}

impl Step {
    /// Returns the step whose file system this one starts from.
    pub fn base(&self) -> Option<StepId> {
        match &self.op {
            Op::Image(_) | Op::Tree(_) => None,
            Op::Run(run) => run.base,
            Op::Copy(copy) => copy.base,
            Op::Workdir(workdir) => workdir.base,
        }
    }

    /// Returns what it reads besides its base.
    pub fn sources(&self) -> Vec<SourceRef> {
        match &self.op {
            Op::Image(_) | Op::Workdir(_) => Vec::new(),
            Op::Tree(context) => vec![SourceRef::Context(*context)],
            Op::Run(run) => run
                .mounts
                .iter()
                .filter_map(|mount| match mount {
                    RunMount::Bind { from, .. } => Some(*from),
                    RunMount::Cache { from, .. } => *from,
                    _ => None,
                })
                .collect(),
            Op::Copy(copy) => copy
                .sources
                .iter()
                .filter_map(|source| match source {
                    CopySource::Paths { from, .. } => Some(*from),
                    _ => None,
                })
                .collect(),
        }
    }
}
