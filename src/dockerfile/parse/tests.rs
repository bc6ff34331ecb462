#![allow(clippy::unwrap_used)]

use super::*;
use crate::dockerfile::ast::{Command, Copy, Spanned};
use proptest::prelude::*;

fn ok(text: &str) -> Dockerfile {
    parse("Dockerfile", text.as_bytes()).unwrap_or_else(|error| panic!("{text}\n{error}")).dockerfile
}

/// The instruction behind `FROM a`.
fn one(text: &str) -> Instruction {
    let mut dockerfile = ok(&format!("FROM a\n{text}"));
    let mut instructions = std::mem::take(&mut dockerfile.stages[0].instructions);
    assert_eq!(instructions.len(), 1, "{text}");
    instructions.remove(0)
}

fn copy(text: &str) -> Copy {
    match one(text).kind {
        Kind::Copy(copy) | Kind::Add(copy) => copy,
        other => panic!("{other:?}"),
    }
}

/// The error of a text: line, column, the text under the caret, message and label.
fn error(text: &str) -> String {
    let error = parse("Dockerfile", text.as_bytes()).map(|_| ()).unwrap_err();
    assert_eq!(error.exit, Exit::Usage);
    let place = error.place.clone().unwrap();
    let (line, column) = place.source.line_column(place.span.start);
    format!(
        "{line}:{column} [{}] {} | {}",
        &place.source.text[place.span.start..place.span.end],
        error.message,
        error.label
    )
}

