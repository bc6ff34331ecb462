//! The table of `docs/security-tests.md` names tests that are there.

use std::fs;
use std::path::Path;

#[test]
fn every_attack_that_the_table_names_is_there() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(top.join("docs/security-tests.md")).unwrap();
    let mut named = 0;
    for name in table.split('`').filter(|word| !word.contains(' ')) {
        let Some((module, test)) = name.split_once("::").filter(|(_, test)| !test.is_empty()) else { continue };
        let file = top.join("tests/security").join(module).with_extension("rs");
        let Ok(source) = fs::read_to_string(&file) else { continue };
        assert!(source.contains(&format!("#[test]\nfn {test}()")), "`{name}` is no test");
        named += 1;
    }
    assert!(named > 80, "{named} names were found");
}
