//! The work trees of a session, where no overlay can be mounted: made once, shared by readers, moved forward by steps.

use super::session::{Session, store_failure};
use crate::diag::{Diagnostic, Exit};
use crate::snapshot::copy::{Sharing, WorkTree};
use crate::store::{HeldLayer, LayerId};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// Trees that nobody writes to now, by the layers that they are the merge of.
#[derive(Debug, Default)]
pub struct Trees {
    idle: Mutex<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    layers: Vec<LayerId>,
    tree: Arc<WorkTree>,
}

impl Idle {
    /// Whether nobody reads it.
    fn is_free(&self) -> bool {
        Arc::strong_count(&self.tree) == 1
    }
}

fn ids(layers: &[HeldLayer]) -> Vec<LayerId> {
    layers.iter().map(|layer| layer.id.clone()).collect()
}

impl Trees {
    /// Returns the merge of some layers for reading.
    pub fn view(&self, session: &Session, layers: &[HeldLayer]) -> Result<Arc<WorkTree>, Diagnostic> {
        let wanted = ids(layers);
        {
            let idle = self.lock();
            if let Some(found) = idle.iter().find(|idle| idle.layers == wanted) {
                return Ok(found.tree.clone());
            }
        }
        let tree = Arc::new(self.make(session, layers, Sharing::Linked)?);
        self.lock().push(Idle { layers: wanted, tree: tree.clone() });
        Ok(tree)
    }

    /// Returns the merge of some layers for a step that changes it; `sharing` is the least that the step needs.
    pub fn take(&self, session: &Session, layers: &[HeldLayer], sharing: Sharing) -> Result<WorkTree, Diagnostic> {
        let wanted = ids(layers);
        let fits = |idle: &Idle| {
            let is_copied_enough = sharing == Sharing::Linked || idle.tree.sharing() == Sharing::Copied;
            is_copied_enough && idle.is_free() && wanted.starts_with(&idle.layers)
        };
        let found = {
            let mut idle = self.lock();
            let longest = (0..idle.len()).filter(|at| fits(&idle[*at])).max_by_key(|at| idle[*at].layers.len());
            longest.map(|at| idle.swap_remove(at))
        };
        if let Some(Idle { layers: there, tree }) = found
            && let Some(mut tree) = Arc::into_inner(tree)
        {
            self.apply(session, &mut tree, &layers[there.len()..])?;
            return Ok(tree);
        }
        self.make(session, layers, sharing)
    }

    /// Keeps a tree that a step has moved forward for the next one.
    pub fn give_back(&self, layers: &[HeldLayer], tree: WorkTree) {
        self.lock().push(Idle { layers: ids(layers), tree: Arc::new(tree) });
    }

    /// Makes a tree that nobody else has.
    pub fn make(&self, session: &Session, layers: &[HeldLayer], sharing: Sharing) -> Result<WorkTree, Diagnostic> {
        let directory = session.store().work_directory().map_err(store_failure)?;
        let mut tree = WorkTree::new(directory, sharing).map_err(|error| failure(&error))?;
        self.apply(session, &mut tree, layers)?;
        Ok(tree)
    }

    fn apply(&self, session: &Session, tree: &mut WorkTree, layers: &[HeldLayer]) -> Result<(), Diagnostic> {
        layers.iter().try_for_each(|layer| {
            session.check_canceled()?;
            tree.apply(&layer.tree(), session.form()).map_err(|error| failure(&error))
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says that a root file system could not be copied or compared.
pub fn failure(error: &io::Error) -> Diagnostic {
    let diagnostic =
        Diagnostic::error(Exit::Step, "cannot make a copy of the root file system of a step").note(error.to_string());
    if error.kind() == io::ErrorKind::StorageFull {
        return diagnostic.hint("free some space, or set COOPER_ROOT to a directory on a larger disk");
    }
    diagnostic
}
