//! One build: finds results in the cache, does what is missing, and remembers it.

use super::base::end_task;
use super::contexts::Contexts;
use super::filesystem::FileSystem;
use super::keys::{self, Known, KnownInput};
use super::leak::GivenSecrets;
use super::request::BuildRequest;
use super::schedule::{Results, Work};
use super::session::{Session, store_failure};
use super::{base, devices, files, run, ssh};
use crate::diag::{Diagnostic, Exit};
use crate::event::{Outcome, Task};
use crate::key::CacheKey;
use crate::plan::graph::{Graph, ImageFacts, Op, RunMount, RunOp, Step, StepId};
use crate::store::{HeldLayer, Record};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

/// The layer that a step has made.
pub struct SealedLayer {
    /// The layer.
    pub layer: HeldLayer,
    /// The step.
    pub step: StepId,
    /// Whether it is one of the image's.
    pub is_exported: bool,
}

/// A build under way: what its steps need.
pub struct Build<'a> {
    /// Shared by all builds of this process.
    pub session: &'a Session,
    /// The command line.
    pub request: &'a BuildRequest,
    /// What there is to do.
    pub graph: &'a Graph,
    /// Where files come from.
    pub contexts: &'a Contexts<'a>,
    /// Keys of all steps.
    pub known: &'a [Known],
    /// What is done.
    pub results: &'a Results,
    /// The file systems that become images.
    pub targets: HashSet<StepId>,
    /// What is among the layers of those images: only that is ever compressed.
    pub exported: HashSet<StepId>,
    /// Which step of its stage each step is.
    pub positions: Vec<usize>,
    /// Takes layers as soon as they are sealed.
    pub sealed_layers: Mutex<Sender<SealedLayer>>,
    /// What steps were given that must not be in the image.
    pub given_secrets: &'a GivenSecrets,
    /// How many steps ran.
    pub steps_run: AtomicUsize,
    /// Stages of which a miss was explained.
    pub explained: Mutex<HashSet<String>>,
}

impl Work for Build<'_> {
    fn find(&self, step: StepId) -> Result<Option<FileSystem>, Diagnostic> {
        let (step, known) = (&self.graph.steps[step.0 as usize], &self.known[step.0 as usize]);
        if let Op::Image(image) = &step.op {
            return self.find_image(step, &image.facts);
        }
        if known.is_forced {
            return Ok(None);
        }
        self.recorded(&known.key, step)
    }

    fn begin(&self, missing: &[StepId]) -> Result<(), Diagnostic> {
        self.refuse_commands(missing)?;
        let missing: HashSet<StepId> = missing.iter().copied().collect();
        // Steps that nobody had to look at are told as cached too, as BuildKit does.
        for step in self.graph.steps.iter().filter(|step| !missing.contains(&step.id)) {
            self.session.reporter().start(&*step.label).end(Outcome::Cached);
        }
        Ok(())
    }

    fn perform(&self, step: StepId) -> Result<FileSystem, Diagnostic> {
        let step = &self.graph.steps[step.0 as usize];
        self.session.check_canceled()?;
        let base = self.results.get(step.base());
        let known = &self.known[step.id.0 as usize];
        let content = match &step.op {
            Op::Image(_) => None,
            _ => Some(
                keys::content_key(self.session, step, known, &base, |from| self.results.get(Some(from)))
                    .map_err(|error| keys::place(step, error))?,
            ),
        };
        if let Some((key, _)) = &content
            && !step.no_cache
            && let Some(found) = self.recorded(key, step)?
        {
            // Made from other inputs with the same content: from now on both keys lead here.
            let record = self.session.store().record(&key.0).map_err(store_failure)?;
            record
                .map_or(Ok(()), |record| self.session.store().put_record(&known.key.0, &record))
                .map_err(store_failure)?;
            self.session.reporter().start(&*step.label).end(Outcome::Cached);
            return Ok(found);
        }
        self.do_step(step, known, &base, content)
    }
}

/// Returns the steps whose layers are in one of the images: `targets` and all they stand on.
pub fn exported(graph: &Graph, targets: &HashSet<StepId>) -> HashSet<StepId> {
    let mut found = targets.clone();
    // A base stands before what is built on it.
    for step in graph.steps.iter().rev().filter(|step| step.base().is_some()) {
        if found.contains(&step.id) {
            found.extend(step.base());
        }
    }
    found
}

/// Returns for each step how many of its stage stand before it.
pub fn positions(graph: &Graph) -> Vec<usize> {
    let mut counts = HashMap::new();
    let mut position = |step: &Step| {
        let count = counts.entry(step.stage.clone()).or_insert(0_usize);
        *count += 1;
        *count - 1
    };
    graph.steps.iter().map(&mut position).collect()
}

