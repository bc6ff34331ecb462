//! Cache keys: BLAKE3 over a versioned record of named fields.

use super::Manifest;
use std::fmt;
use std::str::FromStr;

/// Version of the record: anything that changes what a field means or how it is written gets a new one.
const RECORD_VERSION: &str = "cooper step key v1";

/// Names everything that a step's result depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheKey(pub [u8; 32]);

/// A text that is no cache key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid cache key, expected 64 hexadecimal digits")]
pub struct CacheKeyError;

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for CacheKey {
    type Err = CacheKeyError;

    fn from_str(text: &str) -> Result<CacheKey, CacheKeyError> {
        let mut raw = [0; 32];
        hex::decode_to_slice(text, &mut raw).map_err(|_| CacheKeyError)?;
        Ok(CacheKey(raw))
    }
}

/// Hashes a manifest: of each field the length of its name, the name, the length of its value, the value.
///
/// The lengths (64 bits, little-endian) keep `ab` + `c` and `a` + `bc` apart.
#[derive(Debug, Clone)]
pub struct Hasher(blake3::Hasher);

impl Hasher {
    /// Returns a hasher of the current version.
    pub fn new() -> Hasher {
        Hasher(blake3::Hasher::new_derive_key(RECORD_VERSION))
    }

    /// Returns the key of the fields so far.
    pub fn finish(&self) -> CacheKey {
        CacheKey(*self.0.finalize().as_bytes())
    }

    fn part(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    }
}

impl Default for Hasher {
    fn default() -> Hasher {
        Hasher::new()
    }
}

impl Manifest for Hasher {
    fn field(&mut self, name: &str, value: &[u8]) {
        self.part(name.as_bytes());
        self.part(value);
    }
}
