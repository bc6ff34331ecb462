//! Cache mounts: directories that outlive the build, by id.

use super::away::Away;
use super::layers::random_name;
use super::lock::{self, Mode};
use super::{IoContext, Store, StoreError, file};
use std::fs::File;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// How many private copies of one cache mount are tried before giving up.
const PRIVATE_COPIES_LIMIT: u32 = 1000;
/// How often a mount that a prune takes away between being made and being locked is made again.
const ATTEMPT_LIMIT: usize = 64;

/// The file beside a mount's data that says that it was filled.
const FILLED: &str = "filled";
/// Stands in the name of a mount that was reset while somebody used it.
pub(super) const RESET: &str = "-reset-";

/// A cache mount in use.
#[derive(Debug)]
pub struct HeldMount {
    directory: PathBuf,
    /// Whether it was made just now and has to be filled; nobody else can use it until [`HeldMount::mark_filled`].
    pub is_new: bool,
    is_shared: bool,
    lock: File,
}

impl HeldMount {
    /// Returns its directory.
    pub fn path(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Returns the note that tells where its data is while that is not in its place.
    pub fn away(&self) -> Away {
        Away::of(&self.directory)
    }

    /// Says that it is filled: from now on it is not new, and a shared one is open to others.
    pub fn mark_filled(&mut self) -> Result<(), StoreError> {
        let marker = self.directory.join(FILLED);
        file::create(&marker).during("make", &marker)?;
        self.is_new = false;
        if self.is_shared {
            self.lock.lock_shared().during("lock", &self.directory)?;
        }
        Ok(())
    }
}

impl Store {
    /// Takes a cache mount that everyone may use at once; a new one is the caller's alone until it is filled.
    pub fn shared_mount(&self, id: &str) -> Result<HeldMount, StoreError> {
        let directory = self.mount_path(id, 0);
        let held = again(&directory, || {
            // Who comes while another fills it waits for the shared lock, and then finds it filled.
            // So does who has to bring back what a killed build left elsewhere.
            let is_ready = directory.join(FILLED).exists() && !Away::of(&directory).is_noted();
            lock::lock(&directory, if is_ready { Mode::Shared } else { Mode::Exclusive })
        })?;
        let mut held = self::held(directory, held)?;
        held.is_shared = true;
        if !held.is_new {
            held.lock.lock_shared().during("lock", &held.directory)?;
        }
        Ok(held)
    }

    /// Takes a cache mount that nobody else may use, waiting for it; `on_wait` is called when it has to wait.
    pub fn locked_mount(&self, id: &str, on_wait: impl FnOnce()) -> Result<HeldMount, StoreError> {
        let directory = self.mount_path(id, 0);
        if let Some(lock) = again(&directory, || lock::try_lock(&directory, Mode::Exclusive))? {
            return held(directory, lock);
        }
        on_wait();
        let lock = again(&directory, || lock::lock(&directory, Mode::Exclusive))?;
        held(directory, lock)
    }

    /// Takes a cache mount that nobody else uses now: the first free one of its copies.
    pub fn private_mount(&self, id: &str) -> Result<HeldMount, StoreError> {
        for copy in 0..PRIVATE_COPIES_LIMIT {
            let directory = self.mount_path(id, copy);
            if let Some(lock) = again(&directory, || lock::try_lock(&directory, Mode::Exclusive))? {
                return held(directory, lock);
            }
        }
        Err(StoreError::Damaged { path: self.mount_path(id, 0), reason: "all its private copies are in use".into() })
    }

    /// Forgets what a cache mount holds, so that it starts empty; a build that uses the old one keeps it.
    pub fn reset_mount(&self, id: &str) -> Result<(), StoreError> {
        let directory = self.mount_path(id, 0);
        let mut aside = directory.clone().into_os_string();
        aside.push(format!("{RESET}{}", random_name()));
        let aside = PathBuf::from(aside);
        match std::fs::rename(&directory, &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.during("rename", &directory)?,
        }
        // In use it stays for now: the next prune removes it.
        match lock::try_lock(&aside, Mode::Exclusive) {
            Ok(Some(_lock)) => std::fs::remove_dir_all(&aside).during("remove", &aside),
            _ => Ok(()),
        }
    }

    /// The id is hashed, never a path (buildah CVE-2024-9675).
    fn mount_path(&self, id: &str, copy: u32) -> PathBuf {
        self.root().join("mounts").join(format!("{}-{copy}", &blake3::hash(id.as_bytes()).to_hex()[..32]))
    }
}

/// With a shared lock nothing can be noted: whoever notes something holds the mount alone.
fn held(directory: PathBuf, lock: File) -> Result<HeldMount, StoreError> {
    file::renew(&lock);
    Away::of(&directory).bring_back()?;
    let is_new = !directory.join(FILLED).exists();
    Ok(HeldMount { directory, is_new, is_shared: false, lock })
}

/// Makes a mount's directory and takes it; makes it again when a prune was faster than the lock.
fn again<T>(directory: &Path, take: impl Fn() -> io::Result<T>) -> Result<T, StoreError> {
    for _ in 0..ATTEMPT_LIMIT {
        make(directory)?;
        match take() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other.during("lock", directory),
        }
    }
    Err(io::Error::from(io::ErrorKind::ResourceBusy)).during("lock", directory)
}

fn make(directory: &Path) -> Result<(), StoreError> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory.join("data")).during("make", directory)
}
