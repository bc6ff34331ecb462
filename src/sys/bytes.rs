//! Moves the bytes of a regular file by the cheapest way that the two file systems allow.
//!
//! A clone shares the blocks; `copy_file_range` keeps them inside the kernel; a plain loop always works.  What a pair
//! of file systems refused once is not tried again within one copy.

use rustix::fs::SeekFrom;
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Files up to this size, bytes, are read and written at once: cheaper than asking for anything cleverer.
const SMALL_FILE_BYTES: u64 = 64 << 10;

/// Size of the buffer of the plain loop.
const BUFFER_BYTES: usize = 1 << 20;

/// Most that one `copy_file_range` is asked for: an interrupt waits for it.
const RANGE_BYTES: u64 = 128 << 20;

/// What is known of a pair of file systems.
#[derive(Debug, Default)]
pub struct DataPath {
    no_clone: AtomicBool,
    no_range: AtomicBool,
}

impl DataPath {
    /// Copies `size_bytes` bytes from the start of `source` into the empty file `dest`; returns how many there were.
    ///
    /// Fewer than asked for means that the source was cut short.  Holes stay holes.
    pub fn copy(
        &self,
        source: BorrowedFd<'_>,
        dest: BorrowedFd<'_>,
        size_bytes: u64,
        is_sparse: bool,
    ) -> io::Result<u64> {
        if size_bytes == 0 {
            return Ok(0);
        }
        if !self.no_clone.load(Ordering::Relaxed) {
            match rustix::fs::ioctl_ficlone(dest, source) {
                Ok(()) => return Ok(size_bytes),
                Err(_) => self.no_clone.store(true, Ordering::Relaxed),
            }
        }
        if is_sparse && size_bytes > SMALL_FILE_BYTES {
            return self.copy_extents(source, dest, size_bytes);
        }
        self.copy_range(source, dest, 0, size_bytes)
    }

    fn copy_extents(&self, source: BorrowedFd<'_>, dest: BorrowedFd<'_>, size_bytes: u64) -> io::Result<u64> {
        let mut at = 0;
        while at < size_bytes {
            let start = match rustix::fs::seek(source, SeekFrom::Data(at)) {
                Ok(start) => start.min(size_bytes),
                Err(Errno::NXIO) => break,
                Err(_) => return self.copy_range(source, dest, at, size_bytes),
            };
            let end = rustix::fs::seek(source, SeekFrom::Hole(start)).unwrap_or(size_bytes).min(size_bytes);
            if self.copy_range(source, dest, start, end)? < end {
                return Ok(at);
            }
            at = end;
        }
        rustix::fs::ftruncate(dest, size_bytes)?;
        Ok(size_bytes)
    }

    /// Copies the bytes `start..end` to the same place; returns the offset behind the last one that was there.
    fn copy_range(&self, source: BorrowedFd<'_>, dest: BorrowedFd<'_>, start: u64, end: u64) -> io::Result<u64> {
        let mut at = start;
        while end - at > SMALL_FILE_BYTES && !self.no_range.load(Ordering::Relaxed) {
            let (mut from, mut to) = (at, at);
            let length = (end - at).min(RANGE_BYTES) as usize;
            match rustix::fs::copy_file_range(source, Some(&mut from), dest, Some(&mut to), length) {
                Ok(0) => return Ok(at),
                Ok(count) => at += count as u64,
                Err(Errno::INTR) => {}
                Err(Errno::NOSPC) => return Err(Errno::NOSPC.into()),
                Err(_) => self.no_range.store(true, Ordering::Relaxed),
            }
        }
        copy_plain(source, dest, at, end)
    }
}

fn copy_plain(source: BorrowedFd<'_>, dest: BorrowedFd<'_>, start: u64, end: u64) -> io::Result<u64> {
    let mut buffer = vec![0; BUFFER_BYTES.min((end - start) as usize)];
    let mut at = start;
    while at < end {
        let length = buffer.len().min((end - at) as usize);
        let count = match rustix::io::pread(source, &mut buffer[..length], at) {
            Ok(0) => break,
            Ok(count) => count,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        write_at(dest, &buffer[..count], at)?;
        at += count as u64;
    }
    Ok(at)
}

/// Writes all bytes at an offset.
pub fn write_at(dest: impl AsFd, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(&dest, bytes, at) {
            Ok(count) => {
                bytes = &bytes[count..];
                at += count as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::{Seek, SeekFrom as StdSeekFrom, Write};
    use std::os::unix::fs::{FileExt, MetadataExt};

    fn round_trip(path: &DataPath, content: &[u8], is_sparse: bool) -> Vec<u8> {
        let (mut source, dest) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        source.write_all(content).unwrap();
        let count = path.copy(source.as_fd(), dest.as_fd(), content.len() as u64, is_sparse).unwrap();
        assert_eq!(count, content.len() as u64);
        let mut copied = vec![0; dest.metadata().unwrap().len() as usize];
        dest.read_exact_at(&mut copied, 0).unwrap();
        copied
    }

    #[test]
    fn every_way_gives_the_same_bytes() {
        for size in [0, 1, 4096, SMALL_FILE_BYTES as usize + 1, 3 * BUFFER_BYTES + 17] {
            let content: Vec<u8> = (0..size).map(|i| (i * 31 / 8) as u8).collect();
            let plain = DataPath { no_clone: true.into(), no_range: true.into() };
            let range = DataPath { no_clone: true.into(), no_range: false.into() };
            for path in [DataPath::default(), range, plain] {
                for is_sparse in [false, true] {
                    assert!(round_trip(&path, &content, is_sparse) == content, "{size} {path:?}");
                }
            }
        }
    }

    #[test]
    fn holes_stay_holes() {
        let (mut source, dest) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        source.seek(StdSeekFrom::Start(5 << 20)).unwrap();
        source.write_all(b"x").unwrap();
        source.set_len(9 << 20).unwrap();
        DataPath::default().copy(source.as_fd(), dest.as_fd(), 9 << 20, true).unwrap();
        let metadata = dest.metadata().unwrap();
        assert_eq!(metadata.len(), 9 << 20);
        assert!(metadata.blocks() * 512 < 1 << 20, "{} blocks", metadata.blocks());
        let mut byte = [0];
        dest.read_exact_at(&mut byte, 5 << 20).unwrap();
        assert_eq!(&byte, b"x");
    }

    #[test]
    fn a_source_cut_short_is_noticed() {
        let (mut source, dest) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        source.write_all(&[7; 100]).unwrap();
        let path = DataPath { no_clone: true.into(), no_range: false.into() };
        assert_eq!(path.copy(source.as_fd(), dest.as_fd(), 200, false).unwrap(), 100);
    }
}
