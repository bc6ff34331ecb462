//! The lint rules that need to know what variables and names stand for; those of the text alone are the parser's.

use super::planner::Planner;
use super::state::State;
use crate::diag::{Diagnostic, Span, nearest};
use std::collections::BTreeSet;

/// Names of ARGs that must not hold what they sound like, as words between underscores.
const SECRET_WORDS: [&str; 10] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];

/// Words that make such a name harmless.
const HARMLESS_WORDS: [&str; 3] = ["public", "file", "version"];

/// Returns whether a variable of this name likely holds a secret.
pub fn is_secret_name(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let has = |words: &[&str]| lower.split('_').any(|part| words.contains(&part));
    has(&SECRET_WORDS) && !has(&HARMLESS_WORDS)
}

impl Planner<'_> {
    /// Adds a finding of a lint rule.
    pub(super) fn lint(&mut self, rule: &'static str, span: Span, message: String) {
        let mut warning = Diagnostic::warning(message).at(&self.dockerfile.source, span);
        warning.rule = Some(rule);
        self.warnings.push(warning);
    }

    /// Warns of a secret that would stay readable in the image or its history.
    pub(super) fn lint_secret(&mut self, keyword: &str, name: &str, span: Span) {
        if is_secret_name(name) {
            let message = format!("Do not use ARG or ENV instructions for sensitive data ({keyword} \"{name}\")");
            self.lint("SecretsUsedInArgOrEnv", span, message);
        }
    }

    /// Warns of the variables that the instruction used and nothing has defined.
    pub(super) fn lint_undefined(&mut self, state: &State, span: Span) {
        for name in std::mem::take(&mut self.undefined) {
            if state.args.iter().any(|(declared, _)| *declared == name) {
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
