//! Writes a tar the same way every time: ustar when it fits, else the pax records that are needed and no others.
//!
//! Times are whole seconds, as in the layers that containerd and BuildKit write: a sub-second time would cost every
//! file an extended header of 1 KiB.  There are no user and group names, which are the builder's and not the image's.

use super::entry::{Entry, Kind, printable};
use super::header::BLOCK_BYTES;
use super::pax;
use super::reader::XATTR_PREFIX;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;

/// The one extended attribute that new layers carry, as in BuildKit's.
pub const CAPABILITY_XATTR: &str = "security.capability";

/// Writes entries in the order they are given.
pub struct TarWriter<W> {
    out: W,
    headers: Vec<u8>,
    copied: Vec<u8>,
}

impl<W: Write> TarWriter<W> {
    /// Wraps a writer; headers reach it in writes of a block or a few.
    pub fn new(out: W) -> TarWriter<W> {
        TarWriter { out, headers: Vec::new(), copied: Vec::new() }
    }

    /// Writes an entry and, for a file, exactly its size from `body`; a body that ends earlier is an error of kind
    /// `UnexpectedEof` and what it has more is not read.
    pub fn append(&mut self, entry: &Entry, body: &mut dyn Read) -> io::Result<()> {
        self.headers.clear();
        encode(entry, &mut self.headers)?;
        self.out.write_all(&self.headers)?;
        let Kind::File { size_bytes } = entry.kind else { return Ok(()) };
        let copied = copy_exactly(body, &mut self.out, size_bytes, &mut self.copied)?;
        if copied < size_bytes {
            let message = format!("`{}` is shorter than {size_bytes} bytes", printable(&entry.path));
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        let padding = size_bytes.wrapping_neg() % BLOCK_BYTES as u64;
        self.out.write_all(&[0; BLOCK_BYTES][..padding as usize])
    }

    /// Writes the end of the tar, two blocks of zeros, and returns the writer.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK_BYTES])?;
        Ok(self.out)
    }
}

