//! Which steps have to run, and running them side by side.
//!
//! First, without any work: every step's definition key, lowest first, and from the target downwards which steps'
//! results are known.  What a known step was made from is not looked at any more.  Then the rest runs, each step as soon as
//! its inputs are there.

use super::filesystem::FileSystem;
use crate::diag::Diagnostic;
use crate::plan::graph::{Graph, SourceRef, StepId};
use std::collections::HashSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What the scheduler asks of the one who knows how steps work.
pub trait Work: Sync {
    /// Looks for the result of a step without doing it.
    fn find(&self, step: StepId) -> Result<Option<FileSystem>, Diagnostic>;
    /// Is told which steps will run, before the first does; all others are done.
    fn begin(&self, missing: &[StepId]) -> Result<(), Diagnostic>;
    /// Does a step whose inputs are all there.
    fn perform(&self, step: StepId) -> Result<FileSystem, Diagnostic>;
}

/// Results of steps so far.
#[derive(Debug, Default)]
pub struct Results {
    done: Mutex<Vec<Option<FileSystem>>>,
}

impl Results {
    /// Returns room for the results of so many steps.
    pub fn with_capacity(steps: usize) -> Results {
        Results { done: Mutex::new(vec![None; steps]) }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Option<FileSystem>>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the file system of a step that has run; `None` for no step is the empty one.
    pub fn get(&self, step: Option<StepId>) -> FileSystem {
        let Some(step) = step else { return FileSystem::default() };
        self.lock()[step.0 as usize].clone().expect("a step runs only after its inputs")
    }

    fn set(&self, step: StepId, result: FileSystem) {
        self.lock()[step.0 as usize] = Some(result);
    }
}

/// Makes the file systems of `targets`, with at most `jobs` steps at once.  Returns one for each target.
///
/// `results` must have room for all steps of the graph.
pub fn run(
    graph: &Graph,
    targets: &[Option<StepId>],
    jobs: usize,
    work: &impl Work,
    results: &Results,
) -> Result<Vec<FileSystem>, Diagnostic> {
    let todo = find_missing(graph, targets, work, results)?;
    work.begin(&todo)?;
    let queue = Queue {
        state: Mutex::new(State { waiting: todo, running: HashSet::new(), failed: None }),
        changed: Condvar::new(),
    };
    std::thread::scope(|scope| {
        let workers = jobs.clamp(1, queue.lock().waiting.len().max(1));
        for _ in 1..workers {
            scope.spawn(|| queue.serve(graph, work, results));
        }
        queue.serve(graph, work, results);
    });
    let state = queue.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    match state.failed {
        Some(error) => Err(error),
        None => Ok(targets.iter().map(|target| results.get(*target)).collect()),
    }
}

/// Returns the steps that have to run, lowest first, and fills in the results that are known.
fn find_missing(
    graph: &Graph,
    targets: &[Option<StepId>],
    work: &impl Work,
    results: &Results,
) -> Result<Vec<StepId>, Diagnostic> {
    let mut wanted: HashSet<StepId> = targets.iter().flatten().copied().collect();
    let mut missing = Vec::new();
    // Inputs stand before their step, so one pass from the top meets every step after all who want it.
    for step in graph.steps.iter().rev() {
        if !wanted.contains(&step.id) {
            continue;
        }
        match work.find(step.id)? {
            Some(result) => results.set(step.id, result),
            None => {
                wanted.extend(inputs(graph, step.id));
                missing.push(step.id);
            }
        }
    }
    missing.reverse();
    Ok(missing)
}

fn inputs(graph: &Graph, step: StepId) -> impl Iterator<Item = StepId> + '_ {
    let step = &graph.steps[step.0 as usize];
    let sources = step.sources().into_iter().filter_map(|source| match source {
        SourceRef::Step(step) => Some(step),
        SourceRef::Context(_) | SourceRef::Scratch => None,
    });
    step.base().into_iter().chain(sources)
}

struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    waiting: Vec<StepId>,
    running: HashSet<StepId>,
    failed: Option<Diagnostic>,
}

impl State {
    fn take_ready(&mut self, graph: &Graph) -> Option<StepId> {
        let pending: HashSet<StepId> = self.waiting.iter().chain(&self.running).copied().collect();
        let ready = self.waiting.iter().position(|step| inputs(graph, *step).all(|input| !pending.contains(&input)))?;
        let step = self.waiting.remove(ready);
        self.running.insert(step);
        Some(step)
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs steps until nothing is left to start.
    fn serve(&self, graph: &Graph, work: &impl Work, results: &Results) {
        let mut state = self.lock();
        while state.failed.is_none() && !state.waiting.is_empty() {
            let Some(step) = state.take_ready(graph) else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(state);
            let outcome = work.perform(step);
            state = self.lock();
            state.running.remove(&step);
            match outcome {
                Ok(result) => results.set(step, result),
                // The first failure is the one that is told; what others say afterwards follows from it.
                Err(error) => {
                    state.failed.get_or_insert(error);
                }
            }
            self.changed.notify_all();
        }
    }
}
