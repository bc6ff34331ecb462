//! `cooper du`, `prune` and `store check`: the store on disk.

use super::diagnostic::clean;
use super::stored;
use super::table::{Format, ago, list, table};
use crate::diag::{Diagnostic, Exit};
use crate::exec::store_failure;
use crate::progress::format_bytes;
use crate::store::{self, Finding, Item, PruneOptions, Store, Usage};
use jiff::Timestamp;
use serde::Serialize;
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// Shows what the store occupies
#[derive(Debug, clap::Args)]
pub struct DuArgs {
    /// Lists every layer and cache mount, the one used last first
    #[arg(short, long)]
    pub verbose: bool,

    /// How the list is printed: `table`, `json`, or a template such as `{{.Type}} {{.Size}}`
    #[arg(long, value_name = "FORMAT", default_value = "table", hide_default_value = true)]
    pub format: Format,
}

/// Removes the build cache and all that no image needs
#[derive(Debug, clap::Args)]
pub struct PruneArgs {
    /// Removes images without a name, known bases and cache mounts too
    #[arg(short, long)]
    pub all: bool,

    /// Asks nothing
    #[arg(short, long)]
    pub force: bool,

    /// Keeps what was used in this time: `until=24h`
    #[arg(long, value_name = "FILTER", value_parser = parse_until)]
    pub filter: Option<Duration>,

    /// Says what would be removed
    #[arg(long)]
    pub dry_run: bool,
}

/// The store as a whole
#[derive(Debug, clap::Args)]
pub struct StoreArgs {
    /// What is done.
    #[command(subcommand)]
    pub command: StoreCommand,
}

/// What is done to the store as a whole.
#[derive(Debug, clap::Subcommand)]
pub enum StoreCommand {
    /// Checks the store: reads every blob and compares its digest
    Check(StoreCheckArgs),
}

/// Checks the store
#[derive(Debug, clap::Args)]
pub struct StoreCheckArgs {
    /// Looks only for what is missing
    #[arg(long)]
    pub quick: bool,
}

/// A part of the store and what it occupies, with docker's names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct UsageLine {
    r#type: String,
    total_count: u64,
    active: u64,
    size: String,
    size_bytes: u64,
    reclaimable: String,
    reclaimable_bytes: u64,
}

/// A layer or a cache mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ItemLine {
    #[serde(rename = "ID")]
    id: String,
    r#type: String,
    size: String,
    size_bytes: u64,
    last_used_since: String,
    in_use: bool,
}

/// Reads `until=24h`; parts as `1h30m`, and days as `7d`.
fn parse_until(text: &str) -> Result<Duration, String> {
    let age = text.strip_prefix("until=").ok_or("there is `until=TIME`, e.g. `until=24h`")?;
    let bad = || format!("`{age}` is not a time such as `24h`, `1h30m` or `7d`");
    let mut rest = age;
    let mut seconds: u64 = 0;
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?);
        let (unit, tail) = tail.split_at(tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len()));
        let unit = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return Err(bad()),
        };
        let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(bad)?;
        seconds = seconds.checked_add(part).ok_or_else(bad)?;
        rest = tail;
    }
    if age.is_empty() { Err(bad()) } else { Ok(Duration::from_secs(seconds)) }
}

/// Runs `du`.
pub fn du(args: &DuArgs, store: &Store, out: &mut dyn Write) -> Result<(), Diagnostic> {
    let text = if args.verbose {
        format_items(args, &store::items(store).map_err(store_failure)?, Timestamp::now())?
    } else {
        format_usage(args, &store::usage(store).map_err(store_failure)?)?
    };
    stored::print(out, &text)
}

/// Runs `prune`.
pub fn prune(args: &PruneArgs, store: &Store, out: &mut dyn Write) -> Result<(), Diagnostic> {
    let is_asked = !args.force && !args.dry_run && std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if is_asked && !is_confirmed(args) {
        return Ok(());
    }
    let options = PruneOptions { all: args.all, older_than: args.filter, dry_run: args.dry_run };
    let pruned = store::prune(store, &options).map_err(store_failure)?;
    stored::print(out, &format_pruned(&pruned.names, pruned.bytes, args.dry_run))
}

