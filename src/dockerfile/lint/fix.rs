//! What mends a finding: edits of the bytes it is about, everything else stays as it is.
//!
//! An edit is only made where the result is certain.  A value with quotes or escapes in it, or one that crosses a
//! continuation, is left to its author.

use crate::diag::{Diagnostic, Edit, Source, Span};
use crate::dockerfile::ast::{Instruction, KeyValue, Kind, Stage, Word};

/// The label that took the place of `MAINTAINER`.
const AUTHORS: &str = "org.opencontainers.image.authors";

/// Words that only a shell knows; a program of that name is not there, or does something else.
const SHELL_WORDS: [&str; 27] = [
    ".", ":", "alias", "case", "cd", "command", "eval", "exec", "exit", "export", "for", "function", "if", "read",
    "set", "shift", "source", "time", "trap", "ulimit", "umask", "unset", "until", "wait", "while", "coproc", "select",
];

/// Returns the text with the edits of all findings, `None` if there are none.  Of edits that overlap the first is made.
pub fn apply(text: &str, findings: &[Diagnostic]) -> Option<String> {
    let mut edits: Vec<&Edit> = findings.iter().flat_map(|finding| &finding.fix).collect();
    edits.sort_by_key(|edit| (edit.span.start, edit.span.end));
    let mut fixed = String::with_capacity(text.len());
    let mut at = 0;
    for edit in &edits {
        let Some(between) = text.get(at..edit.span.start) else { continue };
        if edit.span.end < edit.span.start || !text.is_char_boundary(edit.span.end) {
            continue;
        }
        fixed.push_str(between);
        fixed.push_str(&edit.text);
        at = edit.span.end;
    }
    fixed.push_str(text.get(at..)?);
    (fixed != text).then_some(fixed)
}

/// Returns the text of a span, empty for one that is none.
pub(super) fn text(source: &Source, span: Span) -> &str {
    source.text.get(span.start..span.end).unwrap_or_default()
}

/// Lets the finding's own span be replaced.
pub(super) fn replace(finding: Option<&mut Diagnostic>, text: String) -> Option<&mut Diagnostic> {
    let finding = finding?;
    let span = finding.place.as_ref()?.span;
    finding.fix = vec![Edit { span, text }];
    Some(finding)
}

/// `NAME some words` as `NAME="some words"`.
pub(super) fn legacy(source: &Source, escape: char, pair: &KeyValue) -> Vec<Edit> {
    let (key, value) = (&pair.key, &pair.value);
    let blanks = Span::new(key.span.end, value.span.start);
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    let is_plain = key.node.chars().all(is_name)
        && text(source, value.span) == value.node
        && !value.node.contains(|c: char| matches!(c, '"' | '\'') || c == escape || c.is_control())
        && !text(source, blanks).is_empty()
        && text(source, blanks).chars().all(|c| matches!(c, ' ' | '\t'));
    if !is_plain {
        return Vec::new();
    }
    if !value.node.contains(char::is_whitespace) {
        return vec![Edit { span: blanks, text: "=".to_owned() }];
    }
    let end = Span::new(value.span.end, value.span.end);
    vec![Edit { span: blanks, text: "=\"".to_owned() }, Edit { span: end, text: "\"".to_owned() }]
}

/// `MAINTAINER name` as a label, in the case of the keyword.
pub(super) fn maintainer(source: &Source, escape: char, instruction: &Instruction) -> Vec<Edit> {
    let Kind::Maintainer(name) = &instruction.kind else { return Vec::new() };
    let whole = text(source, instruction.span);
    let keyword = &instruction.keyword.node;
    let is_plain = whole.strip_prefix(keyword.as_str()).is_some_and(|rest| rest.trim() == name.trim())
        && !name.contains(char::is_control);
    if !is_plain {
        return Vec::new();
    }
    let mut quoted = String::with_capacity(name.len());
    for c in name.trim().chars() {
        // A MAINTAINER has no variables, a label has.
        if matches!(c, '"' | '$') || c == escape {
            quoted.push(escape);
        }
        quoted.push(c);
    }
    let is_lower = !keyword.contains(|c: char| c.is_ascii_uppercase());
    let label = if is_lower { "label" } else { "LABEL" };
    let span = Span::new(instruction.span.start, instruction.span.start + whole.trim_end().len());
    vec![Edit { span, text: format!("{label} {AUTHORS}=\"{quoted}\"") }]
}

/// A command in shell form as a JSON array, if a shell would do nothing but split it at blanks.
pub(super) fn exec_form(source: &Source, command: &Word) -> Vec<Edit> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    let words: Vec<&str> = command.node.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
    let Some(program) = words.first() else { return Vec::new() };
    let splits = words.iter().all(|word| word.chars().all(is_plain));
    if !splits || program.contains('=') || SHELL_WORDS.contains(program) || text(source, command.span) != command.node {
        return Vec::new();
    }
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    vec![Edit { span: command.span, text: format!("[{}]", quoted.join(", ")) }]
}

/// `FROM --platform=.. image` without the flag.
pub fn platform_flag(source: &Source, stage: &Stage) -> Vec<Edit> {
    let span = Span::new(stage.from.keyword.span.end, stage.image.span.start);
    let flag = stage.platform.as_ref().map(|platform| format!("--platform={}", platform.node));
    match flag.filter(|flag| text(source, span).trim() == flag) {
        Some(_) => vec![Edit { span, text: " ".to_owned() }],
        None => Vec::new(),
    }
}
