//! Reads a tar, believing nothing.
//!
//! Written for the project because the readers at hand disagree with Go's about where an entry's data ends, which
//! is all that an attacker needs (CVE-2026-33055, CVE-2025-62518).  Where the well-known readers differ from one
//! another, the tar is refused; where they agree, this one does as they do.

use super::entry::{Entry, Kind, Timestamp, clean, printable};
use super::header::{BLOCK_BYTES, Dialect, Header};
use super::limits::Limits;
use super::pax::{self, PaxError};
use super::sparse::{self, Region};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, BufReader, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Size of the buffer between the reader and its input.
const BUFFER_BYTES: usize = 256 << 10;
/// What a xattr is called in a pax header.
pub(crate) const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";

/// Why a tar is refused.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The input cannot be read.
    #[error("cannot read the archive: {0}")]
    Io(io::Error),
    /// The input ends inside an entry.
    #[error("the archive is truncated")]
    Truncated,
    /// A header whose checksum is wrong: not a tar, or a damaged one.
    #[error("no valid tar header at byte {offset}")]
    Checksum {
        /// Where the header begins, in bytes of the tar.
        offset: u64,
    },
    /// A number that is none, or is out of its range.
    #[error("malformed tar entry `{}`: bad {field}", printable(path))]
    Field {
        /// The entry.
        path: PathBuf,
        /// The name of the field.
        field: &'static str,
    },
    /// A malformed extended header.
    #[error("malformed tar entry at byte {offset}: {error}")]
    Pax {
        /// Where the extended header begins, in bytes of the tar.
        offset: u64,
        /// What is wrong.
        error: PaxError,
    },
    /// A sparse map that contradicts the entry.
    #[error("malformed tar entry `{}`: bad sparse map", printable(path))]
    Sparse {
        /// The entry.
        path: PathBuf,
    },
    /// A field given in two ways that readers rank differently.
    #[error("ambiguous tar entry `{}`: {field} is given twice", printable(path))]
    Ambiguous {
        /// The entry.
        path: PathBuf,
        /// The name of the field.
        field: &'static str,
    },
    /// A type that no image may have.
    #[error("tar entry `{}` has the unsupported type `{}`", printable(path), flag.escape_ascii())]
    Unsupported {
        /// The entry.
        path: PathBuf,
        /// The type flag.
        flag: u8,
    },
    /// More than a limit allows.
    #[error("the archive exceeds the limit of {limit} {what}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
}

impl From<io::Error> for TarError {
    fn from(error: io::Error) -> TarError {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => TarError::Truncated,
            _ => TarError::Io(error),
        }
    }
}

/// Yields the entries of a tar; between two of them it reads as the content of the last one.
pub struct TarReader<R> {
    input: Counted<BufReader<R>>,
    limits: Limits,
    /// Bytes stored for the current entry that are not read yet.
    stored_left: u64,
    padding: u64,
    /// The regions of the current entry that are not read to their end, last first; a plain file is one region.
    regions: Vec<Region>,
    /// Where the content of the current entry has been read to, and where it ends.
    position: u64,
    size: u64,
    entries: u64,
    total_bytes: u64,
    has_ended: bool,
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.bytes += n as u64;
        Ok(n)
    }
}

/// What extended headers say about the entry after them.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    gnu_path: Option<Vec<u8>>,
    gnu_link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<Timestamp>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    sparse: SparseRecords,
    has_pax: bool,
    headers: u32,
}

/// The `GNU.sparse.*` records.
#[derive(Default)]
struct SparseRecords {
    version: (Option<u64>, Option<u64>),
    name: Option<Vec<u8>>,
    real_size: Option<u64>,
    numbers: Vec<u64>,
    is_present: bool,
}

impl<R: Read> TarReader<R> {
    /// Wraps an uncompressed tar; it need not be buffered.
    pub fn new(input: R, limits: Limits) -> TarReader<R> {
        let input = Counted { inner: BufReader::with_capacity(BUFFER_BYTES, input), bytes: 0 };
        TarReader {
            input,
            limits,
            stored_left: 0,
            padding: 0,
            regions: Vec::new(),
            position: 0,
            size: 0,
            entries: 0,
            total_bytes: 0,
            has_ended: false,
        }
    }

