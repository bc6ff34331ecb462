//! The scheduler over the build graph; one file for each kind of step.
//!
//! [`build`] reads context and Dockerfile, has them planned, makes what the cache does not have, and returns the file
//! systems of the targets.  Putting them somewhere is the business of `output`.

mod base;
mod blobs;
mod contexts;
pub mod copy;
mod devices;
mod facts;
mod files;
mod filesystem;
mod keys;
mod layers;
mod leak;
pub mod mode;
mod mounts;
pub mod owner;
mod remote;
pub mod request;
mod run;
mod schedule;
mod session;
mod source;
mod ssh;
mod steps;
mod trees;
pub mod workdir;

pub use base::fetch_blob;
pub use blobs::{FinishedLayer, LayerOptions, finish_layer, finish_layers};
pub use files::export_tree;
pub use filesystem::FileSystem;
pub use layers::{View, view};
pub use session::{Session, store_failure};
pub use source::{DockerfileText, read_dockerfile};

use crate::diag::{Diagnostic, Exit, Failure};
use crate::image::Platform;
use crate::plan::graph::{Graph, StepId, Target};
use crate::plan::inspect::Inspected;
use crate::plan::{BuilderArgs, Options, fail_on_findings, plan};
use contexts::Contexts;
use facts::KnownImages;
use leak::GivenSecrets;
use request::{BuildRequest, OutputKind};
use schedule::Results;
use std::collections::HashSet;
use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::channel;
use steps::{Build, SealedLayer};

/// What a build has made.
#[derive(Debug)]
pub struct Built {
    /// The images, one for each platform.
    pub images: Vec<BuiltImage>,
    /// Steps whose result was found.
    pub steps_cached: usize,
    /// Steps that ran.
    pub steps_run: usize,
}

/// The file system and the config of one image.
#[derive(Debug)]
pub struct BuiltImage {
    /// Its config and history.
    pub target: Target,
    /// Its layers.
    pub filesystem: FileSystem,
}

/// Builds what is asked for.
pub fn build(session: &Session, request: &BuildRequest) -> Result<Built, Diagnostic> {
    let platforms = platforms(request)?;
    let source = source::open(session, request)?;
    let check = check_argument(request);
    // What was found in front of a mistake is shown with it.
    let failed = |failure: Failure| {
        failure.findings.into_iter().for_each(|warning| session.reporter().warn(warning));
        failure.error
    };
    let parsed = crate::dockerfile::parse_checked(&source.name, &source.text, check.as_deref()).map_err(failed)?;
    parsed.warnings.iter().for_each(|warning| session.reporter().warn(warning.clone()));
    let facts = KnownImages::new(session, request, &source.context);
    let mut facts = facts.with_devices(&request.cdi_spec_dirs);
    let mut graphs = Vec::new();
    for platform in platforms {
        let planned = plan(&parsed.dockerfile, &options(request, platform), &mut facts).map_err(failed)?;
        planned.warnings.iter().for_each(|warning| session.reporter().warn(warning.clone()));
        // The directive's rules come from the Dockerfile, the command line's may skip others.
        let warnings: Vec<Diagnostic> = parsed.warnings.iter().chain(&planned.warnings).cloned().collect();
        fail_on_findings(&planned.checks, &warnings)?;
        graphs.push(planned.graph);
    }
    let contexts = Contexts::new(session, source.context, &request.build_contexts, &[]);
    let mut built = Built { images: Vec::new(), steps_cached: 0, steps_run: 0 };
    let executed = graphs.into_iter().try_for_each(|graph| execute(session, request, &contexts, graph, &mut built));
    // What was read of the context stays known when a step fails: the next try comes soon.
    contexts.save_digests();
    executed.map(|()| built)
}

