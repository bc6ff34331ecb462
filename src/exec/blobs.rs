//! The layers of an image as blobs: the base's as they came, the steps' written once and remembered.

use super::base::fetch_blob;
use super::filesystem::FileSystem;
use super::request::OutputSpec;
use super::session::{Session, store_failure};
use crate::diag::{Diagnostic, Exit};
use crate::event::Task;
use crate::image::{Descriptor, Digest, media_type};
use crate::layer::{self, Compression};

use crate::snapshot::search::Search;
use crate::store::{BlobInfo, HeldLayer};
use crate::sys::Root;

/// A layer that is ready to be exported: its blob is in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct FinishedLayer {
    /// Names the blob.
    pub descriptor: Descriptor,
    /// Digest of the tar.
    pub diff_id: Digest,
    /// When this build's store made it, seconds since the epoch; `None` for a layer of the base.
    pub created: Option<i64>,
}

impl FinishedLayer {
    /// Returns it with Docker's or OCI's media type; the bytes are the same.
    pub fn with_media_types(mut self, docker: bool) -> FinishedLayer {
        const PAIRS: [(&str, &str); 3] = [
            (media_type::LAYER, media_type::DOCKER_LAYER),
            (media_type::LAYER_GZIP, media_type::DOCKER_LAYER_GZIP),
            (media_type::LAYER_ZSTD, media_type::DOCKER_LAYER_ZSTD),
        ];
        for (oci, other) in PAIRS {
            let (from, to) = if docker { (oci, other) } else { (other, oci) };
            if self.descriptor.media_type == from {
                self.descriptor.media_type = to.into();
            }
        }
        self
    }
}

/// How layers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerOptions {
    /// Compression of the steps' layers.
    pub compression: Compression,
    /// Whether the base's layers are compressed anew too.
    pub force: bool,
    /// Later times in layers become this one (`rewrite-timestamp`), seconds since the epoch.
    pub clamp: Option<i64>,
}

impl Default for LayerOptions {
    /// What the store holds.
    fn default() -> LayerOptions {
        LayerOptions { compression: OutputSpec::store().compression, force: false, clamp: None }
    }
}

impl LayerOptions {
    /// Returns what an output asks for; `epoch` is SOURCE_DATE_EPOCH.
    pub fn of(output: &OutputSpec, epoch: Option<i64>) -> LayerOptions {
        let clamp = if output.rewrite_timestamp { epoch } else { None };
        LayerOptions { compression: output.compression, force: output.force_compression, clamp }
    }
}

/// Makes all layers of a file system ready for export.
pub fn finish_layers(
    session: &Session,
    filesystem: &FileSystem,
    options: &LayerOptions,
    task: &Task,
) -> Result<Vec<FinishedLayer>, Diagnostic> {
    let mut finished = Vec::new();
    if let Some(facts) = &filesystem.base {
        for (descriptor, diff_id) in facts.layers.iter().zip(&facts.config.rootfs.diff_ids) {
            fetch_blob(session, facts, descriptor, task)?;
            let mut layer = FinishedLayer { descriptor: descriptor.clone(), diff_id: *diff_id, created: None };
            // Where else it could be had is the base's registry's business, not that of who gets this image.
            layer.descriptor.extra.remove("urls");
            layer.descriptor.annotations.clear();
            if options.force {
                layer = recompress(session, layer, options.compression)?;
            }
            finished.push(layer);
        }
    }
    for layer in &filesystem.own {
        finished.push(finish_layer(session, layer, options, None)?);
    }
    Ok(finished)
}

/// Makes one step's layer ready: writes its tar unless that was done before, and searches what it writes.
pub fn finish_layer(
    session: &Session,
    layer: &HeldLayer,
    options: &LayerOptions,
    search: Option<&mut Search>,
) -> Result<FinishedLayer, Diagnostic> {
    let mut meta = layer.meta().map_err(store_failure)?;
    let mut encoding = options.compression.encoding();
    if let Some(epoch) = options.clamp {
        encoding = format!("{encoding}-epoch-{epoch}");
    }
    let known = meta
        .blobs
        .iter()
        .find(|blob| blob.encoding == encoding && session.store().has_blob(&blob.digest, blob.size_bytes));
    if let (Some(blob), Some(diff_id)) = (known, known.and_then(|blob| blob.diff_id)) {
        let descriptor = Descriptor::new(blob.media_type.clone(), blob.digest, blob.size_bytes);
        return Ok(FinishedLayer { descriptor, diff_id, created: Some(meta.created) });
    }
    let (descriptor, diff_id) = write(session, layer, options, search)?;
    meta.blobs.retain(|blob| blob.encoding != encoding);
    meta.blobs.push(BlobInfo {
        encoding,
        media_type: descriptor.media_type.clone(),
        digest: descriptor.digest,
        size_bytes: descriptor.size_bytes,
        diff_id: Some(diff_id),
    });
    session.store().update_layer_meta(layer, &meta).map_err(store_failure)?;
    Ok(FinishedLayer { descriptor, diff_id, created: Some(meta.created) })
}

fn write(
    session: &Session,
    layer: &HeldLayer,
    options: &LayerOptions,
    search: Option<&mut Search>,
) -> Result<(Descriptor, Digest), Diagnostic> {
    let failed = |error: &dyn std::error::Error| {
        let mut diagnostic = Diagnostic::from_error(Exit::Step, error);
        diagnostic.notes.insert(0, std::mem::replace(&mut diagnostic.message, "cannot write a layer".into()));
        diagnostic
    };
    let root = Root::open(&layer.tree()).map_err(|error| failed(&error))?;
    let file = session.store().blob_file().map_err(store_failure)?;
    let out = file.reopen().map_err(|error| failed(&error))?;
    let write_options = crate::snapshot::upper::LayerOptions { clamp_mtime: options.clamp, search };
    let (blob, _) = crate::snapshot::upper::write_layer(&root, session.form(), out, options.compression, write_options)
        .map_err(|error| failed(&error))?;
    session.store().adopt_blob(file, &blob.digest).map_err(store_failure)?;
    Ok((Descriptor::new(blob.media_type, blob.digest, blob.size_bytes), blob.diff_id))
}

/// Writes a layer of the base in another compression; its diff id stays.
fn recompress(session: &Session, layer: FinishedLayer, compression: Compression) -> Result<FinishedLayer, Diagnostic> {
    let wanted = compression.media_type();
    if layer.clone().with_media_types(false).descriptor.media_type == wanted {
        return Ok(layer);
    }
    let failed = |error: std::io::Error| {
        Diagnostic::error(Exit::Step, format!("cannot recompress layer {}", layer.descriptor.digest))
            .note(error.to_string())
    };
    let source = std::fs::File::open(session.store().blob_path(&layer.descriptor.digest)).map_err(failed)?;
    let mut tar = layer::decompress(source).map_err(failed)?;
    let file = session.store().blob_file().map_err(store_failure)?;
    let mut writer = layer::LayerWriter::new(file.reopen().map_err(failed)?, compression).map_err(failed)?;
    std::io::copy(&mut tar, &mut writer).map_err(failed)?;
    let (blob, _) = writer.finish().map_err(failed)?;
    session.store().adopt_blob(file, &blob.digest).map_err(store_failure)?;
    Ok(FinishedLayer { descriptor: Descriptor::new(blob.media_type, blob.digest, blob.size_bytes), ..layer })
}
