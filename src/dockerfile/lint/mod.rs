//! Lint rules that need nothing but the text; names and meaning are those of BuildKit's build checks.
//!
//! Rules over the whole file run when it is parsed.  Rules over the instructions of one stage are for the planner to
//! call ([`stage`]), as stages that a build does not need are not looked at.  Rules that need values of variables or
//! facts about images live in the planner.

mod checks;
mod file;
pub mod fix;
mod rules;
mod stage;

pub use checks::{Checks, ChecksError, RuleSet};
pub(super) use file::{LineFacts, parsed};
pub use rules::{RULES, RuleInfo, rule_info, rule_url};
pub use stage::{Line, expanded_port, lines_of_stage, stage};

use super::ast::{Dockerfile, Instruction};
use crate::diag::{Diagnostic, Source, Span};
use std::sync::Arc;

/// A lint rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rule {
    /// The name, as in `# check=skip=`.
    name: &'static str,
    /// Whether it runs only when asked for.
    is_experimental: bool,
}

impl Rule {
    const fn new(name: &'static str) -> Rule {
        Rule { name, is_experimental: false }
    }
}

/// The most findings that are kept of one run: a file can hold millions.
const MAX_FINDINGS: usize = 1000;

/// Findings under way, with the checks that decide which of them count.
struct Findings<'a> {
    source: &'a Arc<Source>,
    escape: char,
    checks: &'a Checks,
    /// The checks of the instruction last looked at, and where it starts: one may have many findings and comments.
    of_instruction: Option<(usize, Checks)>,
    found: Vec<Diagnostic>,
}

impl<'a> Findings<'a> {
    fn new(dockerfile: &'a Dockerfile, checks: &'a Checks) -> Findings<'a> {
        let (source, escape) = (&dockerfile.source, dockerfile.escape);
        Findings { source, escape, checks, of_instruction: None, found: Vec::new() }
    }

    /// Adds a finding about the file, unless the rule is skipped.
    fn add(&mut self, rule: Rule, span: Span, message: String, label: String) -> Option<&mut Diagnostic> {
        let is_allowed = self.checks.allow(rule.name, rule.is_experimental);
        if is_allowed { self.push(rule, span, message, label) } else { None }
    }

    /// Adds a finding about an instruction, unless the file or the comments above the instruction skip the rule.
    fn add_to(
        &mut self,
        instruction: &Instruction,
        rule: Rule,
        span: Span,
        message: String,
        label: String,
    ) -> Option<&mut Diagnostic> {
        let start = instruction.span.start;
        if self.of_instruction.as_ref().is_none_or(|(of, _)| *of != start) {
            self.of_instruction = Some((start, self.checks.with_comments(&instruction.comments)));
        }
        let checks = self.of_instruction.as_ref().map_or(self.checks, |(_, checks)| checks);
        let is_allowed = checks.allow(rule.name, rule.is_experimental);
        if is_allowed { self.push(rule, span, message, label) } else { None }
    }

    fn push(&mut self, rule: Rule, span: Span, message: String, label: String) -> Option<&mut Diagnostic> {
        if self.found.len() == MAX_FINDINGS {
            return None;
        }
        let mut finding = Diagnostic::warning(message).at(self.source, span).label(label);
        finding.rule = Some(rule.name);
        self.found.push(finding);
        self.found.last_mut()
    }
}

#[cfg(test)]
mod tests;
