#![allow(clippy::unwrap_used)]

use super::*;
use crate::plan::graph::{HistoryItem, Target};
use proptest::prelude::*;
use rstest::rstest;
use std::fs;

fn arguments(path: &Path) -> LintArgs {
    LintArgs {
        path: path.to_owned(),
        file: None,
        fix: false,
        format: ReportFormat::Text,
        target: None,
        build_args: Vec::new(),
    }
}

fn look(text: &[u8]) -> Inspected {
    inspect("Dockerfile", text, &options(&arguments(Path::new("."))), &mut NoImages { ignore: None })
}

/// Returns the rules that find something.
fn rules(text: &str) -> Vec<&'static str> {
    let inspected = look(text.as_bytes());
    assert!(inspected.error.is_none(), "{:?}", inspected.error);
    inspected.findings.iter().filter_map(|finding| finding.rule).collect()
}

fn mended(text: &str) -> String {
    mend::mend(look(text.as_bytes()), &look).map_or_else(|| text.to_owned(), |(text, _)| text)
}

#[rstest]
#[case("FROM a as b\n", "FROM a AS b\n")]
#[case("from a AS b\nrun x\n", "from a as b\nrun x\n")]
#[case("FROM a\nrun  x\nCopy  a  b\n", "FROM a\nRUN  x\nCOPY  a  b\n")]
#[case(
    "FROM a AS Base\nFROM b\nCOPY --chown=1 --from=Base /x /\n",
    "FROM a AS base\nFROM b\nCOPY --chown=1 --from=base /x /\n"
)]
#[case("FROM a\nENV A b\n", "FROM a\nENV A=b\n")]
#[case("FROM a\nENV A  some words # here\n", "FROM a\nENV A=\"some words # here\"\n")]
#[case("FROM a\nENV A \"q\" r\nLABEL k \\\n v\n", "FROM a\nENV A \"q\" r\nLABEL k \\\n v\n")]
#[case(
    "FROM a\nMAINTAINER Me <a@b> $x \"q\"\n",
    "FROM a\nLABEL org.opencontainers.image.authors=\"Me <a@b> \\$x \\\"q\\\"\"\n"
)]
#[case("FROM a\nCMD node  app.js --port=80\n", "FROM a\nCMD [\"node\", \"app.js\", \"--port=80\"]\n")]
#[case("FROM a\nCMD echo $HOME\n", "FROM a\nCMD echo $HOME\n")]
#[case("FROM a\nCMD exec x\n", "FROM a\nCMD exec x\n")]
#[case("FROM a\nCMD A=b x\n", "FROM a\nCMD A=b x\n")]
#[case("FROM a\nENTRYPOINT x\nCMD y\n", "FROM a\nENTRYPOINT x\nCMD y\n")]
#[case("FROM a\nRUN x && \\\n\n  \n# c\n\n  y\r\n", "FROM a\nRUN x && \\\n# c\n  y\r\n")]
#[case("FROM a\nEXPOSE 80/TCP 53/udp\n", "FROM a\nEXPOSE 80/tcp 53/udp\n")]
#[case("FROM --platform=$TARGETPLATFORM a\n", "FROM a\n")]
#[case("# check=skip=FromAsCasing\nFROM a as b\n", "# check=skip=FromAsCasing\nFROM a as b\n")]
#[case(
    "FROM a\n# check=skip=LegacyKeyValueFormat\nENV A b\nENV C d\n",
    "FROM a\n# check=skip=LegacyKeyValueFormat\nENV A b\nENV C=d\n"
)]
#[case("FROM a\nRUN x\nRUN y\nFROM b as c\nfrom d as e\n", "FROM a\nRUN x\nRUN y\nFROM b AS c\nFROM d AS e\n")]
fn what_can_be_mended_is(#[case] before: &str, #[case] after: &str) {
    assert_eq!(mended(before), after);
    assert_eq!(mended(after), after);
}

#[test]
fn variables_of_unknown_images_are_not_called_undefined() {
    assert_eq!(rules("FROM node\nLABEL v=$NODE_VERSION\n"), Vec::<&str>::new());
    assert_eq!(rules("FROM scratch\nLABEL v=$NODE_VERSION\n"), ["UndefinedVar"]);
    assert_eq!(rules("FROM node AS a\nFROM a\nLABEL v=$NODE_VERSION\n"), Vec::<&str>::new());
}

#[test]
fn all_stages_are_looked_at() {
    assert_eq!(rules("FROM a AS x\nWORKDIR r\nFROM b\nWORKDIR r\n"), ["WorkdirRelativePath", "WorkdirRelativePath"]);
}

#[test]
fn every_rule_that_finds_something_is_in_the_table() {
    let text = "FROM a as Base\nENV A b\nMAINTAINER x\nRUN a \\\n\n b\nCMD x\nCMD y\nEXPOSE 1:2/TCP\nWORKDIR r\n\
                ARG TOKEN\nFROM --platform=linux/amd64 b AS base\nFROM --platform=$TARGETPLATFORM $X AS scratch\nrun $y\n";
    let inspected = look(text.as_bytes());
    for finding in &inspected.findings {
        let rule = crate::dockerfile::lint::rule_info(finding.rule.unwrap()).expect("the rule is in the table");
        assert!(rule.can_fix || finding.fix.is_empty(), "{}", rule.name);
    }
}