fn copy_exactly(body: &mut dyn Read, out: &mut impl Write, size: u64, buffer: &mut Vec<u8>) -> io::Result<u64> {
    /// Large enough that system calls do not count, small enough for the cache.
    const CHUNK_BYTES: usize = 128 << 10;
    buffer.resize(CHUNK_BYTES, 0);
    let mut copied = 0;
    while copied < size {
        let wanted = (size - copied).min(CHUNK_BYTES as u64) as usize;
        match body.read(&mut buffer[..wanted]) {
            Ok(0) => break,
            Ok(n) => {
                out.write_all(&buffer[..n])?;
                copied += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(copied)
}

/// A header's fields, those that did not fit moved to `records`.
struct Fields {
    block: [u8; BLOCK_BYTES],
    records: BTreeMap<Vec<u8>, Vec<u8>>,
}

fn encode(entry: &Entry, out: &mut Vec<u8>) -> io::Result<()> {
    let mut fields = Fields { block: [0; BLOCK_BYTES], records: BTreeMap::new() };
    let mut path = entry.tar_path().into_os_string().into_encoded_bytes();
    if path.is_empty() {
        path.push(b'.');
    }
    if entry.kind == Kind::Directory {
        path.push(b'/');
    }
    fields.path(&path);
    let (flag, size, link, device) = match &entry.kind {
        Kind::Directory => (b'5', 0, &b""[..], (0, 0)),
        Kind::File { size_bytes } => (b'0', *size_bytes, &b""[..], (0, 0)),
        Kind::Whiteout | Kind::Opaque => (b'0', 0, &b""[..], (0, 0)),
        Kind::Hardlink { target } => (b'1', 0, target.as_os_str().as_bytes(), (0, 0)),
        Kind::Symlink { target } => (b'2', 0, target.as_bytes(), (0, 0)),
        Kind::CharDevice { major, minor } => (b'3', 0, &b""[..], (*major, *minor)),
        Kind::BlockDevice { major, minor } => (b'4', 0, &b""[..], (*major, *minor)),
        Kind::Fifo => (b'6', 0, &b""[..], (0, 0)),
    };
    fields.link(link);
    fields.octal(100..108, u64::from(entry.mode & 0o7777));
    fields.number(108..116, i64::from(entry.uid), b"uid");
    fields.number(116..124, i64::from(entry.gid), b"gid");
    let size = i64::try_from(size).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    fields.number(124..136, size, b"size");
    fields.number(136..148, entry.mtime.seconds, b"mtime");
    fields.block[156] = flag;
    fields.octal(329..337, u64::from(device.0));
    fields.octal(337..345, u64::from(device.1));
    if let Some(value) = entry.xattrs.get(CAPABILITY_XATTR.as_bytes()) {
        fields.records.insert([XATTR_PREFIX, CAPABILITY_XATTR.as_bytes()].concat(), value.clone());
    }
    if !fields.records.is_empty() {
        extended_header(&fields.records, &path, out);
    }
    out.extend_from_slice(&sealed(fields.block));
    Ok(())
}

impl Fields {
    /// Puts the path into name and prefix, or into a record.
    fn path(&mut self, path: &[u8]) {
        if path.is_ascii() {
            if path.len() <= 100 {
                self.block[..path.len()].copy_from_slice(path);
                return;
            }
            if let Some(slash) = split(path) {
                let (prefix, name) = (&path[..slash], &path[slash + 1..]);
                self.block[345..345 + prefix.len()].copy_from_slice(prefix);
                self.block[..name.len()].copy_from_slice(name);
                return;
            }
        }
        self.shorten(0, path, b"path");
    }

    fn link(&mut self, target: &[u8]) {
        if target.is_ascii() && target.len() <= 100 {
            self.block[157..157 + target.len()].copy_from_slice(target);
        } else {
            self.shorten(157, target, b"linkpath");
        }
    }

    /// Moves a text to a record, and leaves its first ASCII bytes for readers that know no pax.
    fn shorten(&mut self, start: usize, text: &[u8], key: &[u8]) {
        let ascii = text.iter().copied().filter(u8::is_ascii).take(100);
        self.block[start..].iter_mut().zip(ascii).for_each(|(field, byte)| *field = byte);
        self.records.insert(key.to_vec(), text.to_vec());
    }

    fn number(&mut self, range: std::ops::Range<usize>, value: i64, key: &[u8]) {
        let digits = range.len() as u32 - 1;
        match u64::try_from(value) {
            Ok(value) if value < 1 << (3 * digits) => self.octal(range, value),
            _ => {
                self.octal(range, 0);
                self.records.insert(key.to_vec(), value.to_string().into_bytes());
            }
        }
    }

    /// Octal digits with leading zeros and a NUL at the end; a value that is too large keeps its low digits.
    fn octal(&mut self, range: std::ops::Range<usize>, mut value: u64) {
        let last = range.end - 1;
        self.block[last] = 0;
        for digit in self.block[range.start..last].iter_mut().rev() {
            *digit = b'0' + (value & 7) as u8;
            value >>= 3;
        }
    }
}

/// Where to cut a path into prefix and name: the last slash that leaves the prefix at most 155 bytes, as Go does.
fn split(path: &[u8]) -> Option<usize> {
    // The slash at the end of a directory is part of its name.
    let end = if path.ends_with(b"/") { path.len() - 1 } else { path.len() };
    let slash = path[..end.min(156)].iter().rposition(|byte| *byte == b'/')?;
    let name_length = path.len() - slash - 1;
    (slash > 0 && (1..=100).contains(&name_length)).then_some(slash)
}

/// Writes an `x` header and its body, named as Go's archive/tar names it.
fn extended_header(records: &BTreeMap<Vec<u8>, Vec<u8>>, path: &[u8], out: &mut Vec<u8>) {
    let mut body = Vec::new();
    for (key, value) in records {
        pax::write_record(&mut body, key, value);
    }
    let mut fields = Fields { block: [0; BLOCK_BYTES], records: BTreeMap::new() };
    let path = path.strip_suffix(b"/").unwrap_or(path);
    let (directory, name) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => path.split_at(slash + 1),
        None => (&b""[..], path),
    };
    let name = [directory, b"PaxHeaders.0/", name].concat();
    let ascii = name.iter().copied().filter(u8::is_ascii).take(100);
    fields.block.iter_mut().zip(ascii).for_each(|(field, byte)| *field = byte);
    for field in [100..108, 108..116, 116..124, 136..148, 329..337, 337..345] {
        fields.octal(field, 0);
    }
    fields.octal(124..136, body.len() as u64);
    fields.block[156] = b'x';
    out.extend_from_slice(&sealed(fields.block));
    out.extend_from_slice(&body);
    out.resize(out.len().next_multiple_of(BLOCK_BYTES), 0);
}

/// Adds magic and checksum.
fn sealed(mut block: [u8; BLOCK_BYTES]) -> [u8; BLOCK_BYTES] {
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}