#[test]
fn errors_point_at_the_word_that_is_wrong() {
    for (text, want) in [
        ("FORM a\n", "1:1 [FORM] unknown instruction: `FORM` | did you mean `FROM`?"),
        ("FROM a\n  xyzzyx b", "2:3 [xyzzyx] unknown instruction: `xyzzyx` | "),
        ("", "1:1 [] file with no instructions | "),
        ("ARG x\n", "1:1 [ARG x] no build stage: there is no `FROM` | "),
        (
            "RUN x\n",
            "1:1 [RUN] no build stage in current context: `RUN` | only `ARG` may stand before the first `FROM`",
        ),
        ("FROM a \\\n  b c\n", "2:3 [b c] FROM requires either one or three arguments | "),
        (
            "FROM a AS x/y\n",
            "1:11 [x/y] invalid name for build stage: `x/y` | a name starts with a letter and holds letters, digits, `-`, `_` and `.` only",
        ),
        ("FROM --plaform=x a\n", "1:6 [--plaform] unknown flag: `--plaform` | did you mean `--platform`?"),
        ("FROM --platform a\n", "1:6 [--platform] missing a value on flag: `--platform` | "),
        (
            "FROM a\nCOPY --from=b --from=c d e\n",
            "2:15 [--from=c] duplicate flag specified: `--from` | it was given before",
        ),
        ("FROM a\nCOPY --link=maybe b c\n", "2:13 [maybe] expecting boolean value for flag `--link`, not: `maybe` | "),
        (
            "FROM a\nCOPY b\n",
            "2:6 [b] COPY requires at least two arguments, but only one was provided | destination could not be determined",
        ),
        ("FROM a\nCOPY\n", "2:1 [COPY] COPY requires at least two arguments, but none was provided | "),
        ("FROM a\nCOPY b <<E\nE\n", "2:8 [<<E] COPY cannot accept a heredoc as a destination | "),
        ("FROM a\nRUN <<E\nx\n", "2:5 [<<E] unterminated heredoc: no line is `E` alone | the heredoc starts here"),
        ("FROM a\nRUN [\"a\", 1]\n", "2:5 [[\"a\", 1]] a JSON array of an instruction must hold strings only | "),
        ("FROM a\nRUN --network=moon x\n", "2:15 [moon] invalid network mode: `moon` | "),
        (
            "FROM a\nRUN --security=insecur x\n",
            "2:16 [insecur] invalid security mode: `insecur` | did you mean `insecure`?",
        ),
        (
            "FROM a\nRUN --mount=from=$b,target=/c x\n",
            "2:13 [from=$b] `from` doesn't support variable expansion: `$b` | ",
        ),
        ("FROM a\nENV b\n", "2:5 [b] ENV must have two arguments | write `ENV b=value`"),
        ("FROM a\nENV b=c d\n", "2:9 [d] ENV needs `name=value`, but there is no `=` in `d` | "),
        ("FROM a\nENV =c\n", "2:5 [=c] ENV names can not be blank | "),
        ("FROM a\nARG =c\n", "2:5 [=c] ARG names can not be blank | "),
        ("FROM a\nSHELL /bin/sh -c\n", "2:7 [/bin/sh -c] SHELL requires the arguments to be in JSON form | "),
        ("FROM a\nSHELL []\n", "2:1 [SHELL] SHELL requires at least one argument | "),
        ("FROM a\nVOLUME [\"\"]\n", "2:10 [] VOLUME specified can not be an empty string | "),
        ("FROM a\nEXPOSE\n", "2:1 [EXPOSE] EXPOSE requires at least one argument | "),
        ("FROM a\nUSER\n", "2:1 [USER] USER requires exactly one argument | "),
        ("FROM a\nHEALTHCHECK FOO x\n", "2:13 [FOO] unknown type `FOO` in HEALTHCHECK | expected `CMD` or `NONE`"),
        ("FROM a\nHEALTHCHECK NONE x\n", "2:18 [x] HEALTHCHECK NONE takes no arguments | "),
        ("FROM a\nHEALTHCHECK CMD\n", "2:13 [CMD] missing command after HEALTHCHECK CMD | "),
        ("FROM a\nHEALTHCHECK --interval=1ns CMD x\n", "2:24 [1ns] interval `interval` cannot be less than 1ms | "),
        ("FROM a\nHEALTHCHECK --timeout=5 CMD x\n", "2:23 [5] invalid duration in `--timeout`: `5` | "),
        ("FROM a\nHEALTHCHECK --retries=-1 CMD x\n", "2:23 [-1] `--retries` cannot be negative: -1 | "),
        ("FROM a\nONBUILD\n", "2:1 [ONBUILD] ONBUILD requires at least one argument | "),
        ("FROM a\nONBUILD ONBUILD RUN x\n", "2:9 [ONBUILD] chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed | "),
        ("FROM a\nONBUILD from b\n", "2:9 [from] FROM isn't allowed as an ONBUILD trigger | "),
        ("FROM a\nONBUILD ENV b\n", "2:13 [b] ENV must have two arguments | write `ENV b=value`"),
        ("FROM a\nONBUILD ENV b=c d\n", "2:17 [d] ENV needs `name=value`, but there is no `=` in `d` | "),
        (
            "FROM a\nONBUILD CMD [\"a\", 1]\n",
            "2:13 [[\"a\", 1]] a JSON array of an instruction must hold strings only | ",
        ),
        ("# escape=x\nFROM a\n", "1:10 [x] invalid escape token `x` | an escape token is a backslash or a backtick"),
        ("\\\n", "1:1 [] unknown instruction: `` | "),
    ] {
        assert_eq!(error(text), want, "{text:?}");
    }
}

#[test]
fn a_trigger_that_will_fail_is_kept_with_the_reason() {
    for (trigger, expected) in [
        ("NONSENSE x", "unknown instruction: `NONSENSE`"),
        ("COPY b", "COPY requires at least two arguments, but only one was provided"),
        ("RUN --network=moon x", "invalid network mode: `moon`"),
        ("LABEL", "LABEL requires at least one argument"),
    ] {
        let parsed = parse("Dockerfile", format!("FROM a\nONBUILD {trigger}\n").as_bytes()).unwrap();
        match &parsed.dockerfile.stages[0].instructions[0].kind {
            Kind::Onbuild { trigger: kept, instruction: Err(reason) } => {
                assert_eq!((kept.as_str(), reason.as_str()), (trigger, expected));
            }
            other => panic!("{trigger}: {other:?}"),
        }
    }
}

