//! Findings as text, and as the JSON of `docker buildx build --call=check,format=json`.

use crate::cli::diagnostic::{Style, clean, excerpt};
use crate::diag::{Diagnostic, Edit, Exit, Place, Source, Span};
use crate::dockerfile::lint::{rule_info, rule_url};
use crate::plan::inspect::Inspected;
use base64::Engine;
use serde::Serialize;

/// A place in a text: lines from 1, characters from 0.
#[derive(Debug, Serialize)]
pub struct Position {
    line: usize,
    #[serde(skip_serializing_if = "is_zero")]
    character: usize,
}

#[derive(Debug, Serialize)]
struct Range {
    start: Position,
    end: Position,
}

/// Where something is written.
#[derive(Debug, Default, Serialize)]
pub struct Location {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ranges: Vec<Range>,
}

/// How many lines of an instruction are told one by one; of more, the first and the last.
const MAX_RANGES: usize = 200;

fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl Location {
    /// Returns the lines `first..=last`, as BuildKit does a range for each.
    pub fn of_lines(first: usize, last: usize) -> Location {
        let range = |first, last| Range { start: Position::of_line(first), end: Position::of_line(last) };
        if last.saturating_sub(first) >= MAX_RANGES {
            return Location { ranges: vec![range(first, last)] };
        }
        Location { ranges: (first..=last).map(|line| range(line, line)).collect() }
    }

    /// Returns the lines of a span.
    pub fn lines_of(source: &Source, span: Span) -> Location {
        Location::of_lines(source.line_column(span.start).0, source.line_column(span.end).0)
    }
}

impl Position {
    fn of_line(line: usize) -> Position {
        Position { line, character: 0 }
    }
}

impl Range {
    /// Returns the place of a span, with its columns.
    fn exact(source: &Source, span: Span) -> Range {
        let position = |offset| {
            let (line, column) = source.line_column(offset);
            Position { line, character: column - 1 }
        };
        Range { start: position(span.start), end: position(span.end.max(span.start)) }
    }
}

/// What takes the place of a range.
#[derive(Serialize)]
struct Fix<'a> {
    #[serde(flatten)]
    range: Range,
    text: &'a str,
}

impl<'a> Fix<'a> {
    fn of(edit: &'a Edit, place: &Place) -> Fix<'a> {
        Fix { range: Range::exact(&place.source, edit.span), text: &edit.text }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Warning<'a> {
    rule_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    url: String,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<Location>,
    /// The very words, which BuildKit does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    exact: Option<Range>,
    #[serde(skip_serializing_if = "str::is_empty")]
    hint: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fixes: Vec<Fix<'a>>,
}

#[derive(Serialize)]
struct SourceInfo<'a> {
    filename: &'a str,
    language: &'static str,
    data: String,
}

#[derive(Serialize)]
struct BuildError {
    message: String,
    location: Location,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Results<'a> {
    /// None is `null`.
    warnings: Option<Vec<Warning<'a>>>,
    sources: [SourceInfo<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    build_error: Option<BuildError>,
}

/// Returns a text as it stands in JSON of BuildKit.
pub fn encode(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// Returns a value as indented JSON.
pub fn to_json(value: &impl Serialize) -> Result<String, Diagnostic> {
    let json = crate::progress::json_pretty(value).map_err(|error| Diagnostic::from_error(Exit::Bug, &error))?;
    Ok(json + "\n")
}

fn warning(finding: &Diagnostic, location: Option<Location>) -> Warning<'_> {
    let rule_name = finding.rule.unwrap_or_default();
    let place = finding.place.as_ref();
    Warning {
        rule_name,
        description: rule_info(rule_name).map(|rule| rule.description),
        url: rule_url(rule_name),
        detail: &finding.message,
        location,
        exact: place.map(|place| Range::exact(&place.source, place.span)),
        hint: &finding.label,
        fixes: finding.fix.iter().filter_map(|edit| Some(Fix::of(edit, place?))).collect(),
    }
}

/// Returns what was found as JSON.
pub fn json(inspected: &Inspected) -> Result<String, Diagnostic> {
    let source = &inspected.source;
    let location = |found: &Diagnostic| inspected.lines(found).map(|(first, last)| Location::of_lines(first, last));
    let warnings: Vec<_> = rules(inspected).map(|finding| warning(finding, location(finding))).collect();
    let error = |error: &Diagnostic, location| BuildError { message: error.message.clone(), location };
    let failed = inspected.error.as_ref().map(|failed| error(failed, location(failed).unwrap_or_default()));
    // BuildKit tells no place of a violation, it has as many as there are findings.
    let violated = inspected.violation.as_ref().map(|violation| error(violation, Location::default()));
    to_json(&Results {
        warnings: Some(warnings).filter(|warnings| !warnings.is_empty()),
        sources: [SourceInfo { filename: &source.name, language: "Dockerfile", data: encode(&source.text) }],
        build_error: failed.or(violated),
    })
}

/// Returns what was found as text: how much there is, then each finding with its rule, line and caret.
///
/// The first lines of each are those of `docker buildx build --check`, which scripts look for.
pub fn text(inspected: &Inspected, style: Style) -> String {
    let mut text = match (rules(inspected).count(), inspected.error.is_some()) {
        (0, true) => return String::new(),
        (0, false) => return "Check complete, no warnings found.\n".to_owned(),
        (1, _) => "Check complete, 1 warning has been found!\n".to_owned(),
        (count, _) => format!("Check complete, {count} warnings have been found!\n"),
    };
    for finding in rules(inspected) {
        let rule = finding.rule.unwrap_or_default();
        text.push_str(&format!("\nWARNING: {rule} - {}\n{}\n", rule_url(rule), clean(&finding.message)));
        text.push_str(&excerpt(finding, style));
    }
    let fixable = rules(inspected).filter(|finding| !finding.fix.is_empty()).count();
    if fixable > 0 {
        text.push_str(&format!("\n`cooper lint --fix` can mend {fixable} of them.\n"));
    }
    text
}

/// Returns the findings of rules: warnings that have none are about the build.
pub fn rules(inspected: &Inspected) -> impl Iterator<Item = &Diagnostic> {
    inspected.findings.iter().filter(|finding| finding.rule.is_some())
}
