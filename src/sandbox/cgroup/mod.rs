//! Limits of a step's memory, CPU time and processes: a control group (version 2) of its own for each step.
//!
//! Only version 2 is used: a group of version 1 cannot be handed to an ordinary user, and its hierarchies would each
//! need a group.  Nothing is made unless a limit is asked for: to move a process into a group costs milliseconds.

mod leaf;
mod place;
mod resources;

pub use leaf::{Exceeded, Leaf};
pub use resources::{Resources, ResourcesError};

use super::probe::Wall;
use place::{Place, View};
use std::sync::atomic::{AtomicU32, Ordering};

/// Where the control groups of a build's steps are made.
#[derive(Debug)]
pub struct Cgroups {
    place: Place,
    resources: Resources,
    count: AtomicU32,
}

/// Says which limits steps could have here, or what stands in the way; nothing is made or moved.
pub(super) fn delegated() -> Result<String, Wall> {
    View::of_this_process()?.delegated()
}

impl Cgroups {
    /// Finds, or makes, the group below which steps have theirs, and removes what killed builds have left in it.
    pub fn new(resources: &Resources) -> Result<Cgroups, Wall> {
        let view = View::of_this_process()?;
        let place = view.place(&resources.controllers(), resources.parent.as_deref())?;
        leaf::remove_abandoned(place.directory());
        Ok(Cgroups { place, resources: resources.clone(), count: AtomicU32::new(0) })
    }

    /// Makes the group of one step.
    pub fn leaf(&self) -> Result<Leaf, LeafError> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}{}-{number}", leaf::PREFIX, std::process::id());
        Leaf::new(&self.place.directory().join(name), &self.resources.settings())
    }
}

/// Why a step has no control group although there is a place for it.
#[derive(Debug, thiserror::Error)]
pub enum LeafError {
    /// The group cannot be made.
    #[error("make the control group `{}`", path.display())]
    Make {
        /// The group.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The kernel does not take a value.
    #[error("the kernel refuses `{flag}` (`{value}` in `{file}`)")]
    Setting {
        /// The flag that it comes from.
        flag: &'static str,
        /// The file of the group.
        file: &'static str,
        /// What was written.
        value: String,
        /// Why.
        source: std::io::Error,
    },
}
