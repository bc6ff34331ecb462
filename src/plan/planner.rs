//! The planner's state, and the way from the AST to the graph.
//!
//! All stages are named and their references resolved first (that is cheap and finds mistakes early); then the stages that
//! the target needs are marked, which looks up base images and so brings in ONBUILD triggers; then they are lowered in
//! the order of the file.

use super::args::{self, Globals};
use super::graph::{Graph, HistoryItem, ImageFacts, Op, SourceRef, Step, StepId, Target};
use super::label::Progress;
use super::outline::{Capture, Outline};
use super::stages::{Base, Origin, StageNode};
use super::state::State;
use super::words::Words;
use super::{Facts, Options, Planned};
use crate::diag::{Diagnostic, Failure, Place};
use crate::dockerfile::ast::Dockerfile;
use crate::dockerfile::lint::{self, Checks};
use crate::image::{Digest, Platform};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Everything that planning one Dockerfile for one platform needs.
pub(super) struct Planner<'a> {
    pub(super) dockerfile: &'a Dockerfile,
    pub(super) options: &'a Options,
    pub(super) facts: &'a mut dyn Facts,
    pub(super) words: Words,
    pub(super) globals: Globals,
    /// `--build-arg`, SOURCE_DATE_EPOCH normalised.
    pub(super) build_args: BTreeMap<String, String>,
    pub(super) stages: Vec<StageNode<'a>>,
    /// The last stage of each name, in lower case.
    pub(super) by_name: HashMap<String, usize>,
    /// The stages that have been lowered, as long as a stage to come starts from them.
    pub(super) states: Vec<Option<State>>,
    /// How many stages to come start from each stage; one more for the target.
    pub(super) children: Vec<usize>,
    /// The file systems of the stages that have been lowered.
    pub(super) roots: Vec<Option<SourceRef>>,
    /// What stands for images and contexts that `--from` names.
    pub(super) outside: HashMap<Origin, SourceRef>,
    /// Images that were asked for, by name and platform.
    pub(super) known_images: HashMap<(String, Platform), Arc<ImageFacts>>,
    /// The step of an image, by its manifest.
    pub(super) images: HashMap<Digest, StepId>,
    pub(super) graph: Graph,
    pub(super) warnings: Vec<Diagnostic>,
    /// Which lint rules count.
    pub(super) checks: Checks,
    /// Comments above the instruction at hand, which may skip rules.
    pub(super) comments: Vec<String>,
    pub(super) capture: Capture,
    /// Bytes of the texts that were expanded.
    pub(super) text_bytes: usize,
}

/// What a step is besides its operation.
pub(super) struct StepInfo {
    pub(super) label: String,
    pub(super) stage: String,
    pub(super) place: Option<Place>,
    pub(super) no_cache: bool,
    pub(super) platform: Platform,
}

impl<'a> Planner<'a> {
    /// Plans the build.
    pub(super) fn run(
        dockerfile: &'a Dockerfile,
        options: &'a Options,
        facts: &'a mut dyn Facts,
    ) -> Result<Planned, Failure> {
        let words = Words::new(dockerfile.escape);
        let mut warnings = Vec::new();
        let (globals, build_args) = args::globals(dockerfile, options, &words, facts, &mut warnings)?;
        let mut planner = Planner {
            dockerfile,
            options,
            facts,
            words,
            globals,
            build_args,
            stages: Vec::new(),
            by_name: HashMap::new(),
            states: Vec::new(),
            children: Vec::new(),
            roots: Vec::new(),
            outside: HashMap::new(),
            known_images: HashMap::new(),
            images: HashMap::new(),
            graph: Graph::default(),
            warnings,
            checks: super::warn::checks(dockerfile, options)?,
            comments: Vec::new(),
            capture: Capture::default(),
            text_bytes: 0,
        };
        match planner.target_outline() {
            Ok((target, outline)) => planner.finish(target, outline).map_err(Failure::from),
            Err(error) => Err(Failure { error, findings: planner.warnings }),
        }
    }

    /// Does all that can fail; returns the target and its outline.
    fn target_outline(&mut self) -> Result<(usize, Outline), Diagnostic> {
        self.name_stages()?;
        let target = self.target()?;
        self.resolve_references()?;
        self.need(target)?;
        let in_target: Vec<bool> = self.stages.iter().map(|stage| stage.is_needed).collect();
        if self.options.all_stages {
            (0..self.stages.len()).try_for_each(|index| self.need(index))?;
        }
        self.name_for_progress();
        self.lower_needed(target)?;
        Ok((target, self.outline(target, &in_target)))
    }

