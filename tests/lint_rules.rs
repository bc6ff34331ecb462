//! Holds `docs/lint.md` to the table of rules; `UPDATE_DOCS=1 cargo test --test lint_rules` writes its list anew.

use cooper::dockerfile::lint::{RULES, rule_url};
use std::path::Path;

const HEADING: &str = "## Rules\n";

fn list() -> String {
    let mut text = String::from("\n| rule | what it asks for | `--fix` |\n|---|---|---|\n");
    for rule in RULES {
        let experimental = if rule.is_experimental { " (experimental)" } else { "" };
        let fix = if rule.can_fix { "yes" } else { "" };
        let url = rule_url(rule.name);
        text.push_str(&format!("| [{}]({url}){experimental} | {} | {fix} |\n", rule.name, rule.description));
    }
    text
}

#[test]
fn the_page_lists_the_rules() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/lint.md");
    let page = std::fs::read_to_string(&path).expect("the page can be read");
    let (head, tail) = page.split_once(HEADING).expect("the page has a list of rules");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{head}{HEADING}{}", list())).expect("the page can be written");
    } else {
        assert!(tail == list(), "docs/lint.md is not up to date: run `UPDATE_DOCS=1 cargo test --test lint_rules`");
    }
}

#[test]
fn the_rules_are_sorted_and_have_names_of_their_own() {
    assert!(RULES.is_sorted_by(|a, b| a.name.to_lowercase() < b.name.to_lowercase()));
}
