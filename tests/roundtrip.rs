//! Printing a syntax tree and parsing the text gives the same tree; no bytes make the parser panic or point astray.

#![allow(clippy::unwrap_used)]

mod printer;

use cooper::diag::{Source, Span};
use cooper::dockerfile::ast::{
    ArgDefinition, Command, Copy, Dockerfile, HealthcheckSpec, Heredoc, Instruction, KeyValue, Kind, Run, Spanned,
    Stage, Word,
};
use cooper::dockerfile::parse;
use proptest::prelude::*;
use regex::Regex;
use std::sync::LazyLock;

static SPAN: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"Span \{ start: (\d+), end: (\d+) \}").unwrap());

/// The tree without places and without the lines it was made of.
fn shape(mut dockerfile: Dockerfile) -> String {
    fn erase(instruction: &mut Instruction) {
        instruction.text.clear();
        if let Kind::Onbuild { instruction: Ok(instruction), .. } = &mut instruction.kind {
            erase(instruction);
        }
    }
    dockerfile.source = Source::new("", "");
    let stages = &mut dockerfile.stages;
    stages.iter_mut().flat_map(|stage| std::iter::once(&mut stage.from).chain(&mut stage.instructions)).for_each(erase);
    dockerfile.global_args.iter_mut().for_each(erase);
    SPAN.replace_all(&format!("{dockerfile:?}"), "").into_owned()
}

fn word(node: &str) -> Word {
    Spanned { node: node.to_owned(), span: Span::default() }
}

/// A word as it may stand in a line: letters, variables, quotes that are closed, no blanks outside of them.
fn plain() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[a-zA-Z0-9_./:@%+é-]{1,6}",
        "\\$[a-zA-Z_]{1,3}",
        "\\$\\{[a-z]{1,3}(:?[-+?][a-z]{0,3})?\\}",
        "\"[a-z \\$'#]{0,5}\"",
        "'[a-z \\$\"#]{0,5}'",
        "\\\\[a-z\\$]",
    ];
    prop::collection::vec(part, 1..4).prop_map(|parts| parts.concat())
}

