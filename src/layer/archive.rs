//! Unpacks an added archive into a live root file system (ADD).

use super::entry::Kind;
use super::limits::Limits;
use super::place::{PlaceOptions, Placer, UnpackError, at};
use super::reader::TarReader;
use super::unpack::Unpacked;
use crate::sys::Root;
use std::io::{self, Read};
use std::path::Path;

/// How an archive is unpacked.
#[derive(Debug, Clone)]
pub struct ArchiveOptions {
    /// `--chown`: the owner of everything that has an entry; directories that only entries below them imply are root's.
    pub chown: Option<(u32, u32)>,
    /// What the tar may ask for.
    pub limits: Limits,
    /// Whether owners are set; a user namespace with one id cannot.
    pub sets_owners: bool,
    /// Whether device nodes are made; else they are left out and listed.
    pub makes_devices: bool,
}

impl Default for ArchiveOptions {
    fn default() -> ArchiveOptions {
        ArchiveOptions { chown: None, limits: Limits::default(), sets_owners: true, makes_devices: true }
    }
}

/// Unpacks an uncompressed tar below `dest`, a path in `root` that is made if it is missing.
///
/// The destination is a root of its own, as in Docker: `..`, absolute names and absolute links of the image lead to
/// places below it.  Owners and modes are the tar's; existing directories take over theirs and keep what else they
/// hold; all else that is in the way is replaced; `.wh.x` removes `x`, `.wh..wh..opq` what its directory held.
pub fn unpack_archive(
    tar: impl Read,
    root: &Root,
    dest: &Path,
    options: &ArchiveOptions,
) -> Result<Unpacked, UnpackError> {
    let place = PlaceOptions {
        sets_owners: options.sets_owners,
        owner: options.chown,
        makes_devices: options.makes_devices,
        parents_mtime: None,
        form: None,
    };
    let dest = Placer::new(root, place.clone()).directory_root(dest).map_err(at(dest))?;
    let mut placer = Placer::new(&dest, place);
    let mut reader = TarReader::new(tar, options.limits.clone());
    let mut entries = 0;
    while let Some(entry) = reader.next()? {
        let Some(entry) = entry.into_layer_form()? else { continue };
        // `.` is the destination, which keeps its looks, as in Docker.
        if entry.path.as_os_str().is_empty() && entry.kind == Kind::Directory {
            continue;
        }
        match entry.kind {
            Kind::Whiteout => remove(&mut placer, &entry.path).map_err(at(&entry.path))?,
            Kind::Opaque => empty(&mut placer, &entry.path).map_err(at(&entry.path))?,
            _ => placer.place(&entry, &mut reader)?,
        }
        entries += 1;
    }
    // What follows the end is read so that its writer can finish; damage there (a checksum of gzip that was cut off, say)
    // is no matter, for tar and Docker stop at the end.
    let _ = reader.drain();
    Ok(Unpacked::new(entries, placer.finish()?))
}

fn remove(placer: &mut Placer<'_>, path: &Path) -> io::Result<()> {
    let (directory, name) = placer.parent_of(path)?;
    let directory = directory.try_clone_to_owned()?;
    placer.remove(&directory, name, path)
}

/// Removes what the image has in a directory; what the archive itself put there before goes too.
fn empty(placer: &mut Placer<'_>, path: &Path) -> io::Result<()> {
    let inside = path.join("any");
    let (directory, _) = placer.parent_of(&inside)?;
    let directory = directory.try_clone_to_owned()?;
    for entry in crate::sys::read_directory(&directory)? {
        placer.remove(&directory, &entry.name, &path.join(&entry.name))?;
    }
    Ok(())
}
