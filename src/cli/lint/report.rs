//! Findings as text, and as the JSON of `docker buildx build --call=check,format=json`.

use crate::cli::diagnostic::{Style, render};
use crate::diag::{Diagnostic, Exit, Place, Source, Span};
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
#[derive(Debug, Serialize)]
pub struct Location {
    ranges: Vec<Range>,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl Location {
    /// Returns the place of a span, with its columns.
    pub fn of(source: &Source, span: Span) -> Location {
        let position = |offset| {
            let (line, column) = source.line_column(offset);
            Position { line, character: column - 1 }
        };
        Location { ranges: vec![Range { start: position(span.start), end: position(span.end.max(span.start)) }] }
    }

    /// Returns the lines of a span.
    pub fn lines_of(source: &Source, span: Span) -> Location {
        let mut location = Location::of(source, span);
        for range in &mut location.ranges {
            (range.start.character, range.end.character) = (0, 0);
        }
        location
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
    warnings: Vec<Warning<'a>>,
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

/// Returns what was found as JSON.
pub fn json(inspected: &Inspected) -> Result<String, Diagnostic> {
    let location = |place: &Place| Location::of(&place.source, place.span);
    let warnings = rules(inspected).map(|finding| {
        let rule_name = finding.rule.unwrap_or_default();
        Warning {
            rule_name,
            description: rule_info(rule_name).map(|rule| rule.description),
            url: rule_url(rule_name),
            detail: &finding.message,
            location: finding.place.as_ref().map(location),
        }
    });
    let source = &inspected.source;
    to_json(&Results {
        warnings: warnings.collect(),
        sources: [SourceInfo { filename: &source.name, language: "Dockerfile", data: encode(&source.text) }],
        build_error: inspected.error.as_ref().map(|error| BuildError {
            message: error.message.clone(),
            location: error.place.as_ref().map_or(Location { ranges: Vec::new() }, location),
        }),
    })
}

/// Returns what was found as text: each finding with its line, and how many there are.
pub fn text(inspected: &Inspected, style: Style) -> String {
    let mut text = String::new();
    for finding in rules(inspected) {
        let mut shown = finding.clone();
        shown.notes.push(rule_url(finding.rule.unwrap_or_default()));
        text.push_str(&render(&shown, style));
        text.push('\n');
    }
    let fixable = rules(inspected).filter(|finding| !finding.fix.is_empty()).count();
    match (rules(inspected).count(), inspected.error.is_some()) {
        (0, true) => return text,
        (0, false) => text.push_str("Check complete, no warnings found.\n"),
        (1, _) => text.push_str("Check complete, 1 warning has been found!\n"),
        (count, _) => text.push_str(&format!("Check complete, {count} warnings have been found!\n")),
    }
    if fixable > 0 {
        text.push_str(&format!("`cooper lint --fix` can mend {fixable} of them.\n"));
    }
    text
}

/// Returns the findings of rules: warnings that have none are about the build.
pub fn rules(inspected: &Inspected) -> impl Iterator<Item = &Diagnostic> {
    inspected.findings.iter().filter(|finding| finding.rule.is_some())
}
