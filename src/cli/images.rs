//! `cooper images`: the images of the store.

use super::stored::{self, Filter};
use super::table::{Format, ago, list, short, table};
use crate::catalog::StoredImage;
use crate::diag::Diagnostic;
use crate::exec::store_failure;
use crate::image::Reference;
use crate::progress::format_bytes;
use crate::store::{NamedImage, Store};
use jiff::Timestamp;
use serde::Serialize;
use std::io::Write;

/// Lists the images of the store
#[derive(Debug, clap::Args)]
pub struct ImagesArgs {
    /// Only images of this name, `NAME[:TAG]`
    #[arg(value_name = "NAME")]
    pub name: Option<String>,

    /// Prints only ids
    #[arg(short, long)]
    pub quiet: bool,

    /// For scripts written for docker, no effect: there are no images that are not shown
    #[arg(short, long)]
    pub all: bool,

    /// Shows the digests of manifests
    #[arg(long)]
    pub digests: bool,

    /// Prints whole digests
    #[arg(long)]
    pub no_trunc: bool,

    /// Only images that match: `reference=PATTERN`, `dangling=true|false`, `label=NAME[=VALUE]`
    #[arg(short, long = "filter", value_name = "FILTER")]
    pub filters: Vec<Filter>,

    /// How the list is printed: `table`, `json`, or a template such as `{{.Repository}}:{{.Tag}}`
    #[arg(long, value_name = "FORMAT", default_value = "table", hide_default_value = true)]
    pub format: Format,
}

/// One name of an image, or an image without one, with docker's names for its fields.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageLine {
    /// Name without tag, `<none>` for an image without a name.
    pub repository: String,
    /// Tag, `<none>` for an image without one.
    pub tag: String,
    /// The image's id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Digest of the manifest (or index).
    pub digest: String,
    /// When it was made, RFC 3339.
    #[serde(serialize_with = "as_text")]
    pub created_at: Option<Timestamp>,
    /// How long ago that is.
    pub created_since: String,
    /// Size as people read it.
    pub size: String,
    /// Sum of the layers as they are kept, and the JSON documents.
    pub size_bytes: u64,
}

/// Writes a time as RFC 3339.
pub fn as_text<S: serde::Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(time),
        None => serializer.serialize_none(),
    }
}

/// Runs the command.
pub fn run(args: &ImagesArgs, store: &Store, out: &mut dyn Write) -> Result<(), Diagnostic> {
    let now = Timestamp::now();
    let mut lines = Vec::new();
    for image in store.images().map_err(store_failure)? {
        // One that cannot be read is shown all the same: it can still be removed.
        let stored = StoredImage::read(store, &image.descriptor).ok();
        let is_wanted = |filter: &Filter| filter.matches(&image, stored.as_ref());
        let is_named = args.name.as_ref().is_none_or(|name| stored::is_named(&image, name));
        if is_named && args.filters.iter().all(is_wanted) {
            lines.push(line(&image, stored.as_ref(), now));
        }
    }
    lines.sort_by_key(|line| std::cmp::Reverse(line.created_at));
    stored::print(out, &format(args, lines)?)
}

fn line(image: &NamedImage, stored: Option<&StoredImage>, now: Timestamp) -> ImageLine {
    let name = image.name.as_ref().and_then(|name| name.parse::<Reference>().ok());
    let none = || "<none>".to_owned();
    let created_at = stored.and_then(|stored| stored.main().config.created.as_deref()?.parse().ok());
    let size_bytes = stored.map_or(0, StoredImage::size_bytes);
    ImageLine {
        repository: name.as_ref().map_or_else(none, stored::repository),
        tag: name.and_then(|name| name.tag).unwrap_or_else(none),
        id: stored.map_or(image.descriptor.digest, StoredImage::id).to_string(),
        digest: image.descriptor.digest.to_string(),
        created_at,
        created_since: ago(now, created_at),
        size: format_bytes(size_bytes),
        size_bytes,
    }
}

/// Returns the list as asked for.
pub fn format(args: &ImagesArgs, mut images: Vec<ImageLine>) -> Result<String, Diagnostic> {
    if !args.no_trunc {
        images.iter_mut().for_each(|image| image.id = short(&image.id));
    }
    if args.quiet {
        return Ok(images.iter().map(|image| image.id.clone() + "\n").collect());
    }
    list(&args.format, &images, || {
        let cells = |image: &ImageLine| {
            let [repository, tag, id] = [&image.repository, &image.tag, &image.id].map(Clone::clone);
            [repository, tag, image.digest.clone(), id, image.created_since.clone(), image.size.clone()]
        };
        let rows: Vec<[String; 6]> = images.iter().map(cells).collect();
        if args.digests {
            return table(["REPOSITORY", "TAG", "DIGEST", "IMAGE ID", "CREATED", "SIZE"], &rows);
        }
        let rows: Vec<[String; 5]> = rows.into_iter().map(|[a, b, _, c, d, e]| [a, b, c, d, e]).collect();
        table(["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"], &rows)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn image(name: &str) -> ImageLine {
        ImageLine {
            repository: name.to_owned(),
            tag: "1".to_owned(),
            id: "sha256:0123456789abcdef".into(),
            digest: "sha256:ff".into(),
            created_at: Timestamp::from_second(0).ok(),
            created_since: "2 hours ago".into(),
            size: "4.20MB".into(),
            size_bytes: 4_200_000,
        }
    }

    #[test]
    fn images_are_listed_in_four_ways() {
        let mut args = ImagesArgs {
            name: None,
            quiet: false,
            all: false,
            digests: false,
            no_trunc: false,
            filters: Vec::new(),
            format: Format::Table,
        };
        let images = || vec![image("app"), image("<none>")];
        assert_eq!(
            format(&args, images()).unwrap(),
            "\
REPOSITORY   TAG   IMAGE ID       CREATED       SIZE
app          1     0123456789ab   2 hours ago   4.20MB
<none>       1     0123456789ab   2 hours ago   4.20MB
"
        );
        args.digests = true;
        assert!(format(&args, images()).unwrap().contains("app          1     sha256:ff   0123456789ab"));
        args.format = Format::Json;
        assert_eq!(
            format(&args, vec![image("app")]).unwrap(),
            r#"{"Repository":"app","Tag":"1","ID":"0123456789ab","Digest":"sha256:ff","CreatedAt":"1970-01-01T00:00:00Z","CreatedSince":"2 hours ago","Size":"4.20MB","SizeBytes":4200000}
"#
        );
        args.format = "{{.Repository}}:{{.Tag}}".parse().unwrap();
        assert_eq!(format(&args, images()).unwrap(), "app:1\n<none>:1\n");
        args.quiet = true;
        args.no_trunc = true;
        assert_eq!(format(&args, vec![image("app")]).unwrap(), "sha256:0123456789abcdef\n");
    }
}
