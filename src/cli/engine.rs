//! What stands behind `cooper build`: the isolation entered, the store opened, a session for one build.

use crate::diag::{Diagnostic, Exit};
use crate::event::{Event, Reporter};
use crate::exec::request::{BuildRequest, BuildResult};
use crate::exec::{self, Session, store_failure};
use crate::output;
use crate::plan::inspect::Inspected;
use crate::sandbox::{Cancel, Entered, IsolationError, enter, probe};
use crate::store::{Store, TreeForm, Usable};
use crate::sys::overlay::OverlayForm;
use crate::sys::{interrupt, owner};
use std::path::PathBuf;
use std::time::Instant;

/// A program that is where its steps can run.
pub struct Engine {
    entered: Entered,
    reason: String,
    store: PathBuf,
    started: Instant,
}

impl Engine {
    /// Chooses the isolation and moves into it.  Must be called before any thread is started.
    pub fn enter(wanted: Option<&str>) -> Result<Engine, Diagnostic> {
        let started = Instant::now();
        let probe = probe();
        // Who the user is decides where the store is; in a user namespace everyone looks like root.
        let store = Store::default_root(rustix::process::geteuid().is_root()).map_err(store_failure)?;
        let (rung, reason) = probe.choose(wanted).map_err(|error| isolation_failure(&error))?;
        let entered = enter(&probe, rung).map_err(|error| isolation_failure(&error))?;
        Ok(Engine { entered, reason, store, started })
    }

    /// Opens the store.
    pub fn store(&self) -> Result<Store, Diagnostic> {
        Store::open(&self.store).map_err(store_failure)
    }

    /// Returns the form of overlay attributes that the trees of a store have.
    fn agree_on_form(&self, store: &Store) -> Result<OverlayForm, Diagnostic> {
        let best = TreeForm { overlay: self.entered.overlay_form, owners_aside: owner::is_aside() };
        let usable = Usable { best, has_trusted: best.overlay == OverlayForm::Trusted };
        let form = store.agree_on_form(usable).map_err(store_failure)?;
        if form == OverlayForm::User {
            owner::read_devices_aside();
        }
        Ok(form)
    }

    /// Builds what is asked for and writes it where it is asked for.
    pub fn build(&self, request: &BuildRequest, reporter: &Reporter) -> Result<BuildResult, Diagnostic> {
        let rung = self.entered.rung;
        let emulated = if rung.emulates().is_empty() { String::new() } else { format!("; {}", rung.emulates()) };
        reporter.notice(format!("isolation: {rung} ({}){emulated}", self.reason));
        output::check(request)?;
        let store = self.store()?;
        let entered = Entered { overlay_form: self.agree_on_form(&store)?, ..self.entered.clone() };
        let cancel = Cancel::new()
            .map_err(|error| Diagnostic::error(Exit::Bug, "cannot make an event descriptor").note(error.to_string()))?;
        watch_for_interrupt(&cancel);
        let session = Session::new(store, entered, reporter.clone(), cancel);
        let built = exec::build(&session, request)?;
        let mut written = output::write(&session, request, &built)?;
        written.summary.elapsed = self.started.elapsed();
        reporter.send(Event::Summary(written.summary));
        Ok(BuildResult { digest: written.image_id })
    }
}

/// Opens the store without moving anywhere: blobs and names are the user's own files, layers are not.
pub fn users_store() -> Result<Store, Diagnostic> {
    let root = Store::default_root(rustix::process::geteuid().is_root()).map_err(store_failure)?;
    Store::open(&root).map_err(store_failure)
}

impl Engine {
    /// Says what can be said of a build without doing it.
    pub fn inspect(
        &self,
        request: &BuildRequest,
        all_stages: bool,
        reporter: &Reporter,
    ) -> Result<Inspected, Diagnostic> {
        let store = self.store()?;
        let cancel = Cancel::new()
            .map_err(|error| Diagnostic::error(Exit::Bug, "cannot make an event descriptor").note(error.to_string()))?;
        let session = Session::new(store, self.entered.clone(), reporter.clone(), cancel);
        exec::inspect(&session, request, all_stages)
    }
}

/// Hands Ctrl-C on to the steps that run.
fn watch_for_interrupt(cancel: &Cancel) {
    let Some(interrupted) = interrupt::descriptor() else { return };
    let cancel = cancel.clone();
    std::thread::spawn(move || {
        let mut fds = [rustix::event::PollFd::new(&interrupted, rustix::event::PollFlags::IN)];
        while matches!(rustix::event::poll(&mut fds, None), Err(rustix::io::Errno::INTR)) {}
        cancel.cancel();
    });
}

fn isolation_failure(error: &IsolationError) -> Diagnostic {
    let diagnostic = Diagnostic::from_error(Exit::Isolation, error);
    match error.hint() {
        Some(hint) => diagnostic.hint(hint),
        None => diagnostic,
    }
}
