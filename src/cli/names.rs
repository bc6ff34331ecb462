//! `cooper tag`, `rmi`, `pull` and `push`: names of images, here and in registries.

use super::diagnostic::{Style, clean};
use super::stored;
use crate::catalog::{self, Pull, Removed, StoredImage, find, parse_name};
use crate::diag::{Diagnostic, Exit};
use crate::exec::store_failure;
use crate::image::{Digest, Platform, Reference};
use crate::store::Store;
use std::io::Write;

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
    pub platform: Option<Platform>,

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

    /// Does not overwrite: fails if the registry has another image by that name
    #[arg(long)]
    pub immutable: bool,

    /// Prints only the digest
    #[arg(short, long)]
    pub quiet: bool,
}

/// Runs `tag`.
pub fn tag(args: &TagArgs, store: &Store) -> Result<(), Diagnostic> {
    let names = args.names.iter().map(|name| parse_name(name)).collect::<Result<Vec<_>, _>>()?;
    let found = find(store, &args.image)?;
    store.name_image(&names, &found.descriptor).map_err(store_failure)
}

/// Runs `rmi`: as many as can go do, and the first error is told.
pub fn rmi(args: &RmiArgs, store: &Store, out: &mut dyn Write) -> Result<(), Diagnostic> {
    let mut result = Ok(());
    for image in &args.images {
        match catalog::remove(store, image, args.force) {
            Ok(removed) => stored::print(out, &format_removed(&removed))?,
            Err(error) => result = result.and(Err(error)),
        }
    }
    result
}

/// Runs `pull`.
pub fn pull(args: &PullArgs, store: &Store, style: Style, out: &mut dyn Write) -> Result<(), Diagnostic> {
    let name: Reference = args.name.parse().map_err(|error| Diagnostic::from_error(Exit::Usage, &error))?;
    let platform = args.platform.clone().unwrap_or_else(Platform::host);
    let pull = stored::with_progress(store, args.quiet, style, |transfer| catalog::pull(transfer, &name, &platform))?;
    stored::print(out, &format_pulled(&pull, args.quiet))
}

/// Runs `push`.
pub fn push(args: &PushArgs, store: &Store, style: Style, out: &mut dyn Write) -> Result<(), Diagnostic> {
    let found = find(store, &args.image)?;
    let destination = match (&args.destination, found.name) {
        (Some(name), _) => parse_name(name.strip_prefix("docker://").unwrap_or(name))?,
        (None, Some(name)) => name,
        (None, None) => {
            return Err(Diagnostic::error(Exit::Usage, "an image that is pushed by its id needs a name")
                .hint(format!("write `cooper push {} HOST/NAME:TAG`", clean(&args.image))));
        }
    };
    let image = StoredImage::read(store, &found.descriptor)?;
    let digest = stored::with_progress(store, args.quiet, style, |transfer| {
        catalog::push(transfer, &image, &destination, args.immutable)
    })?;
    stored::print(out, &format_pushed(&destination, &digest, args.quiet))
}

/// Returns a line for each thing removed, in docker's words.
pub fn format_removed(removed: &[Removed]) -> String {
    let line = |removed: &Removed| match removed {
        Removed::Name(name) => format!("Untagged: {}\n", clean(name)),
        Removed::Image(id) => format!("Deleted: {id}\n"),
    };
    removed.iter().map(line).collect()
}

/// Returns what was pulled, in docker's words.
fn format_pulled(pull: &Pull, quiet: bool) -> String {
    let (name, digest) = (pull.name.familiar(), pull.digest);
    let status = if pull.is_up_to_date { "Image is up to date for" } else { "Downloaded newer image for" };
    match quiet {
        true => format!("{digest}\n"),
        false => format!("Digest: {digest}\nStatus: {status} {name}\n{}\n", pull.name),
    }
}

fn format_pushed(name: &Reference, digest: &Digest, quiet: bool) -> String {
    match quiet {
        true => format!("{digest}\n"),
        false => format!("Pushed: {}\nDigest: {digest}\n", name.familiar()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn removals_and_copies_are_told() {
        let digest = Digest::of(b"");
        let removed = [Removed::Name("app:1".into()), Removed::Image(digest)];
        assert_eq!(format_removed(&removed), format!("Untagged: app:1\nDeleted: {digest}\n"));
        let name: Reference = "app:1".parse().unwrap();
        let pull = Pull { name: name.clone(), digest, is_up_to_date: true, fetched_bytes: 0 };
        assert_eq!(format_pulled(&pull, true), format!("{digest}\n"));
        assert_eq!(
            format_pulled(&pull, false),
            format!("Digest: {digest}\nStatus: Image is up to date for app:1\ndocker.io/library/app:1\n")
        );
        assert_eq!(format_pushed(&name, &digest, false), format!("Pushed: app:1\nDigest: {digest}\n"));
    }
}
