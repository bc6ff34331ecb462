//! `cooper save` and `cooper load`: images as files.

use super::diagnostic::clean;
use std::path::PathBuf;

/// What `save` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ArchiveFormat {
    /// A tar that `docker load` and `podman load` read.
    DockerArchive,
    /// An OCI layout in a tar.
    OciArchive,
    /// An OCI layout as a directory.
    OciDir,
}

/// Writes images to a file or a directory
#[derive(Debug, clap::Args)]
pub struct SaveArgs {
    /// Names or ids of images
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,

    /// Where to [default: standard output]
    #[arg(short, long, value_name = "PATH")]
    pub output: Option<PathBuf>,

    /// What is written
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "docker-archive")]
    pub format: ArchiveFormat,
}

/// Reads images from a tar of `docker save`, an OCI layout in a tar, or a layout's directory
#[derive(Debug, clap::Args)]
pub struct LoadArgs {
    /// Where from [default: standard input]
    #[arg(short, long, value_name = "PATH")]
    pub input: Option<PathBuf>,

    /// Prints nothing
    #[arg(short, long)]
    pub quiet: bool,
}

/// Returns a line for each image read, by name or else by digest, in docker's words.
pub fn format_loaded(images: &[(Option<String>, String)]) -> String {
    let line = |(name, digest): &(Option<String>, String)| match name {
        Some(name) => format!("Loaded image: {}\n", clean(name)),
        None => format!("Loaded image ID: {}\n", clean(digest)),
    };
    images.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_told_by_name_or_digest() {
        let images = [(Some("app:1".to_owned()), "sha256:00".to_owned()), (None, "sha256:11".to_owned())];
        assert_eq!(format_loaded(&images), "Loaded image: app:1\nLoaded image ID: sha256:11\n");
    }
}
