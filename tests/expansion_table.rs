//! Word expansion against a table recorded from BuildKit.

#![allow(clippy::unwrap_used)]

use cooper::dockerfile::expand::Expander;
use serde_json::Value;
use std::collections::HashMap;

#[test]
fn expansion_agrees_with_buildkit() {
    let table: Value = serde_json::from_str(include_str!("data/expansion.json")).unwrap();
    let variables: HashMap<&str, &str> =
        table["env"].as_array().unwrap().iter().map(|pair| pair.as_str().unwrap().split_once('=').unwrap()).collect();
    let lookup = |name: &str| variables.get(name).map(|value| (*value).to_owned());
    let expander = Expander::new('\\', &lookup);
    let mut differences = Vec::new();
    let rows = table["rows"].as_array().unwrap();
    for row in rows {
        let word = row["word"].as_str().unwrap();
        let (text, words) = (expander.word(word).map(|expanded| expanded.text), expander.words(word));
        let is_same = if row["error"].is_string() {
            text.is_err() && words.is_err()
        } else {
            let want: Vec<&str> = row["words"]
                .as_array()
                .map_or(Vec::new(), |words| words.iter().map(|word| word.as_str().unwrap()).collect());
            text.as_deref().ok() == row["out"].as_str() && words.as_ref().is_ok_and(|words| *words == want)
        };
        if !is_same {
            differences.push(format!("{row}\n  cooper: {text:?} {words:?}"));
        }
    }
    assert_eq!(rows.len(), 1500);
    assert!(differences.is_empty(), "{} rows differ:\n{}", differences.len(), differences.join("\n"));
}
