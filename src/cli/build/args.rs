//! The flags of `cooper build`: names and meaning of `docker buildx build`.

use super::annotation::parse_annotations;
use super::call::{Call, Question, parse_call};
use super::output::parse_output;
use super::run::{parse_add_host, parse_entitlement, parse_network, parse_ulimit};
use super::source::{parse_build_arg, parse_build_context, parse_label, parse_secret, parse_ssh};
use super::value::{parse_bool, parse_fields, parse_size};
use crate::exec::request::{Annotation, OutputSpec, Secret};
use crate::plan::NamedContext;
use crate::plan::graph::Network;
use crate::progress::Mode;
use clap::{Arg, ArgAction, Args, Command};
use std::path::PathBuf;

/// Builds an image from a Dockerfile and a context.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// Directory, `-` for a tar or a Dockerfile on standard input, a Git URL, or an http(s) URL of a tar
    #[arg(value_name = "CONTEXT")]
    pub context: String,

    /// Name of the image, `[HOST[:PORT]/]PATH[:TAG]` (several)
    #[arg(short, long = "tag", value_name = "NAME", value_parser = parse_tag)]
    pub tags: Vec<String>,

    /// Path of the Dockerfile, `-` for standard input [default: CONTEXT/Dockerfile]
    #[arg(short, long, value_name = "PATH")]
    pub file: Option<String>,

    /// Stage to build [default: the last]
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,

    /// Value of an ARG; without a value it is taken from the environment (several)
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]", value_parser = parse_build_arg)]
    pub build_args: Vec<(String, Option<String>)>,

    /// Further context: directory, URL, `docker-image://REF` or `oci-layout://PATH`; with `::PLATFORM` for stages of
    /// that platform alone (several)
    #[arg(long = "build-context", value_name = "NAME[::PLATFORM]=VALUE", value_parser = parse_build_context)]
    pub build_contexts: Vec<(String, NamedContext)>,

    /// Secret for `RUN --mount=type=secret`, e.g. `id=npm,src=.npmrc` or `id=token,env=TOKEN` (several)
    #[arg(long = "secret", value_name = "CSV", value_parser = parse_secret)]
    pub secrets: Vec<Secret>,

    /// SSH agent or keys for `RUN --mount=type=ssh` (several)
    #[arg(long, value_name = "default|ID[=SOCKET|KEY,...]", value_parser = parse_ssh)]
    pub ssh: Vec<(String, Vec<PathBuf>)>,

    /// Label of the image (several)
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = parse_label)]
    pub labels: Vec<(String, String)>,

    /// Annotation of `manifest` (default), `index`, `manifest-descriptor`, `index-descriptor` (several)
    #[arg(long = "annotation", value_name = "[LEVEL,...:]NAME=VALUE", value_parser = parse_annotation_group)]
    pub annotations: Vec<AnnotationGroup>,

    /// Platforms of the image, e.g. `linux/amd64,linux/arm64`; several make an index [default: this machine's]
    #[arg(long = "platform", value_name = "OS/ARCH[/VARIANT]", value_delimiter = ',')]
    pub platforms: Vec<String>,

    /// Network of RUNs that do not say: `default`, `none`, `host`
    #[arg(long, value_name = "NETWORK", default_value = "default", value_parser = parse_network)]
    pub network: Network,

    /// Line of /etc/hosts for RUN, `host:ip` or `host=ip` (several)
    #[arg(long = "add-host", value_name = "HOST:IP", value_parser = parse_add_host)]
    pub add_hosts: Vec<(String, String)>,

    /// Size of /dev/shm in RUN, e.g. `128m`
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    pub shm_size: Option<u64>,

    /// Resource limit of RUN, `-1` is unlimited (several)
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]", value_parser = parse_ulimit)]
    pub ulimits: Vec<(String, u64, u64)>,

    /// Grants an entitlement: `network.host`, `security.insecure`, `device[=NAME[,alias=NAME]]` (several)
    #[arg(long, value_name = "ENTITLEMENT", value_parser = parse_entitlement)]
    pub allow: Vec<String>,

    /// Directory of CDI specifications, which name the devices of this machine for `RUN --device`; the last one wins
    /// (several) [default: /etc/cdi, /var/run/cdi]
    #[arg(long = "cdi-spec-dir", value_name = "PATH")]
    pub cdi_spec_dirs: Vec<PathBuf>,

    /// Runs every step anew
    #[arg(long)]
    pub no_cache: bool,

    /// Runs the steps of these stages anew (several, or a comma list)
    #[arg(long, value_name = "STAGE,...", value_parser = parse_list)]
    pub no_cache_filter: Vec<List>,

    /// Asks the registry for base images even if the store has them
    #[arg(long)]
    pub pull: bool,

    /// Where the result goes: `type=oci|docker|tar|local|image|registry|cacheonly,...`; a bare path is
    /// `type=local`, `-` a tar to standard output (several) [default: the store]
    #[arg(short, long = "output", value_name = "CSV", value_parser = parse_output)]
    pub outputs: Vec<OutputSpec>,

    /// Pushes the image to its registry: `--output type=registry`
    #[arg(long)]
    pub push: bool,

    /// Hands the image to the Docker daemon: `--output type=docker`
    #[arg(long)]
    pub load: bool,

    /// How progress is shown [default: BUILDKIT_PROGRESS, or auto]
    #[arg(long, value_enum, value_name = "MODE")]
    pub progress: Option<Mode>,

    /// Shows nothing; prints the digest of the image
    #[arg(short, long)]
    pub quiet: bool,

    /// File for the digest of the image
    #[arg(long = "iidfile", value_name = "PATH")]
    pub iid_file: Option<PathBuf>,

    /// File for what was made, as JSON
    #[arg(long, value_name = "PATH")]
    pub metadata_file: Option<PathBuf>,

    /// How many steps run side by side [default: by CPUs and memory]
    #[arg(short, long, value_name = "N", value_parser = parse_jobs)]
    pub jobs: Option<usize>,

    /// How RUN is isolated [default: the best that this machine allows]
    #[arg(long, value_name = "KIND")]
    pub isolation: Option<String>,

    /// Answers instead of building: `check`, `outline` (what the target can be given) or `targets` (the stages);
    /// `,format=json` for programs
    #[arg(long, value_name = "NAME[,format=json]", value_parser = parse_call)]
    pub call: Option<Call>,

    /// Checks the Dockerfile instead of building: `--call=check`
    #[arg(long)]
    pub check: bool,

    /// Says why each step missed the cache
    #[arg(long)]
    pub explain: bool,

    /// For scripts written for buildah, no effect: cooper has no intermediate containers to remove
    #[arg(long)]
    pub rm: bool,

    /// For scripts written for buildah, no effect: as `--rm`
    #[arg(long)]
    pub force_rm: bool,

    /// For scripts written for buildah, no effect: steps are always cached, see `--no-cache`
    #[arg(long)]
    pub layers: bool,
}

