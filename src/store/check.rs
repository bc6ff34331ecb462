//! Whether a store is whole: `cooper store check`.

use super::live::{file_name, list};
use super::records::{RECORD_LIMIT_BYTES, Record};
use super::{IoContext, Store, StoreError};
use crate::image::{Digest, Index, Manifest, Sha256Reader};
use std::fs::File;
use std::io;
use std::path::PathBuf;

/// Largest JSON document that is followed.
const DOCUMENT_LIMIT_BYTES: u64 = 8 << 20;

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

/// Reads the whole store: every name and record names what is there, and with `content` every blob has its digest.
pub fn check(store: &Store, content: bool) -> Result<Vec<Finding>, StoreError> {
    let mut findings = Vec::new();
    if content {
        check_blobs(store, &mut findings)?;
    }
    check_images(store, &mut findings)?;
    check_records(store, &mut findings)?;
    Ok(findings)
}

fn check_blobs(store: &Store, findings: &mut Vec<Finding>) -> Result<(), StoreError> {
    let directory = store.root().join("oci/blobs/sha256");
    for path in list(&directory)? {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let file = match File::open(&path) {
            // A prune beside this is no damage.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.during("open", &path)?,
        };
        let mut reader = Sha256Reader::new(file);
        io::copy(&mut reader, &mut io::sink()).during("read", &path)?;
        if reader.finish().1.hex() != name {
            findings.push(Finding { path, problem: "its content does not have the digest that names it".into() });
        }
    }
    Ok(())
}

fn check_images(store: &Store, findings: &mut Vec<Finding>) -> Result<(), StoreError> {
    let mut todo: Vec<Digest> = store.images()?.into_iter().map(|image| image.descriptor.digest).collect();
    while let Some(digest) = todo.pop() {
        let path = store.blob_path(&digest);
        let content = match store.read_blob(&digest, DOCUMENT_LIMIT_BYTES) {
            Ok(Some(content)) => content,
            Ok(None) => {
                findings.push(Finding { path, problem: "an image names it, but it is missing".into() });
                continue;
            }
            // Already told by the look at the blobs.
            Err(StoreError::Damaged { .. }) => continue,
            Err(error) => return Err(error),
        };
        if let Ok(manifest) = serde_json::from_slice::<Manifest>(&content) {
            for blob in manifest
                .layers
                .iter()
                .chain([&manifest.config])
                .filter(|blob| store.blob_size(&blob.digest) != Some(blob.size_bytes))
            {
                findings.push(Finding {
                    path: store.blob_path(&blob.digest),
                    problem: match store.blob_size(&blob.digest) {
                        None => format!("image {digest} names it, but it is missing"),
                        Some(size) => {
                            format!("image {digest} says it has {} bytes, but it has {size}", blob.size_bytes)
                        }
                    },
                });
            }
        } else if let Ok(index) = serde_json::from_slice::<Index>(&content) {
            todo.extend(index.manifests.iter().map(|manifest| manifest.digest));
        } else {
            findings.push(Finding { path, problem: "it is neither a manifest nor an index".into() });
        }
    }
    Ok(())
}

/// A record that names a missing layer is a miss and no damage; a layer without its tree or description is.
fn check_records(store: &Store, findings: &mut Vec<Finding>) -> Result<(), StoreError> {
    for path in list(&store.root().join("layers"))? {
        for part in ["fs", "meta.json"].into_iter().filter(|part| !path.join(part).exists()) {
            findings.push(Finding { path: path.join(part), problem: "it is missing".into() });
        }
    }
    for path in list(&store.root().join("records"))? {
        let is_record = Store::is_record(&file_name(&path));
        let content = super::file::read_limited(&path, RECORD_LIMIT_BYTES).ok().flatten().unwrap_or_default();
        if is_record && serde_json::from_slice::<Record>(&content).is_err() {
            findings.push(Finding { path, problem: "it is no record; the step it was for will run again".into() });
        }
    }
    Ok(())
}
