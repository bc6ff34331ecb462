//! `--call` and `--check`: what a build would do, told instead of done, in the forms of `docker buildx build`.

use super::value::parse_fields;
use crate::cli::diagnostic::{Style, clean};
use crate::cli::lint::report::{self, Location, encode, to_json};
use crate::diag::{Diagnostic, Exit, Source, nearest};
use crate::plan::inspect::{Inspected, StageSummary, stages};
use crate::plan::outline::{Outline, OutlineArg, OutlineMount};
use serde::Serialize;
use std::io::Write;
use std::process::ExitCode;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// `check` (and `lint`): findings of the lint rules.
    Check,
    /// `outline`: arguments, secrets and SSH agents of the target.
    Outline,
    /// `targets`: the stages.
    Targets,
}

/// A `--call`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// What is asked for, `None` for a build.
    pub question: Option<Question>,
    /// Whether the answer is JSON.
    pub json: bool,
    /// Whether findings leave the exit code alone.
    pub ignore_status: bool,
}

/// Returns a `--call NAME[,format=json|text][,ignorestatus=BOOL]`.
pub fn parse_call(text: &str) -> Result<Call, String> {
    let mut call = Call { question: None, json: false, ignore_status: false };
    for field in parse_fields(text)? {
        match field.split_once('=') {
            None => call.question = question(&field)?,
            Some(("format", "json")) => call.json = true,
            Some(("format", "text")) => call.json = false,
            Some(("format", other)) => return Err(format!("the format is `json` or `text`, not `{other}`")),
            Some(("ignorestatus", value)) => call.ignore_status = super::value::parse_bool(value)?,
            Some((key, _)) => return Err(format!("`--call` has no `{key}`; it has `format` and `ignorestatus`")),
        }
    }
    Ok(call)
}

fn question(name: &str) -> Result<Option<Question>, String> {
    let known = ["build", "check", "outline", "targets"];
    match name.strip_prefix("frontend.").unwrap_or(name) {
        "build" | "" => Ok(None),
        "check" | "lint" => Ok(Some(Question::Check)),
        "outline" => Ok(Some(Question::Outline)),
        "targets" => Ok(Some(Question::Targets)),
        other => {
            let meant = nearest(other, known).map(|near| format!(", did you mean `{near}`?"));
            Err(format!(
                "there is no call `{other}`{}",
                meant.unwrap_or_else(|| format!("; there are {}", list(&known)))
            ))
        }
    }
}

fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Prints the answer; findings make the exit code 1.
pub fn answer(
    call: Call,
    question: Question,
    inspected: Inspected,
    style: Style,
    out: &mut dyn Write,
) -> Result<ExitCode, Diagnostic> {
    let source = inspected.source.clone();
    let shown = match question {
        Question::Check if call.json => report::json(&inspected)?,
        Question::Check => report::text(&inspected, Style { color: false, ..style }),
        Question::Targets => {
            let Some(dockerfile) = &inspected.dockerfile else { return Err(failure(inspected)) };
            let stages = stages(dockerfile);
            if call.json { targets_json(&stages, &source)? } else { targets_text(&stages) }
        }
        Question::Outline => match &inspected.outline {
            None => return Err(failure(inspected)),
            Some(outline) if call.json => outline_json(outline, &source)?,
            Some(outline) => outline_text(outline),
        },
    };
    out.write_all(shown.as_bytes()).map_err(|error| Diagnostic::from_error(Exit::Step, &error))?;
    let is_check = question == Question::Check;
    let has_findings = is_check && report::rules(&inspected).next().is_some();
    match inspected.error.or(inspected.violation) {
        Some(error) if is_check && !call.ignore_status => Err(error),
        _ => Ok(ExitCode::from(u8::from(has_findings && !call.ignore_status))),
    }
}

fn failure(inspected: Inspected) -> Diagnostic {
    inspected.error.unwrap_or_else(|| Diagnostic::error(Exit::Bug, "the Dockerfile was not planned"))
}

#[derive(Serialize)]
struct TargetJson<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    default: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    base: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    platform: &'a str,
    location: Location,
}

#[derive(Serialize)]
struct TargetsJson<'a> {
    targets: Vec<TargetJson<'a>>,
    sources: [String; 1],
}

fn targets_json(stages: &[StageSummary], source: &Source) -> Result<String, Diagnostic> {
    let targets = stages.iter().map(|stage| TargetJson {
        name: &stage.name,
        default: stage.is_default,
        description: &stage.description,
        base: &stage.base,
        platform: &stage.platform,
        location: Location::lines_of(source, stage.span),
    });
    to_json(&TargetsJson { targets: targets.collect(), sources: [encode(&source.text)] })
}

