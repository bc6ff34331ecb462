//! What can be said of a Dockerfile without building it: findings, mistakes, parameters, stages.

use super::outline::{Outline, description};
use super::{BuilderArgs, Facts, Options, fail_on_findings, plan};
use crate::diag::{Diagnostic, Exit, Failure, Source};
use crate::dockerfile::ast::Dockerfile;
use crate::dockerfile::parse_checked;
use std::sync::Arc;

/// What was found.
#[derive(Debug)]
pub struct Inspected {
    /// The text that places point into.
    pub source: Arc<Source>,
    /// The syntax tree, unless the text has a mistake.
    pub dockerfile: Option<Dockerfile>,
    /// Findings of the lint rules in the order of the lines.
    pub findings: Vec<Diagnostic>,
    /// What the target can be given, unless there is an error.
    pub outline: Option<Outline>,
    /// Why a build would fail though there is no mistake: the directive makes errors of findings.
    pub violation: Option<Diagnostic>,
    /// Why it cannot be built.
    pub error: Option<Diagnostic>,
}

/// Parses and plans a Dockerfile.
pub fn inspect(name: &str, bytes: &[u8], options: &Options, facts: &mut dyn Facts) -> Inspected {
    let checks = BuilderArgs::of(&options.build_args).dockerfile_check;
    let parsed = match parse_checked(name, bytes, checks.as_deref()) {
        Ok(parsed) => parsed,
        Err(Failure { error, findings }) => {
            let source = || Source::new(name, String::from_utf8_lossy(bytes));
            let source = error.place.as_ref().map_or_else(source, |place| place.source.clone());
            return Inspected {
                source,
                dockerfile: None,
                findings,
                outline: None,
                violation: None,
                error: Some(error),
            };
        }
    };
    let mut inspected = Inspected {
        source: parsed.dockerfile.source.clone(),
        dockerfile: None,
        findings: parsed.warnings,
        outline: None,
        violation: None,
        error: None,
    };
    match plan(&parsed.dockerfile, options, facts) {
        Ok(planned) => {
            inspected.findings.extend(planned.warnings);
            inspected.outline = Some(planned.outline);
            let failed = fail_on_findings(&planned.checks, &inspected.findings);
            // What was asked for was done: the exit code is that of findings.
            inspected.violation = failed.err().map(|error| Diagnostic { exit: Exit::Step, ..error });
        }
        Err(Failure { error, findings }) => {
            inspected.findings.extend(findings);
            inspected.error = Some(error);
        }
    }
    inspected.dockerfile = Some(parsed.dockerfile);
    let mut findings = std::mem::take(&mut inspected.findings);
    findings.sort_by_cached_key(|finding| {
        (inspected.lines(finding).map(|(first, _)| first), finding.rule.map(rank), start(finding))
    });
    inspected.findings = findings;
    inspected
}

impl Inspected {
    /// Returns the first and the last line of the instruction that something is about, which is what BuildKit tells of a
    /// place.
    ///
    /// Of an instruction with an empty line in it BuildKit tells the last line.
    pub fn lines(&self, diagnostic: &Diagnostic) -> Option<(usize, usize)> {
        let place = diagnostic.place.as_ref()?;
        let instruction = self.dockerfile.as_ref().and_then(|dockerfile| dockerfile.instruction_at(place.span.start));
        let Some(instruction) = instruction.filter(|_| Arc::ptr_eq(&place.source, &self.source)) else {
            let line = place.source.line_column(place.span.start).0;
            return Some((line, line));
        };
        let line = |offset: usize| self.source.line_column(offset).0;
        if diagnostic.rule == Some("NoEmptyContinuation") {
            let last = line(instruction.head_end());
            return Some((last, last));
        }
        Some((line(instruction.span.start), line(instruction.span.end)))
    }
}

fn start(diagnostic: &Diagnostic) -> Option<usize> {
    diagnostic.place.as_ref().map(|place| place.span.start)
}

/// Returns which of several findings about one instruction comes first: they are found in this order by BuildKit.
fn rank(rule: &str) -> usize {
    const FIRST: [&str; 12] = [
        "NoEmptyContinuation",
        "MaintainerDeprecated",
        "StageNameCasing",
        "FromAsCasing",
        "InvalidDefinitionDescription",
        "ReservedStageName",
        "DuplicateStageName",
        "ConsistentInstructionCasing",
        "InvalidDefaultArgInFrom",
        "UndefinedArgInFrom",
        "UndefinedVar",
        "LegacyKeyValueFormat",
    ];
    let last = if rule == "MultipleInstructionsDisallowed" { FIRST.len() + 1 } else { FIRST.len() };
    FIRST.iter().position(|first| *first == rule).unwrap_or(last)
}

/// A stage, for `--call=targets`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageSummary {
    /// Its name, empty without one.
    pub name: String,
    /// Whether it is built when no target is named.
    pub is_default: bool,
    /// What the comment above its `FROM` says of it.
    pub description: String,
    /// What it starts from, as written.
    pub base: String,
    /// Its platform, as written.
    pub platform: String,
    /// The `FROM`.
    pub span: crate::diag::Span,
}

/// Returns the stages of a Dockerfile in their order.
pub fn stages(dockerfile: &Dockerfile) -> Vec<StageSummary> {
    let last = dockerfile.stages.len().saturating_sub(1);
    let summary = |(index, stage): (usize, &crate::dockerfile::ast::Stage)| {
        let name = stage.name.as_ref().map(|name| name.node.to_lowercase()).unwrap_or_default();
        StageSummary {
            is_default: index == last,
            description: description(&stage.from.comments, &name),
            base: stage.image.node.clone(),
            platform: stage.platform.as_ref().map(|platform| platform.node.clone()).unwrap_or_default(),
            span: stage.from.span,
            name,
        }
    };
    dockerfile.stages.iter().enumerate().map(summary).collect()
}
