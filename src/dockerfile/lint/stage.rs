//! Rules over the instructions of one stage.

use super::{Checks, Findings, Rule, fix};
use crate::diag::{Diagnostic, Span};
use crate::dockerfile::ast::{Command, Dockerfile, Instruction, KeyValue, Kind, Stage, Word};

const JSON_ARGS_RECOMMENDED: Rule = Rule::new("JSONArgsRecommended");
const MULTIPLE_INSTRUCTIONS_DISALLOWED: Rule = Rule::new("MultipleInstructionsDisallowed");
const LEGACY_KEY_VALUE_FORMAT: Rule = Rule::new("LegacyKeyValueFormat");
const EXPOSE_PROTO_CASING: Rule = Rule::new("ExposeProtoCasing");
const EXPOSE_INVALID_FORMAT: Rule = Rule::new("ExposeInvalidFormat");

/// An instruction of a stage.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// The instruction.
    pub instruction: &'a Instruction,
    /// Where findings point instead: an ONBUILD trigger of the base does not stand in the Dockerfile.
    pub spot: Option<Span>,
}

impl Line<'_> {
    fn span(&self, span: Span) -> Span {
        self.spot.unwrap_or(span)
    }
}

/// Returns what the rules over the instructions of a stage find.
///
/// `has_shell` says whether the config that the stage starts from sets a shell, by `SHELL` in a stage below or in the
/// base image: then a command in shell form is meant.  Ports with variables in them are for [`expanded_port`].
pub fn stage(dockerfile: &Dockerfile, stage: &Stage, checks: &Checks, has_shell: bool) -> Vec<Diagnostic> {
    let lines: Vec<_> = stage.instructions.iter().map(|instruction| Line { instruction, spot: None }).collect();
    lines_of_stage(dockerfile, &lines, checks, has_shell)
}

/// As [`stage`], for instructions of which some are triggers.
pub fn lines_of_stage(
    dockerfile: &Dockerfile,
    lines: &[Line<'_>],
    checks: &Checks,
    has_shell: bool,
) -> Vec<Diagnostic> {
    let mut findings = Findings::new(dockerfile, checks);
    let mut has_shell = has_shell;
    let commands = lines.iter().filter(|line| matches!(line.instruction.kind, Kind::Cmd(_) | Kind::Entrypoint(_)));
    let is_lone = commands.count() == 1;
    for (at, line) in lines.iter().enumerate() {
        let found = findings.found.len();
        match &line.instruction.kind {
            Kind::Env(pairs) | Kind::Label(pairs) => legacy(line, pairs, &mut findings),
            Kind::Cmd(command) | Kind::Entrypoint(command) if !has_shell => {
                shell_form(line, command, is_lone, &mut findings);
            }
            Kind::Expose(ports) => ports.iter().for_each(|word| port(line, word, &mut findings)),
            Kind::Shell(_) => has_shell = true,
            _ => {}
        }
        if line.spot.is_some() {
            findings.found[found..].iter_mut().for_each(|finding| finding.fix.clear());
        }
        overridden(line, &lines[at + 1..], &mut findings);
    }
    findings.found
}

fn legacy(line: &Line<'_>, pairs: &[KeyValue], findings: &mut Findings<'_>) {
    for pair in pairs.iter().filter(|pair| pair.is_legacy) {
        let keyword = &line.instruction.keyword.node;
        let message =
            format!("\"{keyword} key=value\" should be used instead of legacy \"{keyword} key value\" format");
        let label = format!("write `{}=...`", pair.key.node);
        let (source, escape) = (findings.source, findings.escape);
        let finding =
            findings.add_to(line.instruction, LEGACY_KEY_VALUE_FORMAT, line.span(pair.key.span), message, label);
        finding.into_iter().for_each(|finding| finding.fix = fix::legacy(source, escape, pair));
    }
}

fn shell_form(line: &Line<'_>, command: &Command, is_lone: bool, findings: &mut Findings<'_>) {
    let Command::Shell(text) = command else { return };
    let keyword = &line.instruction.keyword;
    let message =
        format!("JSON arguments recommended for {} to prevent unintended behavior related to OS signals", keyword.node);
    let span = if text.node.is_empty() { keyword.span } else { text.span };
    let source = findings.source;
    let label = "signals reach the shell, not the program: write a JSON array".to_owned();
    let finding = findings.add_to(line.instruction, JSON_ARGS_RECOMMENDED, line.span(span), message, label);
    // The other of the two sees the difference between a shell and a program.
    if let Some(finding) = finding.filter(|_| is_lone) {
        finding.fix = fix::exec_form(source, text);
    }
}

/// Only the last `CMD`, `ENTRYPOINT` or `HEALTHCHECK` of a stage counts; each is told of the next one.
fn overridden(line: &Line<'_>, behind: &[Line<'_>], findings: &mut Findings<'_>) {
    let kind = &line.instruction.kind;
    if !matches!(kind, Kind::Cmd(_) | Kind::Entrypoint(_) | Kind::Healthcheck(_)) {
        return;
    }
    let kind = std::mem::discriminant(kind);
    // What the later instruction skips counts: it is there that the second one is found.
    if let Some(later) = behind.iter().find(|other| std::mem::discriminant(&other.instruction.kind) == kind) {
        let keyword = &later.instruction.keyword.node;
        let message = format!(
            "Multiple {keyword} instructions should not be used in the same stage because only the last one will be used"
        );
        let span = line.span(line.instruction.keyword.span);
        findings.add_to(
            later.instruction,
            MULTIPLE_INSTRUCTIONS_DISALLOWED,
            span,
            message,
            "a later one in this stage replaces it".to_owned(),
        );
    }
}

/// Returns what the rules about ports find in a port whose variables are expanded; see [`stage`] for the others.
pub fn expanded_port(
    dockerfile: &Dockerfile,
    checks: &Checks,
    instruction: &Instruction,
    word: &Word,
) -> Vec<Diagnostic> {
    let mut findings = Findings::new(dockerfile, checks);
    port_text(&Line { instruction, spot: None }, word, &mut findings);
    findings.found
}

fn port(line: &Line<'_>, word: &Word, findings: &mut Findings<'_>) {
    // What the planner expands it looks at itself.
    if !word.node.contains('$') {
        port_text(line, word, findings);
    }
}

fn port_text(line: &Line<'_>, word: &Word, findings: &mut Findings<'_>) {
    let (mapping, container) = word.node.rsplit_once(':').map_or((None, word.node.as_str()), |(m, c)| (Some(m), c));
    let protocol = container.split_once('/').map_or("", |(_, protocol)| protocol);
    let span = line.span(word.span);
    if protocol != protocol.to_lowercase() {
        let message = format!("Defined protocol '{}' in EXPOSE instruction should be lowercase", word.node);
        let label = format!("write `{}`", protocol.to_lowercase());
        let source = findings.source;
        let finding = findings.add_to(line.instruction, EXPOSE_PROTO_CASING, span, message, label);
        if fix::text(source, span) == word.node {
            fix::replace(finding, word.node.replace(protocol, &protocol.to_lowercase()));
        }
    }
    if mapping.is_some_and(|mapping| !mapping.is_empty()) {
        let message =
            format!("EXPOSE instruction should not define an IP address or host-port mapping, found '{}'", word.node);
        findings.add_to(line.instruction, EXPOSE_INVALID_FORMAT, span, message, format!("write `{container}`"));
    }
}
