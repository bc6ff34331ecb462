//! The lint rules that need to know what variables and names stand for; those of the text alone are the parser's.

use super::planner::Planner;
use super::stages::Command;
use super::state::State;
use super::{BuilderArgs, Options};
use crate::diag::{Diagnostic, Exit, Source, Span, distance, nearest};
use crate::dockerfile::ast::Dockerfile;
use crate::dockerfile::lint::{Checks, ChecksError};
use std::collections::BTreeSet;

/// Names of ARGs that must not hold what they sound like, as words between underscores.
const SECRET_WORDS: [&str; 10] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];

/// How many findings are kept: nobody reads more, and a hostile Dockerfile could have any number.
pub(super) const MAX_FINDINGS: usize = 1_000;

/// Words that make such a name harmless.
const HARMLESS_WORDS: [&str; 3] = ["public", "file", "version"];

/// Returns whether a variable of this name likely holds a secret.
pub fn is_secret_name(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let has = |words: &[&str]| lower.split('_').any(|part| words.contains(&part));
    has(&SECRET_WORDS) && !has(&HARMLESS_WORDS)
}

/// Returns which rules count: what the command line says, else the directive.
pub(super) fn checks(dockerfile: &Dockerfile, options: &Options) -> Result<Checks, Diagnostic> {
    let fail = |error: ChecksError| Diagnostic::error(Exit::Usage, error.to_string());
    match BuilderArgs::of(&options.build_args).dockerfile_check {
        Some(value) => Checks::parse(&value).map_err(fail),
        None => Checks::of(dockerfile).map_err(|error| match &dockerfile.check {
            Some(check) => fail(error).at(&dockerfile.source, check.span),
            None => fail(error),
        }),
    }
}

/// Fails if the checks say that findings fail the build and there are some: those of parsing and planning together.
///
/// # Errors
/// One that names the rules, and points at the first finding.
pub fn fail_on_findings(checks: &Checks, warnings: &[Diagnostic]) -> Result<(), Diagnostic> {
    let rules: BTreeSet<&str> = warnings.iter().filter_map(|warning| warning.rule).collect();
    if !checks.error || rules.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = rules.into_iter().collect();
    let mut error = Diagnostic::error(Exit::Usage, format!("lint violation found for rules: {}", names.join(", ")));
    error.place = warnings.iter().find(|warning| warning.rule.is_some()).and_then(|warning| warning.place.clone());
    Err(error.hint("mend what the warnings name, or take `error=true` out of the `check` directive"))
}