fn is_confirmed(args: &PruneArgs) -> bool {
    let more = if args.all { ", images without a name, known bases and cache mounts" } else { "" };
    eprint!("This removes the build cache{more}. Continue? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

/// Runs `store check`; findings are an error.
pub fn check(args: &StoreCheckArgs, store: &Store, out: &mut dyn Write) -> Result<(), Diagnostic> {
    let findings = store::check(store, !args.quick).map_err(store_failure)?;
    stored::print(out, &format_findings(&findings))?;
    match findings.len() {
        0 => Ok(()),
        count => Err(Diagnostic::error(Exit::Step, format!("the store has {count} defects")).hint(
            "remove damaged files; pull, load or build again what is missing. Damage to records and layers only \
             makes steps run again",
        )),
    }
}

/// Returns the list of `du`, with a sum.
fn format_usage(args: &DuArgs, parts: &[Usage]) -> Result<String, Diagnostic> {
    let line = |part: &Usage| UsageLine {
        r#type: part.part.to_owned(),
        total_count: part.items,
        active: part.active,
        size: format_bytes(part.bytes),
        size_bytes: part.bytes,
        reclaimable: format_bytes(part.reclaimable_bytes),
        reclaimable_bytes: part.reclaimable_bytes,
    };
    let lines: Vec<UsageLine> = parts.iter().map(line).collect();
    list(&args.format, &lines, || {
        let sum = line(&Usage {
            part: "all",
            items: parts.iter().map(|part| part.items).sum(),
            active: parts.iter().map(|part| part.active).sum(),
            bytes: parts.iter().map(|part| part.bytes).sum(),
            reclaimable_bytes: parts.iter().map(|part| part.reclaimable_bytes).sum(),
        });
        let cells = |line: &UsageLine| {
            let [kind, size, reclaimable] = [&line.r#type, &line.size, &line.reclaimable].map(Clone::clone);
            [kind, line.total_count.to_string(), line.active.to_string(), size, reclaimable]
        };
        let rows: Vec<[String; 5]> = lines.iter().chain([&sum]).map(cells).collect();
        table(["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"], &rows)
    })
}

fn format_items(args: &DuArgs, items: &[Item], now: Timestamp) -> Result<String, Diagnostic> {
    let line = |item: &Item| ItemLine {
        id: item.id.clone(),
        r#type: item.part.to_owned(),
        size: format_bytes(item.bytes),
        size_bytes: item.bytes,
        last_used_since: ago(now, Timestamp::try_from(item.last_used).ok()),
        in_use: item.is_in_use,
    };
    let lines: Vec<ItemLine> = items.iter().map(line).collect();
    list(&args.format, &lines, || {
        let cells = |line: &ItemLine| {
            let [id, kind, size, used] = [&line.id, &line.r#type, &line.size, &line.last_used_since].map(Clone::clone);
            [id, kind, size, used, if line.in_use { "yes" } else { "no" }.to_owned()]
        };
        let rows: Vec<[String; 5]> = lines.iter().map(cells).collect();
        table(["ID", "TYPE", "SIZE", "LAST USED", "IN USE"], &rows)
    })
}

/// Returns what `prune` removed, in docker's words.
fn format_pruned(removed: &[String], freed_bytes: u64, is_dry_run: bool) -> String {
    let list: String = removed.iter().map(|name| clean(name) + "\n").collect();
    let verb = if is_dry_run { "Reclaimable space" } else { "Total reclaimed space" };
    format!("{list}{verb}: {}\n", format_bytes(freed_bytes))
}

/// Returns what `store check` found.
fn format_findings(findings: &[Finding]) -> String {
    let line = |finding: &Finding| format!("{}: {}\n", clean(&finding.path.to_string_lossy()), clean(&finding.problem));
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
    fn ages_have_units() {
        assert_eq!(parse_until("until=90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_until("until=1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_until("until=7d"), Ok(Duration::from_secs(604_800)));
        for bad in ["", "24h", "until=", "until=7", "until=d", "until=7y", "until=-1h", "until=999999999999999999d"] {
            assert!(parse_until(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn use_has_a_sum() {
        let part = |part, items| Usage { part, items, active: 1, bytes: 2000, reclaimable_bytes: 1000 };
        let mut args = DuArgs { verbose: false, format: Format::Table };
        let parts = [part("images", 2), part("layers", 3)];
        assert_eq!(
            format_usage(&args, &parts).unwrap(),
            "\
TYPE     TOTAL   ACTIVE   SIZE     RECLAIMABLE
images   2       1        2.00kB   1.00kB
layers   3       1        2.00kB   1.00kB
all      5       2        4.00kB   2.00kB
"
        );
        args.format = "{{.Type}} {{.SizeBytes}}".parse().unwrap();
        assert_eq!(format_usage(&args, &parts).unwrap(), "images 2000\nlayers 2000\n");
    }

    #[test]
    fn removals_and_findings_are_told() {
        assert_eq!(format_pruned(&["layer a".into()], 1000, false), "layer a\nTotal reclaimed space: 1.00kB\n");
        assert_eq!(format_findings(&[]), "the store is sound\n");
        let finding = Finding { path: "oci/blobs/sha256/00".into(), problem: "the digest is another".into() };
        assert_eq!(format_findings(&[finding]), "oci/blobs/sha256/00: the digest is another\n");
    }
}