    /// Returns the next entry, or `None` after the last; what is left of the current one is skipped.
    #[allow(clippy::should_implement_trait, reason = "an iterator could not be read from between two entries")]
    pub fn next(&mut self) -> Result<Option<Entry>, TarError> {
        if self.has_ended {
            return Ok(None);
        }
        self.skip_entry()?;
        let mut extension = Extension::default();
        loop {
            let offset = self.input.bytes;
            let Some(header) = self.header()? else {
                self.has_ended = true;
                // An extended header belongs to an entry; at the end of the tar it has lost it.
                return if extension.headers == 0 { Ok(None) } else { Err(TarError::Truncated) };
            };
            if !matches!(header.type_flag(), b'x' | b'g' | b'L' | b'K') {
                return self.entry(&header, extension).map(Some);
            }
            extension.headers += 1;
            if extension.headers > self.limits.extended_headers {
                let limit = u64::from(self.limits.extended_headers);
                return Err(TarError::Limit { what: "extended headers of one entry", limit });
            }
            let body = self.extended_body(&header)?;
            self.extend(&mut extension, header.type_flag(), body).map_err(|error| TarError::Pax { offset, error })?;
        }
    }

    /// Whether the current entry has holes: runs of zeros that need not be written.
    pub fn is_sparse(&self) -> bool {
        self.stored_left < self.size - self.position
    }

    /// Reads the input to its end, behind the end of the tar, so that a digest of the input covers all of it.
    pub fn drain(&mut self) -> Result<(), TarError> {
        let limit = self.limits.trailing_bytes;
        let read = io::copy(&mut (&mut self.input).take(limit + 1), &mut io::sink())?;
        if read > limit { Err(TarError::Limit { what: "bytes behind its end", limit }) } else { Ok(()) }
    }

    /// The next header; `None` at the end of the tar: two blocks of zeros, one at the end of the input, or just that.
    fn header(&mut self) -> Result<Option<Header>, TarError> {
        let offset = self.input.bytes;
        let Some(header) = self.block()? else { return Ok(None) };
        if !header.is_zero() {
            return if header.has_valid_checksum() { Ok(Some(header)) } else { Err(TarError::Checksum { offset }) };
        }
        match self.block()? {
            Some(second) if !second.is_zero() => Err(TarError::Checksum { offset }),
            _ => Ok(None),
        }
    }

    fn block(&mut self) -> Result<Option<Header>, TarError> {
        let mut block = [0; BLOCK_BYTES];
        let mut filled = 0;
        while filled < BLOCK_BYTES {
            match self.input.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(TarError::Truncated),
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(Header(block)))
    }

    fn extended_body(&mut self, header: &Header) -> Result<Vec<u8>, TarError> {
        let size = header.size().ok().and_then(|size| u64::try_from(size).ok());
        let size = size.ok_or_else(|| TarError::Field { path: clean(&header.path()), field: "size" })?;
        let limit = self.limits.extended_header_bytes;
        if size > limit {
            return Err(TarError::Limit { what: "bytes of an extended header", limit });
        }
        let mut body = Vec::new();
        (&mut self.input).take(size).read_to_end(&mut body)?;
        if (body.len() as u64) < size {
            return Err(TarError::Truncated);
        }
        self.skip(padding(size))?;
        Ok(body)
    }

    fn extend(&self, extension: &mut Extension, flag: u8, mut body: Vec<u8>) -> Result<(), PaxError> {
        let twice = |what: &str| PaxError::Duplicate(what.to_owned());
        match flag {
            b'g' => check_global(&body),
            b'x' if extension.has_pax => Err(twice("extended header")),
            b'x' => extension.read_pax(&body),
            _ => {
                body.truncate(super::header::text(&body).len());
                let field = if flag == b'L' { &mut extension.gnu_path } else { &mut extension.gnu_link };
                if field.replace(body).is_some() { Err(twice("GNU long name")) } else { Ok(()) }
            }
        }
    }

