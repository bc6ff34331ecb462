//! The flags as a [`BuildRequest`].

use super::Environment;
use super::args::BuildArgs;
use super::output::with_shortcuts;
use super::source::{context_source, dockerfile_source};
use crate::diag::{Diagnostic, Exit};
use crate::exec::request::{BuildRequest, ContextSource, DockerfileSource, OutputSpec, Secret};
use crate::image::Platform;

/// Returns the request that the flags make, or what is wrong with them together.
pub fn request(args: BuildArgs, environment: &Environment) -> Result<BuildRequest, Diagnostic> {
    let context = context_source(&args.context);
    let dockerfile = dockerfile_source(args.file.as_deref())
        .map_err(|reason| Diagnostic::error(Exit::Usage, format!("invalid value for `--file`: {reason}")))?;
    if context == ContextSource::Stdin && dockerfile == DockerfileSource::Stdin {
        return Err(Diagnostic::error(
            Exit::Usage,
            "the context and the Dockerfile cannot both come from standard input",
        ));
    }
    let outputs = with_shortcuts(args.outputs, args.push, args.load);
    check_stdout(&outputs, args.quiet)?;
    Ok(BuildRequest {
        context,
        dockerfile,
        target: args.target.filter(|target| !target.is_empty()),
        build_args: with_epoch(args.build_args, environment),
        build_contexts: args.build_contexts,
        secrets: unique_secrets(args.secrets)?,
        ssh: args.ssh,
        labels: args.labels,
        annotations: args.annotations.into_iter().flat_map(|group| group.0).collect(),
        platforms: valid_platforms(args.platforms)?,
        network: args.network,
        allow: args.allow,
        cdi_spec_dirs: args.cdi_spec_dirs,
        add_hosts: args.add_hosts,
        shm_size_bytes: args.shm_size,
        ulimits: args.ulimits,
        no_cache: args.no_cache,
        no_cache_filter: args.no_cache_filter.into_iter().flat_map(|list| list.0).collect(),
        pull: args.pull,
        outputs,
        tags: args.tags,
        iid_file: args.iid_file,
        metadata_file: args.metadata_file,
        jobs: args.jobs,
        isolation: args.isolation,
        explain: args.explain,
    })
}

/// Refuses that two things are written to standard output, or an archive to a terminal.
fn check_stdout(outputs: &[OutputSpec], quiet: bool) -> Result<(), Diagnostic> {
    let count = outputs.iter().filter(|output| output.is_stdout()).count();
    let refuse = |message: &str| Err(Diagnostic::error(Exit::Usage, message).hint("give it a file with `dest=`"));
    match count {
        0 => Ok(()),
        1 if quiet => refuse("`--quiet` prints the digest to standard output, where the `--output` goes"),
        1 if std::io::IsTerminal::is_terminal(&std::io::stdout()) => {
            refuse("the `--output` would be written to a terminal")
        }
        1 => Ok(()),
        _ => refuse("only one `--output` can be written to standard output"),
    }
}

type BuildArg = (String, Option<String>);

/// Adds SOURCE_DATE_EPOCH of the environment, as buildx does, unless the command line has one.
fn with_epoch(mut build_args: Vec<BuildArg>, environment: &Environment) -> Vec<BuildArg> {
    const NAME: &str = "SOURCE_DATE_EPOCH";
    if let Some(epoch) = &environment.source_date_epoch
        && !build_args.iter().any(|(name, _)| name == NAME)
    {
        build_args.push((NAME.to_owned(), Some(epoch.clone())));
    }
    build_args
}

fn valid_platforms(platforms: Vec<String>) -> Result<Vec<String>, Diagnostic> {
    for platform in &platforms {
        platform.parse::<Platform>().map_err(|error| Diagnostic::error(Exit::Usage, error.to_string()))?;
    }
    Ok(platforms)
}

fn unique_secrets(secrets: Vec<Secret>) -> Result<Vec<Secret>, Diagnostic> {
    for (index, secret) in secrets.iter().enumerate() {
        if secrets[..index].iter().any(|earlier| earlier.id == secret.id) {
            return Err(Diagnostic::error(Exit::Usage, format!("the secret `{}` is given twice", secret.id)));
        }
    }
    Ok(secrets)
}
