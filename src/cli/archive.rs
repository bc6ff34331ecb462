//! `cooper save` and `cooper load`: images as files.

use super::diagnostic::{Style, clean};
use super::stored;
use crate::catalog::{self, ArchiveFormat, Loaded, StoredImage, find};
use crate::diag::{Diagnostic, Exit};
use crate::image::Reference;
use crate::store::Store;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

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

/// Runs `save`.
pub fn save(args: &SaveArgs, store: &Store, style: Style) -> Result<(), Diagnostic> {
    let dest = match &args.output {
        Some(path) => path.clone(),
        None if args.format.is_directory() => {
            return Err(
                Diagnostic::error(Exit::Usage, "a directory needs a name").hint("give one with `--output PATH`")
            );
        }
        None if std::io::stdout().is_terminal() => {
            return Err(Diagnostic::error(Exit::Usage, "an image is not written to a terminal")
                .hint("give a file with `--output PATH`, or redirect standard output"));
        }
        None => PathBuf::from("-"),
    };
    let read = |text: &String| {
        let found = find(store, text)?;
        Ok((found.name, StoredImage::read(store, &found.descriptor)?))
    };
    let images = args.images.iter().map(read).collect::<Result<Vec<_>, Diagnostic>>()?;
    // Who writes to a pipe wants no news, unless they look at them.
    let quiet = dest == Path::new("-") && !style.terminal;
    stored::with_progress(store, quiet, style, |transfer| catalog::save(transfer, &images, args.format, &dest))
}

/// Runs `load`.
pub fn load(args: &LoadArgs, store: &Store, out: &mut dyn Write) -> Result<(), Diagnostic> {
    if args.input.is_none() && std::io::stdin().is_terminal() {
        return Err(Diagnostic::error(Exit::Usage, "an archive is not read from a terminal")
            .hint("give a file with `--input PATH`, or redirect standard input"));
    }
    let images = catalog::load(store, args.input.as_deref().filter(|path| *path != Path::new("-")))?;
    if args.quiet { Ok(()) } else { stored::print(out, &format_loaded(&images)) }
}

/// Returns a line for each image read, by name or else by id, in docker's words.
pub fn format_loaded(images: &[Loaded]) -> String {
    let mut text = String::new();
    for image in images {
        for name in image.names.iter().map(Reference::familiar) {
            text.push_str(&format!("Loaded image: {}\n", clean(&name)));
        }
        if image.names.is_empty() {
            text.push_str(&format!("Loaded image ID: {}\n", image.id));
        }
    }
    text
}
