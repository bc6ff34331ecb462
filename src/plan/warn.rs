//! The lint rules that need to know what variables and names stand for; those of the text alone are the parser's.

use super::planner::Planner;
use super::state::State;
use super::{BuilderArgs, Options};
use crate::diag::{Diagnostic, Exit, Span, nearest};
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

    /// Warns of the variables that the instruction used and nothing has defined.
    pub(super) fn lint_undefined(&mut self, state: &State, span: Span) {
        for name in std::mem::take(&mut self.undefined) {
            if state.has_unknown_base || state.args.iter().any(|(declared, _)| *declared == name) {
                continue;
            }
            let hint = did_you_mean(nearest(&name, state.env.names()), "$");
            self.lint("UndefinedVar", span, format!("Usage of undefined variable '${name}'{hint}"));
        }
    }

    /// Warns of the variables of a FROM that are no global ARGs.
    pub(super) fn lint_undefined_in_from(&mut self, undefined: &BTreeSet<String>, span: Span) {
        for name in undefined {
            if self.globals.declared.contains(name) || self.globals.args.get(name).is_some() {
                continue;
            }
            let known = self.globals.declared.iter().map(String::as_str).chain(self.globals.args.names());
            let hint = did_you_mean(nearest(name, known), "");
            self.lint("UndefinedArgInFrom", span, format!("FROM argument '{name}' is not declared{hint}"));
        }
    }
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
