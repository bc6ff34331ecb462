//! The keys of steps: before anything runs, and once the inputs are there.

use super::contexts::Contexts;
use super::filesystem::FileSystem;
use super::layers;
use super::remote::{self, Fetched};
use super::session::Session;
use crate::context::digest::{SelectionDigest, selection_digest};
use crate::context::ignore::IgnoreRules;
use crate::context::select::{SelectOptions, Selected, Unmatched, select, select_path};
use crate::context::selection::Item;
use crate::context::stat_cache::StatCache;
use crate::context::tree::Tree;
use crate::diag::{Diagnostic, Exit};
use crate::key::{CacheKey, Explainer, Explanation, Hasher, Inputs, Manifest, SourceKey, describe};
use crate::plan::graph::{ContextId, CopyOp, CopySource, Graph, Op, RunMount, SourceRef, Step, StepId};
use std::path::Path;
use std::sync::Arc;

/// What is known of a step before it runs.
pub struct Known {
    /// Its definition key.
    pub key: CacheKey,
    /// Whether its result, or that of something it is made from, must not be taken from the cache.
    pub is_forced: bool,
    /// What it depends on, in words that can be compared.
    pub explanation: Explanation,
    /// Its inputs besides its base.
    pub inputs: Vec<KnownInput>,
}

/// What is known of one input of a step; of files in another step's file system, nothing before that has run.
#[derive(Clone)]
pub struct KnownInput {
    label: String,
    key: [u8; 32],
    /// What is selected in a context, and later in a step.
    pub selected: Option<Arc<Selected>>,
    /// What a download is.
    pub fetched: Option<Arc<Fetched>>,
}

impl KnownInput {
    fn new(label: &str, key: [u8; 32]) -> KnownInput {
        KnownInput { label: label.to_owned(), key, selected: None, fetched: None }
    }

    fn files(label: &str, selected: Selected, digest: &SelectionDigest) -> KnownInput {
        KnownInput { selected: Some(Arc::new(selected)), ..KnownInput::new(label, digest.digest.into()) }
    }
}

/// One input of a step besides its base, in the order in which keys take them.
enum Input<'a> {
    /// `COPY` of a pattern.
    Pattern { from: SourceRef, pattern: &'a str },
    /// A mount of a path.
    Path { from: SourceRef, path: &'a str },
    /// ADD of a URL or repository.
    Download(&'a CopySource),
}

fn inputs(step: &Step) -> Vec<Input<'_>> {
    match &step.op {
        Op::Image(_) | Op::Workdir(_) => Vec::new(),
        Op::Tree(context) => vec![Input::Path { from: SourceRef::Context(*context), path: "/" }],
        Op::Run(run) => run.mounts.iter().filter_map(mount_input).collect(),
        Op::Copy(copy) => copy.sources.iter().filter_map(copy_input).collect(),
    }
}

fn mount_input(mount: &RunMount) -> Option<Input<'_>> {
    match mount {
        RunMount::Bind { from, source, .. } => Some(Input::Path { from: *from, path: source }),
        RunMount::Cache { from: Some(from), source, .. } => Some(Input::Path { from: *from, path: source }),
        _ => None,
    }
}

fn copy_input(source: &CopySource) -> Option<Input<'_>> {
    match source {
        CopySource::Paths { from, pattern, .. } => Some(Input::Pattern { from: *from, pattern }),
        CopySource::Inline { .. } => None,
        CopySource::Http { .. } | CopySource::Git { .. } => Some(Input::Download(source)),
    }
}

/// Computes the definition keys of all steps, lowest first.
pub fn definition_keys(session: &Session, graph: &Graph, contexts: &Contexts<'_>) -> Result<Vec<Known>, Diagnostic> {
    let mut known: Vec<Known> = Vec::with_capacity(graph.steps.len());
    for step in &graph.steps {
        let next = definition_key(session, step, contexts, &known).map_err(|error| place(step, error))?;
        known.push(next);
    }
    check_unmatched(graph, contexts, &known)?;
    Ok(known)
}

