//! `cooper du`, `prune` and `store check`: the store on disk.

use super::build::parse_size;
use super::diagnostic::clean;
use super::table::{Format, json_lines, table};
use crate::diag::Diagnostic;
use crate::progress::format_bytes;
use serde::Serialize;
use std::time::Duration;

/// Shows what the store occupies
#[derive(Debug, clap::Args)]
pub struct DuArgs {
    /// How the list is printed
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
}

/// Removes what no image needs
#[derive(Debug, clap::Args)]
pub struct PruneArgs {
    /// Removes the whole cache and images without a name too
    #[arg(short, long)]
    pub all: bool,

    /// For scripts written for docker, no effect: nothing is asked
    #[arg(short, long)]
    pub force: bool,

    /// Keeps what was used in this time, e.g. `24h`, `7d`
    #[arg(long, value_name = "TIME", value_parser = parse_age)]
    pub keep_used: Option<Duration>,

    /// Keeps what was used last, up to this size, e.g. `10g`
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    pub keep_storage: Option<u64>,

    /// Says what would be removed
    #[arg(long)]
    pub dry_run: bool,
}

/// Checks the store
#[derive(Debug, clap::Args)]
pub struct StoreCheckArgs {
    /// Reads every blob and compares its digest
    #[arg(long)]
    pub content: bool,
}

/// A part of the store and what it occupies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiskUse {
    /// E.g. `images`, `cache`, `cache mounts`, `logs`.
    pub kind: String,
    /// Things in it.
    pub count: u64,
    /// Things that an image needs or a build uses.
    pub active: u64,
    /// Blocks on disk, in bytes.
    pub size_bytes: u64,
    /// What `prune --all` would free.
    pub reclaimable_bytes: u64,
}

/// Something in the store that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Path below the store.
    pub path: String,
    /// One sentence.
    pub problem: String,
}

/// Returns a time of the form `90s`, `30m`, `24h` or `7d`.
fn parse_age(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{text}` is not a time such as `24h` or `7d`");
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(bad()),
    };
    let number: u64 = number.parse().map_err(|_| bad())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(bad)
}

/// Returns the list of `du`, with a sum.
pub fn format_use(args: &DuArgs, parts: &[DiskUse]) -> Result<String, Diagnostic> {
    if args.format == Format::Json {
        return json_lines(parts);
    }
    let sum = DiskUse {
        kind: "all".to_owned(),
        count: parts.iter().map(|part| part.count).sum(),
        active: parts.iter().map(|part| part.active).sum(),
        size_bytes: parts.iter().map(|part| part.size_bytes).sum(),
        reclaimable_bytes: parts.iter().map(|part| part.reclaimable_bytes).sum(),
    };
    let rows: Vec<[String; 5]> = parts
        .iter()
        .chain([&sum])
        .map(|part| {
            [
                part.kind.clone(),
                part.count.to_string(),
                part.active.to_string(),
                format_bytes(part.size_bytes),
                format_bytes(part.reclaimable_bytes),
            ]
        })
        .collect();
    Ok(table(["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"], &rows))
}

/// Returns what `prune` removed, in docker's words.
pub fn format_pruned(removed: &[String], freed_bytes: u64, is_dry_run: bool) -> String {
    let list: String = removed.iter().map(|name| clean(name) + "\n").collect();
    let verb = if is_dry_run { "Reclaimable space" } else { "Total reclaimed space" };
    format!("{list}{verb}: {}\n", format_bytes(freed_bytes))
}

/// Returns what `store check` found.
pub fn format_findings(findings: &[Finding]) -> String {
    let line = |finding: &Finding| format!("{}: {}\n", clean(&finding.path), clean(&finding.problem));
    match findings {
        [] => "the store is sound\n".to_owned(),
        _ => findings.iter().map(line).collect(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_a_unit() {
        assert_eq!(parse_age("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_age("7d"), Ok(Duration::from_secs(604_800)));
        for bad in ["", "7", "d", "7y", "-1h", "99999999999999999999h", "999999999999999999d"] {
            assert!(parse_age(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn use_has_a_sum() {
        let part = |kind: &str, count| DiskUse {
            kind: kind.into(),
            count,
            active: 1,
            size_bytes: 2000,
            reclaimable_bytes: 1000,
        };
        assert_eq!(
            format_use(&DuArgs { format: Format::Table }, &[part("images", 2), part("cache", 3)]).unwrap(),
            "\
TYPE     TOTAL   ACTIVE   SIZE     RECLAIMABLE
images   2       1        2.00kB   1.00kB
cache    3       1        2.00kB   1.00kB
all      5       2        4.00kB   2.00kB
"
        );
    }

    #[test]
    fn removals_and_findings_are_told() {
        assert_eq!(format_pruned(&["layer a".into()], 1000, false), "layer a\nTotal reclaimed space: 1.00kB\n");
        assert_eq!(format_findings(&[]), "the store is sound\n");
        let finding = Finding { path: "oci/blobs/sha256/00".into(), problem: "the digest is another".into() };
        assert_eq!(format_findings(&[finding]), "oci/blobs/sha256/00: the digest is another\n");
    }
}
