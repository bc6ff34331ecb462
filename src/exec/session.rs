//! What all steps of one build share: the store, the reporter, secrets, the registry client.

use super::request::{BuildRequest, SecretSource};
use super::trees::Trees;
use crate::diag::{Diagnostic, Exit};
use crate::event::Reporter;
use crate::registry::Client;
use crate::sandbox::cdi::{Devices, SPEC_DIRECTORIES};
use crate::sandbox::{Cancel, Cgroups, Entered, Resources, Rung, Runner, Wall};
use crate::snapshot::overlay_works;
use crate::store::{Store, StoreError};
use crate::sys::capability::Capabilities;
use crate::sys::overlay::OverlayForm;
use crate::sys::{owner, restrict};
use std::path::PathBuf;
use std::sync::OnceLock;

/// Largest secret that is read.
const SECRET_LIMIT_BYTES: u64 = 500 << 10;

/// One build under way.
pub struct Session {
    store: Store,
    entered: Entered,
    has_overlay: OnceLock<bool>,
    has_mknod: OnceLock<bool>,
    trees: Trees,
    reporter: Reporter,
    cancel: Cancel,
    client: OnceLock<Client>,
    runner: OnceLock<Runner>,
    cgroups: OnceLock<Option<Cgroups>>,
    has_looked_at_capabilities: OnceLock<()>,
    devices: OnceLock<Devices>,
    /// Names this build among the logs.
    build_id: String,
}

impl Session {
    /// Returns a session over a store.
    pub fn new(store: Store, entered: Entered, reporter: Reporter, cancel: Cancel) -> Session {
        let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S");
        let build_id = format!("{now}-{}", std::process::id());
        Session {
            store,
            entered,
            has_overlay: OnceLock::new(),
            has_mknod: OnceLock::new(),
            trees: Trees::default(),
            reporter,
            cancel,
            client: OnceLock::new(),
            runner: OnceLock::new(),
            cgroups: OnceLock::new(),
            has_looked_at_capabilities: OnceLock::new(),
            devices: OnceLock::new(),
            build_id,
        }
    }

    /// Returns the store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the form of overlay metadata in this store.
    pub fn form(&self) -> OverlayForm {
        self.entered.overlay_form
    }

    /// Returns where this program is and what can be done there.
    pub fn entered(&self) -> &Entered {
        &self.entered
    }

    /// Whether overlays can be mounted over the layers of this store; tried when it is first asked for.
    pub fn has_overlay(&self) -> bool {
        *self.has_overlay.get_or_init(|| {
            if matches!(self.entered.rung, Rung::Chroot | Rung::Trace | Rung::None) {
                return false;
            }
            let Err(refused) = overlay_works(self.store.root(), self.form()) else { return true };
            self.reporter.notice(format!(
                "{refused}: steps work on copies of their root file systems, which costs time and space for every stage"
            ));
            false
        })
    }

    /// Returns the work trees that stand in for overlays.
    pub fn trees(&self) -> &Trees {
        &self.trees
    }

    /// Whether device nodes can be made, or files that stand for them; else they are left out of unpacked trees.
    ///
    /// A step has a `/dev` of its own, and the layers of a base are exported as they came.
    pub fn makes_devices(&self) -> bool {
        self.form() == OverlayForm::Trusted
            || owner::are_devices_aside()
            || *self.has_mknod.get_or_init(|| self.try_mknod())
    }

    /// Whether root may make devices, as it may in a container of Docker's, too, and not in a user namespace.
    fn try_mknod(&self) -> bool {
        use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
        let trial = self.store.temporary().ok().filter(|_| self.entered.rung != Rung::None);
        trial.is_some_and(|trial| {
            mknodat(CWD, trial.path().join("null"), FileType::CharacterDevice, Mode::RUSR, makedev(1, 3)).is_ok()
        })
    }

    /// Fails when the build was interrupted or another step failed.
    pub fn check_canceled(&self) -> Result<(), Diagnostic> {
        if self.cancel.is_canceled() { Err(Diagnostic::error(Exit::Step, "canceled")) } else { Ok(()) }
    }

    /// Returns the reporter.
    pub fn reporter(&self) -> &Reporter {
        &self.reporter
    }

    /// Returns the handle that ends the build early.
    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Returns the name of this build's logs.
    pub fn build_id(&self) -> &str {
        &self.build_id
    }

