//! What a step depends on, as a cache key and as text.
//!
//! [`describe`] is the only list of it.  A [`Hasher`] makes a [`CacheKey`] of the list, an [`Explainer`] keeps it as text
//! beside the cache record, and [`difference`] says why one list is not the other.

mod describe;
mod explain;
mod hasher;
#[cfg(test)]
mod tests;

pub use describe::{Inputs, SourceKey, describe};
pub use explain::{Explainer, Explanation, difference};
pub use hasher::{CacheKey, CacheKeyError, Hasher};

/// Receives, one by one, everything that a step's result depends on.
///
/// The hasher and the explainer both implement it, so `--explain` cannot tell another story than the cache.
pub trait Manifest {
    /// Takes one field.
    fn field(&mut self, name: &str, value: &[u8]);

    /// Takes the name of a source, for people.
    fn source_name(&mut self, _name: &str) {}

    /// Takes a file that the key of a source was made of, for people: the hasher has it in the key already.
    fn file(&mut self, _path: &str, _digest: &[u8; 32]) {}
}
