#![allow(clippy::unwrap_used)]

use super::*;
use crate::context::selection::EntryKind;
use crate::sys::Root;
use std::fs;
use std::os::unix::fs::symlink;

/// A context in a temporary directory.
struct Context {
    directory: tempfile::TempDir,
    rules: Option<IgnoreRules>,
}

impl Context {
    /// Makes files (content is their path), `name/` a directory, `name -> target` a link.
    fn new(paths: &[&str]) -> Context {
        let directory = tempfile::tempdir().unwrap();
        for path in paths {
            let (path, target) = path.split_once(" -> ").map_or((*path, None), |(path, target)| (path, Some(target)));
            let full = directory.path().join(path);
            match target {
                _ if path.ends_with('/') => fs::create_dir_all(full).unwrap(),
                Some(target) => {
                    fs::create_dir_all(full.parent().unwrap()).unwrap();
                    symlink(target, full).unwrap();
                }
                None => {
                    fs::create_dir_all(full.parent().unwrap()).unwrap();
                    fs::write(full, path).unwrap();
                }
            }
        }
        Context { directory, rules: None }
    }

    fn ignoring(self, rules: &str) -> Context {
        Context { rules: Some(IgnoreRules::parse(".dockerignore", rules.as_bytes()).unwrap()), ..self }
    }

    fn select_with(&self, patterns: &[&str], options: SelectOptions<'_>) -> Result<Selected, SelectError> {
        let root = Root::open(self.directory.path()).unwrap();
        select(Tree { root: &root, ignore: self.rules.as_ref(), keep_owner: false }, patterns, options)
    }

    /// Selects and lists: `name` or `parents/name` for an item, with what is below it.
    fn list(&self, patterns: &[&str]) -> Vec<String> {
        listed(&self.select_with(patterns, SelectOptions::default()).unwrap())
    }

    fn list_parents(&self, patterns: &[&str]) -> Vec<String> {
        listed(&self.select_with(patterns, SelectOptions { parents: true, exclude: None }).unwrap())
    }

    fn list_excluding(&self, patterns: &[&str], exclude: &[&str], parents: bool) -> Vec<String> {
        let exclude: Vec<String> = exclude.iter().map(|text| text.to_string()).collect();
        let rules = IgnoreRules::from_patterns(&exclude).unwrap();
        listed(&self.select_with(patterns, SelectOptions { parents, exclude: Some(&rules) }).unwrap())
    }

    fn error(&self, patterns: &[&str]) -> String {
        self.select_with(patterns, SelectOptions::default()).unwrap_err().to_string()
    }
}

fn listed(selected: &Selected) -> Vec<String> {
    let mut lines = Vec::new();
    for (item, stamps) in selected.selection.items.iter().zip(&selected.stamps) {
        assert_eq!(item.entries.len(), stamps.len());
        let parent = item.parents.last().map_or(PathBuf::new(), |parent| parent.path.clone());
        for entry in &item.entries {
            let path = parent.join(&item.name).join(&entry.path);
            let mark = match &entry.kind {
                EntryKind::Directory => "/".into(),
                EntryKind::Symlink { target } => format!(" -> {}", target.display()),
                _ => String::new(),
            };
            lines.push(format!("{}{mark}", path.display().to_string().trim_end_matches('/')));
        }
    }
    lines
}

#[test]
fn a_directory_brings_everything_below_it_in_order() {
    let context = Context::new(&["d/b/x", "d/b.c", "d/a", "d/empty/", "other"]);
    assert_eq!(context.list(&["d"]), ["d/", "d/a", "d/b/", "d/b/x", "d/b.c", "d/empty/"]);
    assert_eq!(context.list(&["."]).len(), 8);
    assert_eq!(context.list(&["../../other", "/d/a"]), ["other", "a"]);
}

