//! ARGs before the first FROM, the predefined ones, and those that steer the builder.

use super::environment::Environment;
use super::epoch::{EPOCH, Epoch};
use super::words::Words;
use super::{Facts, Options};
use crate::diag::{Diagnostic, Exit};
use crate::dockerfile::ast::{ArgDefinition, Dockerfile, Instruction, Kind};
use crate::image::Platform;
use std::collections::{BTreeMap, BTreeSet};

/// What holds for all stages.
#[derive(Debug, Default)]
pub(super) struct Globals {
    /// Predefined and global ARGs with the command line's values.
    pub(super) args: Environment,
    /// The same with defaults alone, for [`super::warn::Rule::InvalidDefaultArgInFrom`].
    pub(super) defaults: Option<Environment>,
    /// Names of global ARGs, also of those without a value.
    pub(super) declared: BTreeSet<String>,
    /// SOURCE_DATE_EPOCH in seconds.
    pub(super) epoch: Option<i64>,
}

/// Build arguments that steer the builder rather than the Dockerfile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuilderArgs {
    /// `BUILDKIT_SANDBOX_HOSTNAME`: host name in RUN.
    pub hostname: Option<String>,
    /// `BUILDKIT_MULTI_PLATFORM`: an index even for one platform.
    pub multi_platform: Option<bool>,
    /// `BUILDKIT_CONTEXT_KEEP_GIT_DIR`: keep `.git` of a Git context.
    pub keep_git_dir: bool,
    /// `BUILDKIT_DOCKERFILE_CHECK`: overrides `# check=`.
    pub dockerfile_check: Option<String>,
    /// `BUILDKIT_CACHE_MOUNT_NS`: keeps the cache mounts of one project apart from another's.
    pub cache_mount_namespace: Option<String>,
}

impl BuilderArgs {
    /// Picks them out of the `--build-arg` values.
    pub fn of(build_args: &BTreeMap<String, String>) -> BuilderArgs {
        let text = |name: &str| build_args.get(name).filter(|value| !value.is_empty()).cloned();
        let flag = |name: &str| text(name).and_then(|value| parse_bool(&value));
        BuilderArgs {
            hostname: text("BUILDKIT_SANDBOX_HOSTNAME"),
            multi_platform: flag("BUILDKIT_MULTI_PLATFORM"),
            keep_git_dir: flag("BUILDKIT_CONTEXT_KEEP_GIT_DIR").unwrap_or(false),
            dockerfile_check: text("BUILDKIT_DOCKERFILE_CHECK"),
            cache_mount_namespace: text("BUILDKIT_CACHE_MOUNT_NS"),
        }
    }
}

/// Go's `strconv.ParseBool`.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// The proxy variables, which RUN sees in both cases without any ARG and which no key depends on.
const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// Returns the proxy variables that the build arguments set, in upper and lower case.
pub(super) fn proxies(build_args: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for proxy in PROXIES {
        // Of several spellings the last in order of bytes counts: `http_proxy` over `HTTP_PROXY`.
        if let Some((_, value)) = build_args.iter().rfind(|(name, _)| name.eq_ignore_ascii_case(proxy)) {
            found.push((proxy.to_owned(), value.clone()));
            found.push((proxy.to_ascii_lowercase(), value.clone()));
        }
    }
    found
}

/// Works out the global ARGs; returns them and the build arguments with SOURCE_DATE_EPOCH normalised.
pub(super) fn globals(
    dockerfile: &Dockerfile,
    options: &Options,
    words: &Words,
    facts: &mut dyn Facts,
    warnings: &mut Vec<Diagnostic>,
) -> Result<(Globals, BTreeMap<String, String>), Diagnostic> {
    let predefined = predefined(dockerfile, options);
    let mut build_args = options.build_args.clone();
    let mut globals = Globals {
        defaults: define_all(dockerfile, predefined.clone(), &BTreeMap::new(), words).ok(),
        args: define_all(dockerfile, predefined, &build_args, words)?,
        declared: definitions(dockerfile).map(|(_, arg)| arg.name.node.clone()).collect(),
        epoch: None,
    };
    let wanted = build_args.get(EPOCH).map(String::as_str).or_else(|| globals.args.get(EPOCH)).unwrap_or_default();
    let epoch = Epoch { dockerfile, options, words, args: &globals.args };
    globals.epoch = epoch.seconds(wanted, facts, warnings)?;
    let text = globals.epoch.map(|seconds| seconds.to_string());
    if build_args.contains_key(EPOCH) {
        build_args.remove(EPOCH);
        build_args.extend(text.clone().map(|text| (EPOCH.to_owned(), text)));
    }
    if globals.args.get(EPOCH).is_some() {
        match text {
            Some(text) => globals.args.set(EPOCH, text),
            None => globals.args.remove(EPOCH),
        }
    }
    Ok((globals, build_args))
}

fn definitions(dockerfile: &Dockerfile) -> impl Iterator<Item = (&Instruction, &ArgDefinition)> {
    dockerfile.global_args.iter().flat_map(|instruction| {
        let args: &[ArgDefinition] = if let Kind::Arg(args) = &instruction.kind { args } else { &[] };
        args.iter().map(move |arg| (instruction, arg))
    })
}

fn define_all(
    dockerfile: &Dockerfile,
    mut args: Environment,
    build_args: &BTreeMap<String, String>,
    words: &Words,
) -> Result<Environment, Diagnostic> {
    for (_, arg) in definitions(dockerfile) {
        let name = &arg.name.node;
        if let Some(value) = build_args.get(name) {
            args.set(name, value);
        } else if let Some(default) = &arg.default {
            let value = words
                .expand(&default.node, &args)
                .map_err(|message| Diagnostic::error(Exit::Usage, message).at(&dockerfile.source, default.span))?;
            args.set(name, value.text);
        }
    }
    Ok(args)
}

fn predefined(dockerfile: &Dockerfile, options: &Options) -> Environment {
    let last = dockerfile.stages.last().and_then(|stage| stage.name.as_ref()).map(|name| name.node.to_lowercase());
    let stage = options.target.clone().or(last).filter(|name| !name.is_empty()).unwrap_or_else(|| "default".into());
    let mut args = Environment::default();
    let platform = |prefix: &str, platform: &Platform| {
        [
            (format!("{prefix}PLATFORM"), platform.to_string()),
            (format!("{prefix}OS"), platform.os.clone()),
            (format!("{prefix}OSVERSION"), String::new()),
            (format!("{prefix}ARCH"), platform.architecture.clone()),
            (format!("{prefix}VARIANT"), platform.variant.clone()),
        ]
    };
    let pairs = platform("BUILD", &options.build_platform)
        .into_iter()
        .chain(platform("TARGET", &options.platform))
        .chain([("TARGETSTAGE".to_owned(), stage)]);
    for (name, value) in pairs {
        let value = options.build_args.get(&name).cloned().unwrap_or(value);
        args.set(&name, value);
    }
    args
}