fn execute(
    session: &Session,
    request: &BuildRequest,
    contexts: &Contexts<'_>,
    graph: Graph,
    built: &mut Built,
) -> Result<(), Diagnostic> {
    let known = keys::definition_keys(session, &graph, contexts)?;
    let results = Results::with_capacity(graph.steps.len());
    let roots: Vec<Option<StepId>> = graph.targets.iter().map(|target| target.root).collect();
    let (sender, receiver) = channel();
    let layer_options = early_layers(request, &graph);
    let given_secrets = GivenSecrets::default();
    let images: HashSet<StepId> = roots.iter().flatten().copied().collect();
    let build = Build {
        session,
        request,
        graph: &graph,
        contexts,
        known: &known,
        results: &results,
        exported: steps::exported(&graph, &images),
        positions: steps::positions(&graph),
        targets: images,
        sealed_layers: Mutex::new(sender),
        given_secrets: &given_secrets,
        steps_run: AtomicUsize::new(0),
        explained: Mutex::default(),
    };
    let jobs = request.jobs.unwrap_or_else(default_jobs);
    let (graph_ref, secrets) = (&graph, &given_secrets);
    let filesystems = std::thread::scope(|scope| {
        let compressing = scope.spawn(move || {
            for sealed in receiver {
                finish_sealed(session, graph_ref, &sealed, layer_options.as_ref(), secrets);
            }
        });
        let filesystems = schedule::run(&graph, &roots, jobs, &build, &results);
        let run = build.end();
        let _ = compressing.join();
        filesystems.map(|filesystems| (filesystems, run))
    });
    let (filesystems, run) = filesystems?;
    built.steps_run += run;
    built.steps_cached += graph.steps.len() - run;
    built.images.extend(
        graph.targets.into_iter().zip(filesystems).map(|(target, filesystem)| BuiltImage { target, filesystem }),
    );
    Ok(())
}

/// Tar, digest and compression of a layer, beside the steps that follow.
///
/// What fails here fails again, and is told, at the export.
fn finish_sealed(
    session: &Session,
    graph: &Graph,
    sealed: &SealedLayer,
    options: Option<&LayerOptions>,
    secrets: &GivenSecrets,
) {
    let _ = session.store().measure_layer(&sealed.layer);
    if !sealed.is_exported {
        return;
    }
    let mut search = secrets.search();
    match (options, &mut search) {
        (Some(options), search) => drop(finish_layer(session, &sealed.layer, options, search.as_mut())),
        (None, Some(search)) => leak::search_layer(session, &sealed.layer, search),
        (None, None) => {}
    }
    if let Some(search) = &search {
        leak::warn(session.reporter(), &graph.steps[sealed.step.0 as usize], search);
    }
}

/// How layers are written while the build still runs; `None` when nothing asks for layers.
fn early_layers(request: &BuildRequest, graph: &Graph) -> Option<LayerOptions> {
    let epoch = graph.targets.first().and_then(|target| target.epoch);
    let has_layers = |kind| !matches!(kind, OutputKind::Tar | OutputKind::Local | OutputKind::CacheOnly);
    match request.outputs.as_slice() {
        [] => Some(LayerOptions::default()),
        outputs => outputs.iter().find(|output| has_layers(output.kind)).map(|output| LayerOptions::of(output, epoch)),
    }
}

fn default_jobs() -> usize {
    std::thread::available_parallelism().map_or(2, NonZero::get).max(2)
}

fn platforms(request: &BuildRequest) -> Result<Vec<Platform>, Diagnostic> {
    if request.platforms.is_empty() {
        return Ok(vec![Platform::host()]);
    }
    let parse = |text: &String| text.parse().map_err(|error| Diagnostic::from_error(Exit::Usage, &error));
    request.platforms.iter().map(parse).collect()
}

/// Reads the Dockerfile of a build and says what can be said of it without building; base images are looked up.
///
/// With `all_stages` every stage is looked at, unless there is a target.
pub fn inspect(session: &Session, request: &BuildRequest, all_stages: bool) -> Result<Inspected, Diagnostic> {
    let platform = platforms(request)?.into_iter().next().unwrap_or_else(Platform::host);
    let source = source::open(session, request)?;
    let mut facts = KnownImages::new(session, request, &source.context);
    let all_stages = all_stages && request.target.is_none();
    let options = Options { all_stages, ..options(request, platform) };
    Ok(crate::plan::inspect::inspect(&source.name, &source.text, &options, &mut facts))
}

/// Returns the lint rules that the command line asks for.
fn check_argument(request: &BuildRequest) -> Option<String> {
    BuilderArgs::of(&options(request, Platform::host()).build_args).dockerfile_check
}

fn options(request: &BuildRequest, platform: Platform) -> Options {
    let value = |(name, value): &(String, Option<String>)| {
        Some((name.clone(), value.clone().or_else(|| std::env::var(name).ok())?))
    };
    Options {
        target: request.target.clone(),
        build_args: request.build_args.iter().filter_map(value).collect(),
        labels: request.labels.iter().cloned().collect(),
        platform,
        build_platform: Platform::host(),
        contexts: request.build_contexts.clone(),
        no_cache: request.no_cache,
        no_cache_filter: request.no_cache_filter.clone(),
        network: request.network,
        allow: request.allow.clone(),
        extra_hosts: request.add_hosts.clone(),
        shm_size_bytes: request.shm_size_bytes,
        ulimits: request.ulimits.clone(),
        capabilities: request.capabilities,
        is_platform_given: !request.platforms.is_empty(),
        all_stages: false,
    }
}