#[test]
fn wildcards_go_by_component_and_are_sorted() {
    let context = Context::new(&["b.txt", "a.txt", "d/c.txt", "d/e/f.txt", "[x"]);
    assert_eq!(context.list(&["*.txt"]), ["a.txt", "b.txt"]);
    assert_eq!(context.list(&["**/*.txt"]), ["c.txt"]);
    assert_eq!(context.list(&["d/*/f.*"]), ["f.txt"]);
    assert_eq!(context.list(&["[[]x"]), ["[x"]);
    assert_eq!(context.list(&["*.md"]), [] as [&str; 0]);
    for (pattern, directory) in [("*.md", "/"), ("d/*.md", "/d"), ("d/../*.md", "/"), ("d/*/x?", "/d")] {
        let unmatched = context.select_with(&[pattern], SelectOptions::default()).unwrap().unmatched;
        assert_eq!(unmatched, [Unmatched { pattern: pattern.to_owned(), directory: directory.into() }]);
    }
    assert_eq!(context.error(&["[a"]), "syntax error in pattern `/[a`");
}

#[test]
fn a_plain_source_that_is_missing_is_an_error_with_a_near_name() {
    let context = Context::new(&["package.json", "d/"]);
    assert_eq!(context.error(&["pakage.json"]), "\"/pakage.json\": not found, did you mean `package.json`");
    assert_eq!(context.error(&["nothing/*.x"]), "\"/nothing/*.x\": not found");
    assert_eq!(context.error(&["package.json/x"]), "\"/package.json/x\": not found");
}

#[test]
fn links_that_are_named_are_followed_and_links_that_are_found_are_kept() {
    let context =
        Context::new(&["real/f", "real/in -> f", "lnk -> real", "abs -> /real/f", "up -> ../../real", "dead -> gone"]);
    assert_eq!(context.list(&["lnk"]), ["lnk/", "lnk/f", "lnk/in -> f"]);
    assert_eq!(context.list(&["lnk/f", "abs", "up/f", "a*"]), ["f", "abs", "f", "abs"]);
    assert_eq!(context.error(&["dead"]), "\"/dead\": not found");
    let selected = context.select_with(&["lnk/in"], SelectOptions::default()).unwrap();
    assert_eq!(selected.selection.items[0].origin, Path::new("/real/f"));
}

#[test]
fn a_link_out_of_the_context_is_resolved_inside() {
    let context = Context::new(&["out -> /etc/passwd", "dots -> ../../../../etc/passwd"]);
    assert_eq!(context.error(&["out"]), "\"/out\": not found");
    assert_eq!(context.error(&["dots"]), "\"/dots\": not found");
}

#[test]
fn loops_of_links_are_errors_only_when_named() {
    let context = Context::new(&["d/a -> b", "d/b -> a", "d/self -> ."]);
    assert_eq!(context.list(&["d"]), ["d/", "d/a -> b", "d/b -> a", "d/self -> ."]);
    assert_eq!(context.error(&["d/a"]), "read `/d/a` in the source tree");
}

#[test]
fn ignored_files_are_not_there_and_the_rule_is_told() {
    let context = Context::new(&["dist/app.js", "src/a.o", "src/a.c"]).ignoring("dist\n**/*.o\n");
    assert_eq!(context.list(&["."]), ["/", "src/", "src/a.c"]);
    assert_eq!(context.error(&["dist/app.js"]), "\"/dist/app.js\": not found, excluded by .dockerignore:1 `dist`");
    assert_eq!(context.error(&["dist"]), "\"/dist\": not found, excluded by .dockerignore:1 `dist`");
    assert_eq!(context.list(&["src/*"]), ["a.c"]);
}

#[test]
fn the_hint_for_an_ignored_file_is_the_exception_that_brings_it_back() {
    let context = Context::new(&["dist/app.js"]).ignoring("# built\ndist\n");
    let error = context.select_with(&["dist/app.js"], SelectOptions::default()).unwrap_err().to_diagnostic();
    assert_eq!(
        (error.message.as_str(), error.label.as_str()),
        ("\"/dist/app.js\": not found", "excluded by .dockerignore:2 `dist`")
    );
    assert_eq!(error.hints, ["add `!dist/app.js` after line 2 of `.dockerignore`, or remove the pattern"]);
    let context = context.ignoring("# built\ndist\n!dist/app.js\n");
    assert_eq!(context.list(&["dist/app.js"]), ["app.js"]);
}

