//! What a step depends on, as a cache key and as text.

/// Receives, one by one, everything that a step's result depends on.
///
/// The hasher and the explainer both implement it, so `--explain` cannot tell another story than the cache.
pub trait Manifest {
    /// Takes one field.
    fn field(&mut self, name: &str, value: &[u8]);
}
