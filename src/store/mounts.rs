//! Cache mounts: directories that outlive the build, by id.

use super::{IoContext, Store, StoreError, file};
use std::fs::File;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// How many private copies of one cache mount are tried before giving up.
const PRIVATE_COPIES_LIMIT: u32 = 1000;

/// The file beside a mount's data that says that it was filled.
const FILLED: &str = "filled";

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
        make(&directory)?;
        let lock = open_lock(&directory)?;
        if !directory.join(FILLED).exists() {
            lock.lock().during("lock", &directory)?;
        }
        let mut held = held(directory, lock);
        held.is_shared = true;
        if !held.is_new {
            held.lock.lock_shared().during("lock", &held.directory)?;
        }
        Ok(held)
    }

    /// Takes a cache mount that nobody else may use, waiting for it; `on_wait` is called when it has to wait.
    pub fn locked_mount(&self, id: &str, on_wait: impl FnOnce()) -> Result<HeldMount, StoreError> {
        let directory = self.mount_path(id, 0);
        make(&directory)?;
        let lock = open_lock(&directory)?;
        if let Err(std::fs::TryLockError::WouldBlock) = lock.try_lock() {
            on_wait();
            lock.lock().during("lock", &directory)?;
        }
        Ok(held(directory, lock))
    }

    /// Takes a cache mount that nobody else uses now: the first free one of its copies.
    pub fn private_mount(&self, id: &str) -> Result<HeldMount, StoreError> {
        for copy in 0..PRIVATE_COPIES_LIMIT {
            let directory = self.mount_path(id, copy);
            make(&directory)?;
            let lock = open_lock(&directory)?;
            match lock.try_lock() {
                Ok(()) => return Ok(held(directory, lock)),
                Err(std::fs::TryLockError::WouldBlock) => {}
                Err(std::fs::TryLockError::Error(error)) => return Err(error).during("lock", &directory),
            }
        }
        Err(StoreError::Damaged { path: self.mount_path(id, 0), reason: "all its private copies are in use".into() })
    }

    /// Forgets what a cache mount holds, so that it starts empty; a build that uses the old one keeps it.
    pub fn reset_mount(&self, id: &str) -> Result<(), StoreError> {
        let directory = self.mount_path(id, 0);
        let grave = self.temporary()?;
        match std::fs::rename(&directory, grave.path().join("mount")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).during("rename", &directory),
            _ => Ok(()),
        }
    }

    /// The id is hashed, never a path (buildah CVE-2024-9675).
    fn mount_path(&self, id: &str, copy: u32) -> PathBuf {
        self.root().join("mounts").join(format!("{}-{copy}", &blake3::hash(id.as_bytes()).to_hex()[..32]))
    }
}

fn held(directory: PathBuf, lock: File) -> HeldMount {
    let is_new = !directory.join(FILLED).exists();
    HeldMount { directory, is_new, is_shared: false, lock }
}

fn make(directory: &Path) -> Result<(), StoreError> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory.join("data")).during("make", directory)
}

fn open_lock(directory: &Path) -> Result<File, StoreError> {
    File::open(directory).during("open", directory)
}
