//! Rules over the whole file.

use super::fix;
use super::{Checks, Findings, Rule};
use crate::diag::{Diagnostic, Edit, Span};
use crate::dockerfile::ast::{Dockerfile, Instruction, Kind, Stage, Word};
use std::collections::{HashMap, HashSet};

const STAGE_NAME_CASING: Rule = Rule::new("StageNameCasing");
const FROM_AS_CASING: Rule = Rule::new("FromAsCasing");
const NO_EMPTY_CONTINUATION: Rule = Rule::new("NoEmptyContinuation");
const CONSISTENT_INSTRUCTION_CASING: Rule = Rule::new("ConsistentInstructionCasing");
const DUPLICATE_STAGE_NAME: Rule = Rule::new("DuplicateStageName");
const RESERVED_STAGE_NAME: Rule = Rule::new("ReservedStageName");
const MAINTAINER_DEPRECATED: Rule = Rule::new("MaintainerDeprecated");
const INVALID_DEFINITION_DESCRIPTION: Rule = Rule { name: "InvalidDefinitionDescription", is_experimental: true };

/// Names that mean something else behind `--from`.
const RESERVED_NAMES: [&str; 2] = ["context", "scratch"];

/// What only the lines know and the syntax tree does not.
#[derive(Debug, Default)]
pub(in crate::dockerfile) struct LineFacts {
    /// The empty lines of each continued line that has some.
    pub(in crate::dockerfile) empty_continuations: Vec<Vec<Span>>,
    /// The `AS` of each stage.
    pub(in crate::dockerfile) as_words: Vec<Option<Word>>,
}

/// Returns what the rules over the whole file find, in the order of the file.
///
/// Where the file has a mistake (not `is_whole`), what its other lines would decide is not asked.
pub(in crate::dockerfile) fn parsed(
    dockerfile: &Dockerfile,
    facts: &LineFacts,
    checks: &Checks,
    is_whole: bool,
) -> Vec<Diagnostic> {
    let mut findings = Findings::new(dockerfile, checks);
    for lines in &facts.empty_continuations {
        let start = lines.first().map_or(0, |line| line.start);
        let message = "Empty continuation line".to_owned();
        let label = "an empty line in a continued instruction".to_owned();
        let finding = findings.add(NO_EMPTY_CONTINUATION, Span::new(start, start), message, label);
        let remove = lines.iter().map(|line| Edit { span: *line, text: String::new() });
        finding.into_iter().for_each(|finding| finding.fix = remove.clone().collect());
    }
    if is_whole {
        stage_names(dockerfile, &mut findings);
        keyword_casing(dockerfile, &mut findings);
    }
    let references = references(dockerfile);
    for (stage, as_word) in dockerfile.stages.iter().zip(&facts.as_words) {
        from(stage, as_word.as_ref(), &references, &mut findings);
    }
    for instruction in instructions(dockerfile) {
        one_instruction(instruction, &mut findings);
    }
    let mut found = findings.found;
    found.sort_by_key(|finding| finding.place.as_ref().map(|place| place.span.start));
    found
}

/// Returns all instructions but the `FROM`s.
fn instructions(dockerfile: &Dockerfile) -> impl Iterator<Item = &Instruction> {
    dockerfile.global_args.iter().chain(dockerfile.stages.iter().flat_map(|stage| &stage.instructions))
}

fn stage_names(dockerfile: &Dockerfile, findings: &mut Findings<'_>) {
    let mut seen = HashSet::new();
    for name in dockerfile.stages.iter().filter_map(|stage| stage.name.as_ref()) {
        let lower = name.node.to_ascii_lowercase();
        if RESERVED_NAMES.contains(&lower.as_str()) {
            let message = format!("Stage name should not use the same name as reserved stage {lower:?}");
            findings.add(RESERVED_STAGE_NAME, name.span, message, "choose another name".to_owned());
        }
        if !seen.insert(lower.clone()) {
            let message = format!("Duplicate stage name {lower:?}, stage names should be unique");
            findings.add(DUPLICATE_STAGE_NAME, name.span, message, "a stage above has this name".to_owned());
        }
    }
}

/// Where each name is used behind `--from` in other than lower case, by the name in lower case.
type References = HashMap<String, Vec<Span>>;

