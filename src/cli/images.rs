//! `cooper images`: the images of the store.

use super::table::{Format, ago, json_lines, short, table};
use crate::diag::Diagnostic;
use crate::progress::format_bytes;
use jiff::Timestamp;
use serde::Serialize;

/// Lists the images of the store
#[derive(Debug, clap::Args)]
pub struct ImagesArgs {
    /// Only images of this name, `NAME[:TAG]`
    #[arg(value_name = "NAME")]
    pub name: Option<String>,

    /// Prints only ids
    #[arg(short, long)]
    pub quiet: bool,

    /// Prints whole digests
    #[arg(long)]
    pub no_trunc: bool,

    /// How the list is printed
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
}

/// One name of an image, or an image without one.
#[derive(Debug, Clone, Serialize)]
pub struct ImageLine {
    /// Name without tag; `None` for an image without a name.
    pub repository: Option<String>,
    /// Tag.
    pub tag: Option<String>,
    /// Digest of the manifest (or index).
    pub digest: String,
    /// When it was made, RFC 3339.
    #[serde(serialize_with = "as_text")]
    pub created: Option<Timestamp>,
    /// Sum of the compressed layers and JSON documents.
    pub size_bytes: u64,
}

/// Writes a time as RFC 3339.
pub fn as_text<S: serde::Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(time),
        None => serializer.serialize_none(),
    }
}

/// Returns the list as asked for.
pub fn format(args: &ImagesArgs, images: &[ImageLine], now: Timestamp) -> Result<String, Diagnostic> {
    let id = |image: &ImageLine| if args.no_trunc { image.digest.clone() } else { short(&image.digest) };
    if args.quiet {
        return Ok(images.iter().map(|image| id(image) + "\n").collect());
    }
    if args.format == Format::Json {
        return json_lines(images);
    }
    let none = || "<none>".to_owned();
    let rows: Vec<[String; 5]> = images
        .iter()
        .map(|image| {
            [
                image.repository.clone().unwrap_or_else(none),
                image.tag.clone().unwrap_or_else(none),
                id(image),
                ago(now, image.created),
                format_bytes(image.size_bytes),
            ]
        })
        .collect();
    Ok(table(["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"], &rows))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn image(name: Option<&str>) -> ImageLine {
        ImageLine {
            repository: name.map(str::to_owned),
            tag: name.map(|_| "1".to_owned()),
            digest: "sha256:0123456789abcdef".into(),
            created: Timestamp::from_second(0).ok(),
            size_bytes: 4_200_000,
        }
    }

    #[test]
    fn images_are_listed_in_three_ways() {
        let mut args = ImagesArgs { name: None, quiet: false, no_trunc: false, format: Format::Table };
        let (images, now) = ([image(Some("app")), image(None)], Timestamp::from_second(7200).unwrap());
        assert_eq!(
            format(&args, &images, now).unwrap(),
            "\
REPOSITORY   TAG      IMAGE ID       CREATED       SIZE
app          1        0123456789ab   2 hours ago   4.20MB
<none>       <none>   0123456789ab   2 hours ago   4.20MB
"
        );
        args.format = Format::Json;
        assert_eq!(
            format(&args, &images[..1], now).unwrap(),
            r#"{"repository":"app","tag":"1","digest":"sha256:0123456789abcdef","created":"1970-01-01T00:00:00Z","size_bytes":4200000}
"#
        );
        args.quiet = true;
        assert_eq!(format(&args, &images[..1], now).unwrap(), "0123456789ab\n");
    }
}
