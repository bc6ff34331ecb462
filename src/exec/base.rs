//! Base images: their layers fetched, verified and unpacked side by side.
//!
//! One pass over each layer: as it arrives, its compressed bytes are digested and kept in the store's layout while the
//! decompressed ones are digested and unpacked.

use super::facts::{ORIGIN_LAYOUT, ORIGIN_STORE};
use super::session::{Session, store_failure};
use crate::diag::{Diagnostic, Exit};
use crate::event::{Outcome, Task};
use crate::image::{Descriptor, Digest, Reference, Sha256Reader, chain_ids};
use crate::layer;
use crate::plan::graph::ImageFacts;
use crate::store::{HeldLayer, LayerId, LayerMeta, PendingLayer, Snapshot};
use crate::sys::Root;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// How many layers are fetched and unpacked at once.
const LAYERS_AT_ONCE: usize = 4;

/// Returns the layers of an image, unpacking those that are not there; `None` if one of them would have to be.
pub fn held_base(session: &Session, facts: &ImageFacts) -> Result<Option<Snapshot>, Diagnostic> {
    let ids = layer_ids(facts);
    session.store().hold_layers(&ids).map_err(store_failure)
}

fn layer_ids(facts: &ImageFacts) -> Vec<LayerId> {
    chain_ids(&facts.config.rootfs.diff_ids).iter().map(LayerId::of_chain).collect()
}