#[test]
fn hints_say_what_to_do() {
    for (text, want) in [
        ("FROM a # why", "put the comment on a line of its own: behind an instruction `#` starts none"),
        (
            "FROM a\nRUN x &&\n  apt-get y",
            "if this line belongs to the instruction above, end the line above with the escape character",
        ),
        ("FROM a\nSHELL sh -c", "write `SHELL [\"sh\", \"-c\"]`"),
        ("FROM a\nRUN <<E\nx\n E\n", "end the heredoc with a line that holds `E` and nothing else, not even blanks"),
    ] {
        assert_eq!(parse("Dockerfile", text.as_bytes()).unwrap_err().hints, [want], "{text}");
    }
}

#[test]
fn text_is_the_joined_line_with_the_keyword_in_upper_case() {
    for (text, want) in [
        ("run --mount=type=cache,target=/x make   all", "RUN --mount=type=cache,target=/x make   all"),
        ("RUN a && \\\n# comment\n\n    b  ", "RUN a &&     b"),
        ("Run <<EOF\nx\nEOF", "RUN <<EOF"),
        ("env\ta=b", "ENV\ta=b"),
        ("ONBUILD run x", "ONBUILD run x"),
    ] {
        assert_eq!(one(text).text, want);
    }
    assert_eq!(ok("from  a  as b\n").stages[0].from.text, "FROM  a  as b");
}

#[test]
fn spans_hold_across_continuations_and_bytes_of_many() {
    let text = "\u{feff}FROM a\r\n# é\r\nCOPY --chown=é:é \\\r\n  # no\r\n  fü \\\r\n  /x/\r\n";
    let dockerfile = ok(text);
    let source = &dockerfile.source;
    let instruction = &dockerfile.stages[0].instructions[0];
    let Kind::Copy(copy) = &instruction.kind else { panic!("{instruction:?}") };
    let written = |span: Span| &source.text[span.start..span.end];
    assert_eq!(written(copy.chown.as_ref().unwrap().span), "é:é");
    assert_eq!(written(copy.sources[0].span), "fü");
    assert_eq!(written(copy.destination.span), "/x/");
    assert!(written(instruction.span).ends_with("/x/"));
    assert_eq!(instruction.comments, ["é"]);
    assert_eq!(source.line_column(copy.sources[0].span.start), (5, 3));
}