    fn entry(&mut self, header: &Header, extension: Extension) -> Result<Entry, TarError> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(TarError::Limit { what: "entries", limit: self.limits.entries });
        }
        let raw_path = extension.resolve_path(header)?;
        let path = self.clean_path(&raw_path)?;
        let bad = |field| TarError::Field { path: path.clone(), field };
        let field = |value: Result<i64, _>, name| value.map_err(|_| bad(name));
        let id = |from_pax: Option<u64>, value, name| {
            let id = match from_pax {
                Some(id) => u32::try_from(id).ok(),
                None => u32::try_from(field(value, name)?).ok(),
            };
            // To chown(2) the last one means that nothing is changed: the file would be the builder's.
            id.filter(|id| *id != u32::MAX).ok_or_else(|| bad(name))
        };
        let uid = id(extension.uid, header.uid(), "uid")?;
        let gid = id(extension.gid, header.gid(), "gid")?;
        let mode = (field(header.mode(), "mode")? & 0o7777) as u32;
        let mtime = match extension.mtime {
            Some(mtime) => mtime,
            None => Timestamp { seconds: field(header.mtime(), "mtime")?, nanoseconds: 0 },
        };
        // The one rule for the size: the pax record if there is one, else the header's field.
        let stored_size = match extension.size {
            Some(size) => size,
            None => u64::try_from(field(header.size(), "size")?).map_err(|_| bad("size"))?,
        };
        let kind = self.kind(header, &extension, &raw_path, &path, stored_size)?;
        Ok(Entry { path, kind, mode, uid, gid, mtime, xattrs: extension.xattrs })
    }

    fn kind(
        &mut self,
        header: &Header,
        extension: &Extension,
        raw_path: &[u8],
        path: &std::path::Path,
        stored_size: u64,
    ) -> Result<Kind, TarError> {
        let bad = |field| TarError::Field { path: path.to_owned(), field };
        let link = || extension.resolve_link(header, path);
        if extension.sparse.is_present && !matches!(header.type_flag(), b'0' | 0) {
            return Err(TarError::Sparse { path: path.to_owned() });
        }
        let device = || {
            let (major, minor) = header.device().map_err(|_| bad("device number"))?;
            let convert = |n| u32::try_from(n).map_err(|_| bad("device number"));
            Ok::<_, TarError>((convert(major)?, convert(minor)?))
        };
        Ok(match header.type_flag() {
            // Before POSIX a directory was a file with a slash at the end.  Go reads its data, Python does not.
            0 if raw_path.ends_with(b"/") && stored_size != 0 => return Err(bad("size")),
            0 if raw_path.ends_with(b"/") => Kind::Directory,
            0 | b'0' | b'7' | b'S' => Kind::File { size_bytes: self.begin_body(header, extension, path, stored_size)? },
            // The entries below have no data, whatever their size says: Go, Python and GNU tar agree.
            b'1' => Kind::Hardlink { target: self.clean_path(&link()?)? },
            b'2' => {
                let target = link()?;
                self.check_length(&target)?;
                Kind::Symlink { target: OsString::from_vec(target) }
            }
            b'3' => device().map(|(major, minor)| Kind::CharDevice { major, minor })?,
            b'4' => device().map(|(major, minor)| Kind::BlockDevice { major, minor })?,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            flag => return Err(TarError::Unsupported { path: path.to_owned(), flag }),
        })
    }

    /// Prepares the reading of a file's content; returns its size.
    fn begin_body(
        &mut self,
        header: &Header,
        extension: &Extension,
        path: &std::path::Path,
        stored_size: u64,
    ) -> Result<u64, TarError> {
        let bad = |_| TarError::Sparse { path: path.to_owned() };
        let limit = self.limits.sparse_regions;
        self.padding = padding(stored_size);
        let (regions, real_size, map_bytes) = if header.type_flag() == b'S' {
            if header.dialect() != Dialect::Gnu {
                return Err(bad(sparse::BadMap));
            }
            let (regions, real_size) = sparse::read_old_gnu(header, &mut self.input, limit)?.map_err(bad)?;
            (regions, real_size, 0)
        } else if extension.sparse.is_present {
            self.pax_regions(&extension.sparse, stored_size).and_then(|result| result.map_err(bad))?
        } else {
            (vec![Region { offset: 0, length: stored_size }], stored_size, 0)
        };
        let data_size = stored_size.checked_sub(map_bytes).ok_or(bad(sparse::BadMap))?;
        sparse::check(&regions, real_size, data_size).map_err(bad)?;
        self.total_bytes = self.total_bytes.saturating_add(real_size);
        if self.total_bytes > self.limits.total_bytes {
            return Err(TarError::Limit { what: "bytes", limit: self.limits.total_bytes });
        }
        self.regions = regions;
        self.regions.reverse();
        self.stored_left = data_size;
        self.position = 0;
        self.size = real_size;
        Ok(real_size)
    }

    /// Regions, real size and length of the map in the data, of a sparse file in one of the pax forms.
    #[allow(clippy::type_complexity)]
    fn pax_regions(
        &mut self,
        records: &SparseRecords,
        stored_size: u64,
    ) -> Result<Result<(Vec<Region>, u64, u64), sparse::BadMap>, TarError> {
        let Some(real_size) = records.real_size else { return Ok(Err(sparse::BadMap)) };
        let limit = self.limits.sparse_regions;
        Ok(match records.version {
            (Some(1), Some(0)) => sparse::read_pax_1_0(&mut self.input, stored_size, limit)?
                .map(|(regions, map_bytes)| (regions, real_size, map_bytes)),
            (None, None) | (Some(0), Some(0 | 1)) if records.numbers.len() <= limit * 2 => {
                sparse::pair(&records.numbers).map(|regions| (regions, real_size, 0))
            }
            _ => Err(sparse::BadMap),
        })
    }

    fn clean_path(&self, raw: &[u8]) -> Result<PathBuf, TarError> {
        self.check_length(raw)?;
        let path = clean(raw);
        if path.iter().count() > self.limits.path_depth {
            return Err(TarError::Limit { what: "names in a path", limit: self.limits.path_depth as u64 });
        }
        Ok(path)
    }

    fn check_length(&self, path: &[u8]) -> Result<(), TarError> {
        let limit = self.limits.path_bytes;
        if path.len() > limit { Err(TarError::Limit { what: "bytes of a path", limit: limit as u64 }) } else { Ok(()) }
    }

    fn skip_entry(&mut self) -> Result<(), TarError> {
        self.skip(self.stored_left)?;
        self.skip(self.padding)?;
        self.stored_left = 0;
        self.padding = 0;
        self.size = 0;
        self.position = 0;
        self.regions.clear();
        Ok(())
    }

    fn skip(&mut self, bytes: u64) -> Result<(), TarError> {
        let skipped = io::copy(&mut (&mut self.input).take(bytes), &mut io::sink())?;
        if skipped < bytes { Err(TarError::Truncated) } else { Ok(()) }
    }
}

