//! ADD: archives of the source are unpacked, everything else is copied.
//!
//! What is an archive its content says, never its name: a tar, plain or compressed.  `--chmod` does not touch what is
//! unpacked, `--chown` does.

use super::file::open_selected;
use super::target::{is_directory, make_directories, open_directory, resolve};
use super::{CopyError, CopyStats, Placement, WantedOwner, apply};
use crate::context::selection::{EntryKind, Item, Selection};
use crate::layer::{ArchiveOptions, Kind, TarError, TarReader, UnpackError, open_archive, unpack_archive};
use crate::sys::Root;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// Why an ADD failed.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// Copying failed.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// An archive is broken, hostile or could not be written.
    #[error("cannot unpack `{archive}`")]
    Unpack {
        /// Path of the archive in its source.
        archive: PathBuf,
        /// Why.
        source: UnpackError,
    },
}

/// Writes a selection like [`apply`], but unpacks the archives among its files into the destination.
///
/// `options` says what archives may ask for; its `chown` is taken from the placement.
pub fn apply_add(
    selection: &Selection,
    source: &Root,
    dest: &Root,
    placement: &Placement,
    options: &ArchiveOptions,
) -> Result<CopyStats, AddError> {
    let mut stats = CopyStats::default();
    let mut plain = Selection::default();
    for item in &selection.items {
        let Some(archive) = open_file(item, source, placement)? else {
            plain.items.push(item.clone());
            continue;
        };
        if !is_archive(&archive, &item.origin)? {
            plain.items.push(item.clone());
            continue;
        }
        // In order: what follows may overwrite what went before.
        stats.add(apply(&std::mem::take(&mut plain), source, dest, placement)?);
        stats.add(unpack(archive, &item.origin, dest, placement, options)?);
    }
    stats.add(apply(&plain, source, dest, placement)?);
    stats.owners.sort();
    Ok(stats)
}

/// Unpacks an open file, e.g. a download with `--unpack`; `None` if it is no archive and was left alone.
pub fn unpack_file(
    archive: &File,
    name: &Path,
    dest: &Root,
    placement: &Placement,
    options: &ArchiveOptions,
) -> Result<Option<CopyStats>, AddError> {
    if !is_archive(archive, name)? {
        return Ok(None);
    }
    let archive = archive.try_clone().map_err(read_failed(name))?;
    unpack(archive, name, dest, placement, options).map(Some)
}

/// Opens an item that is a single regular file with something in it.
fn open_file(item: &Item, source: &Root, placement: &Placement) -> Result<Option<File>, CopyError> {
    let [entry] = item.entries.as_slice() else { return Ok(None) };
    let EntryKind::File { size_bytes: 1.. } = entry.kind else { return Ok(None) };
    let directory = item.origin.parent().unwrap_or(Path::new("/"));
    let parent = open_directory(source, directory).map_err(read_failed(directory))?;
    let name = item.origin.file_name().unwrap_or(OsStr::new("."));
    let (file, _) = open_selected(parent.as_fd(), name, entry, placement.verify_unchanged, || item.origin.clone())?;
    Ok(Some(file.into()))
}

fn is_archive(file: &File, path: &Path) -> Result<bool, CopyError> {
    open_archive(from_start(file)).map(|archive| archive.is_some()).map_err(read_failed(path))
}

fn unpack(
    archive: File,
    path: &Path,
    dest: &Root,
    placement: &Placement,
    options: &ArchiveOptions,
) -> Result<CopyStats, AddError> {
    let destination = resolve(dest, Path::new(&placement.destination))?;
    let made = make_directories(dest, &destination, placement.chown, 0o755)?;
    let mut stats = CopyStats { directories: made.count, owners: made.owners, ..CopyStats::default() };
    let options = ArchiveOptions { chown: placement.chown, ..options.clone() };
    // It was an archive a moment ago; what it is now the reader of tars says.
    let Some(tar) = open_archive(from_start(&archive)).map_err(read_failed(path))? else {
        return Err(CopyError::Changed { path: path.to_owned() }.into());
    };
    let unpacked = unpack_archive(tar, dest, &destination, &options)
        .map_err(|source| AddError::Unpack { archive: path.to_owned(), source })?;
    stats.unpacked += unpacked.entries;
    stats.bytes += unpacked.bytes;
    stats.skipped_devices.extend(unpacked.skipped_devices.iter().map(|path| destination.join(path)));
    if !options.sets_owners {
        stats.owners.extend(wanted_owners(&archive, path, dest, &destination, &options)?);
    }
    Ok(stats)
}

/// Reads an archive that was unpacked without its owners once more, for the owners.
fn wanted_owners(
    archive: &File,
    path: &Path,
    dest: &Root,
    destination: &Path,
    options: &ArchiveOptions,
) -> Result<Vec<WantedOwner>, AddError> {
    let failed = |source: TarError| AddError::Unpack { archive: path.to_owned(), source: source.into() };
    let Some(tar) = open_archive(from_start(archive)).map_err(read_failed(path))? else { return Ok(Vec::new()) };
    let root = dest.open_dir(destination).map_err(read_failed(destination))?;
    let mut reader = TarReader::new(tar, options.limits.clone());
    let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let mut owners = BTreeMap::new();
    while let Some(entry) = reader.next().map_err(failed)? {
        let owner = options.chown.unwrap_or((entry.uid, entry.gid));
        let target = if let Kind::Hardlink { target } = &entry.kind { Some(target.as_path()) } else { None };
        for name in std::iter::once(entry.path.as_path()).chain(target) {
            // The last entry of a name counts, also if its owner needs no record.
            owners.insert(place_of(&root, destination, name)?, owner);
        }
    }
    owners.retain(|_, owner| *owner != own);
    let mut wanted = Vec::new();
    for (path, (uid, gid)) in owners {
        // Whiteouts and what they removed leave nothing to own.
        if is_directory(dest, &path)?.is_some() {
            wanted.push(WantedOwner { path, uid, gid });
        }
    }
    Ok(wanted)
}

/// Returns where an entry was written: links of directories on the way are followed below the destination.
fn place_of(root: &Root, destination: &Path, name: &Path) -> Result<PathBuf, CopyError> {
    let Some(last) = name.file_name() else { return Ok(destination.to_owned()) };
    let parent = resolve(root, name.parent().unwrap_or(Path::new("")))?;
    Ok(destination.join(parent.strip_prefix("/").unwrap_or(&parent)).join(last))
}

fn read_failed(path: &Path) -> impl FnOnce(std::io::Error) -> CopyError {
    let path = path.to_owned();
    move |source| CopyError::Read { path, source }
}

/// Reads a file from its start, whatever its descriptor's position is.
fn from_start(file: &File) -> impl std::io::Read + Send + '_ {
    Positioned { file, at: 0 }
}

struct Positioned<'a> {
    file: &'a File,
    at: u64,
}

impl std::io::Read for Positioned<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = std::os::unix::fs::FileExt::read_at(self.file, buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}
