//! `HEALTHCHECK`.

use super::fault::{Fault, Result};
use super::flags::{FlagKind, Flags, Table};
use super::logical::Part;
use super::statement::Statement;
use super::words::json_array;
use crate::dockerfile::ast::{Command, HealthcheckSpec, Kind};

const FLAGS: Table = &[
    ("interval", FlagKind::Text),
    ("timeout", FlagKind::Text),
    ("start-period", FlagKind::Text),
    ("start-interval", FlagKind::Text),
    ("retries", FlagKind::Text),
];

/// The shortest time that a flag may say; zero stands for the default.
const SHORTEST_NS: i64 = 1_000_000;

/// Parses `HEALTHCHECK NONE` or `HEALTHCHECK [flags] CMD ..`.
pub(super) fn parse(statement: &Statement<'_>) -> Result<Kind> {
    let (kind, rest) = split_type(statement.args);
    match kind.text().to_ascii_uppercase().as_str() {
        "" => Err(statement.missing("HEALTHCHECK requires at least one argument")),
        "NONE" if rest.text().is_empty() => Ok(Kind::Healthcheck(HealthcheckSpec {
            command: None,
            interval_ns: 0,
            timeout_ns: 0,
            start_period_ns: 0,
            start_interval_ns: 0,
            retries: 0,
        })),
        "NONE" => Err(Fault::new(rest.span(), "HEALTHCHECK NONE takes no arguments")),
        "CMD" => {
            let flags = Flags::read(&statement.flags, FLAGS)?;
            with_command(statement, rest, &flags)
        }
        other => {
            Flags::read(&statement.flags, FLAGS)?;
            Err(Fault::new(kind.span(), format!("unknown type `{other}` in HEALTHCHECK"))
                .label("expected `CMD` or `NONE`"))
        }
    }
}

fn with_command(statement: &Statement<'_>, rest: Part<'_>, flags: &Flags) -> Result<Kind> {
    let command = match json_array(rest)? {
        Some(words) => Command::Exec(words.into_iter().map(|word| word.node).collect()),
        None => Command::Shell(rest.spanned()),
    };
    let is_empty = match &command {
        Command::Exec(words) => words.is_empty(),
        Command::Shell(text) => text.node.is_empty(),
    };
    if is_empty {
        return Err(Fault::new(statement.args.span(), "missing command after HEALTHCHECK CMD")
            .hint("write `HEALTHCHECK CMD COMMAND`"));
    }
    Ok(Kind::Healthcheck(HealthcheckSpec {
        command: Some(command),
        interval_ns: time(flags, "interval")?,
        timeout_ns: time(flags, "timeout")?,
        start_period_ns: time(flags, "start-period")?,
        start_interval_ns: time(flags, "start-interval")?,
        retries: retries(flags)?,
    }))
}

/// Splits the arguments behind the first word.
fn split_type(args: Part<'_>) -> (Part<'_>, Part<'_>) {
    let at = args.text().find(char::is_whitespace).unwrap_or(args.text().len());
    (args.slice(0, at), args.from(at).trim())
}

/// Returns the nanoseconds of a flag, 0 when it is not given.
fn time(flags: &Flags, name: &str) -> Result<i64> {
    let Some(value) = flags.text(name) else { return Ok(0) };
    let Some(ns) = duration_ns(&value.node) else {
        return Err(Fault::new(value.span, format!("invalid duration in `--{name}`: `{}`", value.node))
            .hint("write numbers with units, such as `30s`, `1m30s` or `500ms`"));
    };
    if ns != 0 && ns < SHORTEST_NS {
        return Err(Fault::new(value.span, format!("interval `{name}` cannot be less than 1ms")));
    }
    Ok(ns)
}

fn retries(flags: &Flags) -> Result<i64> {
    let Some(value) = flags.text("retries") else { return Ok(0) };
    match value.node.parse::<i32>() {
        Ok(retries) if retries >= 0 => Ok(i64::from(retries)),
        Ok(retries) => Err(Fault::new(value.span, format!("`--retries` cannot be negative: {retries}"))),
        Err(_) => Err(Fault::new(value.span, format!("`--retries` must be a whole number, not `{}`", value.node))),
    }
}

/// Reads a duration as Go writes it: signed decimal numbers with units, `1h2m3.5s`; `0` alone needs no unit.
fn duration_ns(text: &str) -> Option<i64> {
    let (is_negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    match digits {
        "" => return None,
        "0" => return Some(0),
        _ => {}
    }
    let mut rest = digits;
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|end| *end > 0)?;
        let (number, tail) = rest.split_at(number_end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        total = total.checked_add(scaled(number, unit_ns(&tail[..unit_end])?)?)?;
        rest = &tail[unit_end..];
    }
    i64::try_from(if is_negative { -total } else { total }).ok()
}

fn unit_ns(unit: &str) -> Option<i128> {
    Some(match unit {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// Returns a decimal number times `unit`, rounded down.
fn scaled(number: &str, unit: i128) -> Option<i128> {
    // Digits beyond these change nothing: the largest unit has 13 of them.
    const FRACTION_DIGITS: usize = 18;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { i128::from(whole.parse::<i64>().ok()?) };
    let fraction = &fraction[..fraction.len().min(FRACTION_DIGITS)];
    let mut parts: i128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    for _ in fraction.len()..FRACTION_DIGITS {
        parts *= 10;
    }
    Some(whole * unit + parts * unit / 1_000_000_000_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        for (text, want) in [
            ("30s", Some(30_000_000_000)),
            ("1h2m3.5s", Some(3_723_500_000_000)),
            ("1.5h", Some(5_400_000_000_000)),
            (".5ms", Some(500_000)),
            ("1us", Some(1_000)),
            ("0", Some(0)),
            ("-1s", Some(-1_000_000_000)),
            ("", None),
            ("-", None),
            ("5", None),
            ("s", None),
            (".s", None),
            ("1.2.3s", None),
            ("1d", None),
            ("99999999999h", None),
        ] {
            assert_eq!(duration_ns(text), want, "{text:?}");
        }
    }
}
