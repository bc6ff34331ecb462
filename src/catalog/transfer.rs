//! Blobs from registries into the store.

use crate::diag::{Diagnostic, Exit};
use crate::event::{Reporter, Task};
use crate::exec::store_failure;
use crate::image::validate::{Document, MANIFEST_LIMIT_BYTES, document};
use crate::image::{Descriptor, Digest, Reference};
use crate::registry::Client;
use crate::store::{Pulled, Store};
use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// How many blobs come at once.
const BLOBS_AT_ONCE: usize = 4;
/// How much comes between two reports of progress.
const REPORT_BYTES: u64 = 1 << 20;

/// What the ways in and out of a store need.
pub struct Transfer<'a> {
    /// The store.
    pub store: &'a Store,
    /// Who is told.
    pub reporter: &'a Reporter,
    client: OnceLock<Client>,
    origins: OnceLock<HashMap<Digest, Reference>>,
}

impl<'a> Transfer<'a> {
    /// Returns one over a store.
    pub fn new(store: &'a Store, reporter: &'a Reporter) -> Transfer<'a> {
        Transfer { store, reporter, client: OnceLock::new(), origins: OnceLock::new() }
    }

    /// Returns the registry client, made when it is first needed.
    pub fn client(&self) -> Result<&Client, Diagnostic> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = Client::from_environment().map_err(|error| Diagnostic::from_error(Exit::Usage, &error))?;
        Ok(self.client.get_or_init(|| client))
    }

    /// Returns the repository that a blob was seen in, if it is one of a known base or of a pulled image.
    pub fn origin(&self, digest: &Digest) -> Option<&Reference> {
        self.origins.get_or_init(|| self.read_origins()).get(digest)
    }

    fn read_origins(&self) -> HashMap<Digest, Reference> {
        let mut origins = HashMap::new();
        for Pulled { reference, manifest, .. } in self.store.all_pulled().unwrap_or_default() {
            let Ok(reference) = reference.parse::<Reference>() else { continue };
            let Ok(Some(content)) = self.store.read_blob(&manifest.digest, MANIFEST_LIMIT_BYTES) else { continue };
            if let Ok(Document::Manifest(manifest)) = document(&content, &manifest.media_type) {
                origins.extend(manifest.layers.iter().map(|layer| (layer.digest, reference.clone())));
            }
        }
        origins
    }

    /// Makes sure that blobs are in the store, getting those that are not from where they were seen last.
    pub fn complete(&self, blobs: &[Descriptor], task: &Task) -> Result<(), Diagnostic> {
        let missing: Vec<&Descriptor> =
            blobs.iter().filter(|blob| !self.store.has_blob(&blob.digest, blob.size_bytes)).collect();
        let with_origin = |blob: &&Descriptor| {
            self.origin(&blob.digest).cloned().ok_or_else(|| {
                Diagnostic::error(Exit::Step, format!("the store does not have blob {}", blob.digest))
                    .hint("`cooper store check` tells what else is missing; pull, load or build the image again")
            })
        };
        let missing = missing.into_iter().map(|blob| Ok((with_origin(&blob)?, blob))).collect::<Result<Vec<_>, _>>()?;
        self.fetch(&missing, task)
    }

    /// Gets blobs side by side.
    pub fn fetch(&self, blobs: &[(Reference, &Descriptor)], task: &Task) -> Result<(), Diagnostic> {
        let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
        let work = || {
            while let Some((reference, blob)) = blobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = self.fetch_one(reference, blob, task) {
                    next.store(blobs.len(), Ordering::Relaxed);
                    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..BLOBS_AT_ONCE.min(blobs.len()) {
                scope.spawn(work);
            }
            work();
        });
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    fn fetch_one(&self, reference: &Reference, blob: &Descriptor, task: &Task) -> Result<(), Diagnostic> {
        // The reader ends well only when size and digest are right.
        let mut reader =
            self.client()?.blob(reference, blob).map_err(|error| Diagnostic::from_error(Exit::Network, &error))?;
        let mut file = self.store.blob_file().map_err(store_failure)?;
        let mut reader = Counting { inner: &mut reader, blob, task, current: 0, reported: 0 };
        io::copy(&mut reader, file.as_file_mut()).map_err(|error| {
            Diagnostic::error(Exit::Network, format!("cannot fetch {}", blob.digest)).note(error.to_string())
        })?;
        self.store.adopt_blob(file, &blob.digest).map_err(store_failure)
    }
}

/// Tells how far a download is, now and then.
struct Counting<'a, R> {
    inner: R,
    blob: &'a Descriptor,
    task: &'a Task,
    current: u64,
    reported: u64,
}

impl<R: Read> Read for Counting<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.current += n as u64;
        if self.current - self.reported >= REPORT_BYTES || (n == 0 && self.reported != self.current) {
            self.reported = self.current;
            self.task.progress(self.blob.digest.to_string(), self.current, self.blob.size_bytes);
        }
        Ok(n)
    }
}
