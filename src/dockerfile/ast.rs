//! The syntax tree of a Dockerfile: what was written and where, nothing expanded.

use crate::diag::{Source, Span};
use std::sync::Arc;

/// A Dockerfile.
#[derive(Debug, Clone)]
pub struct Dockerfile {
    /// The text that all spans point into.
    pub source: Arc<Source>,
    /// The escape character, `\` or `` ` ``.
    pub escape: char,
    /// `# syntax=`, never fetched or run.
    pub syntax: Option<Spanned<String>>,
    /// `# check=`, raw.
    pub check: Option<Spanned<String>>,
    /// `ARG` instructions before the first `FROM`.
    pub global_args: Vec<Instruction>,
    /// The stages in order.
    pub stages: Vec<Stage>,
}

impl Dockerfile {
    /// Returns the instruction that a byte of the text belongs to.
    pub fn instruction_at(&self, offset: usize) -> Option<&Instruction> {
        let stage = self.stages.partition_point(|stage| stage.from.span.start <= offset).checked_sub(1);
        let Some(stage) = stage.map(|index| &self.stages[index]) else { return last_before(&self.global_args, offset) };
        Some(last_before(&stage.instructions, offset).unwrap_or(&stage.from)).filter(|one| offset <= one.span.end)
    }
}

/// Returns the last of the instructions that begins at or before a byte.
fn last_before(instructions: &[Instruction], offset: usize) -> Option<&Instruction> {
    let after = instructions.partition_point(|instruction| instruction.span.start <= offset);
    after.checked_sub(1).map(|index| &instructions[index])
}

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub node: T,
    /// Where.
    pub span: Span,
}

/// Text as written, quotes and `$variables` in place; expanded by `dockerfile::expand` where the instruction has it.
pub type Word = Spanned<String>;

/// A `FROM` and what follows it.
#[derive(Debug, Clone)]
pub struct Stage {
    /// The `FROM` instruction itself (its kind is [`Kind::From`]).
    pub from: Instruction,
    /// Image or stage name.
    pub image: Word,
    /// `--platform`.
    pub platform: Option<Word>,
    /// `AS name`, as written.
    pub name: Option<Spanned<String>>,
    /// The instructions behind the `FROM`.
    pub instructions: Vec<Instruction>,
}

/// One instruction.
#[derive(Debug, Clone)]
pub struct Instruction {
    /// From the keyword to the last byte, heredoc bodies included.
    pub span: Span,
    /// The keyword as written.
    pub keyword: Spanned<String>,
    /// The logical line: continuations joined, comments in between dropped, the keyword in upper case, heredoc bodies
    /// not included.  For progress lines and for the history.
    pub text: String,
    /// Comment lines above (without `#`), blank lines between them left out; an empty comment cuts off those above it.
    /// For `--call=outline` and for `# check=` of one instruction.
    pub comments: Vec<String>,
    /// What it says.
    pub kind: Kind,
}

impl Instruction {
    /// Returns where the instruction ends without the bodies of its here documents.
    pub fn head_end(&self) -> usize {
        let body = match &self.kind {
            Kind::Run(run) => run.heredocs.first(),
            Kind::Copy(copy) | Kind::Add(copy) => copy.heredocs.first(),
            Kind::Onbuild { instruction: Ok(instruction), .. } => return instruction.head_end(),
            _ => None,
        };
        body.map_or(self.span.end, |body| body.span.start.saturating_sub(1))
    }
}

/// The eighteen instructions, `FROM` standing for the one that opens a stage.
#[derive(Debug, Clone)]
pub enum Kind {
    /// `FROM`; its parts are in [`Stage`].
    From,
    /// `ARG a b=c`.
    Arg(Vec<ArgDefinition>),
    /// `ENV`.
    Env(Vec<KeyValue>),
    /// `LABEL`.
    Label(Vec<KeyValue>),
    /// `RUN`.
    Run(Run),
    /// `CMD`.
    Cmd(Command),
    /// `ENTRYPOINT`.
    Entrypoint(Command),
    /// `SHELL [..]`.
    Shell(Vec<String>),
    /// `COPY`.
    Copy(Copy),
    /// `ADD`.
    Add(Copy),
    /// `WORKDIR`.
    Workdir(Word),
    /// `USER`.
    User(Word),
    /// `VOLUME`.
    Volume(Vec<Word>),
    /// `EXPOSE`.
    Expose(Vec<Word>),
    /// `STOPSIGNAL`.
    StopSignal(Word),
    /// `HEALTHCHECK`.
    Healthcheck(HealthcheckSpec),
    /// `ONBUILD`: the trigger as text (what goes into the config) and parsed.
    Onbuild {
        /// The trigger as text, heredocs included.
        trigger: String,
        /// The trigger parsed, or why it will fail where it runs: what a child may do is the child's business.
        instruction: Result<Box<Instruction>, String>,
    },
    /// `MAINTAINER`.
    Maintainer(String),
}

/// One name of an `ARG`.
#[derive(Debug, Clone)]
pub struct ArgDefinition {
    /// The name.
    pub name: Spanned<String>,
    /// The default; `ARG X=` has an empty one, `ARG X` none.
    pub default: Option<Word>,
}

