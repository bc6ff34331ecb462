//! `cooper history`: the steps that made an image.

use super::images::as_text;
use super::stored;
use super::table::{Format, ago, list, short, table};
use crate::catalog::{StoredImage, find};
use crate::diag::Diagnostic;
use crate::image::{Digest, ImageConfig};
use crate::progress::format_bytes;
use crate::store::Store;
use jiff::Timestamp;
use serde::Serialize;
use std::io::Write;

/// Characters of an instruction that are shown without `--no-trunc`.
const INSTRUCTION_LIMIT: usize = 60;

/// Shows the steps that made an image
#[derive(Debug, clap::Args)]
pub struct HistoryArgs {
    /// Name or id of the image
    #[arg(value_name = "IMAGE")]
    pub image: String,

    /// Prints whole instructions
    #[arg(long)]
    pub no_trunc: bool,

    /// Prints only ids
    #[arg(short, long)]
    pub quiet: bool,

    /// How the list is printed: `table`, `json`, or a template such as `{{.CreatedBy}}`
    #[arg(long, value_name = "FORMAT", default_value = "table", hide_default_value = true)]
    pub format: Format,
}

/// One entry of an image's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HistoryLine {
    /// The image's id, for the newest entry; of those below no image is kept.
    #[serde(rename = "ID")]
    pub id: String,
    /// When, RFC 3339.
    #[serde(serialize_with = "as_text", rename = "CreatedAt")]
    pub created: Option<Timestamp>,
    /// The instruction.
    pub created_by: String,
    /// Size of its compressed layer; 0 for an entry without one.
    pub size_bytes: u64,
    /// Comment.
    pub comment: String,
}

/// Returns the entries of a config, newest first, with the sizes of the manifest's layers.
///
/// History may be shorter or longer than the layers (image-spec, config): what has no entry is not shown.
pub fn lines(id: &Digest, config: &ImageConfig, layer_sizes: &[u64]) -> Vec<HistoryLine> {
    let mut sizes = layer_sizes.iter();
    let entries = config.history.iter().map(|entry| HistoryLine {
        id: "<missing>".to_owned(),
        created: entry.created.as_deref().and_then(|text| text.parse().ok()),
        created_by: entry.created_by.clone(),
        size_bytes: if entry.empty_layer { 0 } else { sizes.next().copied().unwrap_or(0) },
        comment: entry.comment.clone(),
    });
    let mut lines: Vec<HistoryLine> = entries.collect();
    lines.reverse();
    if let Some(newest) = lines.first_mut() {
        newest.id = id.to_string();
    }
    lines
}

/// Runs the command.
pub fn run(args: &HistoryArgs, store: &Store, out: &mut dyn Write) -> Result<(), Diagnostic> {
    let image = StoredImage::read(store, &find(store, &args.image)?.descriptor)?;
    let main = image.main();
    let sizes: Vec<u64> = main.manifest.layers.iter().map(|layer| layer.size_bytes).collect();
    let lines = lines(&main.manifest.config.digest, &main.config, &sizes);
    stored::print(out, &format(args, &lines, Timestamp::now())?)
}

/// Returns the list as asked for.
pub fn format(args: &HistoryArgs, lines: &[HistoryLine], now: Timestamp) -> Result<String, Diagnostic> {
    let id = |line: &HistoryLine| match args.no_trunc {
        true => line.id.clone(),
        false => short(&line.id),
    };
    if args.quiet {
        return Ok(lines.iter().map(|line| id(line) + "\n").collect());
    }
    list(&args.format, lines, || rows(args, lines, now, id))
}

fn rows(args: &HistoryArgs, lines: &[HistoryLine], now: Timestamp, id: impl Fn(&HistoryLine) -> String) -> String {
    let rows: Vec<[String; 5]> = lines
        .iter()
        .map(|line| {
            let is_long = !args.no_trunc && line.created_by.chars().count() > INSTRUCTION_LIMIT;
            let instruction = match is_long {
                true => line.created_by.chars().take(INSTRUCTION_LIMIT - 3).chain("...".chars()).collect(),
                false => line.created_by.clone(),
            };
            [id(line), ago(now, line.created), instruction, format_bytes(line.size_bytes), line.comment.clone()]
        })
        .collect();
    table(["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"], &rows)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn sizes_go_to_the_entries_that_have_a_layer() {
        let config: ImageConfig = serde_json::from_str(
            r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},"history":[
                {"created":"1970-01-01T00:00:00Z","created_by":"ADD rootfs"},
                {"created_by":"CMD [\"a\"]","empty_layer":true,"comment":"cooper"},
                {"created_by":"RUN x"}]}"#,
        )
        .unwrap();
        let args = HistoryArgs { image: "a".into(), no_trunc: false, quiet: false, format: Format::Table };
        let now = Timestamp::from_second(60).unwrap();
        assert_eq!(
            format(&args, &lines(&Digest::of(b""), &config, &[1000, 20]), now).unwrap(),
            "\
IMAGE          CREATED        CREATED BY   SIZE     COMMENT
e3b0c44298fc   unknown        RUN x        20B
<missing>      unknown        CMD [\"a\"]    0B       cooper
<missing>      1 minute ago   ADD rootfs   1.00kB
"
        );
    }

    #[test]
    fn a_long_instruction_is_cut() {
        let line = HistoryLine {
            id: String::new(),
            created: None,
            created_by: "x".repeat(100),
            size_bytes: 0,
            comment: String::new(),
        };
        let args = |no_trunc| HistoryArgs { image: "a".into(), no_trunc, quiet: false, format: Format::Table };
        let show = |no_trunc| format(&args(no_trunc), std::slice::from_ref(&line), Timestamp::UNIX_EPOCH).unwrap();
        assert!(show(false).contains(&("x".repeat(57) + "...")) && show(true).contains(&"x".repeat(100)));
    }
}