#[test]
fn an_exception_brings_its_parents_along() {
    let context =
        Context::new(&["d/x/keep", "d/x/other", "d/y/other", "e/f", "empty/sub/"]).ignoring("d\ne/*\n!d/x/keep\n");
    assert_eq!(context.list(&["."]), ["/", "d/", "d/x/", "d/x/keep", "e/", "empty/", "empty/sub/"]);
    assert_eq!(context.list(&["d"]), ["d/", "d/x/", "d/x/keep"]);
    assert_eq!(context.list(&["d/*"]), ["x/", "x/keep"]);
    assert!(context.error(&["d/y"]).contains("excluded by .dockerignore:1"));
}

#[test]
fn a_link_to_an_ignored_file_leads_nowhere() {
    let context = Context::new(&["real", "lnk -> real", "lnk2 -> other", "other"]).ignoring("real\nlnk2\n");
    assert!(context.error(&["lnk"]).contains("excluded by .dockerignore:1 `real`"));
    assert!(context.error(&["lnk2"]).contains("excluded by .dockerignore:2 `lnk2`"));
    assert_eq!(context.list(&["."]), ["/", "lnk -> real", "other"]);
}

#[test]
fn exclude_counts_from_the_source_directory() {
    let context = Context::new(&["a/x.txt", "a/x.md", "a/sub/y.txt", "b/x.txt"]);
    assert_eq!(context.list_excluding(&["a"], &["*.txt"], false), ["a/", "a/sub/", "a/sub/y.txt", "a/x.md"]);
    assert_eq!(context.list_excluding(&["a"], &["**/*.txt"], false), ["a/", "a/sub/", "a/x.md"]);
    assert_eq!(context.list_excluding(&["a", "b"], &["*", "!x.md"], false), ["a/", "a/x.md", "b/"]);
    assert_eq!(context.list_excluding(&["a/x.txt"], &["*.txt"], false), ["x.txt"]);
}

const PARENTS: [&str; 5] =
    ["t/a/b/c/d/foo", "t/a/b/c/d/e/bay", "t/a/b2/c/d/e/bar", "t/a/b/c2/d/e/baz", "t/a/b/c2/d/e2/baz"];

#[test]
fn parents_keep_the_directories_behind_the_pivot() {
    let context = Context::new(&PARENTS);
    let below = ["b/c/", "b/c/d/", "b/c/d/e/", "b/c/d/e/bay", "b/c/d/foo"];
    assert_eq!(context.list_parents(&["/t/a/./b/./c"]), below);
    assert_eq!(context.list_parents(&["/t/a/./*/c"])[..5], below);
    assert_eq!(context.list_parents(&["/t/a/b/c*/./d/**/baz"]), ["d/e/baz", "d/e2/baz"]);
    assert_eq!(context.list_parents(&["t/a/b*/./c/**/bar"]), ["c/d/e/bar"]);
    assert_eq!(context.list_parents(&["t/a/b/c/d/foo"]), ["t/a/b/c/d/foo"]);
    assert_eq!(context.list_parents(&["/t/a/b/./c9*"]), [] as [&str; 0]);
    let error = context.select_with(&["t/a/nope"], SelectOptions { parents: true, exclude: None }).unwrap_err();
    assert_eq!(error.to_string(), "\"/t/a/nope\": not found");
}

#[test]
fn parents_heed_exclude_and_ignore_rules() {
    let context = Context::new(&PARENTS).ignoring("**/e\n");
    assert_eq!(
        context.list_parents(&["t/a/./b"]),
        ["b/", "b/c/", "b/c/d/", "b/c/d/foo", "b/c2/", "b/c2/d/", "b/c2/d/e2/", "b/c2/d/e2/baz"]
    );
    assert_eq!(context.list_excluding(&["t/a/./b"], &["b/c2"], true), ["b/", "b/c/", "b/c/d/", "b/c/d/foo"]);
    assert_eq!(
        context.list_excluding(&["t/./a/b/c"], &["a", "!a/b/c/d/foo"], true),
        ["a/b/c/", "a/b/c/d/", "a/b/c/d/foo"]
    );
}

#[test]
fn parents_carry_the_modes_of_the_source() {
    use std::os::unix::fs::PermissionsExt;
    let context = Context::new(&PARENTS);
    fs::set_permissions(context.directory.path().join("t/a"), fs::Permissions::from_mode(0o2750)).unwrap();
    let selected = context.select_with(&["t/a/b/c"], SelectOptions { parents: true, exclude: None }).unwrap();
    let parents: Vec<_> =
        selected.selection.items[0].parents.iter().map(|entry| (entry.path.to_str().unwrap(), entry.mode)).collect();
    assert_eq!(parents[..2], [("t", 0o755), ("t/a", 0o2750)]);
}

