//! What a tar from a stranger may ask for.

/// Longest extended header, in bytes: Linux allows 64 KiB of names and values per xattr list entry, and a path 4 KiB.
pub const MAX_EXTENDED_HEADER_BYTES: u64 = 1 << 20;
/// Most extended headers in a row before the entry they belong to.
pub const MAX_EXTENDED_HEADERS: u32 = 8;
/// Longest path, in bytes (`PATH_MAX` of Linux).
pub const MAX_PATH_BYTES: usize = 4096;
/// Deepest path, in names.
pub const MAX_PATH_DEPTH: usize = 512;
/// Most entries of one tar; the largest images that people make have about a million.
pub const MAX_ENTRIES: u64 = 4_000_000;
/// Most bytes of one tar's files, holes included.
pub const MAX_TOTAL_BYTES: u64 = 256 << 30;
/// Most bytes behind the end of a tar: writers pad to 10 KiB, some to a mebibyte; more is a way to keep a reader busy.
pub const MAX_TRAILING_BYTES: u64 = 64 << 20;
/// Most data regions of a sparse file.
pub const MAX_SPARSE_REGIONS: usize = 1 << 16;

/// Limits of a [`TarReader`](super::TarReader); the default values are the constants of this module.
#[derive(Debug, Clone)]
pub struct Limits {
    /// See [`MAX_EXTENDED_HEADER_BYTES`].
    pub extended_header_bytes: u64,
    /// See [`MAX_EXTENDED_HEADERS`].
    pub extended_headers: u32,
    /// See [`MAX_PATH_BYTES`]; also for the targets of links.
    pub path_bytes: usize,
    /// See [`MAX_PATH_DEPTH`].
    pub path_depth: usize,
    /// See [`MAX_ENTRIES`].
    pub entries: u64,
    /// See [`MAX_TOTAL_BYTES`].
    pub total_bytes: u64,
    /// See [`MAX_TRAILING_BYTES`].
    pub trailing_bytes: u64,
    /// See [`MAX_SPARSE_REGIONS`].
    pub sparse_regions: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            extended_header_bytes: MAX_EXTENDED_HEADER_BYTES,
            extended_headers: MAX_EXTENDED_HEADERS,
            path_bytes: MAX_PATH_BYTES,
            path_depth: MAX_PATH_DEPTH,
            entries: MAX_ENTRIES,
            total_bytes: MAX_TOTAL_BYTES,
            trailing_bytes: MAX_TRAILING_BYTES,
            sparse_regions: MAX_SPARSE_REGIONS,
        }
    }
}
