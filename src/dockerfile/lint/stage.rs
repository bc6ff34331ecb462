//! Rules over the instructions of one stage.

use super::{Checks, Findings, Rule, fix};
use crate::diag::{Diagnostic, Span};
use crate::dockerfile::ast::{Command, Dockerfile, Instruction, KeyValue, Kind, Stage, Word};

const JSON_ARGS_RECOMMENDED: Rule = Rule::new("JSONArgsRecommended");
const MULTIPLE_INSTRUCTIONS_DISALLOWED: Rule = Rule::new("MultipleInstructionsDisallowed");
const LEGACY_KEY_VALUE_FORMAT: Rule = Rule::new("LegacyKeyValueFormat");
const EXPOSE_PROTO_CASING: Rule = Rule::new("ExposeProtoCasing");
const EXPOSE_INVALID_FORMAT: Rule = Rule::new("ExposeInvalidFormat");

/// Returns what the rules over the instructions of a stage find.
///
/// `has_shell` says whether the config that the stage starts from sets a shell, by `SHELL` in a stage below or in the
/// base image: then a command in shell form is meant.  Ports with variables in them are for [`expanded_port`].
pub fn stage(dockerfile: &Dockerfile, stage: &Stage, checks: &Checks, has_shell: bool) -> Vec<Diagnostic> {
    let mut findings = Findings::new(dockerfile, checks);
    let mut has_shell = has_shell;
    let commands = stage.instructions.iter().filter(|one| matches!(one.kind, Kind::Cmd(_) | Kind::Entrypoint(_)));
    let is_lone = commands.count() == 1;
    for (at, instruction) in stage.instructions.iter().enumerate() {
        match &instruction.kind {
            Kind::Env(pairs) | Kind::Label(pairs) => legacy(instruction, pairs, &mut findings),
            Kind::Cmd(command) | Kind::Entrypoint(command) if !has_shell => {
                shell_form(instruction, command, is_lone, &mut findings);
            }
            Kind::Expose(ports) => ports.iter().for_each(|word| port(instruction, word, &mut findings)),
            Kind::Shell(_) => has_shell = true,
            _ => {}
        }
        overridden(instruction, &stage.instructions[at + 1..], &mut findings);
    }
    findings.found
}

fn name(instruction: &Instruction) -> String {
    instruction.keyword.node.to_ascii_uppercase()
}

fn legacy(instruction: &Instruction, pairs: &[KeyValue], findings: &mut Findings<'_>) {
    for pair in pairs.iter().filter(|pair| pair.is_legacy) {
        let message = format!("{} with a blank between name and value is the old form", name(instruction));
        let label = format!("write `{}=...`", pair.key.node);
        let (source, escape) = (findings.source, findings.escape);
        let finding = findings.add_to(instruction, LEGACY_KEY_VALUE_FORMAT, pair.key.span, message, label);
        finding.into_iter().for_each(|finding| finding.fix = fix::legacy(source, escape, pair));
    }
}

fn shell_form(instruction: &Instruction, command: &Command, is_lone: bool, findings: &mut Findings<'_>) {
    let Command::Shell(text) = command else { return };
    let message = format!("{} in shell form: signals reach the shell, not the program", name(instruction));
    let span = if text.node.is_empty() { instruction.keyword.span } else { text.span };
    let source = findings.source;
    let label = "write a JSON array".to_owned();
    let finding = findings.add_to(instruction, JSON_ARGS_RECOMMENDED, span, message, label);
    // The other of the two sees the difference between a shell and a program.
    if let Some(finding) = finding.filter(|_| is_lone) {
        finding.fix = fix::exec_form(source, text);
    }
}

/// Only the last `CMD`, `ENTRYPOINT` or `HEALTHCHECK` of a stage counts; each is told of the next one.
fn overridden(instruction: &Instruction, behind: &[Instruction], findings: &mut Findings<'_>) {
    if !matches!(instruction.kind, Kind::Cmd(_) | Kind::Entrypoint(_) | Kind::Healthcheck(_)) {
        return;
    }
    let kind = std::mem::discriminant(&instruction.kind);
    // What the later instruction skips counts: it is there that the second one is found.
    if let Some(later) = behind.iter().find(|other| std::mem::discriminant(&other.kind) == kind) {
        let message = format!("{} has no effect: a later one in this stage replaces it", name(instruction));
        let span = instruction.keyword.span;
        findings.add_to(later, MULTIPLE_INSTRUCTIONS_DISALLOWED, span, message, "not used".to_owned());
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
    port_text(instruction, word, &mut findings);
    findings.found
}

fn port(instruction: &Instruction, word: &Word, findings: &mut Findings<'_>) {
    // What the planner expands it looks at itself.
    if !word.node.contains('$') {
        port_text(instruction, word, findings);
    }
}

fn port_text(instruction: &Instruction, word: &Word, findings: &mut Findings<'_>) {
    let (mapping, container) = word.node.rsplit_once(':').map_or((None, word.node.as_str()), |(m, c)| (Some(m), c));
    let protocol = container.split_once('/').map_or("", |(_, protocol)| protocol);
    let span: Span = word.span;
    if protocol != protocol.to_lowercase() {
        let message = format!("the protocol of port `{}` should be in lower case", word.node);
        let label = format!("write `{}`", protocol.to_lowercase());
        let source = findings.source;
        let finding = findings.add_to(instruction, EXPOSE_PROTO_CASING, span, message, label);
        if fix::text(source, span) == word.node {
            fix::replace(finding, word.node.replace(protocol, &protocol.to_lowercase()));
        }
    }
    if mapping.is_some_and(|mapping| !mapping.is_empty()) {
        let message = format!("EXPOSE names ports of the container only, not an address or host port: `{}`", word.node);
        findings.add_to(instruction, EXPOSE_INVALID_FORMAT, span, message, format!("write `{container}`"));
    }
}