/// Refuses wildcards without a match in a directory that nothing else in the build reads.
///
/// A wildcard that matches nothing is no error. But a client of BuildKit sends what the sources of the whole build name
/// and no more, so a directory in front of such a wildcard is there for another source's sake or not at all.
fn check_unmatched(graph: &Graph, contexts: &Contexts<'_>, known: &[Known]) -> Result<(), Diagnostic> {
    let selections = || {
        graph.steps.iter().zip(known).flat_map(|(step, known)| {
            let selected = inputs(step).into_iter().zip(&known.inputs);
            selected.filter_map(move |(input, known)| match input {
                Input::Pattern { from: SourceRef::Context(id), .. }
                | Input::Path { from: SourceRef::Context(id), .. } => Some((step, id, known.selected.as_deref()?)),
                _ => None,
            })
        })
    };
    for (step, id, selected) in selections() {
        for Unmatched { pattern, directory } in &selected.unmatched {
            // For a client `**` is any number of directories, for COPY it is one: something may have been sent for it.
            if pattern.contains("**") {
                continue;
            }
            let has_directory = |item: &Item| item.origin.starts_with(directory) || directory.starts_with(&item.origin);
            let is_read = || {
                // Of a named context each instruction has a copy of its own.
                let is_sent = |other: &Step, of: ContextId| of == id && (id == ContextId(0) || other.id == step.id);
                let of_context = selections().filter(|(other, of, _)| is_sent(other, *of));
                of_context.flat_map(|(_, _, selected)| &selected.selection.items).any(has_directory)
            };
            if directory != Path::new("/") && contexts.get(id)?.is_directory() && !is_read() {
                let message = format!("\"/{}\": not found", pattern.trim_start_matches('/'));
                let error = Diagnostic::error(Exit::Usage, message).note(format!(
                    "nothing matches, and nothing else in `{}` is copied: docker refuses that",
                    directory.display()
                ));
                return Err(place(step, at_source(step, pattern, error)));
            }
        }
    }
    Ok(())
}

fn definition_key(
    session: &Session,
    step: &Step,
    contexts: &Contexts<'_>,
    below: &[Known],
) -> Result<Known, Diagnostic> {
    let rules = exclude_rules(step)?;
    let (mut known, mut files) = (Vec::new(), Vec::new());
    let mut is_forced = step.no_cache;
    for input in inputs(step) {
        let mut listed = Vec::new();
        known.push(match input {
            Input::Pattern { from: SourceRef::Context(id), pattern } => {
                let options = select_options(step, &rules);
                let found =
                    contexts.select(id, &[pattern], options).map_err(|error| at_source(step, pattern, error))?;
                listed = file_names(&found.1);
                KnownInput::files(contexts.name(id), found.0, &found.1)
            }
            Input::Path { from: SourceRef::Context(id), path } => {
                let found = contexts.select_path(id, path)?;
                listed = file_names(&found.1);
                KnownInput::files(contexts.name(id), found.0, &found.1)
            }
            Input::Pattern { from: SourceRef::Step(source), .. }
            | Input::Path { from: SourceRef::Step(source), .. } => {
                let source = &below[source.0 as usize];
                is_forced |= source.is_forced;
                KnownInput::new("stage", source.key.0)
            }
            Input::Pattern { .. } | Input::Path { .. } => KnownInput::new("scratch", [0; 32]),
            Input::Download(source) => {
                let download = remote::identify(session, source)?;
                KnownInput { fetched: Some(Arc::new(download.clone())), ..KnownInput::new("download", download.key()) }
            }
        });
        files.push(listed);
    }
    let base = step.base().map(|base| &below[base.0 as usize]);
    is_forced |= base.is_some_and(|base| base.is_forced);
    let base = base.map(|base| base.key);
    let mut explainer = Explainer::new();
    describe(step, &key_inputs(base, &known, &files), &mut explainer);
    Ok(Known {
        key: make_key(step, "definition", base, &known),
        is_forced,
        explanation: explainer.finish(),
        inputs: known,
    })
}