/// Fetches and unpacks the layers of an image that are not there.
pub fn unpack_base(session: &Session, facts: &ImageFacts, task: &Task) -> Result<Snapshot, Diagnostic> {
    let ids = layer_ids(facts);
    let unpacked: Vec<Mutex<Option<Result<Layer, Diagnostic>>>> = ids.iter().map(|_| Mutex::new(None)).collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || {
        loop {
            let index = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let Some(id) = ids.get(index) else { return };
            let result = obtain(session, facts, index, id, task);
            let failed = result.is_err();
            *unpacked[index].lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
            if failed {
                next.store(ids.len(), std::sync::atomic::Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..LAYERS_AT_ONCE.min(ids.len()) {
            scope.spawn(work);
        }
        work();
    });
    let mut results = Vec::new();
    for slot in unpacked {
        // A layer that was never started stands behind one that failed.
        match slot.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(Err(error)) => return Err(error),
            Some(Ok(layer)) => results.push(layer),
            None => {}
        }
    }
    seal_in_order(session, results, &ids)
}

/// A layer of the base: there already, or unpacked and waiting for those below it.
enum Layer {
    There(HeldLayer),
    Unpacked { pending: PendingLayer, implied: Vec<PathBuf>, meta: LayerMeta },
}

fn obtain(session: &Session, facts: &ImageFacts, index: usize, id: &LayerId, task: &Task) -> Result<Layer, Diagnostic> {
    if let Some(held) = session.store().hold_layer(id).map_err(store_failure)? {
        return Ok(Layer::There(held));
    }
    let (descriptor, diff_id) = (&facts.layers[index], &facts.config.rootfs.diff_ids[index]);
    let pending = session.store().new_layer().map_err(store_failure)?;
    let blob = open_blob(session, facts, descriptor, task)?;
    let implied = unpack(session, blob, &pending, descriptor, diff_id)?;
    let mut meta = LayerMeta::new(jiff::Timestamp::now().as_second());
    meta.diff_id = Some(*diff_id);
    Ok(Layer::Unpacked { pending, implied, meta })
}

fn unpack(
    session: &Session,
    blob: BlobSource,
    pending: &PendingLayer,
    descriptor: &Descriptor,
    diff_id: &Digest,
) -> Result<Vec<PathBuf>, Diagnostic> {
    let failed = |error: &dyn std::error::Error| {
        let cause = Diagnostic::from_error(Exit::Network, error);
        let mut diagnostic = Diagnostic::error(Exit::Network, format!("cannot unpack layer {}", descriptor.digest));
        diagnostic.notes = std::iter::once(cause.message).chain(cause.notes).collect();
        diagnostic
    };
    let root = Root::open(&pending.tree()).map_err(|error| failed(&error))?;
    let blob = SharedBlob(Arc::new(Mutex::new(blob)));
    // Fetching, digesting and inflating take one core, digesting and writing what comes out another.
    let tar = layer::decompress(blob.clone()).and_then(layer::ReadAhead::new).map_err(|error| failed(&error))?;
    let mut tar = Sha256Reader::new(tar);
    let options =
        layer::UnpackOptions { makes_devices: session.makes_devices(), ..layer::UnpackOptions::new(session.form()) };
    let unpacked = layer::unpack_layer(&mut tar, &root, options).map_err(|error| failed(&error))?;
    // What follows the end of the archive belongs to both digests too.
    io::copy(&mut tar, &mut io::sink()).map_err(|error| failed(&error))?;
    let (ahead, found, _) = tar.finish();
    drop(ahead.into_inner().map_err(|error| failed(&error))?);
    blob.take().and_then(|blob| blob.finish(session, descriptor)).map_err(|error| failed(&error))?;
    if found != *diff_id {
        return Err(Diagnostic::error(
            Exit::Network,
            format!("layer {} unpacks to {found}, but the config says {diff_id}", descriptor.digest),
        ));
    }
    Ok(unpacked.implied_directories)
}

/// Gives the layers their names, lowest first.
///
/// A directory that a layer's tar only implies, by a file in it, has the metadata that the layers below give it; in an overlay the
/// uppermost directory decides, so it is copied up here.
fn seal_in_order(session: &Session, layers: Vec<Layer>, ids: &[LayerId]) -> Result<Snapshot, Diagnostic> {
    let mut snapshot: Snapshot = Vec::new();
    for (layer, id) in layers.into_iter().zip(ids) {
        let held = match layer {
            Layer::There(held) => held,
            Layer::Unpacked { pending, implied, meta } => {
                inherit_directories(&pending.tree(), &implied, &snapshot).map_err(|error| {
                    Diagnostic::error(Exit::Step, format!("cannot finish layer {}", id.as_str()))
                        .note(error.to_string())
                })?;
                let held = session.store().seal_layer(pending, Some(id.clone()), &meta).map_err(store_failure)?;
                session.store().measure_layer(&held).map_err(store_failure)?;
                held
            }
        };
        snapshot.push(held);
    }
    Ok(snapshot)
}

fn inherit_directories(tree: &Path, implied: &[PathBuf], below: &[HeldLayer]) -> io::Result<()> {
    if below.is_empty() || implied.is_empty() {
        return Ok(());
    }
    let root = Root::open(tree)?;
    let lower: Vec<Root> = below.iter().rev().map(|layer| Root::open(&layer.tree())).collect::<io::Result<_>>()?;
    implied.iter().try_for_each(|path| crate::snapshot::copy_directory_metadata(&lower, &root, path))
}

/// A layer's compressed bytes, from where the image came from.
enum BlobSource {
    /// In the store already, or in a layout whose blobs nobody else verifies.
    Local { reader: Sha256Reader<File> },
    /// On its way from a registry, verified by the client, kept in the store.
    Remote { reader: Box<dyn Read + Send>, keep: crate::store::BlobWriter },
}

impl Read for BlobSource {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            BlobSource::Local { reader } => reader.read(buf),
            BlobSource::Remote { reader, keep } => {
                let n = reader.read(buf)?;
                keep.write_all(&buf[..n])?;
                Ok(n)
            }
        }
    }
}

/// A blob that is read on one thread and finished on another.
#[derive(Clone)]
struct SharedBlob(Arc<Mutex<BlobSource>>);

