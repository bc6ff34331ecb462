//! Holds the modules to the table of `src/lib.rs`: an import never goes upward.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Returns the row of each module, read from the table in the documentation of the library.
fn rows() -> BTreeMap<String, u32> {
    let text = fs::read_to_string(source().join("lib.rs")).expect("the library has a root");
    let mut rows = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("//! | ")) {
        let Some((row, modules)) = line.split_once(" | ") else { continue };
        let Ok(row) = row.trim().parse::<u32>() else { continue };
        for name in modules.split("[`").skip(1).filter_map(|rest| rest.split('`').next()) {
            rows.insert(name.to_owned(), row);
        }
    }
    rows
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn rust_files(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("the sources can be listed") {
        let path = entry.expect("the sources can be listed").path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Returns the module of the library that a file belongs to.
fn module_of(path: &Path) -> String {
    let below = path.strip_prefix(source()).expect("the file is a source");
    let first = below.iter().next().expect("the path has a name");
    Path::new(first).with_extension("").display().to_string()
}

/// Returns the modules named by `crate::x` in code; comments do not count.
fn imports(text: &str) -> Vec<String> {
    let code: String = text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n");
    let mut names = Vec::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(group) => names.extend(group_names(group)),
            None => names.push(word(rest)),
        }
    }
    names
}

/// Returns the first word of each item of `a::b, c::{d, e}}`.
fn group_names(group: &str) -> Vec<String> {
    let (mut names, mut depth, mut is_start) = (Vec::new(), 0, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => is_start = true,
            c if is_start && !c.is_whitespace() => {
                names.push(word(&group[at..]));
                is_start = false;
            }
            _ => {}
        }
    }
    names
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn no_import_goes_upward() {
    let rows = rows();
    let mut files = Vec::new();
    rust_files(&source(), &mut files);
    let mut upward = Vec::new();
    for path in &files {
        let text = fs::read_to_string(path).expect("a source is text");
        let Some(own) = rows.get(&module_of(path)) else { continue };
        for name in imports(&text) {
            if rows.get(&name).is_some_and(|row| row > own) {
                upward.push(format!("{} imports `{name}`", path.display()));
            }
        }
    }
    assert!(upward.is_empty(), "imports that go upward:\n{}", upward.join("\n"));
}

#[test]
fn every_module_has_a_row() {
    let rows = rows();
    let text = fs::read_to_string(source().join("lib.rs")).expect("the library has a root");
    let modules: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert!(modules.len() > 10, "the modules of the library are found");
    let missing: Vec<&&str> = modules.iter().filter(|name| !rows.contains_key(**name)).collect();
    assert!(missing.is_empty(), "modules without a row: {missing:?}");
}

#[test]
fn imports_are_found_in_all_their_forms() {
    let text = "use crate::a::B;\n// crate::c\nuse crate::{d::E, f::{g, h}, i};\nfn x() { crate::j::k() }";
    assert_eq!(imports(text), ["a", "d", "f", "i", "j"]);
}
