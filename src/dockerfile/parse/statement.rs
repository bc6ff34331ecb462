//! A logical line taken apart: keyword, flags, arguments; nothing is checked yet but the keyword and JSON.

use super::fault::{Fault, Result};
use super::logical::Part;
use super::words::{FlagWord, json_array, split_flags};
use crate::diag::nearest;
use crate::dockerfile::ast::Word;

/// The keywords of all instructions.
pub(super) const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// An instruction before its arguments are looked at.
#[derive(Debug)]
pub(super) struct Statement<'a> {
    /// The keyword as written.
    pub(super) keyword: Part<'a>,
    /// The keyword in upper case, one of [`KEYWORDS`].
    pub(super) name: &'static str,
    pub(super) flags: Vec<FlagWord>,
    /// What follows the flags.
    pub(super) args: Part<'a>,
    /// The arguments as a JSON array, where the instruction has that form.
    pub(super) json: Option<Vec<Word>>,
}

impl<'a> Statement<'a> {
    /// Takes a line apart.
    pub(super) fn split(line: Part<'a>, escape: char) -> Result<Statement<'a>> {
        let (keyword, rest) = line.trim().split_blank();
        let Some(name) = KEYWORDS.into_iter().find(|name| name.eq_ignore_ascii_case(keyword.text())) else {
            return Err(unknown(keyword));
        };
        let (flags, args) = split_flags(rest.unwrap_or_else(|| keyword.from(keyword.text().len())), escape);
        let json = if has_json_form(name) { json_array(args)? } else { None };
        Ok(Statement { keyword, name, flags, args, json })
    }

    /// Whether here documents may follow.
    pub(super) fn takes_heredocs(&self) -> bool {
        matches!(self.name, "ADD" | "COPY" | "RUN") && self.json.is_none()
    }

    /// Returns the line as shown in progress lines: the keyword in upper case, the rest as written.
    pub(super) fn display(&self) -> String {
        let line = self.keyword.to_line_end().trim().text();
        format!("{}{}", self.name, &line[self.keyword.text().len()..])
    }

    /// Returns the error for arguments that are not there, pointing at the keyword.
    pub(super) fn missing(&self, message: impl Into<String>) -> Box<Fault> {
        let fault = Fault::new(self.keyword.span(), message);
        match usage(self.name) {
            "" => fault,
            usage => fault.hint(format!("write `{} {usage}`", self.name)),
        }
    }
}

/// Returns what stands behind a keyword, an example each.
fn usage(name: &str) -> &'static str {
    match name {
        "ADD" | "COPY" => "SOURCE ... DESTINATION",
        "ARG" => "NAME[=DEFAULT]",
        "CMD" | "ENTRYPOINT" | "SHELL" => "[\"PROGRAM\", \"ARGUMENT\"]",
        "ENV" | "LABEL" => "NAME=VALUE",
        "EXPOSE" => "PORT[/PROTOCOL]",
        "FROM" => "IMAGE [AS NAME]",
        "HEALTHCHECK" => "CMD COMMAND",
        "MAINTAINER" => "NAME",
        "ONBUILD" => "INSTRUCTION",
        "RUN" => "COMMAND",
        "STOPSIGNAL" => "SIGNAL",
        "USER" => "NAME[:GROUP]",
        "VOLUME" | "WORKDIR" => "/PATH",
        _ => "",
    }
}

fn has_json_form(name: &str) -> bool {
    matches!(name, "ADD" | "CMD" | "COPY" | "ENTRYPOINT" | "RUN" | "SHELL" | "VOLUME")
}

fn unknown(keyword: Part<'_>) -> Box<Fault> {
    let word = keyword.text();
    let fault = Fault::new(keyword.span(), format!("unknown instruction: `{word}`"));
    match nearest(word, KEYWORDS) {
        Some(best) => fault.label(format!("did you mean `{best}`?")),
        None => {
            fault.hint("if this line belongs to the instruction above, end the line above with the escape character")
        }
    }
}
