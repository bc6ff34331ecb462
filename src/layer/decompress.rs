//! Tells compressed formats and tars apart by their first bytes, and decompresses them.
//!
//! All in this process: a helper program that lies in an image must never run with the builder's rights
//! (CVE-2014-9357, CVE-2019-14271).

use super::header::{BLOCK_BYTES, Header};
use std::io::{self, BufReader, Read};

/// Largest zstd window, as a power of two: 128 MiB, what `zstd -d` takes without being asked for more.
const ZSTD_WINDOW_LOG: u32 = 27;
/// Most memory for xz: `xz -9` needs 65 MiB.
const XZ_MEMORY_BYTES: u64 = 128 << 20;
/// Size of the buffer in front of a decompressor.
const BUFFER_BYTES: usize = 128 << 10;

/// What some bytes are the beginning of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// A tar, not compressed.
    Tar,
    /// gzip (RFC 1952).
    Gzip,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// zstd (RFC 8878).
    Zstd,
    /// None of these.
    Other,
}

/// Returns the format by the first bytes; 512 are enough, and fewer than that are no tar.
pub fn sniff(start: &[u8]) -> Format {
    match start {
        [0x1f, 0x8b, 8, ..] => Format::Gzip,
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Format::Bzip2,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Format::Xz,
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Format::Zstd,
        _ if is_tar(start) => Format::Tar,
        _ => Format::Other,
    }
}

fn is_tar(start: &[u8]) -> bool {
    let header = start.get(..BLOCK_BYTES).and_then(|block| <[u8; BLOCK_BYTES]>::try_from(block).ok()).map(Header);
    header.is_some_and(|header| !header.is_zero() && header.has_valid_checksum())
}

/// Decompresses a stream whose format its first bytes tell; what is in none of the formats passes unchanged.
///
/// Several gzip members, zstd frames or xz streams in a row are one stream.  A truncated input is an error when its
/// end is reached, as is a window or a dictionary beyond the limits.
pub fn decompress<'a, R: Read + Send + 'a>(mut reader: R) -> io::Result<Box<dyn Read + Send + 'a>> {
    let start = read_start(&mut reader, 6)?;
    let format = sniff(&start);
    let input = BufReader::with_capacity(BUFFER_BYTES, io::Cursor::new(start).chain(reader));
    Ok(match format {
        Format::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Format::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
        Format::Xz => {
            let stream = xz2::stream::Stream::new_stream_decoder(XZ_MEMORY_BYTES, xz2::stream::CONCATENATED)?;
            Box::new(xz2::bufread::XzDecoder::new_stream(input, stream))
        }
        Format::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        Format::Tar | Format::Other => Box::new(input),
    })
}

/// Returns the tar in a stream, decompressed, or `None` when there is none: gzip of something else is no archive.
pub fn open_archive<'a, R: Read + Send + 'a>(reader: R) -> io::Result<Option<Box<dyn Read + Send + 'a>>> {
    let mut content = decompress(reader)?;
    let start = match read_start(&mut content, BLOCK_BYTES) {
        Ok(start) => start,
        // The file system's errors have numbers, and a decompressor's have none: a text that only begins like a
        // compressed stream is no archive, and is copied as it is.
        Err(error) if error.raw_os_error().is_some() => return Err(error),
        Err(_) => return Ok(None),
    };
    if !is_tar(&start) {
        return Ok(None);
    }
    Ok(Some(Box::new(io::Cursor::new(start).chain(content))))
}

/// Reads up to that many bytes; fewer only at the end.
fn read_start(reader: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
    let mut start = Vec::with_capacity(length);
    reader.by_ref().take(length as u64).read_to_end(&mut start)?;
    Ok(start)
}
