//! The parser against `dockerfile-parser`, over the part of the language that crate has.
//!
//! It has no here documents, no escape directive, no flags of RUN and no old forms of ENV and LABEL, so the Dockerfiles
//! here are made of what is left; within that, both must see the same instructions at the same bytes.

#![allow(clippy::unwrap_used)]

use cooper::dockerfile::ast::{Command, Instruction, Kind, Stage, Word};
use dockerfile_parser::{Instruction as Other, ShellOrExecExpr, SpannedString};
use proptest::prelude::*;

/// An instruction as both see it: where it starts, its name, its parts.
type Seen = (usize, &'static str, Vec<String>);

fn place(word: &Word) -> String {
    format!("{}@{}-{}", word.node, word.span.start, word.span.end)
}

fn other_place(word: &SpannedString) -> String {
    format!("{}@{}-{}", word.content, word.span.start, word.span.end)
}

fn command(command: &Command) -> Vec<String> {
    match command {
        Command::Shell(text) => vec![text.node.clone()],
        Command::Exec(words) => words.clone(),
    }
}

fn other_command(expression: &ShellOrExecExpr) -> Vec<String> {
    match expression {
        ShellOrExecExpr::Shell(text) => vec![text.to_string()],
        ShellOrExecExpr::Exec(words) => words.as_str_vec().into_iter().map(str::to_owned).collect(),
    }
}

fn ours(stage: &Stage, instruction: &Instruction) -> Seen {
    let (name, parts) = match &instruction.kind {
        Kind::From => {
            let words = std::iter::once(&stage.image).chain(&stage.name).chain(&stage.platform);
            ("FROM", words.map(place).collect())
        }
        Kind::Arg(names) => {
            let name = &names[0];
            ("ARG", std::iter::once(&name.name).chain(&name.default).map(place).collect())
        }
        Kind::Env(pairs) => {
            ("ENV", pairs.iter().flat_map(|pair| [place(&pair.key), pair.value.node.clone()]).collect())
        }
        Kind::Label(pairs) => ("LABEL", pairs.iter().flat_map(|pair| [&pair.key, &pair.value]).map(place).collect()),
        Kind::Run(run) => ("RUN", command(&run.command)),
        Kind::Cmd(text) => ("CMD", command(text)),
        Kind::Entrypoint(text) => ("ENTRYPOINT", command(text)),
        Kind::Copy(copy) => {
            let words = copy.sources.iter().chain([&copy.destination]).chain(&copy.from);
            ("COPY", words.map(place).collect())
        }
        other => panic!("not in the generator: {other:?}"),
    };
    (instruction.span.start, name, parts)
}

fn theirs(instruction: &Other) -> Seen {
    match instruction {
        Other::From(from) => {
            let flags = from.flags.iter().map(|flag| &flag.value);
            let words = std::iter::once(&from.image).chain(&from.alias).chain(flags);
            (from.span.start, "FROM", words.map(other_place).collect())
        }
        Other::Arg(arg) => {
            (arg.span.start, "ARG", std::iter::once(&arg.name).chain(&arg.value).map(other_place).collect())
        }
        Other::Env(env) => {
            let parts = env.vars.iter().flat_map(|pair| [other_place(&pair.key), pair.value.to_string()]);
            (env.span.start, "ENV", parts.collect())
        }
        Other::Label(label) => {
            let parts = label.labels.iter().flat_map(|pair| [&pair.name, &pair.value]);
            (label.span.start, "LABEL", parts.map(other_place).collect())
        }
        Other::Run(run) => (run.span.start, "RUN", other_command(&run.expr)),
        Other::Cmd(cmd) => (cmd.span.start, "CMD", other_command(&cmd.expr)),
        Other::Entrypoint(entrypoint) => (entrypoint.span.start, "ENTRYPOINT", other_command(&entrypoint.expr)),
        Other::Copy(copy) => {
            let flags = copy.flags.iter().map(|flag| &flag.value);
            let words = copy.sources.iter().chain([&copy.destination]).chain(flags);
            (copy.span.start, "COPY", words.map(other_place).collect())
        }
        Other::Misc(misc) => panic!("not in the generator: {misc:?}"),
    }
}

/// One instruction, perhaps with a comment or an empty line above.
fn line() -> impl Strategy<Value = String> {
    let word = || "[a-z][a-z0-9./]{0,6}[a-z0-9]";
    let name = || "[A-Za-z][A-Za-z0-9_]{0,6}";
    let instruction = prop_oneof![
        (word(), word()).prop_map(|(image, platform)| format!("FROM --platform={platform} {image}")),
        (word(), "[a-z][a-z0-9]{1,5}").prop_map(|(image, name)| format!("FROM {image} AS {name}")),
        (name(), word()).prop_map(|(name, value)| format!("ARG {name}={value}")),
        name().prop_map(|name| format!("ARG {name}")),
        (name(), word(), name(), word()).prop_map(|(a, b, c, d)| format!("ENV {a}={b}  {c}={d}")),
        (name(), word()).prop_map(|(name, value)| format!("LABEL {name}={value}")),
        (word(), word(), word()).prop_map(|(a, b, c)| format!("RUN {a} && {b} | {c}")),
        (word(), word(), word()).prop_map(|(a, b, c)| format!("RUN {a} && \\\n    {b} \\\n  | {c}")),
        (word(), word()).prop_map(|(a, b)| format!("CMD [\"{a}\", \"{b}\"]")),
        word().prop_map(|a| format!("ENTRYPOINT {a}")),
        (word(), word(), word()).prop_map(|(a, b, c)| format!("COPY --from={a} {b} \\\n  {c} /d/")),
    ];
    (prop::sample::select(vec!["", "# comment\n", "\n"]), instruction)
        .prop_map(|(above, line)| format!("{above}{line}\n"))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_parsers_see_the_same(lines in prop::collection::vec(line(), 0..8)) {
        let text = format!("FROM scratch\n{}", lines.concat());
        let dockerfile = cooper::dockerfile::parse("Dockerfile", text.as_bytes()).unwrap().dockerfile;
        let ours: Vec<Seen> = dockerfile
            .stages
            .iter()
            .flat_map(|stage| std::iter::once(&stage.from).chain(&stage.instructions).map(move |one| ours(stage, one)))
            .collect();
        let other = dockerfile_parser::Dockerfile::parse(&text).unwrap();
        prop_assert_eq!(ours, other.instructions.iter().map(theirs).collect::<Vec<_>>(), "{}", text);
    }
}