#[test]
fn heredocs_are_taken_where_they_are_opened() {
    let Kind::Run(run) = one("RUN cat <<A 3<<-'B' > x\na\nA\n\tb\n\tB\n").kind else { panic!() };
    assert_eq!(run.command, Command::Shell(Spanned { node: "cat <<A 3<<-'B' > x".into(), span: Span::new(11, 30) }));
    let bodies: Vec<_> =
        run.heredocs.iter().map(|heredoc| (heredoc.body.as_str(), heredoc.expand, heredoc.fd)).collect();
    assert_eq!(bodies, [("a\n", true, None), ("b\n", false, Some(3))]);
    let copy = copy("COPY a <<X <<\"Y\" b /d/\n1\nX\n2\nY\n");
    assert_eq!(copy.sources.iter().map(|word| word.node.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(copy.heredocs.iter().map(|heredoc| heredoc.body.as_str()).collect::<Vec<_>>(), ["1\n", "2\n"]);
    assert!(ok("FROM a\nRUN [\"cat\", \"<<EOF\"]\nRUN x\n").stages[0].instructions.len() == 2);
    let Kind::Run(run) = one("RUN <<E\r\nx\r\nE\r\n").kind else { panic!() };
    assert_eq!(run.heredocs[0].body, "x\r\n");
}

#[test]
fn json_that_is_none_is_shell_form() {
    for text in ["RUN ['a']", "RUN [ -f x ] && y", "RUN [\"a\"] x", "RUN [\"a\",]"] {
        let Kind::Run(run) = one(text).kind else { panic!() };
        assert!(matches!(run.command, Command::Shell(_)), "{text}");
    }
    let Kind::Run(run) = one("RUN --network=none [\"a\", \"b c\"]").kind else { panic!() };
    assert_eq!(run.command, Command::Exec(vec!["a".into(), "b c".into()]));
    assert_eq!(copy("COPY [\"a b\", \"/c d/\"]").destination.node, "/c d/");
}

#[test]
fn flags_of_copy_and_add_are_typed() {
    let copy = copy("COPY --link --parents=TRUE --exclude=*.o --exclude=x --from=b --chmod=u+x \"--chown=1:2\" s d\n");
    assert!(copy.link && copy.parents && copy.chown.is_none(), "a quoted word is no flag: {copy:?}");
    assert_eq!(copy.sources[0].node, "\"--chown=1:2\"");
    assert_eq!(copy.exclude.iter().map(|word| word.node.as_str()).collect::<Vec<_>>(), ["*.o", "x"]);
    let add = super::tests::copy("ADD --keep-git-dir=false --unpack --checksum=sha256:0 --chmod= s d");
    assert_eq!((add.keep_git_dir, add.unpack, add.chmod.is_none()), (Some(false), Some(true), true));
}

#[test]
fn names_and_values_are_told_apart() {
    let Kind::Env(pairs) = one("ENV a=b\\ c \"d e\"=f g='h=i'").kind else { panic!() };
    let pairs: Vec<_> = pairs.iter().map(|pair| (pair.key.node.as_str(), pair.value.node.as_str())).collect();
    assert_eq!(pairs, [("a", "b\\ c"), ("\"d e\"", "f"), ("g", "'h=i'")]);
    let Kind::Label(pairs) = one("LABEL a  b   c").kind else { panic!() };
    assert_eq!((pairs[0].key.node.as_str(), pairs[0].value.node.as_str(), pairs[0].is_legacy), ("a", "b   c", true));
    let Kind::Arg(names) = one("ARG a b= c=d").kind else { panic!() };
    let defaults: Vec<_> = names.iter().map(|name| name.default.as_ref().map(|word| word.node.as_str())).collect();
    assert_eq!(defaults, [None, Some(""), Some("d")]);
}

#[test]
fn the_escape_directive_changes_continuations() {
    let dockerfile = ok("# escape=`\nFROM a\nRUN dir c:\\ `\n  d\nCOPY a c:\\\n");
    let texts: Vec<_> = dockerfile.stages[0].instructions.iter().map(|one| one.text.as_str()).collect();
    assert_eq!(texts, ["RUN dir c:\\   d", "COPY a c:\\"]);
}

#[test]
fn a_trigger_is_kept_as_text_and_parsed_again() {
    let Kind::Onbuild { trigger, instruction } = one("ONBUILD RUN cat <<-E \\\n  > x\n\ta\n\tE\n").kind else {
        panic!()
    };
    assert_eq!(trigger, "RUN cat <<-E   > x\n\ta\nE");
    let again = parse_trigger("base image", &trigger).unwrap();
    for instruction in [*instruction.unwrap(), again] {
        let Kind::Run(run) = instruction.kind else { panic!() };
        assert_eq!(run.heredocs[0].body, "a\n");
        assert_eq!(instruction.text, "RUN cat <<-E   > x");
    }
    for wrong in ["", "FROM a", "RUN a\nRUN b", "ONBUILD RUN a", "MAINTAINER x", "FOO"] {
        assert!(parse_trigger("base image", wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn large_files_are_parsed_in_linear_time() {
    let line = format!("FROM a\nENV {}\nRUN <<E {}\nx\nE\n", "k=v ".repeat(1 << 18), "x ".repeat(1 << 19));
    assert_eq!(ok(&line).stages[0].instructions.len(), 2);
    let continued = format!("FROM a\nRUN x {}\n", "\\\n y".repeat(1 << 18));
    assert_eq!(ok(&continued).stages[0].instructions.len(), 1);
    let many = format!("FROM a\n{}", "RUN x\n".repeat(100_000));
    assert_eq!(ok(&many).stages[0].instructions.len(), 100_000);
    let stages: String = (0..10_000).map(|at| format!("FROM a AS s{at}\nCOPY --from=s0 x y\n")).collect();
    assert_eq!(ok(&stages).stages.len(), 10_000);
}

#[test]
fn there_are_limits() {
    let big = vec![b'\n'; MAX_DOCKERFILE_BYTES + 1];
    assert!(parse("Dockerfile", &big).unwrap_err().message.contains("larger than"));
    let many = format!("FROM a\n{}", "RUN\n".repeat(MAX_INSTRUCTIONS));
    assert!(parse("Dockerfile", many.as_bytes()).unwrap_err().message.contains("more than"));
}

/// Text made of what the parser looks for.
fn lines() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "FROM ",
            "RUN ",
            "COPY ",
            "ONBUILD ",
            "ENV ",
            "ARG ",
            "HEALTHCHECK ",
            "CMD ",
            "SHELL ",
            "LABEL ",
            "<<EOF",
            "<<-'E F'",
            "EOF",
            "--mount=",
            "--from=",
            "--",
            "\\\n",
            "\\",
            "`",
            "\n",
            "\r\n",
            "\n# ",
            "# escape=`\n",
            "[\"a\"",
            "]",
            "\"",
            "'",
            "=",
            "$",
            "${",
            "}",
            " ",
            "\t",
            "a AS b",
            ",",
            "\u{a0}",
            "é",
            "\u{feff}",
        ])
        .prop_map(str::to_owned),
        "[a-z ]{0,4}",
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Every span of a tree lies in the text and starts and ends at characters.
fn check_spans(dockerfile: &Dockerfile) {
    let text = &dockerfile.source.text;
    for stage in &dockerfile.stages {
        for instruction in std::iter::once(&stage.from).chain(&stage.instructions) {
            let span = instruction.span;
            assert!(text.get(span.start..span.end).is_some(), "{span:?}");
            let keyword = instruction.keyword.span;
            assert_eq!(text[keyword.start..keyword.end].replace("\\\n", ""), instruction.keyword.node);
            if let Kind::Copy(copy) = &instruction.kind {
                for word in copy.sources.iter().chain([&copy.destination]) {
                    assert!(text.get(word.span.start..word.span.end).is_some(), "{word:?}");
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn bytes_never_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse("Dockerfile", &bytes);
        let _ = parse("Dockerfile", &[b"FROM a\n", bytes.as_slice()].concat());
    }

    #[test]
    fn lines_never_make_the_parser_panic(text in lines()) {
        for text in [text.clone(), format!("FROM a\n{text}")] {
            match parse("Dockerfile", text.as_bytes()) {
                Ok(parsed) => check_spans(&parsed.dockerfile),
                Err(error) => {
                    let place = error.place.unwrap();
                    prop_assert!(place.source.text.get(place.span.start..place.span.end).is_some());
                }
            }
        }
        let _ = parse_trigger("base image", &text);
    }

    #[test]
    fn words_never_make_the_expander_panic(text in "[${}:/#%?+\\-'\"\\\\a-c é*]{0,40}") {
        let lookup = |name: &str| (name != "c").then(|| "a*b".to_owned());
        for escape in ['\\', '`'] {
            let expander = crate::dockerfile::expand::Expander::new(escape, &lookup);
            let _ = (expander.word(&text), expander.words(&text), expander.heredoc(&text));
        }
        let _ = crate::dockerfile::mount::parse_mount(&text, &mut |value| Ok(value.to_owned()));
    }
}

#[test]
fn one_large_heredoc_cannot_be_asked_for_any_number_of_times() {
    let (count, line) = (200, "x".repeat(1 << 20));
    let text = format!("FROM a\nCOPY {}/b/\n{}{line}\nE\n", "<<E ".repeat(count), "E\n".repeat(count - 1));
    let error = parse("Dockerfile", text.as_bytes()).unwrap_err();
    assert_eq!(error.message, "the heredocs of one instruction are larger than 16777216 bytes");
}

#[test]
fn an_unknown_flag_with_quotes_is_pointed_at_as_a_whole() {
    let text = "FROM a\nCOPY --c''\u{fffd}\u{fffd}=x a b\n";
    let span = parse("Dockerfile", text.as_bytes()).unwrap_err().place.unwrap().span;
    assert_eq!(&text[span.start..span.end], "--c''\u{fffd}\u{fffd}=x");
}
