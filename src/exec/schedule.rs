//! Which steps have to run, and running them side by side.
//!
//! First, without any work: every step's definition key, lowest first, and from the target downwards which steps'
//! results are known.  What a known step was made from is not looked at any more.  Then the rest runs, each step as soon as
//! its inputs are there.

use super::filesystem::FileSystem;
use crate::diag::Diagnostic;
use crate::plan::graph::{Graph, SourceRef, StepId};
use std::collections::{BTreeSet, HashMap, HashSet};
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
    let queue = Queue { state: Mutex::new(State::new(graph, &todo)), changed: Condvar::new() };
    std::thread::scope(|scope| {
        for _ in 1..jobs.clamp(1, todo.len().max(1)) {
            scope.spawn(|| queue.serve(work, results));
        }
        queue.serve(work, results);
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
    /// Steps whose inputs are all there, lowest first.
    ready: BTreeSet<StepId>,
    /// How many inputs a step still waits for.
    missing_inputs: HashMap<StepId, usize>,
    /// Which steps wait for a step.
    dependents: HashMap<StepId, Vec<StepId>>,
    /// How many steps have neither run nor failed.
    left: usize,
    failed: Option<Diagnostic>,
}

impl State {
    fn new(graph: &Graph, todo: &[StepId]) -> State {
        let missing: HashSet<StepId> = todo.iter().copied().collect();
        let mut state = State {
            ready: BTreeSet::new(),
            missing_inputs: HashMap::new(),
            dependents: HashMap::new(),
            left: todo.len(),
            failed: None,
        };
        for step in todo {
            let waits_for: HashSet<StepId> = inputs(graph, *step).filter(|input| missing.contains(input)).collect();
            if waits_for.is_empty() {
                state.ready.insert(*step);
            }
            state.missing_inputs.insert(*step, waits_for.len());
            for input in waits_for {
                state.dependents.entry(input).or_default().push(*step);
            }
        }
        state
    }

    /// Notes that a step is done: steps that waited for nothing else are ready.
    fn finish(&mut self, step: StepId) {
        self.left -= 1;
        for dependent in self.dependents.remove(&step).unwrap_or_default() {
            let waits_for = self.missing_inputs.entry(dependent).or_default();
            *waits_for = waits_for.saturating_sub(1);
            if *waits_for == 0 {
                self.ready.insert(dependent);
            }
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs steps until nothing is left to start.
    fn serve(&self, work: &impl Work, results: &Results) {
        let mut state = self.lock();
        while state.failed.is_none() && state.left > 0 {
            let Some(step) = state.ready.pop_first() else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(state);
            let outcome = work.perform(step);
            state = self.lock();
            match outcome {
                Ok(result) => {
                    results.set(step, result);
                    state.finish(step);
                }
                // The first failure is the one that is told; what others say afterwards follows from it.
                Err(error) => {
                    state.failed.get_or_insert(error);
                }
            }
            self.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::Exit;
    use crate::image::Platform;
    use crate::plan::graph::{CopyOp, CopySource, Op, Step};
    use std::time::Duration;

    /// A step on a base that copies from other steps.
    fn step(id: u32, base: Option<u32>, from: &[u32]) -> Step {
        let source =
            |from: &u32| CopySource::Paths { from: SourceRef::Step(StepId(*from)), pattern: "/".into(), place: None };
        let op = CopyOp {
            base: base.map(StepId),
            sources: from.iter().map(source).collect(),
            destination: "/".into(),
            chown: None,
            chmod: None,
            link: false,
            parents: false,
            exclude: Vec::new(),
            is_add: false,
            unpack: None,
            epoch: None,
        };
        let (label, stage) = (format!("step {id}"), String::new());
        let platform = Platform::host();
        Step { id: StepId(id), label, stage, place: None, op: Op::Copy(Box::new(op)), no_cache: false, platform }
    }

    /// 0 <- 1 <- 4, 2 <- 3, 4 copies from 3.
    fn diamond() -> Graph {
        let steps = vec![
            step(0, None, &[]),
            step(1, Some(0), &[]),
            step(2, None, &[]),
            step(3, Some(2), &[]),
            step(4, Some(1), &[3]),
        ];
        Graph { steps, targets: Vec::new() }
    }

    #[derive(Default)]
    struct Recorder {
        known: Vec<u32>,
        fails: Option<u32>,
        done: Mutex<Vec<u32>>,
        running: Mutex<(usize, usize)>,
    }

    impl Work for Recorder {
        fn find(&self, step: StepId) -> Result<Option<FileSystem>, Diagnostic> {
            Ok(self.known.contains(&step.0).then(FileSystem::default))
        }

        fn begin(&self, _: &[StepId]) -> Result<(), Diagnostic> {
            Ok(())
        }

        fn perform(&self, step: StepId) -> Result<FileSystem, Diagnostic> {
            if let Ok(mut running) = self.running.lock() {
                running.0 += 1;
                running.1 = running.1.max(running.0);
            }
            std::thread::sleep(Duration::from_millis(20));
            if let (Ok(mut running), Ok(mut done)) = (self.running.lock(), self.done.lock()) {
                running.0 -= 1;
                done.push(step.0);
            }
            if self.fails == Some(step.0) {
                Err(Diagnostic::error(Exit::Step, "failed"))
            } else {
                Ok(FileSystem::default())
            }
        }
    }

    fn run_with(work: &Recorder, jobs: usize) -> (Result<(), Diagnostic>, Vec<u32>) {
        let graph = diamond();
        let results = Results::with_capacity(graph.steps.len());
        let result = run(&graph, &[Some(StepId(4))], jobs, work, &results).map(drop);
        (result, work.done.lock().map(|done| done.clone()).unwrap_or_default())
    }

    #[test]
    fn a_step_runs_after_its_inputs_and_each_once() {
        let (result, done) = run_with(&Recorder::default(), 1);
        assert!(result.is_ok());
        assert_eq!(done, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn what_a_known_step_was_made_from_is_not_looked_at() {
        let (result, done) = run_with(&Recorder { known: vec![3], ..Recorder::default() }, 1);
        assert!(result.is_ok());
        assert_eq!(done, [0, 1, 4]);
        assert_eq!(run_with(&Recorder { known: vec![4], ..Recorder::default() }, 1).1, [0_u32; 0]);
    }

    #[test]
    fn stages_run_side_by_side_but_never_more_than_jobs() {
        for (jobs, most) in [(1, 1), (2, 2), (8, 2)] {
            let work = Recorder::default();
            assert!(run_with(&work, jobs).0.is_ok());
            assert_eq!(work.running.lock().map(|running| running.1).ok(), Some(most), "{jobs} jobs");
        }
    }

    #[test]
    fn after_a_failure_nothing_new_is_started() {
        let (result, done) = run_with(&Recorder { fails: Some(1), ..Recorder::default() }, 1);
        assert_eq!(result.map_err(|error| error.message), Err("failed".to_owned()));
        assert_eq!(done, [0, 1]);
    }
}
