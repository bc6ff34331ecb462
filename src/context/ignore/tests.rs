#![allow(clippy::unwrap_used)]

use super::*;

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

fn rules(text: &str) -> IgnoreRules {
    IgnoreRules::parse(".dockerignore", text.as_bytes()).unwrap()
}

#[test]
fn every_row_of_the_table_agrees_with_moby() {
    let table: Table = serde_json::from_str(include_str!("../../../tests/data/ignore.json")).unwrap();
    assert!(table.rows.len() >= 600);
    for row in &table.rows {
        let found = IgnoreRules::parse(".dockerignore", row.file.as_bytes()).ok().map(|rules| {
            table.paths.iter().map(|path| if rules.is_ignored(path) { '1' } else { '0' }).collect::<String>()
        });
        assert_eq!(found, row.ignored, "file {:?}", row.file);
    }
}

#[test]
fn the_walk_agrees_with_the_look_at_one_path_where_there_is_no_exception() {
    let table: Table = serde_json::from_str(include_str!("../../../tests/data/ignore.json")).unwrap();
    for row in table.rows.iter().filter(|row| !row.file.contains('!')) {
        let rules = rules(&row.file);
        for path in &table.paths {
            assert_eq!(rules.descend(path.as_bytes()).is_ignored(), rules.is_ignored(path), "{:?} {path}", row.file);
        }
    }
}

#[test]
fn pruning_never_hides_an_exception() {
    let table: Table = serde_json::from_str(include_str!("../../../tests/data/ignore.json")).unwrap();
    for row in table.rows.iter().filter(|row| row.ignored.is_some()) {
        let rules = rules(&row.file);
        for path in table.paths.iter().filter(|path| !rules.descend(path.as_bytes()).is_ignored()) {
            for (slash, _) in path.match_indices('/') {
                let directory = &path.as_bytes()[..slash];
                let state = rules.descend(directory);
                assert!(!state.is_ignored() || rules.may_except_below(directory, &state), "{:?} {path}", row.file);
            }
        }
    }
}

#[test]
fn a_verdict_names_line_and_pattern() {
    let rules = rules("# comment\n\n/dist/\n!dist/keep\n");
    let verdict = rules.verdict("dist/app.js").unwrap();
    assert_eq!((verdict.line, verdict.pattern.as_str(), verdict.negated), (3, "dist", false));
    let verdict = rules.verdict("dist/keep").unwrap();
    assert_eq!((verdict.line, verdict.pattern.as_str(), verdict.negated), (4, "!dist/keep", true));
    assert_eq!(rules.verdict("src"), None);
}

#[test]
fn errors_point_at_the_line() {
    let error = IgnoreRules::parse(".dockerignore", b"a\nb\n[x\n").unwrap_err();
    assert!(error.to_string().starts_with(".dockerignore:3:1: invalid pattern `[x`"), "{error}");
    for text in ["!", "a\n! \n", "a\\", "\\q"] {
        assert!(IgnoreRules::parse(".dockerignore", text.as_bytes()).is_err(), "{text:?}");
    }
}

#[test]
fn an_unreachable_exception_does_not_keep_a_directory_open() {
    let rules = rules("node_modules\n!src/keep\n!node_modules/a/b\n");
    let state = rules.descend(b"node_modules");
    assert!(rules.may_except_below(b"node_modules", &state));
    let deeper = rules.descend(b"node_modules/x");
    assert!(!rules.may_except_below(b"node_modules/x", &deeper));
}

#[test]
fn a_pattern_of_many_stars_takes_no_exponential_time() {
    let rules = rules(&format!("{}b\n", "**a".repeat(300)));
    assert!(!rules.is_ignored("a".repeat(4000)));
}

#[test]
fn names_that_are_no_utf8_match_wildcards() {
    let rules = rules("*.o\n?\n");
    assert!(rules.is_ignored(b"\xff\xfe.o"));
    assert!(rules.is_ignored(b"\xff"));
    assert!(!rules.is_ignored(b"\xff\xfe"));
}

#[test]
fn a_pattern_without_end_is_refused() {
    assert!(IgnoreRules::from_patterns(&["a".repeat(5000)]).is_err());
    assert!(IgnoreRules::parse("x", &vec![b'\n'; IGNORE_FILE_LIMIT_BYTES as usize + 1]).is_err());
}
