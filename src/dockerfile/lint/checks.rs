//! Which lint rules run: `# check=skip=A,B;error=true;experimental=C`.

use crate::dockerfile::ast::Dockerfile;
use std::collections::BTreeSet;

/// How many options there are.
const OPTIONS: usize = 3;

/// Why a `check` directive is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChecksError {
    /// An option that does not exist, or one without value.
    #[error("invalid check option `{option}`")]
    Option {
        /// The option as written.
        option: String,
    },
    /// A value of `error` that is no boolean.
    #[error("check option `error` must be `true` or `false`, not `{value}`")]
    Error {
        /// The value.
        value: String,
    },
}

/// A set of rules: some by name, or all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuleSet {
    /// Whether every rule is in it.
    pub all: bool,
    /// The rules by name.
    pub names: BTreeSet<String>,
}

impl RuleSet {
    /// Reads `all` or names between commas.
    fn parse(value: &str) -> RuleSet {
        match value.trim() {
            "all" => RuleSet { all: true, names: BTreeSet::new() },
            list => RuleSet { all: false, names: list.split(',').map(|name| name.trim().to_owned()).collect() },
        }
    }

    /// Whether a rule is in the set.
    pub fn contains(&self, rule: &str) -> bool {
        self.all || self.names.contains(rule)
    }

    fn merge(&mut self, other: RuleSet) {
        self.all |= other.all;
        self.names.extend(other.names);
    }
}

/// What a `check` directive says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checks {
    /// Rules that do not run.
    pub skip: RuleSet,
    /// Experimental rules that do run.
    pub experimental: RuleSet,
    /// Whether a finding fails the build.
    pub error: bool,
}

impl Checks {
    /// Parses options, as the build argument has them.
    ///
    /// There are three at most: what follows belongs to the third, as BuildKit takes it.
    ///
    /// # Errors
    /// An unknown option, or a value that is none.
    pub fn parse(value: &str) -> Result<Checks, ChecksError> {
        let mut checks = Checks::default();
        let value = value.trim();
        for option in value.splitn(OPTIONS, ';').filter(|_| !value.is_empty()) {
            let invalid = || ChecksError::Option { option: option.to_owned() };
            let (key, value) = option.split_once('=').ok_or_else(invalid)?;
            match key.trim() {
                "skip" => checks.skip = RuleSet::parse(value),
                "experimental" => checks.experimental = RuleSet::parse(value),
                "error" => {
                    checks.error = match value.trim() {
                        "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
                        "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
                        other => return Err(ChecksError::Error { value: other.to_owned() }),
                    }
                }
                _ => return Err(invalid()),
            }
        }
        Ok(checks)
    }

    /// Parses the value of a directive; what follows a blank is a remark.
    fn directive(value: &str) -> Result<Checks, ChecksError> {
        Checks::parse(value.split(' ').next().unwrap_or_default())
    }

    /// Returns the checks of a Dockerfile: those of its directive, or the default.
    ///
    /// # Errors
    /// See [`Checks::parse`].
    pub fn of(dockerfile: &Dockerfile) -> Result<Checks, ChecksError> {
        dockerfile.check.as_ref().map_or(Ok(Checks::default()), |check| Checks::directive(&check.node))
    }

    /// Returns the checks for an instruction with these comment lines above it: the first `check=` among them adds to
    /// what is skipped.  One that is wrong counts for nothing.
    pub fn with_comments(&self, comments: &[String]) -> Checks {
        let mut merged = self.clone();
        let directive = comments.iter().find_map(|comment| {
            let (key, value) = comment.split_once('=')?;
            key.trim().eq_ignore_ascii_case("check").then_some(value.trim_start())
        });
        if let Some(Ok(more)) = directive.map(Checks::directive) {
            merged.skip.merge(more.skip);
            merged.experimental.merge(more.experimental);
        }
        merged
    }

    /// Whether a rule runs; `is_experimental` rules must be asked for.
    pub fn allow(&self, rule: &str, is_experimental: bool) -> bool {
        if is_experimental { self.experimental.contains(rule) } else { !self.skip.contains(rule) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_directive_names_rules_and_says_whether_they_fail_the_build() {
        let checks = Checks::directive("skip=A,B;error=true;experimental=all remark").unwrap();
        assert!(checks.error && !checks.allow("A", false) && checks.allow("C", false) && checks.allow("X", true));
        assert!(!Checks::default().allow("X", true));
        assert!(!Checks::parse("skip=all").unwrap().allow("A", false));
        assert_eq!(Checks::parse("").unwrap(), Checks::default());
    }

    #[test]
    fn wrong_options_are_errors() {
        for value in ["skip", "foo=bar", "error=maybe", "skip=A;;", "error=true remark"] {
            assert!(Checks::parse(value).is_err(), "{value}");
        }
    }

    #[test]
    fn a_build_argument_has_blanks_and_three_options() {
        let checks = Checks::parse(" skip= A , B ").unwrap();
        assert!(!checks.allow("A", false) && !checks.allow("B", false));
        let checks = Checks::parse("skip=A;error=true;experimental=X;Y").unwrap();
        assert!(checks.error && !checks.allow("X", true) && checks.allow("X;Y", true));
    }

    #[test]
    fn a_comment_adds_to_what_is_skipped() {
        let checks = Checks::parse("skip=A").unwrap().with_comments(&["note".into(), "check=skip=B;error=true".into()]);
        assert!(!checks.allow("A", false) && !checks.allow("B", false) && !checks.error);
    }
}
