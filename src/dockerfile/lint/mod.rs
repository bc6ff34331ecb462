//! Lint rules that need nothing but the text; names and meaning are those of BuildKit's build checks.
//!
//! Rules over the whole file run when it is parsed.  Rules over the instructions of one stage are for the planner to
//! call ([`stage`]), as stages that a build does not need are not looked at.  Rules that need values of variables or
//! facts about images live in the planner.

mod checks;
mod file;
mod rules;
mod stage;

pub use checks::{Checks, ChecksError, RuleSet};
pub(super) use file::{LineFacts, parsed};
pub use rules::{RULES, RuleInfo, rule_info, rule_url};
pub use stage::stage;

use super::ast::Instruction;
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
    checks: &'a Checks,
    /// The checks of the instruction last looked at, and where it starts: one may have many findings and comments.
    of_instruction: Option<(usize, Checks)>,
    found: Vec<Diagnostic>,
}

impl<'a> Findings<'a> {
    fn new(source: &'a Arc<Source>, checks: &'a Checks) -> Findings<'a> {
        Findings { source, checks, of_instruction: None, found: Vec::new() }
    }

    /// Adds a finding about the file, unless the rule is skipped.
    fn add(&mut self, rule: Rule, span: Span, message: String, label: String) {
        if self.checks.allow(rule.name, rule.is_experimental) {
            self.push(rule, span, message, label);
        }
    }

    /// Adds a finding about an instruction, unless the file or the comments above the instruction skip the rule.
    fn add_to(&mut self, instruction: &Instruction, rule: Rule, span: Span, message: String, label: String) {
        let start = instruction.span.start;
        if self.of_instruction.as_ref().is_none_or(|(of, _)| *of != start) {
            self.of_instruction = Some((start, self.checks.with_comments(&instruction.comments)));
        }
        let checks = self.of_instruction.as_ref().map_or(self.checks, |(_, checks)| checks);
        if checks.allow(rule.name, rule.is_experimental) {
            self.push(rule, span, message, label);
        }
    }

    fn push(&mut self, rule: Rule, span: Span, message: String, label: String) {
        if self.found.len() < MAX_FINDINGS {
            let mut finding = Diagnostic::warning(message).at(self.source, span).label(label);
            finding.rule = Some(rule.name);
            self.found.push(finding);
        }
    }
}

#[cfg(test)]
mod tests;