impl Build<'_> {
    /// Ends the build: no more layers will come.  Returns how many steps ran.
    pub fn end(self) -> usize {
        self.steps_run.into_inner()
    }

    /// Fails where a command is among the missing steps and none can be run: before anything else was done for nothing.
    fn refuse_commands(&self, missing: &[StepId]) -> Result<(), Diagnostic> {
        let steps = missing.iter().map(|step| &self.graph.steps[step.0 as usize]);
        for step in steps {
            let Op::Run(run) = &step.op else { continue };
            if let Err(wall) = &self.session.entered().can_run {
                let error = Diagnostic::error(Exit::Isolation, format!("RUN is not possible here: {}", wall.what));
                return Err(keys::place(step, error.hint(wall.mend.clone())));
            }
            devices::check(self, run).map_err(|error| keys::place(step, error))?;
            self.check_agents(run).map_err(|error| keys::place(step, error))?;
        }
        Ok(())
    }

    /// Fails where keys for a step cannot be used: before anything else was done for nothing.
    fn check_agents(&self, run: &RunOp) -> Result<(), Diagnostic> {
        for mount in &run.mounts {
            if let RunMount::Ssh { id, .. } = mount {
                ssh::agent(self, id)?;
            }
        }
        Ok(())
    }

    /// An image is not unpacked before something looks into it; as a target of its own, not at all.
    fn find_image(&self, step: &Step, facts: &Arc<ImageFacts>) -> Result<Option<FileSystem>, Diagnostic> {
        let found = self.targets.contains(&step.id) || base::held_base(self.session, facts)?.is_some();
        Ok(found.then(|| FileSystem::of_image(facts.clone())))
    }

    fn recorded(&self, key: &CacheKey, step: &Step) -> Result<Option<FileSystem>, Diagnostic> {
        let store = self.session.store();
        let Some(record) = store.record(&key.0).map_err(store_failure)? else { return Ok(None) };
        let own = store.hold_layers(&record.layers).map_err(store_failure)?;
        Ok(own.map(|own| FileSystem { base: self.image_below(step), own }))
    }

    /// Returns the image that a step's file system starts from.
    fn image_below(&self, step: &Step) -> Option<Arc<ImageFacts>> {
        let mut step = step;
        loop {
            if let Op::Image(image) = &step.op {
                return Some(image.facts.clone());
            }
            step = &self.graph.steps[step.base()?.0 as usize];
        }
    }

    fn do_step(
        &self,
        step: &Step,
        known: &Known,
        base: &FileSystem,
        content: Option<(CacheKey, Vec<KnownInput>)>,
    ) -> Result<FileSystem, Diagnostic> {
        let task = self.session.reporter().start(&*step.label);
        self.explain(step, known, &task);
        self.steps_run.fetch_add(1, Ordering::Relaxed);
        let started = std::time::Instant::now();
        let inputs = content.as_ref().map(|(_, inputs)| inputs.as_slice()).unwrap_or_default();
        let result = self.make(step, base, inputs, &task).map_err(|error| keys::place(step, error));
        let elapsed_ms = started.elapsed().as_millis().try_into().unwrap_or(u64::MAX);
        let result = result.and_then(|made| {
            self.remember(step, known, content.as_ref().map(|(key, _)| key), &made, elapsed_ms).map(|()| made)
        });
        end_task(task, &result);
        if result.is_err() {
            // Others are not waited for: the build has failed.
            self.session.cancel().cancel();
        }
        result
    }

    fn make(
        &self,
        step: &Step,
        base: &FileSystem,
        inputs: &[KnownInput],
        task: &Task,
    ) -> Result<FileSystem, Diagnostic> {
        match &step.op {
            Op::Image(image) => {
                base::unpack_base(self.session, &image.facts, task)?;
                Ok(FileSystem::of_image(image.facts.clone()))
            }
            Op::Tree(context) => files::tree(self, *context, inputs),
            Op::Run(op) => run::run(self, step, op, base, task),
            Op::Copy(op) => files::copy(self, op, base, inputs),
            Op::Workdir(op) => files::workdir(self, op, base),
        }
    }

    /// The record is written after the layers it names.
    fn remember(
        &self,
        step: &Step,
        known: &Known,
        content: Option<&CacheKey>,
        made: &FileSystem,
        elapsed_ms: u64,
    ) -> Result<(), Diagnostic> {
        if let Some(layer) = made.own.last() {
            // Fails only when the build is over.
            let sealed =
                SealedLayer { layer: layer.clone(), step: step.id, is_exported: self.exported.contains(&step.id) };
            let _ = self.sealed_layers.lock().unwrap_or_else(PoisonError::into_inner).send(sealed);
        }
        // An image is found by its layers, not by a record.
        if matches!(step.op, Op::Image(_)) {
            return Ok(());
        }
        let record = Record::new(made.own_ids(), jiff::Timestamp::now().as_second(), elapsed_ms);
        let store = self.session.store();
        content
            .into_iter()
            .chain([&known.key])
            .try_for_each(|key| store.put_record(&key.0, &record))
            .map_err(store_failure)?;
        let description = serde_json::to_vec(&known.explanation).unwrap_or_default();
        store.put_description(&self.slot(step), &description).map_err(store_failure)
    }

    /// Says why the first step of a stage that has to run was not found in the cache.
    fn explain(&self, step: &Step, known: &Known, task: &Task) {
        // An image that is not unpacked is no miss.
        if matches!(step.op, Op::Image(_)) {
            return;
        }
        let is_first = self.explained.lock().unwrap_or_else(PoisonError::into_inner).insert(step.stage.clone());
        if !is_first && !self.request.explain {
            return;
        }
        if known.is_forced {
            if self.request.explain {
                task.detail("not cached: the cache was switched off for it");
            }
            return;
        }
        let Some(old) = self.session.store().description(&self.slot(step)) else {
            if self.request.explain {
                task.detail("not cached: it was never built before");
            }
            return;
        };
        let old = serde_json::from_slice(&old).unwrap_or_default();
        match crate::key::difference(&old, &known.explanation) {
            Some(reason) => task.detail(format!("not cached: {reason}")),
            None => task.detail("not cached: its result was removed from the store"),
        }
    }

    /// The place of a step among builds of the same Dockerfile: what its last description is kept under.
    fn slot(&self, step: &Step) -> [u8; 32] {
        let position = self.positions[step.id.0 as usize];
        let file = step.place.as_ref().map(|place| place.source.name.as_str()).unwrap_or_default();
        let context = format!("{:?}", self.request.context);
        blake3::hash(format!("{context}\0{file}\0{}\0{position}", step.stage).as_bytes()).into()
    }
}