    fn lower_needed(&mut self, target: usize) -> Result<(), Diagnostic> {
        self.check_entitlements()?;
        self.states = self.stages.iter().map(|_| None).collect();
        self.roots = vec![None; self.stages.len()];
        self.children = vec![0; self.stages.len()];
        self.children[target] = 1;
        for stage in self.stages.iter().filter(|stage| stage.is_needed && stage.replaced_by.is_none()) {
            if let Base::Stage(base) = stage.base {
                self.children[base] += 1;
            }
        }
        // Stages that a context replaces depend on nothing, so that earlier stages may read them too.
        let (replaced, own): (Vec<usize>, Vec<usize>) = (0..self.stages.len())
            .filter(|&index| self.stages[index].is_needed)
            .partition(|&index| self.stages[index].replaced_by.is_some());
        replaced.into_iter().chain(own).try_for_each(|index| self.lower_stage(index))
    }

    fn lower_stage(&mut self, index: usize) -> Result<(), Diagnostic> {
        let mut progress = Progress::of(&self.stages[index]);
        let mut state = self.base_state(index, &mut progress)?;
        if self.stages[index].replaced_by.is_none() {
            let has_shell = !state.config.config.shell.is_empty();
            let commands = &self.stages[index].commands;
            let lines: Vec<_> = commands.iter().map(|command| command.line()).collect();
            self.warnings.extend(lint::lines_of_stage(self.dockerfile, &lines, &self.checks, has_shell));
            self.warnings.truncate(super::warn::MAX_FINDINGS);
            self.capture.stage = index;
            for command in std::mem::take(&mut self.stages[index].commands) {
                progress.is_trigger = command.is_trigger;
                self.lower(index, &command, &mut state, &mut progress)?;
            }
        }
        self.roots[index] = Some(state.root.map_or(SourceRef::Scratch, SourceRef::Step));
        self.states[index] = (self.children[index] > 0).then_some(state);
        Ok(())
    }

    /// Returns the state of a stage for a stage on top of it.
    ///
    /// The last one gets it without a copy: a long chain of stages must not keep as many copies of one history.
    pub(super) fn inherit(&mut self, base: usize) -> Option<State> {
        self.children[base] = self.children[base].saturating_sub(1);
        if self.children[base] == 0 { self.states[base].take() } else { self.states[base].clone() }
    }

    /// Adds a step and returns its id.
    pub(super) fn push(&mut self, info: StepInfo, op: Op) -> StepId {
        let id = StepId(u32::try_from(self.graph.steps.len()).unwrap_or(u32::MAX));
        let StepInfo { label, stage, place, no_cache, platform } = info;
        self.graph.steps.push(Step { id, label, stage, place, op, no_cache, platform });
        id
    }

    fn finish(mut self, target: usize, outline: Outline) -> Result<Planned, Diagnostic> {
        let Some(state) = self.states[target].take() else {
            return Err(Diagnostic::error(crate::diag::Exit::Bug, "the target stage was not planned"));
        };
        let mut config = state.config;
        config.created = None;
        config.history.clear();
        config.config.labels.extend(self.options.labels.clone());
        let wanted = &self.options.platform;
        if self.options.is_platform_given {
            let is_same = wanted.os == config.os && wanted.architecture == config.architecture;
            config.os.clone_from(&wanted.os);
            config.architecture.clone_from(&wanted.architecture);
            if !wanted.variant.is_empty() || !is_same {
                config.variant.clone_from(&wanted.variant);
            }
            if !is_same {
                config.os_version.clear();
            }
        }
        if let Ok(platform) = config.platform().to_string().parse::<Platform>() {
            (config.os, config.architecture, config.variant) = (platform.os, platform.architecture, platform.variant);
        }
        self.graph.targets.push(Target {
            platform: wanted.clone(),
            root: state.root,
            config,
            history: state.history,
            epoch: self.globals.epoch,
        });
        self.warnings.sort_by_key(|warning| warning.place.as_ref().map(|place| place.span.start));
        Ok(Planned { graph: self.graph, warnings: self.warnings, checks: self.checks, outline })
    }

    /// Returns whether results found for the steps of a stage must not be used.
    pub(super) fn is_no_cache(&self, index: usize) -> bool {
        let node = &self.stages[index];
        self.options.no_cache
            || (!node.name.is_empty() && self.options.no_cache_filter.iter().any(|name| node.is_called(name)))
    }
}

/// Returns the history of a base image as the first entries of what is built on it.
pub(super) fn base_history(config: &mut crate::image::ImageConfig) -> Vec<HistoryItem> {
    std::mem::take(&mut config.history).into_iter().map(HistoryItem::Base).collect()
}