#[test]
fn special_files_and_names_that_are_no_utf8_are_selected() {
    let context = Context::new(&["d/"]);
    let directory = context.directory.path().join("d");
    let fifo =
        rustix::fs::mknodat(rustix::fs::CWD, directory.join("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0);
    fifo.unwrap();
    fs::write(directory.join(OsStr::from_bytes(b"\xff\xfe")), "x").unwrap();
    let selected = context.select_with(&["d", "d/*"], SelectOptions::default()).unwrap();
    assert_eq!(selected.selection.items.len(), 3);
    assert_eq!(selected.selection.items[0].entries[1].kind, EntryKind::Fifo);
    assert_eq!(selected.selection.items[2].name.as_bytes(), b"\xff\xfe");
}

#[test]
fn hard_links_share_an_inode() {
    let context = Context::new(&["d/a", "d/c"]);
    fs::hard_link(context.directory.path().join("d/a"), context.directory.path().join("d/b")).unwrap();
    let selected = context.select_with(&["d"], SelectOptions::default()).unwrap();
    let inodes: Vec<_> = selected.selection.items[0].entries.iter().map(|entry| entry.inode).collect();
    assert!(inodes[1].is_some() && inodes[1] == inodes[2] && inodes[0].is_none() && inodes[3].is_none());
}

#[test]
fn ten_thousand_files_come_in_order() {
    let context = Context::new(&["d/sub/"]);
    for index in 0..10_000 {
        fs::write(context.directory.path().join(format!("d/{}{index}", if index % 2 == 0 { "sub/" } else { "" })), "")
            .unwrap();
    }
    let selected = context.select_with(&["d"], SelectOptions::default()).unwrap();
    let paths: Vec<_> = selected.selection.items[0].entries.iter().map(|entry| &entry.path).collect();
    assert_eq!(paths.len(), 10_002);
    assert!(paths.is_sorted());
}

#[test]
fn a_bind_mount_takes_a_path_and_what_is_below() {
    let context = Context::new(&["d/a", "d/b", "e"]).ignoring("d/b\n");
    let root = Root::open(context.directory.path()).unwrap();
    let tree = Tree { root: &root, ignore: context.rules.as_ref(), keep_owner: false };
    assert_eq!(listed(&select_path(tree, Path::new("d")).unwrap()), ["d/", "d/a"]);
    assert_eq!(listed(&select_path(tree, Path::new("")).unwrap()), ["/", "d/", "d/a", "e"]);
    assert!(select_path(tree, Path::new("/d/b")).is_err());
}

/// Pruning and the handing down of states must not change what is selected.
#[test]
fn a_walk_selects_what_the_rules_leave_for_every_file_of_the_table() {
    #[derive(serde::Deserialize)]
    struct Table {
        paths: Vec<String>,
        rows: Vec<Row>,
    }
    #[derive(serde::Deserialize)]
    struct Row {
        file: String,
        ignored: Option<String>,
    }
    let table: Table = serde_json::from_str(include_str!("../../../tests/data/ignore.json")).unwrap();
    let is_parent = |path: &&str| table.paths.iter().any(|other| other.starts_with(&format!("{path}/")));
    let files: Vec<&str> = table.paths.iter().map(String::as_str).filter(|path| !is_parent(path)).collect();
    let mut context = Context::new(&files);
    let mut all = context.list(&["."]);
    all.retain(|path| path != "/");
    for row in table.rows.iter().filter(|row| row.ignored.is_some()) {
        context = context.ignoring(&row.file);
        let rules = context.rules.as_ref().unwrap();
        let is_left = |path: &str| !rules.descend(path.trim_end_matches('/').as_bytes()).is_ignored();
        let is_kept = |path: &&String| {
            is_left(path) || path.ends_with('/') && all.iter().any(|other| other.starts_with(*path) && is_left(other))
        };
        let expected: Vec<&String> = all.iter().filter(is_kept).collect();
        let found = context.list(&["."]);
        assert_eq!(found[1..].iter().collect::<Vec<_>>(), expected, "file {:?}", row.file);
    }
}
