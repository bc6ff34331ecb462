//! Layers: tar streams read with suspicion and written the same way every time.

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
