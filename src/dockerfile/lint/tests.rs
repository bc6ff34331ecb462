#![allow(clippy::unwrap_used)]

use super::*;
use crate::dockerfile::parse;

/// Line and rule of everything found, and the text pointed at.
fn found(text: &str) -> Vec<String> {
    let parsed = parse("Dockerfile", text.as_bytes()).unwrap();
    let checks = Checks::of(&parsed.dockerfile).unwrap();
    let staged = parsed.dockerfile.stages.iter().flat_map(|one| stage(&parsed.dockerfile, one, &checks, false));
    let all = parsed.warnings.iter().cloned().chain(staged);
    all.map(|finding| {
        let place = finding.place.unwrap();
        let line = place.source.line_column(place.span.start).0;
        format!("{line} {} {}", finding.rule.unwrap(), &text[place.span.start..place.span.end])
    })
    .collect()
}

#[test]
fn rules_over_the_file_find_what_they_are_named_for() {
    let text = "FROM a as Base\nRun x \\\n\n  y\nMAINTAINER me\nFROM b AS base\nfrom c AS scratch\n";
    let want = [
        "1 FromAsCasing as",
        "1 StageNameCasing Base",
        "2 ConsistentInstructionCasing Run",
        "3 NoEmptyContinuation ",
        "5 MaintainerDeprecated MAINTAINER",
        "6 DuplicateStageName base",
        "7 ConsistentInstructionCasing from",
        "7 FromAsCasing AS",
        "7 ReservedStageName scratch",
    ];
    assert_eq!(found(text), want);
}

#[test]
fn rules_over_a_stage_find_what_they_are_named_for() {
    let text =
        "FROM a\nENV a b\nLABEL c=d\nCMD x\nCMD [\"y\"]\nEXPOSE 80/TCP 1:2 $p:3/UDP 4\nSHELL [\"s\"]\nENTRYPOINT z\n";
    let want = [
        "2 LegacyKeyValueFormat a",
        "4 JSONArgsRecommended x",
        "4 MultipleInstructionsDisallowed CMD",
        "6 ExposeProtoCasing 80/TCP",
        "6 ExposeInvalidFormat 1:2",
    ];
    assert_eq!(found(text), want);
}

#[test]
fn rules_can_be_skipped_for_the_file_and_for_an_instruction() {
    assert!(found("# check=skip=FromAsCasing\nFROM a as b\n").is_empty());
    assert!(found("# check=skip=all\nFROM a as B\nMAINTAINER x\n").is_empty());
    assert_eq!(found("FROM a\n# check=skip=LegacyKeyValueFormat\nENV a b\nENV c d\n"), ["4 LegacyKeyValueFormat c"]);
}

#[test]
fn descriptions_are_checked_when_asked_for() {
    let text = "# check=experimental=InvalidDefinitionDescription\n#\n# base is good\nFROM a AS base\n# no\nARG b c\n";
    assert_eq!(found(text), ["6 InvalidDefinitionDescription ARG"]);
}

#[test]
fn a_wrong_check_directive_is_an_error_with_its_place() {
    let error = parse("Dockerfile", b"# check=skip\nFROM a\n").unwrap_err();
    assert_eq!(error.to_string(), "Dockerfile:1:9: invalid check option `skip`");
}

#[test]
fn rules_have_an_address() {
    let url = rule_url("JSONArgsRecommended");
    assert_eq!(url, "https://docs.docker.com/go/dockerfile/rule/json-args-recommended/");
}

#[test]
fn findings_are_limited() {
    let text = format!("FROM a\nEXPOSE {}\n", "1:2 ".repeat(MAX_FINDINGS + 1));
    assert_eq!(found(&text).len(), MAX_FINDINGS);
}