impl<R: Read> Read for TarReader<R> {
    /// Reads the content of the current entry, holes as zeros.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.regions.last().is_some_and(|region| region.length == 0) {
            self.regions.pop();
        }
        let wanted = (buf.len() as u64).min(self.size - self.position);
        if wanted == 0 {
            return Ok(0);
        }
        let hole = match self.regions.last() {
            Some(region) => region.offset - self.position,
            None => wanted,
        };
        if hole > 0 {
            let n = hole.min(wanted) as usize;
            buf[..n].fill(0);
            self.position += n as u64;
            return Ok(n);
        }
        let Some(region) = self.regions.last_mut() else { return Ok(0) };
        let n = self.input.read(&mut buf[..region.length.min(wanted) as usize])?;
        if n == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive is truncated"));
        }
        region.offset += n as u64;
        region.length -= n as u64;
        self.position += n as u64;
        self.stored_left -= n as u64;
        Ok(n)
    }
}

impl Extension {
    fn read_pax(&mut self, body: &[u8]) -> Result<(), PaxError> {
        self.has_pax = true;
        let mut seen = std::collections::BTreeSet::new();
        for record in pax::records(body)? {
            // The pax form 0.0 repeats these two by design.
            let may_repeat = matches!(record.key, b"GNU.sparse.offset" | b"GNU.sparse.numbytes");
            if !may_repeat && !seen.insert(record.key) {
                return Err(PaxError::Duplicate(record.key_text()));
            }
            self.read_record(&record)?;
        }
        Ok(())
    }