fn targets_text(stages: &[StageSummary]) -> String {
    let row = |stage: &StageSummary| {
        let name = match (stage.name.as_str(), stage.is_default) {
            ("", true) => "(default)".to_owned(),
            (name, true) => format!("{name} (default)"),
            (name, false) => name.to_owned(),
        };
        [name, clean(&stage.description)]
    };
    let head = ["TARGET", "DESCRIPTION"].map(str::to_owned);
    columns(1, &std::iter::once(head).chain(stages.iter().map(row)).collect::<Vec<_>>())
}

#[derive(Serialize)]
struct ArgJson<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    value: &'a str,
    location: Location,
}

#[derive(Serialize)]
struct MountJson<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    required: bool,
    location: Location,
}

#[derive(Serialize)]
struct OutlineJson<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<ArgJson<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<MountJson<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ssh: Vec<MountJson<'a>>,
    sources: [String; 1],
}

fn outline_json(outline: &Outline, source: &Source) -> Result<String, Diagnostic> {
    fn mounts<'a>(list: &'a [OutlineMount], source: &Source) -> Vec<MountJson<'a>> {
        let mount = |one: &'a OutlineMount| MountJson {
            name: &one.name,
            required: one.required,
            location: Location::lines_of(source, one.span),
        };
        list.iter().map(mount).collect()
    }
    let args = outline.args.iter().map(|arg| ArgJson {
        name: &arg.name,
        description: &arg.description,
        value: &arg.value,
        location: Location::lines_of(source, arg.span),
    });
    to_json(&OutlineJson {
        name: &outline.name,
        description: &outline.description,
        args: args.collect(),
        secrets: mounts(&outline.secrets, source),
        ssh: mounts(&outline.ssh, source),
        sources: [encode(&source.text)],
    })
}

fn outline_text(outline: &Outline) -> String {
    let mut text = String::new();
    if !outline.name.is_empty() {
        let mut rows = vec![["TARGET:".to_owned(), outline.name.clone()]];
        if !outline.description.is_empty() {
            rows.push(["DESCRIPTION:".to_owned(), clean(&outline.description)]);
        }
        text.push_str(&columns(1, &rows));
        text.push('\n');
    }
    if !outline.args.is_empty() {
        let head = ["BUILD ARG", "VALUE", "DESCRIPTION"].map(str::to_owned);
        let row = |arg: &OutlineArg| [clean(&arg.name), clean(&arg.value), clean(&arg.description)];
        text.push_str(&columns(3, &std::iter::once(head).chain(outline.args.iter().map(row)).collect::<Vec<_>>()));
        text.push('\n');
    }
    for (title, mounts) in [("SECRET", &outline.secrets), ("SSH", &outline.ssh)] {
        if mounts.is_empty() {
            continue;
        }
        let head = [title.to_owned(), "REQUIRED".to_owned()];
        let row = |one: &OutlineMount| [clean(&one.name), if one.required { "true".into() } else { String::new() }];
        text.push_str(&columns(3, &std::iter::once(head).chain(mounts.iter().map(row)).collect::<Vec<_>>()));
        text.push('\n');
    }
    text
}

/// Returns columns `gap` blanks apart; the last one is not padded.
fn columns<const N: usize>(gap: usize, rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0) + gap;
    let widths: Vec<usize> = (0..N - 1).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (cell, width) in row.iter().zip(&widths) {
            text.push_str(&format!("{cell:width$}"));
        }
        text.push_str(&row[N - 1]);
        text.push('\n');
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_a_name_and_a_format() {
        let call = |text| parse_call(text).unwrap();
        assert_eq!(call("check").question, Some(Question::Check));
        assert_eq!(call("lint,format=json").question, Some(Question::Check));
        assert!(call("outline,format=json").json && !call("outline").json);
        assert_eq!(call("build").question, None);
        assert!(call("check,ignorestatus=true").ignore_status);
        assert_eq!(parse_call("chekc"), Err("there is no call `chekc`, did you mean `check`?".into()));
        for bad in ["nothing-like-it", "check,format=xml", "check,colour=red", "check,ignorestatus=maybe"] {
            assert!(parse_call(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["A", "LONG", "C"], ["abc", "", "d"]].map(|row| row.map(str::to_owned));
        assert_eq!(columns(3, &rows), "A     LONG   C\nabc          d\n");
    }
}
