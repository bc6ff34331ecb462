//! Blobs of the OCI layout, by digest.

use super::{IoContext, Store, StoreError, file};
use crate::image::{Digest, Sha256Writer};
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

impl Store {
    /// Returns where a blob is or would be.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root().join("oci/blobs/sha256").join(digest.hex())
    }

    /// Whether a blob of that size is there; one of another size is what a crash left of it.
    ///
    /// Asking counts as a use: a prune beside this leaves it in place for a while.
    pub fn has_blob(&self, digest: &Digest, size_bytes: u64) -> bool {
        use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};
        if self.blob_size(digest) != Some(size_bytes) {
            return false;
        }
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        // Gone between the two calls; on a read-only disk nothing is pruned either.
        let renewed = utimensat(CWD, self.blob_path(digest), &times, AtFlags::empty());
        !matches!(renewed, Err(rustix::io::Errno::NOENT))
    }

    /// Returns the size of a blob in bytes if it is there; that is no use of it.
    pub fn blob_size(&self, digest: &Digest) -> Option<u64> {
        std::fs::metadata(self.blob_path(digest)).ok().map(|metadata| metadata.len())
    }

    /// Reads a small blob (a manifest, a config); `None` if it is not there.
    pub fn read_blob(&self, digest: &Digest, limit_bytes: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.blob_path(digest);
        let Some(content) = file::read_limited(&path, limit_bytes)? else { return Ok(None) };
        if Digest::of(&content) == *digest {
            return Ok(Some(content));
        }
        Err(StoreError::Damaged { path, reason: "its content does not have its digest".into() })
    }

    /// Writes a small blob and returns its digest.
    pub fn write_blob(&self, content: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(content);
        if !self.has_blob(&digest, content.len() as u64) {
            file::write_atomically(self.root(), &self.blob_path(&digest), content, file::Replace::Always)?;
        }
        Ok(digest)
    }

    /// Begins a blob whose digest is not known yet.
    pub fn blob_writer(&self) -> Result<BlobWriter, StoreError> {
        let tmp = self.root().join("tmp");
        let file = tempfile::Builder::new().prefix("b-").tempfile_in(&tmp).during("make a file in", &tmp)?;
        let (file, path) = file.into_parts();
        Ok(BlobWriter { inner: Sha256Writer::new(file), path })
    }

    /// Returns a file below `tmp/` for a blob that someone else digests; see [`Store::adopt_blob`].
    pub fn blob_file(&self) -> Result<tempfile::NamedTempFile, StoreError> {
        let tmp = self.root().join("tmp");
        tempfile::Builder::new().prefix("b-").tempfile_in(&tmp).during("make a file in", &tmp)
    }

    /// Takes a finished file into the layout under the digest that its writer has computed.
    pub fn adopt_blob(&self, file: tempfile::NamedTempFile, digest: &Digest) -> Result<(), StoreError> {
        self.adopt_path(file.into_temp_path(), digest)
    }

    /// Takes a finished file as [`Store::adopt_blob`] does, which need not be open.
    pub fn adopt_path(&self, path: tempfile::TempPath, digest: &Digest) -> Result<(), StoreError> {
        let target = self.blob_path(digest);
        path.persist(&target).map_err(|e| e.error).during("rename to", &target)
    }

    /// Gives a written blob its name, if it has the digest and size that were promised.
    pub fn commit_blob(&self, writer: BlobWriter) -> Result<(Digest, u64), StoreError> {
        let (_, digest, size_bytes) = writer.inner.finish();
        let target = self.blob_path(&digest);
        writer.path.persist(&target).map_err(|e| e.error).during("rename to", &target)?;
        Ok((digest, size_bytes))
    }
}

/// A blob in the making; removed when dropped before [`Store::commit_blob`].
pub struct BlobWriter {
    inner: Sha256Writer<File>,
    path: tempfile::TempPath,
}

impl Write for BlobWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.inner.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