impl Planner<'_> {
    /// Adds a finding of a lint rule, unless the Dockerfile skips the rule.
    ///
    /// Returns it, so that label and fix can be added.
    pub(super) fn lint(&mut self, rule: &'static str, span: Span, message: String) -> Option<&mut Diagnostic> {
        let is_full = self.warnings.len() >= MAX_FINDINGS;
        if is_full || !self.checks.with_comments(&self.comments).allow(rule, false) {
            return None;
        }
        let mut warning = Diagnostic::warning(message).at(&self.dockerfile.source, span);
        warning.rule = Some(rule);
        self.warnings.push(warning);
        self.warnings.last_mut()
    }

    /// Warns of a secret that would stay readable in the image or its history.
    pub(super) fn lint_secret(&mut self, keyword: &str, name: &str, span: Span) {
        if is_secret_name(name) {
            let message = format!("Do not use ARG or ENV instructions for sensitive data ({keyword} \"{name}\")");
            self.lint("SecretsUsedInArgOrEnv", span, message);
        }
    }

    /// Warns of a source in the main context that an ignore rule takes out.
    pub(super) fn lint_ignored(&mut self, is_add: bool, source: &str, span: Span) {
        let source = super::path::clean_relative(source);
        if let Some(rule) = self.facts.ignored_by(&source) {
            let verb = if is_add { "Add" } else { "Copy" };
            let message = format!("Attempting to {verb} file \"{source}\" that is excluded by .dockerignore");
            if let Some(finding) = self.lint("CopyIgnoredFile", span, message) {
                finding.label = format!("excluded by {rule}");
            }
        }
    }

    /// Warns of the variables that a word of an instruction uses and nothing has defined.
    pub(super) fn lint_undefined(
        &mut self,
        unmatched: &BTreeSet<String>,
        word: Span,
        command: &Command<'_>,
        state: &State,
    ) {
        for name in unmatched {
            // Looked at first: with very many findings the search for names like this one would take long.
            if self.warnings.len() >= MAX_FINDINGS || state.has_unknown_base || state.is_declared(name) {
                continue;
            }
            let known = || state.env.names().take(MAX_CANDIDATES);
            let hint = did_you_mean(similar(name, known()), "$");
            let span = if command.is_trigger { command.span() } else { variable(self.source(), word, name) };
            let message = format!("Usage of undefined variable '${name}'{hint}");
            let other = if hint.is_empty() { nearest(name, known()) } else { None };
            let label = other.map(|other| format!("did you mean `${other}`?")).unwrap_or_default();
            if let Some(finding) = self.lint("UndefinedVar", span, message) {
                finding.label = label;
            }
        }
    }

    /// Warns of the variables of a FROM that are no global ARGs.
    pub(super) fn lint_undefined_in_from(&mut self, undefined: &BTreeSet<String>, word: Span) {
        for name in undefined {
            let is_full = self.warnings.len() >= MAX_FINDINGS;
            if is_full || self.globals.declared.contains(name) || self.globals.args.get(name).is_some() {
                continue;
            }
            let known = self.globals.declared.iter().map(String::as_str).chain(self.globals.args.names());
            let hint = did_you_mean(similar(name, known.take(MAX_CANDIDATES)), "");
            let span = variable(self.source(), word, name);
            let message = format!("FROM argument '{name}' is not declared{hint}");
            if let Some(finding) = self.lint("UndefinedArgInFrom", span, message) {
                finding.label = "no `ARG` above the first `FROM` has this name".to_owned();
            }
        }
    }
}

/// How many names are compared with one that is unknown.
const MAX_CANDIDATES: usize = 1_000;

/// How many characters a name may differ in from one that may have been meant.
const MAX_DISTANCE: usize = 2;

/// Returns the name that BuildKit would ask for; unlike [`nearest`] it takes case for a difference.
fn similar<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let with_distance = known.map(|other| (distance(name, other), other));
    with_distance
        .filter(|(distance, _)| *distance <= MAX_DISTANCE)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, n)| n)
}

/// Returns where a word uses a variable; the whole word where it is not found, e.g. across a continuation.
fn variable(source: &Source, word: Span, name: &str) -> Span {
    let text = source.text.get(word.start..word.end).unwrap_or_default();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let found = text.match_indices('$').find_map(|(at, _)| {
        let rest = &text[at + 1..];
        let (open, behind) = rest.strip_prefix('{').map_or((1, rest), |behind| (2, behind));
        let is_it = behind.strip_prefix(name).is_some_and(|after| !after.starts_with(is_name));
        is_it.then(|| Span::new(word.start + at, word.start + at + open + name.len()))
    });
    found.unwrap_or(word)
}

fn did_you_mean(name: Option<&str>, sigil: &str) -> String {
    name.map(|name| format!(" (did you mean {sigil}{name}?)")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::is_secret_name;
    use rstest::rstest;

    #[rstest]
    #[case("API_KEY", true)]
    #[case("database_PASSWORD", true)]
    #[case("AUTH", true)]
    #[case("PUBLIC_KEY", false)]
    #[case("TOKEN_FILE", false)]
    #[case("MONKEY", false)]
    fn secret_names(#[case] name: &str, #[case] expected: bool) {
        assert_eq!(is_secret_name(name), expected);
    }
}
