//! Selection and copy together, as a COPY of a context does it.
#![allow(clippy::unwrap_used)]

use super::testtree::*;
use super::*;
use crate::context::ignore::IgnoreRules;
use crate::context::select::{SelectOptions, select};
use crate::context::tree::Tree;

fn copy(bench: &Bench, patterns: &[&str], options: SelectOptions<'_>, destination: &str) -> Vec<String> {
    let source = Root::open(&bench.source).unwrap();
    let tree = Tree { root: &source, ignore: None, keep_owner: false };
    let selected = select(tree, patterns, options).unwrap();
    let placement = Placement { parents: options.parents, verify_unchanged: true, ..to(destination) };
    bench.apply(&selected.selection, &placement).unwrap();
    bench.tree()
}

#[test]
fn parents_with_a_pivot_and_wildcards() {
    let mut bench = Bench::new();
    for path in ["b/c/d/foo", "b/c/d/e/bay", "b2/c/d/e/bar", "b/c2/d/e/baz", "b/c2/d/e2/baz"] {
        bench = bench.file(&format!("test/a/{path}"), "");
    }
    chmod(bench.source.join("test/a/b/c2/d/e2"), 0o700);
    let patterns = ["/test/a/b/c*/./d/**/baz", "/test/a/b*/./c/**/bar"];
    let options = SelectOptions { parents: true, exclude: None };
    assert_eq!(
        copy(&bench, &patterns, options, "/out/"),
        [
            "out dir 755",
            "out/c dir 755",
            "out/c/d dir 755",
            "out/c/d/e dir 755",
            "out/c/d/e/bar 644 \"\"",
            "out/d dir 755",
            "out/d/e dir 755",
            "out/d/e/baz 644 \"\"",
            "out/d/e2 dir 700",
            "out/d/e2/baz 644 \"\"",
        ]
    );
}

#[test]
fn excluded_files_stay_behind() {
    let bench = Bench::new().file("s/a.mp3", "").file("s/d/b.txt", "").file("s/d/c.mp3", "").file("s/no/x", "");
    let exclude = IgnoreRules::from_patterns(&["**/*.mp3".to_owned(), "no".to_owned()]).unwrap();
    let options = SelectOptions { parents: false, exclude: Some(&exclude) };
    assert_eq!(copy(&bench, &["s"], options, "/3/"), ["3 dir 755", "3/d dir 755", "3/d/b.txt 644 \"\""]);
}

#[test]
fn a_link_that_is_named_is_followed_and_one_that_is_found_is_kept() {
    let bench = Bench::new().file("d/f", "x");
    for (target, path) in [("d", "to-d"), ("/d/f", "to-f"), ("f", "d/inner")] {
        std::os::unix::fs::symlink(target, bench.source.join(path)).unwrap();
    }
    let options = SelectOptions::default();
    assert_eq!(
        copy(&bench, &["to-d", "to-*"], options, "/o/"),
        ["o dir 755", "o/f 644 \"x\"", "o/inner -> f", "o/to-f 644 \"x\""]
    );
}

#[test]
fn a_wildcard_without_a_match_writes_nothing() {
    let bench = Bench::new().file("f", "x");
    assert_eq!(copy(&bench, &["*.none"], SelectOptions::default(), "/o/"), Vec::<String>::new());
}

#[test]
fn parents_without_a_match_make_the_destination() {
    let bench = Bench::new().file("d/f", "x");
    let options = SelectOptions { parents: true, exclude: None };
    assert_eq!(copy(&bench, &["d/./*.none"], options, "/o/p"), ["o dir 755", "o/p dir 755"]);
}

#[test]
fn files_in_front_of_a_pivot_hold_no_match() {
    let bench = Bench::new().file("f", "x").file("d/f", "y");
    let options = SelectOptions { parents: true, exclude: None };
    assert_eq!(copy(&bench, &["*/./f"], options, "/o/"), ["o dir 755", "o/f 644 \"y\""]);
}
