//! What can be said of a Dockerfile without building it: findings, mistakes, parameters, stages.

use super::outline::{Outline, description};
use super::{BuilderArgs, Facts, Options, plan};
use crate::diag::{Diagnostic, Source};
use crate::dockerfile::ast::Dockerfile;
use crate::dockerfile::lint::Checks;
use crate::dockerfile::parse_checked;
use std::sync::Arc;

/// What was found.
#[derive(Debug)]
pub struct Inspected {
    /// The text that places point into.
    pub source: Arc<Source>,
    /// The syntax tree, unless the text has a mistake.
    pub dockerfile: Option<Dockerfile>,
    /// Findings of the lint rules in the order of the file.
    pub findings: Vec<Diagnostic>,
    /// What the target can be given, unless there is an error.
    pub outline: Option<Outline>,
    /// Which rules counted.
    pub checks: Checks,
    /// Why it cannot be built.
    pub error: Option<Diagnostic>,
}

/// Parses and plans a Dockerfile.
pub fn inspect(name: &str, bytes: &[u8], options: &Options, facts: &mut dyn Facts) -> Inspected {
    let checks = BuilderArgs::of(&options.build_args).dockerfile_check;
    let parsed = match parse_checked(name, bytes, checks.as_deref()) {
        Ok(parsed) => parsed,
        Err(error) => {
            let source = || Source::new(name, String::from_utf8_lossy(bytes));
            return Inspected {
                source: error.place.as_ref().map_or_else(source, |place| place.source.clone()),
                dockerfile: None,
                findings: Vec::new(),
                outline: None,
                checks: Checks::default(),
                error: Some(error),
            };
        }
    };
    let mut inspected = Inspected {
        source: parsed.dockerfile.source.clone(),
        dockerfile: None,
        findings: parsed.warnings,
        outline: None,
        checks: Checks::default(),
        error: None,
    };
    match plan(&parsed.dockerfile, options, facts) {
        Ok(planned) => {
            inspected.findings.extend(planned.warnings);
            inspected.outline = Some(planned.outline);
            inspected.checks = planned.checks;
        }
        Err(error) => inspected.error = Some(error),
    }
    inspected.findings.sort_by_key(|finding| finding.place.as_ref().map(|place| place.span.start));
    inspected.dockerfile = Some(parsed.dockerfile);
    inspected
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
