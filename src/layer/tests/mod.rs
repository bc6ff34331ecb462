//! Tests of the tar codec and of unpacking, with archives made by code.
#![allow(clippy::unwrap_used)]

mod archives;
mod attacks;
mod codec;
mod compression;
mod unpacking;

use super::*;
use std::io::Read;
use std::path::{Path, PathBuf};

/// One raw header block and what follows it, with no rule of the writer's applied.
struct Raw {
    block: [u8; 512],
    body: Vec<u8>,
}

impl Raw {
    fn new(flag: u8, name: &str) -> Raw {
        let mut raw = Raw { block: [0; 512], body: Vec::new() };
        raw.block[257..265].copy_from_slice(b"ustar\x0000");
        raw.block[156] = flag;
        raw.put(0, name.as_bytes()).put(100, b"0000644\0").put(108, b"0000000\0").put(116, b"0000000\0");
        raw.put(136, b"00000000000\0").size(0);
        raw
    }

    /// A file with a body and the right size.
    fn file(name: &str, body: &[u8]) -> Raw {
        let mut raw = Raw::new(b'0', name);
        raw.body = body.to_vec();
        raw.size(body.len() as u64);
        raw
    }

    /// A link of either kind.
    fn link(flag: u8, name: &str, target: &str) -> Raw {
        let mut raw = Raw::new(flag, name);
        raw.put(157, target.as_bytes());
        raw
    }

    /// A directory.
    fn directory(name: &str, mode: u32) -> Raw {
        let mut raw = Raw::new(b'5', name);
        raw.put(100, format!("{mode:07o}\0").as_bytes());
        raw
    }

    /// An extended header.
    fn pax(records: &[(&str, &[u8])]) -> Raw {
        let mut body = Vec::new();
        for (key, value) in records {
            super::pax::write_record(&mut body, key.as_bytes(), value);
        }
        let mut raw = Raw::file("pax", &body);
        raw.block[156] = b'x';
        raw
    }

    fn put(&mut self, offset: usize, bytes: &[u8]) -> &mut Raw {
        self.block[offset..offset + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn size(&mut self, size: u64) -> &mut Raw {
        self.put(124, format!("{size:011o}\0").as_bytes())
    }
}

/// A tar of raw headers, with right checksums and an end.
fn tar_of(entries: impl IntoIterator<Item = Raw>) -> Vec<u8> {
    let mut tar = Vec::new();
    for Raw { mut block, body } in entries {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        tar.extend_from_slice(&block);
        tar.extend_from_slice(&body);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

/// Everything that a reader sees, or its refusal.
fn read_all(tar: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, TarError> {
    let mut reader = TarReader::new(tar, Limits::default());
    let mut entries = Vec::new();
    while let Some(entry) = reader.next()? {
        let mut body = Vec::new();
        // Bodies of hostile tars may claim to be huge.
        (&mut reader).take(1 << 20).read_to_end(&mut body)?;
        entries.push((entry, body));
    }
    Ok(entries)
}

/// The paths that a reader sees.
fn paths(tar: &[u8]) -> Vec<PathBuf> {
    read_all(tar).unwrap().into_iter().map(|(entry, _)| entry.path).collect()
}

/// A root directory beside a file and a directory that must not change.
struct Cell {
    dir: tempfile::TempDir,
}

impl Cell {
    fn new() -> Cell {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("root")).unwrap();
        std::fs::create_dir(dir.path().join("outside")).unwrap();
        std::fs::write(dir.path().join("outside/file"), "canary").unwrap();
        for (path, mode) in [("outside", 0o750), ("outside/file", 0o640)] {
            std::fs::set_permissions(dir.path().join(path), std::fs::Permissions::from_mode(mode)).unwrap();
        }
        Cell { dir }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join("root").join(path)
    }

    fn outside(&self, path: &str) -> String {
        self.dir.path().join("outside").join(path).to_str().unwrap().to_owned()
    }

    fn root(&self) -> crate::sys::Root {
        crate::sys::Root::open(&self.path("")).unwrap()
    }

    fn unpack(&self, tar: &[u8]) -> Result<Unpacked, UnpackError> {
        let result = unpack_layer(tar, &self.root(), layer_options());
        self.assert_intact();
        result
    }

    fn add(&self, tar: &[u8], dest: &str, options: &ArchiveOptions) -> Result<Unpacked, UnpackError> {
        let result = unpack_archive(tar, &self.root(), Path::new(dest), options);
        self.assert_intact();
        result
    }

    /// Nothing beside the root has changed.
    fn assert_intact(&self) {
        use std::os::unix::fs::MetadataExt;
        let stat = |path: &str| std::fs::metadata(self.dir.path().join(path)).unwrap();
        let mut names: Vec<_> = walk(self.dir.path()).into_iter().filter(|path| !path.starts_with("root")).collect();
        names.sort();
        assert_eq!(names, [Path::new("outside"), Path::new("outside/file")]);
        assert_eq!(std::fs::read_to_string(self.outside("file")).unwrap(), "canary");
        assert_eq!((stat("outside").mode() & 0o7777, stat("outside/file").mode() & 0o7777), (0o750, 0o640));
        assert_eq!(stat("outside/file").nlink(), 1);
        assert_eq!((stat("outside").uid(), stat("outside/file").uid()), (owner_here(), owner_here()));
    }
}

/// Only root can give files away.
fn layer_options<'a>() -> UnpackOptions<'a> {
    let sets_owners = rustix::process::geteuid().is_root();
    UnpackOptions { sets_owners, ..UnpackOptions::new(crate::sys::overlay::OverlayForm::Trusted) }
}

fn archive_options() -> ArchiveOptions {
    ArchiveOptions { sets_owners: rustix::process::geteuid().is_root(), ..ArchiveOptions::default() }
}

fn owner_here() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether this test runs as root; says by name that it is skipped when it does not.
fn is_root(test: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("skipped, needs root: {test}");
    }
    is_root
}

/// All paths below a directory, without following links.
fn walk(top: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![top.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            found.push(entry.path().strip_prefix(top).unwrap().to_owned());
            if entry.file_type().unwrap().is_dir() {
                pending.push(entry.path());
            }
        }
    }
    found
}