fn references(dockerfile: &Dockerfile) -> References {
    let mut found = References::new();
    for instruction in instructions(dockerfile) {
        let Kind::Copy(copy) = &instruction.kind else { continue };
        let Some(from) = &copy.from else { continue };
        let lower = from.node.to_ascii_lowercase();
        if lower != from.node && fix::text(&dockerfile.source, from.span) == from.node {
            found.entry(lower).or_default().push(from.span);
        }
    }
    found
}

/// Every keyword is to be written as most of them are.
fn keyword_casing(dockerfile: &Dockerfile, findings: &mut Findings<'_>) {
    let staged = dockerfile.stages.iter();
    let keywords: Vec<&Word> = staged
        .flat_map(|stage| std::iter::once(&stage.from).chain(&stage.instructions))
        .map(|instruction| &instruction.keyword)
        .collect();
    let lower = keywords.iter().filter(|keyword| !keyword.node.contains(|c: char| c.is_ascii_uppercase())).count();
    let upper = keywords.iter().filter(|keyword| !keyword.node.contains(|c: char| c.is_ascii_lowercase())).count();
    for keyword in keywords {
        let (right, casing) = if lower > upper {
            (keyword.node.to_ascii_lowercase(), "lowercase")
        } else {
            (keyword.node.to_ascii_uppercase(), "uppercase")
        };
        if keyword.node != right {
            let written = &keyword.node;
            let message = format!("Command '{written}' should match the case of the command majority ({casing})");
            let label = format!("write `{right}`");
            fix::replace(findings.add(CONSISTENT_INSTRUCTION_CASING, keyword.span, message, label), right);
        }
    }
}

fn from(stage: &Stage, as_word: Option<&Word>, references: &References, findings: &mut Findings<'_>) {
    let (Some(name), Some(as_word)) = (&stage.name, as_word) else { return };
    let lower = name.node.to_ascii_lowercase();
    if name.node != lower {
        let message = format!("Stage name '{}' should be lowercase", name.node);
        let label = format!("write `{lower}`");
        let finding = findings.add_to(&stage.from, STAGE_NAME_CASING, name.span, message, label);
        if let Some(finding) = fix::replace(finding, lower.clone()) {
            let others = references.get(&lower).into_iter().flatten();
            finding.fix.extend(others.map(|span| Edit { span: *span, text: lower.clone() }));
        }
    }
    let keyword = &stage.from.keyword.node;
    let right = if *keyword == keyword.to_ascii_lowercase() {
        Some("as")
    } else {
        (*keyword == keyword.to_ascii_uppercase()).then_some("AS")
    };
    if let Some(right) = right.filter(|right| *right != as_word.node) {
        let message = format!("'{}' and '{keyword}' keywords' casing do not match", as_word.node);
        let label = format!("write `{right}`");
        fix::replace(findings.add_to(&stage.from, FROM_AS_CASING, as_word.span, message, label), right.to_owned());
    }
    description(&stage.from, "FROM", &[lower.as_str()], findings);
}

fn one_instruction(instruction: &Instruction, findings: &mut Findings<'_>) {
    match &instruction.kind {
        Kind::Maintainer(_) => {
            let message = "Maintainer instruction is deprecated in favor of using label".to_owned();
            let label = "use `LABEL org.opencontainers.image.authors=` instead".to_owned();
            let (source, escape) = (findings.source, findings.escape);
            let finding = findings.add_to(instruction, MAINTAINER_DEPRECATED, instruction.keyword.span, message, label);
            finding.into_iter().for_each(|finding| finding.fix = fix::maintainer(source, escape, instruction));
        }
        Kind::Arg(definitions) => {
            let names: Vec<&str> = definitions.iter().map(|definition| definition.name.node.as_str()).collect();
            description(instruction, "ARG", &names, findings);
        }
        _ => {}
    }
}

/// The comment above a definition is to start with its name.
fn description(instruction: &Instruction, keyword: &str, names: &[&str], findings: &mut Findings<'_>) {
    let Some(last) = instruction.comments.last() else { return };
    let described = last.split(' ').next().unwrap_or_default();
    if names.contains(&described) {
        return;
    }
    let name = if let [name] = names { name } else { "<arg_key>" };
    let message = format!("Comment for {keyword} should follow the format: `# {name} <description>`");
    let label = "if the comment above describes something else, put an empty comment line in between".to_owned();
    findings.add_to(instruction, INVALID_DEFINITION_DESCRIPTION, instruction.keyword.span, message, label);
}
