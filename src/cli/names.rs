//! `cooper tag`, `rmi`, `pull` and `push`: names of images, here and in registries.

use super::diagnostic::clean;

/// Gives an image another name
#[derive(Debug, clap::Args)]
pub struct TagArgs {
    /// Name or id of the image
    #[arg(value_name = "IMAGE")]
    pub image: String,

    /// The new names
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
}

/// Removes names of images, and images that have no name left
#[derive(Debug, clap::Args)]
pub struct RmiArgs {
    /// Names or ids of images
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,

    /// Removes an image by its id although it has several names; an image that is not there is no error
    #[arg(short, long)]
    pub force: bool,
}

/// Copies an image from a registry to the store
#[derive(Debug, clap::Args)]
pub struct PullArgs {
    /// Name of the image
    #[arg(value_name = "NAME")]
    pub name: String,

    /// Platform of the image [default: this machine's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<crate::image::Platform>,

    /// Prints only the digest
    #[arg(short, long)]
    pub quiet: bool,
}

/// Copies an image from the store to its registry
#[derive(Debug, clap::Args)]
pub struct PushArgs {
    /// Name or id of the image
    #[arg(value_name = "IMAGE")]
    pub image: String,

    /// Name in the registry [default: IMAGE]
    #[arg(value_name = "NAME")]
    pub destination: Option<String>,

    /// Prints only the digest
    #[arg(short, long)]
    pub quiet: bool,
}

/// What `rmi` removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A name.
    Name(String),
    /// An image, by digest.
    Image(String),
}

/// Returns a line for each thing removed, in docker's words.
pub fn format_removed(removed: &[Removed]) -> String {
    let line = |removed: &Removed| match removed {
        Removed::Name(name) => format!("Untagged: {}\n", clean(name)),
        Removed::Image(digest) => format!("Deleted: {}\n", clean(digest)),
    };
    removed.iter().map(line).collect()
}

/// Returns what was copied: with `quiet` the digest, else name, digest and what had to be moved.
pub fn format_copied(name: &str, digest: &str, moved_bytes: u64, quiet: bool) -> String {
    if quiet {
        return format!("{}\n", clean(digest));
    }
    let moved = crate::progress::format_bytes(moved_bytes);
    format!("image   {}\ndigest  {}\nmoved   {moved}\n", clean(name), clean(digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removals_and_copies_are_told() {
        let removed = [Removed::Name("app:1".into()), Removed::Image("sha256:00".into())];
        assert_eq!(format_removed(&removed), "Untagged: app:1\nDeleted: sha256:00\n");
        assert_eq!(format_copied("app:1", "sha256:00", 1000, true), "sha256:00\n");
        assert_eq!(
            format_copied("app:1", "sha256:00", 1000, false),
            "image   app:1\ndigest  sha256:00\nmoved   1.00kB\n"
        );
    }
}