impl SharedBlob {
    /// Takes the blob back when nobody reads it any more.
    fn take(self) -> io::Result<BlobSource> {
        let blob = Arc::into_inner(self.0).ok_or_else(|| io::Error::other("the blob is still being read"))?;
        Ok(blob.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Read for SharedBlob {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).read(buf)
    }
}

impl BlobSource {
    /// Reads to the end, verifies, and gives a fetched blob its name.
    fn finish(mut self, session: &Session, descriptor: &Descriptor) -> io::Result<()> {
        io::copy(&mut self, &mut io::sink())?;
        let (found, size_bytes) = match self {
            BlobSource::Local { reader } => {
                let (_, digest, size_bytes) = reader.finish();
                (digest, size_bytes)
            }
            BlobSource::Remote { keep, .. } => session.store().commit_blob(keep).map_err(io::Error::other)?,
        };
        verify(descriptor, &found, size_bytes)
    }
}

/// A blob is what its descriptor says, in both ways.
fn verify(descriptor: &Descriptor, found: &Digest, size_bytes: u64) -> io::Result<()> {
    let invalid = |reason: String| Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    if *found != descriptor.digest {
        return invalid(format!("the blob has the digest {found}"));
    }
    if size_bytes != descriptor.size_bytes {
        return invalid(format!("the blob has a size of {size_bytes} bytes, not of {}", descriptor.size_bytes));
    }
    Ok(())
}

fn open_blob(
    session: &Session,
    facts: &ImageFacts,
    descriptor: &Descriptor,
    task: &Task,
) -> Result<BlobSource, Diagnostic> {
    let path = session.store().blob_path(&descriptor.digest);
    let local = match facts.origin.strip_prefix(ORIGIN_LAYOUT) {
        Some(layout) => Some(Path::new(layout).join("blobs/sha256").join(descriptor.digest.hex())),
        None => {
            let is_there = session.store().has_blob(&descriptor.digest, descriptor.size_bytes);
            (is_there || facts.origin == ORIGIN_STORE).then_some(path)
        }
    };
    if let Some(path) = local {
        let file = File::open(&path).map_err(|error| {
            Diagnostic::error(Exit::Usage, format!("blob {} is missing: `{}`", descriptor.digest, path.display()))
                .note(error.to_string())
        })?;
        return Ok(BlobSource::Local { reader: Sha256Reader::new(file) });
    }
    let reference: Reference = facts.origin.parse().map_err(|error| Diagnostic::from_error(Exit::Bug, &error))?;
    let reader = session
        .client()?
        .blob(&reference, descriptor)
        .map_err(|error| Diagnostic::from_error(Exit::Network, &error))?;
    let reader = Counting {
        inner: reader,
        reported: 0,
        current: 0,
        total: descriptor.size_bytes,
        name: descriptor.digest.to_string(),
        reporter: session.reporter().clone(),
        task: task.id(),
    };
    let keep = session.store().blob_writer().map_err(store_failure)?;
    Ok(BlobSource::Remote { reader: Box::new(reader), keep })
}

/// Makes sure that a layer's blob is in the store without unpacking it: what an export needs of its base.
pub fn fetch_blob(
    session: &Session,
    facts: &ImageFacts,
    descriptor: &Descriptor,
    task: &Task,
) -> Result<(), Diagnostic> {
    if session.store().has_blob(&descriptor.digest, descriptor.size_bytes) {
        return Ok(());
    }
    let failed = |error: io::Error| {
        Diagnostic::error(Exit::Network, format!("cannot fetch {}", descriptor.digest)).note(error.to_string())
    };
    match open_blob(session, facts, descriptor, task)? {
        source @ BlobSource::Remote { .. } => source.finish(session, descriptor).map_err(failed),
        BlobSource::Local { mut reader } => {
            let mut copy = session.store().blob_writer().map_err(store_failure)?;
            io::copy(&mut reader, &mut copy).map_err(failed)?;
            let (digest, size_bytes) = session.store().commit_blob(copy).map_err(store_failure)?;
            verify(descriptor, &digest, size_bytes).map_err(failed)
        }
    }
}

/// Tells how far a download is, now and then.
struct Counting<R> {
    inner: R,
    reported: u64,
    current: u64,
    total: u64,
    name: String,
    reporter: crate::event::Reporter,
    task: crate::event::TaskId,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.current += n as u64;
        if self.current - self.reported >= 1 << 20 || (n == 0 && self.reported != self.current) {
            self.reported = self.current;
            self.reporter.send(crate::event::Event::Progress {
                task: self.task,
                item: self.name.clone(),
                current_bytes: self.current,
                total_bytes: self.total,
            });
        }
        Ok(n)
    }
}

/// Ends a task the way a result says.
pub(super) fn end_task<T>(task: Task, result: &Result<T, Diagnostic>) {
    task.end(match result {
        Ok(_) => Outcome::Done,
        Err(error) => Outcome::Failed(error.message.clone()),
    });
}