/// One pair of `ENV` or `LABEL`.
#[derive(Debug, Clone)]
pub struct KeyValue {
    /// The name, expanded too.
    pub key: Word,
    /// The value.
    pub value: Word,
    /// Whether it was written `KEY value` instead of `KEY=value`.
    pub is_legacy: bool,
}

/// A command in shell or exec form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// One text for the shell; continuations joined, otherwise as written.
    Shell(Spanned<String>),
    /// A JSON array: no shell, no expansion.
    Exec(Vec<String>),
}

/// `RUN`.
#[derive(Debug, Clone)]
pub struct Run {
    /// The command; empty text when there is only a heredoc.
    pub command: Command,
    /// Heredocs in the order of their opening words; those of a shell-form command.
    pub heredocs: Vec<Heredoc>,
    /// `--mount` values, unparsed: they may hold variables.  See `dockerfile::mount`.
    pub mounts: Vec<Word>,
    /// `--network`.
    pub network: Option<Word>,
    /// `--security`.
    pub security: Option<Word>,
    /// `--device`.
    pub devices: Vec<Word>,
}

/// A here document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The word that ends it, without quotes; the file's name in `COPY <<EOF /dir/`.
    pub name: String,
    /// Whether variables and escapes in it are processed (the word was not quoted).
    pub expand: bool,
    /// Whether leading tabs are stripped (`<<-`); the body here is already stripped.
    pub strip_tabs: bool,
    /// File descriptor in front of `<<`, `None` for plain ones.
    pub fd: Option<u32>,
    /// The body with all its line ends.
    pub body: String,
    /// Where the body stands.
    pub span: Span,
}

/// `COPY` and `ADD`.
#[derive(Debug, Clone)]
pub struct Copy {
    /// Sources as written; heredocs as the last ones in [`Copy::heredocs`].
    pub sources: Vec<Word>,
    /// Sources given as heredocs.
    pub heredocs: Vec<Heredoc>,
    /// The destination.
    pub destination: Word,
    /// `--from` (COPY).
    pub from: Option<Word>,
    /// `--chown`.
    pub chown: Option<Word>,
    /// `--chmod`.
    pub chmod: Option<Word>,
    /// `--link`.
    pub link: bool,
    /// `--parents` (COPY).
    pub parents: bool,
    /// `--exclude`.
    pub exclude: Vec<Word>,
    /// `--checksum` (ADD).
    pub checksum: Option<Word>,
    /// `--keep-git-dir` (ADD).
    pub keep_git_dir: Option<bool>,
    /// `--unpack` (ADD).
    pub unpack: Option<bool>,
}

/// `HEALTHCHECK`; times in nanoseconds.
#[derive(Debug, Clone)]
pub struct HealthcheckSpec {
    /// The command, `None` for `HEALTHCHECK NONE`.
    pub command: Option<Command>,
    /// `--interval`.
    pub interval_ns: i64,
    /// `--timeout`.
    pub timeout_ns: i64,
    /// `--start-period`.
    pub start_period_ns: i64,
    /// `--start-interval`.
    pub start_interval_ns: i64,
    /// `--retries`.
    pub retries: i64,
}

/// What `--mount` says, its variables expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Which kind, with what only that kind has.
    pub kind: MountKind,
    /// Where in the step; may be relative to the working directory. Empty where the kind has a default.
    pub target: String,
    /// Whether the step cannot write to it; `None` where the flag did not say.
    pub read_only: Option<bool>,
}

/// The kinds of `--mount`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountKind {
    /// A directory or file of the context, a stage or an image.
    Bind {
        /// `from`.
        from: Option<String>,
        /// `source`, `/` by default.
        source: String,
    },
    /// A directory that outlives the build.
    Cache {
        /// `id`, the target by default.
        id: Option<String>,
        /// `sharing`.
        sharing: Sharing,
        /// `from`: what a new cache starts with.
        from: Option<String>,
        /// `source` in `from` or in the cache.
        source: Option<String>,
        /// `mode` of a new cache.
        mode: Option<u32>,
        /// `uid` of a new cache.
        uid: Option<u32>,
        /// `gid` of a new cache.
        gid: Option<u32>,
    },
    /// A file system in memory.
    Tmpfs {
        /// `size` in bytes.
        size_bytes: Option<u64>,
    },
    /// A secret as file or variable.
    Secret {
        /// `id`, the base name of the target by default.
        id: Option<String>,
        /// `required`.
        required: bool,
        /// `mode`.
        mode: Option<u32>,
        /// `uid`.
        uid: Option<u32>,
        /// `gid`.
        gid: Option<u32>,
        /// `env`: the variable that holds it.
        env: Option<String>,
    },
    /// A socket to the user's ssh agent.
    Ssh {
        /// `id`, `default` by default.
        id: Option<String>,
        /// `required`.
        required: bool,
        /// `mode`.
        mode: Option<u32>,
        /// `uid`.
        uid: Option<u32>,
        /// `gid`.
        gid: Option<u32>,
    },
}

/// Who may use a cache mount at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sharing {
    /// Everyone.
    #[default]
    Shared,
    /// A second user gets a new one.
    Private,
    /// A second user waits.
    Locked,
}
