//! Whether a store is whole: `cooper store check`.

use super::{IoContext, Store, StoreError, records::Record};
use crate::image::{Digest, Index, Manifest, Sha256Reader};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

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

/// Reads the whole store: every blob has its digest, every name and record names what is there.
pub fn check(store: &Store) -> Result<Vec<Finding>, StoreError> {
    let mut findings = Vec::new();
    check_blobs(store, &mut findings)?;
    check_images(store, &mut findings)?;
    check_records(store, &mut findings)?;
    Ok(findings)
}

fn check_blobs(store: &Store, findings: &mut Vec<Finding>) -> Result<(), StoreError> {
    let directory = store.root().join("oci/blobs/sha256");
    for path in list(&directory)? {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut reader = Sha256Reader::new(File::open(&path).during("open", &path)?);
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
                .filter(|blob| !store.has_blob(&blob.digest, blob.size_bytes))
            {
                findings.push(Finding {
                    path: store.blob_path(&blob.digest),
                    problem: format!("image {digest} names it, but it is missing"),
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
        let is_record = path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with("why-"));
        let content = std::fs::read(&path).during("read", &path)?;
        if is_record && serde_json::from_slice::<Record>(&content).is_err() {
            findings.push(Finding { path, problem: "it is no record; the step it was for will run again".into() });
        }
    }
    Ok(())
}

fn list(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = std::fs::read_dir(directory).during("list", directory)?;
    entries.map(|entry| entry.map(|entry| entry.path()).during("list", directory)).collect()
}