impl BuildArgs {
    /// Returns what `--call` and `--check` ask for; `--check` wins, as the shorter way to say it.
    pub fn call(&self) -> Call {
        let call = self.call.unwrap_or(Call { question: None, json: false, ignore_status: false });
        Call { question: if self.check { Some(Question::Check) } else { call.question }, ..call }
    }
}

/// The flags that are on or off.
const SWITCHES: [&str; 10] =
    ["no_cache", "pull", "push", "load", "quiet", "check", "explain", "rm", "force_rm", "layers"];

/// Lets switches have a value, `--push=false`, as Go's flags may.
pub fn with_boolean_values(command: Command) -> Command {
    let switch = |arg: Arg| {
        arg.action(ArgAction::Set)
            .value_name("BOOL")
            .value_parser(parse_bool)
            .num_args(0..=1)
            .require_equals(true)
            .default_value("false")
            .default_missing_value("true")
            .hide_default_value(true)
            .hide_possible_values(true)
    };
    SWITCHES.iter().fold(command, |command, name| command.mut_arg(name, switch))
}

/// The annotations of one `--annotation`, which may name several levels.
#[derive(Debug, Clone)]
pub struct AnnotationGroup(pub Vec<Annotation>);

/// The items of one comma list.
#[derive(Debug, Clone)]
pub struct List(pub Vec<String>);

fn parse_annotation_group(text: &str) -> Result<AnnotationGroup, String> {
    parse_annotations(text).map(AnnotationGroup)
}

fn parse_list(text: &str) -> Result<List, String> {
    parse_fields(text).map(List)
}

fn parse_tag(text: &str) -> Result<String, String> {
    match text.parse::<crate::image::Reference>() {
        Ok(reference) if reference.digest.is_some() => Err("a name to be given cannot have a digest".to_owned()),
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.reason.to_owned()),
    }
}

fn parse_jobs(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(jobs) if jobs > 0 => Ok(jobs),
        _ => Err("a number of at least 1 is needed".to_owned()),
    }
}