/// Computes the key of a step by what its inputs contain, once they are there.
///
/// Returns the inputs too, now with what is selected in the file systems of other steps.
pub fn content_key(
    session: &Session,
    step: &Step,
    known: &Known,
    base: &FileSystem,
    result_of: impl Fn(StepId) -> FileSystem,
) -> Result<(CacheKey, Vec<KnownInput>), Diagnostic> {
    let rules = exclude_rules(step)?;
    let mut found = known.inputs.clone();
    for (slot, input) in found.iter_mut().zip(inputs(step)) {
        let (Input::Pattern { from: SourceRef::Step(from), .. } | Input::Path { from: SourceRef::Step(from), .. }) =
            input
        else {
            continue;
        };
        let view = layers::view(session, &result_of(from))?;
        let tree = Tree { root: &view.root, ignore: None, keep_owner: true };
        let selected = match input {
            Input::Pattern { pattern, .. } => select(tree, &[pattern], select_options(step, &rules))
                .map_err(|error| at_source(step, pattern, error.to_diagnostic()))?,
            Input::Path { path, .. } => select_path(tree, path.as_ref()).map_err(|error| error.to_diagnostic())?,
            Input::Download(_) => continue,
        };
        let digest = selection_digest(tree, &selected, &StatCache::default())
            .map_err(|error| Diagnostic::from_error(Exit::Step, &error))?;
        *slot = KnownInput::files("stage", selected, &digest);
    }
    let base = (!is_linked(step)).then(|| CacheKey(base.identity()));
    Ok((make_key(step, "content", base, &found), found))
}

/// Whether a step makes a layer that is the same on every base, `COPY --link`.
///
/// The record of its content key then has that layer alone.
pub fn is_linked(step: &Step) -> bool {
    matches!(&step.op, Op::Copy(copy) if copy.link)
}

fn file_names(digest: &SelectionDigest) -> Vec<(String, [u8; 32])> {
    digest.files.iter().map(|(path, hash)| (path.to_string_lossy().into_owned(), (*hash).into())).collect()
}

fn key_inputs<'a>(base: Option<CacheKey>, known: &[KnownInput], files: &'a [Vec<(String, [u8; 32])>]) -> Inputs<'a> {
    let source = |(index, input): (usize, &KnownInput)| SourceKey {
        label: input.label.clone(),
        key: CacheKey(input.key),
        files: files.get(index).map(Vec::as_slice).unwrap_or_default(),
    };
    Inputs { base, sources: known.iter().enumerate().map(source).collect() }
}

fn make_key(step: &Step, kind: &str, base: Option<CacheKey>, known: &[KnownInput]) -> CacheKey {
    let mut hasher = Hasher::new();
    // The two kinds of keys live in one directory.
    hasher.field("kind", kind.as_bytes());
    describe(step, &key_inputs(base, known, &[]), &mut hasher);
    hasher.finish()
}

fn exclude_rules(step: &Step) -> Result<Option<IgnoreRules>, Diagnostic> {
    match &step.op {
        Op::Copy(copy) if !copy.exclude.is_empty() => IgnoreRules::from_patterns(&copy.exclude)
            .map(Some)
            .map_err(|error| Diagnostic::from_error(Exit::Usage, &error)),
        _ => Ok(None),
    }
}

fn select_options<'a>(step: &Step, rules: &'a Option<IgnoreRules>) -> SelectOptions<'a> {
    let parents = matches!(&step.op, Op::Copy(copy) if copy.parents);
    SelectOptions { parents, exclude: rules.as_ref() }
}

/// Points at the source in the instruction where that is known.
fn at_source(step: &Step, pattern: &str, error: Diagnostic) -> Diagnostic {
    let Op::Copy(copy) = &step.op else { return error };
    match source_place(copy, pattern) {
        Some(place) => error.at(&place.source, place.span),
        None => error,
    }
}

fn source_place<'a>(copy: &'a CopyOp, wanted: &str) -> Option<&'a crate::diag::Place> {
    copy.sources.iter().find_map(|source| match source {
        CopySource::Paths { pattern, place, .. } if pattern == wanted => place.as_ref(),
        _ => None,
    })
}

/// Points at the instruction, unless the error points at something already.
pub fn place(step: &Step, error: Diagnostic) -> Diagnostic {
    match &step.place {
        Some(place) => error.at(&place.source, place.span),
        None => error,
    }
}