    fn read_record(&mut self, record: &pax::Record<'_>) -> Result<(), PaxError> {
        if let Some(name) = record.key.strip_prefix(XATTR_PREFIX) {
            if name.is_empty() {
                return Err(PaxError::Value(record.key_text()));
            }
            self.xattrs.insert(name.to_vec(), record.value.to_vec());
            return Ok(());
        }
        // An empty value means that the header's own field counts.
        if record.value.is_empty() {
            return Ok(());
        }
        match record.key {
            b"path" => self.path = Some(record.value.to_vec()),
            b"linkpath" => self.link = Some(record.value.to_vec()),
            b"size" => self.size = Some(record.unsigned()?),
            b"uid" => self.uid = Some(record.unsigned()?),
            b"gid" => self.gid = Some(record.unsigned()?),
            b"mtime" => self.mtime = Some(record.timestamp()?),
            key if key.starts_with(b"GNU.sparse.") => self.sparse.read_record(record)?,
            _ => {}
        }
        Ok(())
    }

    fn resolve_path(&self, header: &Header) -> Result<Vec<u8>, TarError> {
        let pax = self.sparse.name.as_ref().or(self.path.as_ref());
        let path = either(pax, self.gnu_path.as_ref(), || header.path());
        path.ok_or_else(|| TarError::Ambiguous { path: clean(&header.path()), field: "path" })
    }

    fn resolve_link(&self, header: &Header, path: &std::path::Path) -> Result<Vec<u8>, TarError> {
        let link = either(self.link.as_ref(), self.gnu_link.as_ref(), || header.link_target());
        link.ok_or_else(|| TarError::Ambiguous { path: path.to_owned(), field: "link target" })
    }
}

impl SparseRecords {
    fn read_record(&mut self, record: &pax::Record<'_>) -> Result<(), PaxError> {
        self.is_present = true;
        let bad = || PaxError::Value(record.key_text());
        match record.key {
            b"GNU.sparse.major" => self.version.0 = Some(record.unsigned()?),
            b"GNU.sparse.minor" => self.version.1 = Some(record.unsigned()?),
            b"GNU.sparse.name" => self.name = Some(record.value.to_vec()),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.real_size = Some(record.unsigned()?),
            // Offset and length take turns; anything else would pair them wrongly.
            b"GNU.sparse.offset" if self.numbers.len().is_multiple_of(2) => self.numbers.push(record.unsigned()?),
            b"GNU.sparse.numbytes" if !self.numbers.len().is_multiple_of(2) => self.numbers.push(record.unsigned()?),
            b"GNU.sparse.map" if self.numbers.is_empty() => {
                let numbers = record.value.split(|byte| *byte == b',').map(pax::decimal);
                self.numbers = numbers.collect::<Option<_>>().ok_or_else(bad)?;
            }
            b"GNU.sparse.numblocks" => {
                record.unsigned()?;
            }
            _ => return Err(bad()),
        }
        Ok(())
    }
}

/// The value of the one extension that gives it, or the header's; `None` when both give one.
fn either(pax: Option<&Vec<u8>>, gnu: Option<&Vec<u8>>, header: impl Fn() -> Vec<u8>) -> Option<Vec<u8>> {
    match (pax, gnu) {
        (Some(_), Some(_)) => None,
        (Some(value), None) | (None, Some(value)) => Some(value.clone()),
        (None, None) => Some(header()),
    }
}

/// Go's reader ignores what a global header says and others apply it to every entry, so only comments may be there.
fn check_global(body: &[u8]) -> Result<(), PaxError> {
    for record in pax::records(body)? {
        let is_harmless =
            matches!(record.key, b"comment" | b"uname" | b"gname" | b"atime" | b"ctime" | b"charset" | b"hdrcharset");
        if !is_harmless {
            return Err(PaxError::Global(record.key_text()));
        }
    }
    Ok(())
}

fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK_BYTES as u64
}