#[test]
fn a_file_is_checked_mended_and_left_with_its_mode() {
    use std::os::unix::fs::PermissionsExt;
    let project = tempfile::tempdir().unwrap();
    let file = project.path().join("Dockerfile");
    fs::write(&file, "\u{feff}FROM a as b\nCOPY dist/x /\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(project.path().join(".dockerignore"), "dist\n").unwrap();
    let mut out = Vec::new();
    let mut args = arguments(project.path());
    let code = run(&args, Style::default(), &mut out).unwrap();
    assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(1)));
    let text = String::from_utf8(std::mem::take(&mut out)).unwrap();
    let want = "Check complete, 2 warnings have been found!\n\n\
        WARNING: FromAsCasing - https://docs.docker.com/go/dockerfile/rule/from-as-casing/\n\
        'as' and 'FROM' keywords' casing do not match\n\
        Dockerfile:1:8\n  |\n1 | FROM a as b\n  |        ^^ write `AS`\n\n\
        WARNING: CopyIgnoredFile - https://docs.docker.com/go/dockerfile/rule/copy-ignored-file/\n\
        Attempting to Copy file \"dist/x\" that is excluded by .dockerignore\n\
        Dockerfile:2:6\n  |\n2 | COPY dist/x /\n  |      ^^^^^^ excluded by .dockerignore:1 `dist`\n\n\
        `cooper lint --fix` can mend 1 of them.\n";
    assert_eq!(text, want);
    args.fix = true;
    args.format = ReportFormat::Json;
    run(&args, Style::default(), &mut out).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(json["warnings"].as_array().unwrap().len(), 1);
    assert_eq!(json["warnings"][0]["ruleName"], "CopyIgnoredFile");
    assert_eq!(json["warnings"][0]["location"]["ranges"][0]["start"], serde_json::json!({"line": 2}));
    assert_eq!(json["warnings"][0]["exact"]["start"], serde_json::json!({"line": 2, "character": 5}));
    assert_eq!(fs::read_to_string(&file).unwrap(), "\u{feff}FROM a AS b\nCOPY dist/x /\n");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::read_dir(project.path()).unwrap().count(), 2);
}

#[test]
fn a_broken_dockerfile_is_an_error_and_no_file_is_written() {
    let project = tempfile::tempdir().unwrap();
    fs::write(project.path().join("Dockerfile"), "FROM a as b\nCOPPY x y\n").unwrap();
    let args = LintArgs { fix: true, format: ReportFormat::Json, ..arguments(project.path()) };
    let mut out = Vec::new();
    assert_eq!(run(&args, Style::default(), &mut out).unwrap_err().exit, Exit::Usage);
    let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(json["buildError"]["location"]["ranges"][0]["start"]["line"], 2);
    assert_eq!(fs::read_to_string(project.path().join("Dockerfile")).unwrap(), "FROM a as b\nCOPPY x y\n");
}

/// What is built, without what a fix may change: labels for authors, history, the shell around CMD.
fn meaning(text: &str) -> Option<String> {
    let parsed = crate::dockerfile::parse("Dockerfile", text.as_bytes()).ok()?;
    let options = options(&arguments(Path::new(".")));
    let planned = crate::plan::plan(&parsed.dockerfile, &options, &mut NoImages { ignore: None }).ok()?;
    let Target { config, history, .. } = planned.graph.targets.into_iter().next()?;
    let mut config = config;
    config.author.clear();
    let strip = |argv: Option<Vec<String>>| {
        let argv = argv?;
        let rest = argv.strip_prefix(&["/bin/sh".to_owned(), "-c".to_owned()]).map(<[String]>::to_vec);
        Some(rest.unwrap_or(argv).join(" ").split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let (cmd, entrypoint) = (strip(config.config.cmd.take()), strip(config.config.entrypoint.take()));
    config.config.labels.remove("org.opencontainers.image.authors");
    let is_kept = |item: &HistoryItem| match item {
        HistoryItem::New(entry) => !entry.empty_layer,
        HistoryItem::Base(_) => true,
    };
    let layers = history.iter().filter(|item| is_kept(item)).count();
    let ops: Vec<String> = planned.graph.steps.iter().map(|step| without_places(&format!("{:?}", step.op))).collect();
    Some(format!("{config:?} {cmd:?} {entrypoint:?} {layers} {ops:?}"))
}

/// Places move when text before them is mended.
fn without_places(debug: &str) -> String {
    debug.split("place: ").map(|part| part.split_once("span: Span").map_or(part, |(_, rest)| rest)).collect()
}

fn line() -> impl Strategy<Value = String> {
    let word = "[a-zA-Z0-9$\"'\\\\ .=/#&-]{1,12}";
    let keyword = prop::sample::select(vec![
        "ENV",
        "env",
        "Env",
        "LABEL",
        "label",
        "MAINTAINER",
        "CMD",
        "cmd",
        "ENTRYPOINT",
        "RUN",
        "run",
        "EXPOSE",
        "WORKDIR",
        "USER",
        "ARG",
        "arg",
        "VOLUME",
        "SHELL",
        "STOPSIGNAL",
        "FROM a as",
        "from b AS",
        "FROM --platform=$TARGETPLATFORM",
        "# check=skip=FromAsCasing",
        "COPY --from=Stage /a",
    ]);
    let end = prop::sample::select(vec!["\n", "\r\n", " \\\n\n  ", " \\\n# c\n \n", "\n\n", "/TCP\n"]);
    (keyword, word, word, end).prop_map(|(keyword, a, b, end)| format!("{keyword} {a} {b}{end}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn fixing_twice_is_fixing_once_and_nothing_else_changes(lines in prop::collection::vec(line(), 0..8)) {
        let text = format!("FROM x AS Stage\n{}RUN last\n", lines.concat());
        let once = mended(&text);
        prop_assert_eq!(mended(&once), once.clone(), "{}", text);
        prop_assert_eq!(meaning(&once), meaning(&text), "{}\n---\n{}", text, once);
        prop_assert_eq!(look(text.as_bytes()).error.is_some(), look(once.as_bytes()).error.is_some());
    }
}
