//! Layers: tar streams read with suspicion and written the same way every time.

mod ahead;
mod archive;
mod compress;
mod decompress;
mod entry;
mod header;
pub mod limits;
mod pax;
mod place;
mod reader;
mod sparse;
mod unpack;
mod writer;

pub use ahead::ReadAhead;
pub use archive::{ArchiveOptions, unpack_archive};
pub use compress::LayerWriter;
pub use decompress::{Format, decompress, open_archive, sniff};
pub(crate) use entry::printable;
pub use entry::{Entry, Kind, MalformedWhiteout, Timestamp};
pub use limits::Limits;
pub use pax::PaxError;
pub use place::UnpackError;
pub(crate) use place::is_whiteout;
pub use reader::{TarError, TarReader};
pub(crate) use unpack::make_whiteout;
pub use unpack::{UnpackOptions, Unpacked, unpack_layer};
pub use writer::{CAPABILITY_XATTR, TarWriter};

use crate::image::{Digest, media_type};

/// How a layer's tar is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// gzip, level 1 to 12 of libdeflate; `None` is the default level.
    Gzip(Option<u8>),
    /// zstd, level 1 to 22; `None` is the default level.
    Zstd(Option<u8>),
    /// Not at all.
    Uncompressed,
}

impl Compression {
    /// Returns the OCI media type of a layer compressed so.
    pub fn media_type(self) -> &'static str {
        match self {
            Compression::Gzip(_) => media_type::LAYER_GZIP,
            Compression::Zstd(_) => media_type::LAYER_ZSTD,
            Compression::Uncompressed => media_type::LAYER,
        }
    }

    /// Returns a name for the bytes that come out: another encoder, version, level or framing gives another.
    pub fn encoding(self) -> String {
        match self {
            Compression::Gzip(level) => format!("gzip-libdeflate-1.26.1-{}", level.unwrap_or(compress::GZIP_LEVEL)),
            Compression::Zstd(level) => format!("zstd-0.14.3-{}", level.unwrap_or(compress::ZSTD_LEVEL)),
            Compression::Uncompressed => "tar".to_owned(),
        }
    }
}

/// A layer as it stands in a manifest and a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerBlob {
    /// Digest of the tar.
    pub diff_id: Digest,
    /// Digest of the blob, i.e. of the compressed tar.
    pub digest: Digest,
    /// Size of the blob.
    pub size_bytes: u64,
    /// Size of the tar.
    pub uncompressed_bytes: u64,
    /// OCI media type of the blob.
    pub media_type: &'static str,
}

#[cfg(test)]
mod tests;
