//! Everything that a build is asked to do: the command line, typed.

use crate::image::{Digest, Platform};
use crate::layer::Compression;
use crate::plan::NamedContext;
use crate::plan::graph::Network;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A build as asked for.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// The main context.
    pub context: ContextSource,
    /// `-f`: where the Dockerfile is.
    pub dockerfile: DockerfileSource,
    /// `--target`.
    pub target: Option<String>,
    /// `--build-arg`; `None` takes the value from the environment, and counts as not given where it is not set.
    pub build_args: Vec<(String, Option<String>)>,
    /// `--build-context`.
    pub build_contexts: Vec<(String, NamedContext)>,
    /// `--secret`.
    pub secrets: Vec<Secret>,
    /// `--ssh`: id and the sockets or keys; an empty list means `$SSH_AUTH_SOCK`.
    pub ssh: Vec<(String, Vec<PathBuf>)>,
    /// `--label`.
    pub labels: Vec<(String, String)>,
    /// `--annotation`: level and pair.
    pub annotations: Vec<Annotation>,
    /// `--platform`.
    pub platforms: Vec<String>,
    /// `--network`.
    pub network: Network,
    /// `--allow`.
    pub allow: Vec<String>,
    /// `--cdi-spec-dir`; the standard ones where empty.
    pub cdi_spec_dirs: Vec<PathBuf>,
    /// `--add-host`.
    pub add_hosts: Vec<(String, String)>,
    /// `--shm-size`.
    pub shm_size_bytes: Option<u64>,
    /// `--ulimit`: name, soft, hard.
    pub ulimits: Vec<(String, u64, u64)>,
    /// `--no-cache`.
    pub no_cache: bool,
    /// `--no-cache-filter`.
    pub no_cache_filter: Vec<String>,
    /// `--pull`: look at the registry even when the store knows the name.
    pub pull: bool,
    /// `-o`, `--push` and `--load`; empty means the store.
    pub outputs: Vec<OutputSpec>,
    /// `-t`.
    pub tags: Vec<String>,
    /// `--iidfile`.
    pub iid_file: Option<PathBuf>,
    /// `--metadata-file`.
    pub metadata_file: Option<PathBuf>,
    /// `--jobs`, how many steps at once; `None` for one a CPU.
    pub jobs: Option<usize>,
    /// `--isolation`.
    pub isolation: Option<String>,
    /// `--explain`: say why each step missed the cache.
    pub explain: bool,
}

/// What a build made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildResult {
    /// Digest of the manifest (or index); `None` where no image was made, e.g. for `type=local`.
    pub digest: Option<Digest>,
}

/// What the positional argument names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContextSource {
    /// A directory.
    Directory(PathBuf),
    /// `-`: a tar (or a lone Dockerfile) on standard input.
    Stdin,
    /// A Git or http(s) URL.
    Url(String),
}

/// Where the Dockerfile is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DockerfileSource {
    /// `Dockerfile` in the context.
    Default,
    /// A path: of this machine for a local context, in the context for a remote one.
    Path(PathBuf),
    /// `-f -`.
    Stdin,
}

/// A `--secret`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// Its id.
    pub id: String,
    /// Where its value is.
    pub source: SecretSource,
}

/// Where the value of a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// In a file.
    File(PathBuf),
    /// In an environment variable.
    Env(String),
}

/// An `--annotation`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// What it goes to.
    pub level: AnnotationLevel,
    /// The platform whose manifest is meant, `None` for all.
    pub platform: Option<Platform>,
    /// Name.
    pub key: String,
    /// Value.
    pub value: String,
}

/// What an annotation is attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnnotationLevel {
    /// The manifest.
    Manifest,
    /// The index.
    Index,
    /// The descriptor of the manifest in the index.
    ManifestDescriptor,
    /// The descriptor of the index in the layout.
    IndexDescriptor,
}

/// An `--output`.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputSpec {
    /// What is written.
    pub kind: OutputKind,
    /// Where to; `None` for the store or a registry, `-` is standard output.
    pub dest: Option<PathBuf>,
    /// Names besides `--tag`.
    pub names: Vec<String>,
    /// `push=true`.
    pub push: bool,
    /// `tar=false` of `type=oci` and `type=docker`: a directory.
    pub tar: bool,
    /// `compression` and `compression-level`.
    pub compression: Compression,
    /// `force-compression`: base layers too.
    pub force_compression: bool,
    /// `rewrite-timestamp`.
    pub rewrite_timestamp: bool,
    /// `oci-mediatypes`; Docker's media types where false.
    pub oci_media_types: Option<bool>,
    /// `platform-split` of `type=tar` and `type=local`: a directory for each platform; by default where there are several.
    pub platform_split: Option<bool>,
    /// `annotation.*` attributes.
    pub annotations: Vec<Annotation>,
    /// Attributes as given, for those that only one exporter knows.
    pub attributes: BTreeMap<String, String>,
}

impl OutputSpec {
    /// Returns what is done when nothing is asked for: the image is kept in the store.
    ///
    /// Its layers are not compressed: that would cost more than the build of a small change, and is done once when the image
    /// is pushed or saved.
    pub fn store() -> OutputSpec {
        OutputSpec { compression: Compression::Uncompressed, ..OutputSpec::of(OutputKind::Image) }
    }

    /// Returns an output of a kind with everything at its default.
    pub fn of(kind: OutputKind) -> OutputSpec {
        OutputSpec {
            kind,
            dest: None,
            names: Vec::new(),
            push: kind == OutputKind::Registry,
            tar: true,
            compression: Compression::Gzip(None),
            force_compression: false,
            rewrite_timestamp: false,
            oci_media_types: None,
            platform_split: None,
            annotations: Vec::new(),
            attributes: BTreeMap::new(),
        }
    }

    /// Whether the result goes to standard output: an archive without a destination, or with `-` for one.
    pub fn is_stdout(&self) -> bool {
        match &self.dest {
            Some(dest) => dest.as_os_str() == "-",
            None => matches!(self.kind, OutputKind::Oci | OutputKind::Tar),
        }
    }
}

/// The kinds of `--output`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputKind {
    /// An OCI layout, tar or directory.
    Oci,
    /// A `docker load` archive, or `docker load` itself without a destination.
    Docker,
    /// The root file system as a tar.
    Tar,
    /// The root file system as a directory.
    Local,
    /// An image in the store, pushed with `push=true`.
    Image,
    /// An image in a registry.
    Registry,
    /// Nothing but the cache.
    CacheOnly,
}