    /// Returns the registry client, made when it is first needed: a build that needs no registry reads no configuration.
    pub fn client(&self) -> Result<&Client, Diagnostic> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = Client::from_environment().map_err(|error| Diagnostic::from_error(Exit::Usage, &error))?;
        Ok(self.client.get_or_init(|| client))
    }

    /// Returns the devices of this machine, read when the first RUN asks for one.
    pub fn devices(&self, directories: &[PathBuf]) -> &Devices {
        self.devices.get_or_init(|| match directories {
            [] => Devices::read(&SPEC_DIRECTORIES),
            _ => Devices::read(directories),
        })
    }

    /// Returns the runner, made when the first RUN needs it.
    pub fn runner(&self) -> Result<&Runner, Diagnostic> {
        if let Some(runner) = self.runner.get() {
            return Ok(runner);
        }
        let runner = Runner::new()
            .map(|runner| runner.on(self.entered.rung))
            .map_err(|error| Diagnostic::from_error(Exit::Isolation, &error))?;
        Ok(self.runner.get_or_init(|| runner))
    }

    /// Tells once which capabilities were asked for by name and cannot be had, as in a container that lacks them.
    pub fn look_at_capabilities(&self, wanted: Capabilities) {
        self.has_looked_at_capabilities.get_or_init(|| {
            let missing = Capabilities(wanted.0 & !Capabilities::DOCKER.0 & !restrict::bounding_set());
            if missing != Capabilities::NONE && !wanted.is_all_but_some() {
                let warning =
                    format!("`--cap-add` has no effect for {missing}: this container does not have it itself");
                self.reporter.warn(Diagnostic::warning(warning));
            }
        });
    }

    /// Returns where the control groups of steps are made; `None` if nothing is limited, or cannot be, which is told once.
    pub fn cgroups(&self, resources: &Resources) -> Option<&Cgroups> {
        let find = || {
            if resources.is_empty() {
                return None;
            }
            let found = Cgroups::new(resources);
            // As docker does where it cannot limit: a build that is not limited is wanted more often than none.
            found.map_err(|wall| self.reporter.warn(not_limited(resources, &wall))).ok()
        };
        self.cgroups.get_or_init(find).as_ref()
    }
}

/// Says which limits are not in force, and why.
fn not_limited(resources: &Resources, wall: &Wall) -> Diagnostic {
    let flags: Vec<String> = resources.flags().iter().map(|flag| format!("`{flag}`")).collect();
    let verb = if flags.len() == 1 { "has" } else { "have" };
    let warning = format!("{} {verb} no effect: {}", flags.join(", "), wall.what);
    Diagnostic::warning(if wall.mend.is_empty() { warning } else { format!("{warning} ({})", wall.mend) })
}

/// Turns a failure of the store into what the user is told.
pub fn store_failure(error: StoreError) -> Diagnostic {
    let full = error.is_disk_full();
    let diagnostic = Diagnostic::from_error(Exit::Step, &error);
    if let StoreError::Form { found, .. } = error {
        let same = match (found.owners_aside, found.overlay) {
            (true, _) => ", or use `--isolation single-id`",
            (false, OverlayForm::Trusted) => ", or build with isolation `root`",
            (false, OverlayForm::User) => "",
        };
        return diagnostic.hint(format!("set COOPER_ROOT to another directory{same}; what is in this one stays"));
    }
    if full {
        return diagnostic.hint(
            "free some space: `cooper du` shows what the store holds, `cooper prune` removes what is not in use",
        );
    }
    diagnostic
}

/// Reads the value of a secret; `None` if none of that id was given.
pub fn secret(request: &BuildRequest, id: &str) -> Result<Option<Vec<u8>>, Diagnostic> {
    let Some(secret) = request.secrets.iter().find(|secret| secret.id == id) else { return Ok(None) };
    match &secret.source {
        SecretSource::Env(name) => Ok(std::env::var_os(name).map(std::os::unix::ffi::OsStringExt::into_vec)),
        SecretSource::File(path) => read_secret(id, path).map(Some),
    }
}

fn read_secret(id: &str, path: &PathBuf) -> Result<Vec<u8>, Diagnostic> {
    use std::io::Read;
    let failed = |error: std::io::Error| {
        Diagnostic::error(Exit::Usage, format!("cannot read secret `{id}` from `{}`", path.display()))
            .note(error.to_string())
    };
    let mut content = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(SECRET_LIMIT_BYTES + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > SECRET_LIMIT_BYTES {
        return Err(Diagnostic::error(Exit::Usage, format!("secret `{id}` is larger than {SECRET_LIMIT_BYTES} bytes")));
    }
    Ok(content)
}
