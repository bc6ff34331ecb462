//! Secrets that a step has left in a layer, by `cp /run/secrets/x` or by what it wrote: found while the layer is read.
//!
//! Only layers of the image are searched, and only for secrets that steps of this build were given before: a stage that
//! nobody gets may keep what it likes, and what a COPY brings from there is in a layer of the image.

use super::keys;
use super::session::Session;
use crate::diag::Diagnostic;
use crate::event::Reporter;
use crate::plan::graph::Step;
use crate::snapshot::search::Search;
use crate::snapshot::upper;
use crate::store::HeldLayer;
use crate::sys::Root;
use std::sync::{Mutex, PoisonError};

/// Shortest secret that is looked for: a shorter one is found by chance.
const MIN_SECRET_BYTES: usize = 8;

/// The values of secrets that steps were given so far, by id.
#[derive(Default)]
pub struct GivenSecrets(Mutex<Vec<(String, Vec<u8>)>>);

impl GivenSecrets {
    /// Notes that a step is given a secret.
    pub fn add(&self, id: &str, content: &[u8]) {
        // `$(cat file)` has no line end, and `echo` adds one.
        let content = content.trim_ascii();
        let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if content.len() >= MIN_SECRET_BYTES && !given.iter().any(|(known, value)| known == id && value == content) {
            given.push((id.to_owned(), content.to_vec()));
        }
    }

    /// Returns a search for them; `None` where there are none.
    pub fn search(&self) -> Option<Search> {
        let given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (!given.is_empty()).then(|| Search::new(given.iter().map(|(id, value)| (id.as_str(), value.as_slice()))))
    }
}

/// Searches a layer that is not written as a tar now.
///
/// That a file cannot be read is told where the layer is used.
pub fn search_layer(session: &Session, layer: &HeldLayer, search: &mut Search) {
    let _ = Root::open(&layer.tree())
        .map_err(|error| error.to_string())
        .and_then(|root| upper::search(&root, session.form(), search).map_err(|error| error.to_string()));
}

/// Warns of what was found in the layer of a step.
pub fn warn(reporter: &Reporter, step: &Step, search: &Search) {
    for (id, paths) in search.found() {
        let paths: Vec<String> = paths.iter().map(|path| format!("`/{}`", crate::layer::printable(path))).collect();
        let message = format!("secret `{id}` is in the image: {} has it from {}", paths.join(", "), step.label);
        let hint = "use a secret where it is mounted and write it to no file, or remove the file in the same RUN";
        reporter.warn(keys::place(step, Diagnostic::warning(message).hint(hint)));
    }
}