/// A path: what has no quotes, so that it is one word for COPY too.
fn path() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9_./*?é$-]{1,10}".prop_filter("not a flag", |path| !path.starts_with("--"))
}

/// Anything in one line that does not begin or end with a blank, nor ends in an escape character.
fn line() -> impl Strategy<Value = String> {
    ("[a-zA-Z0-9$/(&|é]", "[a-zA-Z0-9 $'\"/.:;|&>(){}=\\\\#-]{0,20}", "[a-zA-Z0-9;)]")
        .prop_map(|(first, middle, last)| first + &middle + &last)
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        line().prop_map(|text| Command::Shell(word(&text))),
        prop::collection::vec("[ -~é\n\t]{0,8}", 1..4).prop_map(Command::Exec),
    ]
}

fn heredoc() -> impl Strategy<Value = Heredoc> {
    let body = prop::collection::vec("[a-z $\\\\#\t]{0,6}\n", 0..3).prop_map(|lines| lines.concat());
    ("[A-Z]{1,4}", any::<bool>(), any::<bool>(), body).prop_map(|(name, expand, strip_tabs, body)| {
        let strip = |line: &str| line.trim_start_matches('\t').to_owned();
        let body = if strip_tabs { body.split_inclusive('\n').map(strip).collect() } else { body };
        Heredoc { name, expand, strip_tabs, fd: None, body, span: Span::default() }
    })
}

fn option(values: impl Strategy<Value = String>) -> impl Strategy<Value = Option<Word>> {
    prop::option::of(values.prop_map(|text| word(&text)))
}

fn words(values: impl Strategy<Value = String>, from: usize) -> impl Strategy<Value = Vec<Word>> {
    prop::collection::vec(values.prop_map(|text| word(&text)), from..from + 3)
}

/// The value of a flag: the printer quotes it.
fn flag() -> impl Strategy<Value = String> {
    "[a-z0-9 '$=:,é]{1,8}"
}

/// The same with all that needs an escape.  A line with heredocs is split as a shell does, which has another escape
/// character than the Dockerfile may have.
fn strange_flag() -> impl Strategy<Value = String> {
    "[a-z \"'\\\\`$=é]{1,8}"
}

fn copy(is_add: bool) -> impl Strategy<Value = Kind> {
    let names = (words(path(), 0), prop::collection::vec(heredoc(), 0..3), path());
    let flags = (option(flag()), option(flag()), option(flag()), words(flag(), 0), any::<[bool; 2]>());
    (names, flags, prop::option::of(any::<bool>())).prop_filter_map("a source", move |(names, flags, choice)| {
        let (sources, mut heredocs, destination) = names;
        let (chown, chmod, other, exclude, [link, parents]) = flags;
        // Of two here documents of one name both have the content of the last one.
        heredocs.sort_by(|a, b| a.name.cmp(&b.name));
        heredocs.dedup_by(|a, b| a.name == b.name);
        let (from, checksum) = if is_add { (None, other) } else { (other, None) };
        let copy = Copy {
            destination: word(&destination),
            from,
            chown,
            chmod,
            link,
            parents: parents && !is_add,
            exclude,
            checksum,
            keep_git_dir: choice.filter(|_| is_add),
            unpack: choice.filter(|_| is_add),
            sources,
            heredocs,
        };
        let has_source = !copy.sources.is_empty() || !copy.heredocs.is_empty();
        has_source.then_some(if is_add { Kind::Add(copy) } else { Kind::Copy(copy) })
    })
}

fn pairs() -> impl Strategy<Value = Vec<KeyValue>> {
    let pair =
        |is_legacy| move |(key, value): (String, String)| KeyValue { key: word(&key), value: word(&value), is_legacy };
    prop_oneof![
        prop::collection::vec(("[a-zA-Z_.]{1,5}", plain()).prop_map(pair(false)), 1..4),
        ("[a-zA-Z_.]{1,5}", line()).prop_map(pair(true)).prop_map(|pair| vec![pair]),
    ]
}

fn run() -> impl Strategy<Value = Run> {
    let mount =
        prop::sample::select(vec!["type=cache,target=/c", "type=secret,id=a b", "type=tmpfs,target=/t,size=1m"]);
    let network = prop::option::of(prop::sample::select(vec!["none", "host", "default"]));
    (command(), prop::collection::vec(mount, 0..3), network).prop_map(|(command, mounts, network)| Run {
        command,
        heredocs: Vec::new(),
        mounts: mounts.into_iter().map(word).collect(),
        network: network.map(word),
        security: None,
        devices: Vec::new(),
    })
}

fn healthcheck() -> impl Strategy<Value = HealthcheckSpec> {
    (command(), 0..1000i64, 0..100i64).prop_map(|(command, seconds, retries)| HealthcheckSpec {
        command: Some(command),
        interval_ns: seconds * 1_000_000_000,
        timeout_ns: seconds * 1_000_000,
        start_period_ns: 0,
        start_interval_ns: 5_000_000 * retries,
        retries,
    })
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        prop::collection::vec(("[a-zA-Z_]{1,5}", prop::option::of(plain())), 1..3).prop_map(|args| {
            let arg = |(name, default): (String, Option<String>)| ArgDefinition {
                name: word(&name),
                default: default.map(|text| word(&text)),
            };
            Kind::Arg(args.into_iter().map(arg).collect())
        }),
        pairs().prop_map(Kind::Env),
        pairs().prop_map(Kind::Label),
        run().prop_map(Kind::Run),
        command().prop_map(Kind::Cmd),
        command().prop_map(Kind::Entrypoint),
        prop::collection::vec("[ -~]{0,6}", 1..3).prop_map(Kind::Shell),
        copy(false),
        copy(true),
        line().prop_map(|text| Kind::Workdir(word(&text))),
        line().prop_map(|text| Kind::User(word(&text))),
        words("[/a-z $]{1,6}[a-z]".prop_map(|text| text.trim().to_owned()), 1).prop_map(Kind::Volume),
        words("[0-9$a-z/]{1,6}", 1).prop_map(Kind::Expose),
        "[A-Z$]{1,6}".prop_map(|text| Kind::StopSignal(word(&text))),
        healthcheck().prop_map(Kind::Healthcheck),
        line().prop_map(Kind::Maintainer),
    ]
}

fn instruction() -> impl Strategy<Value = Instruction> {
    let comments = prop::collection::vec("[a-z=]{1,6}( [a-z#]{1,4})?", 0..3);
    (kind(), any::<bool>(), comments)
        .prop_map(|(kind, is_upper, comments)| printer::instruction_of(kind, is_upper, comments))
}

fn stage() -> impl Strategy<Value = Stage> {
    let name = option("[a-zA-Z][a-zA-Z0-9._-]{0,5}".prop_map(String::from));
    (path(), option(strange_flag()), name, prop::collection::vec(instruction(), 0..6)).prop_map(
        |(image, platform, name, instructions)| Stage {
            from: printer::instruction_of(Kind::From, true, Vec::new()),
            image: word(&image),
            platform,
            name,
            instructions,
        },
    )
}

fn dockerfile() -> impl Strategy<Value = Dockerfile> {
    let directive = || option("[a-z/:.=]{1,9}".prop_map(String::from));
    let escape = prop::sample::select(vec!['\\', '`']);
    (escape, directive(), prop::collection::vec(stage(), 1..4)).prop_map(|(escape, syntax, stages)| Dockerfile {
        source: Source::new("", ""),
        escape,
        syntax,
        check: None,
        global_args: Vec::new(),
        stages,
    })
}

/// Every place in a tree or an error, found in its debug form.
fn check_spans(debug: &str, text: &str) {
    for found in SPAN.captures_iter(debug) {
        let (start, end): (usize, usize) = (found[1].parse().unwrap(), found[2].parse().unwrap());
        assert!(start <= end && end <= text.len(), "{start}..{end} of {}", text.len());
        assert!(text.is_char_boundary(start) && text.is_char_boundary(end), "{start}..{end} in {text:?}");
    }
}

fn parse_and_check(bytes: &[u8]) {
    match parse("Dockerfile", bytes) {
        Ok(parsed) => {
            let text = parsed.dockerfile.source.text.clone();
            let mut dockerfile = parsed.dockerfile;
            dockerfile.source = Source::new("", "");
            check_spans(&format!("{dockerfile:?}"), &text);
            for warning in &parsed.warnings {
                check_spans(&format!("{:?} {:?}", warning.place.as_ref().unwrap().span, warning.fix), &text);
            }
        }
        Err(error) => {
            let place = error.place.as_ref().unwrap();
            check_spans(&format!("{:?}", place.span), &place.source.text);
            assert!(!error.to_string().is_empty());
        }
    }
}

#[test]
fn real_files_are_the_same_after_printing() {
    let table: serde_json::Value = serde_json::from_str(include_str!("data/parse.json")).unwrap();
    let mut count = 0;
    for row in table["rows"].as_array().unwrap() {
        let text = row["text"].as_str().unwrap();
        let Ok(parsed) = parse("Dockerfile", text.as_bytes()) else { continue };
        let printed = printer::print(&parsed.dockerfile);
        let again = parse("Dockerfile", printed.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{printed}"));
        assert_eq!(shape(again.dockerfile), shape(parsed.dockerfile), "{}:\n{printed}", row["file"]);
        count += 1;
    }
    assert!(count > 200, "{count}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn a_tree_is_the_same_after_printing_and_parsing(dockerfile in dockerfile()) {
        let printed = printer::print(&dockerfile);
        let again = parse("Dockerfile", printed.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{printed}"));
        prop_assert_eq!(shape(again.dockerfile), shape(dockerfile), "{}", printed);
    }

    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        parse_and_check(&bytes);
        parse_and_check(&[b"FROM a\nRUN ", bytes.as_slice()].concat());
    }

    #[test]
    fn damaged_files_are_parsed_or_refused(
        dockerfile in dockerfile(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(b"\n\\ \t\"'$[]{}<#=\xc3\xa9\x00".to_vec())), 1..6),
    ) {
        let mut bytes = printer::print(&dockerfile).into_bytes();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        parse_and_check(&bytes);
    }
}
