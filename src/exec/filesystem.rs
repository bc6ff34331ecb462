//! The root file system that a step leaves: the layers of an image and those of this build's steps above them.

use crate::plan::graph::ImageFacts;
use crate::store::{HeldLayer, LayerId};
use std::sync::Arc;

/// A root file system as a stack of layers, not mounted anywhere.
#[derive(Debug, Clone, Default)]
pub struct FileSystem {
    /// The image at the bottom; `None` when it starts from nothing.
    pub base: Option<Arc<ImageFacts>>,
    /// The layers of steps above it, lowest first.
    pub own: Vec<HeldLayer>,
}

impl FileSystem {
    /// Returns the file system of an image.
    pub fn of_image(facts: Arc<ImageFacts>) -> FileSystem {
        FileSystem { base: Some(facts), own: Vec::new() }
    }

    /// Returns this file system with another layer on top.
    pub fn with(&self, layer: HeldLayer) -> FileSystem {
        let mut own = self.own.clone();
        own.push(layer);
        FileSystem { base: self.base.clone(), own }
    }

    /// Returns the names of the steps' layers.
    pub fn own_ids(&self) -> Vec<LayerId> {
        self.own.iter().map(|layer| layer.id.clone()).collect()
    }

    /// Returns a hash of which layers it is made of; two with the same identity hold the same files.
    pub fn identity(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for diff_id in self.base.iter().flat_map(|base| &base.config.rootfs.diff_ids) {
            hasher.update(diff_id.to_string().as_bytes());
        }
        for layer in &self.own {
            hasher.update(b"\0").update(layer.id.as_str().as_bytes());
        }
        hasher.finalize().into()
    }
}
