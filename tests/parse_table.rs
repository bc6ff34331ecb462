//! The parser against a table of Dockerfiles recorded from BuildKit.

#![allow(clippy::unwrap_used)]

use cooper::dockerfile::ast::{Command, Copy, Dockerfile, Heredoc, Instruction, Kind, Run, Stage, Word};
use serde_json::{Value, json};

/// Rows where cooper differs on purpose.
const DIFFERENCES: [(&str, &str); 1] =
    [("core-no-from", "BuildKit's parser passes a file without FROM and the planner refuses it; here the parser does")];

fn words(words: &[Word]) -> Vec<String> {
    words.iter().map(|word| word.node.clone()).collect()
}

fn command(command: &Command) -> Vec<String> {
    match command {
        Command::Exec(words) => words.clone(),
        Command::Shell(text) if text.node.is_empty() => Vec::new(),
        Command::Shell(text) => vec![text.node.clone()],
    }
}

/// The words of the line behind keyword and flags, for instructions whose AST reorders them.
fn line_words(instruction: &Instruction) -> Vec<String> {
    instruction.text.split_whitespace().skip(1).filter(|word| !word.starts_with("--")).map(str::to_owned).collect()
}

/// What BuildKit calls the arguments.
fn args(dockerfile: &Dockerfile, instruction: &Instruction, stage: Option<&Stage>) -> Vec<String> {
    match &instruction.kind {
        Kind::From => {
            let stage = stage.unwrap();
            let mut args = vec![stage.image.node.clone()];
            if let Some(name) = &stage.name {
                let between = &dockerfile.source.text[stage.image.span.end..name.span.start];
                args.push(between.trim().to_owned());
                args.push(name.node.clone());
            }
            args
        }
        Kind::Arg(definitions) => definitions
            .iter()
            .map(|definition| match &definition.default {
                Some(default) => format!("{}={}", definition.name.node, default.node),
                None => definition.name.node.clone(),
            })
            .collect(),
        Kind::Env(pairs) | Kind::Label(pairs) => pairs
            .iter()
            .flat_map(|pair| {
                let delimiter = if pair.is_legacy { "" } else { "=" };
                [pair.key.node.clone(), pair.value.node.clone(), delimiter.to_owned()]
            })
            .collect(),
        Kind::Run(Run { command: text, .. }) | Kind::Cmd(text) | Kind::Entrypoint(text) => command(text),
        Kind::Shell(words) => words.clone(),
        Kind::Copy(copy) | Kind::Add(copy) => copy_args(instruction, copy),
        Kind::Workdir(word) | Kind::User(word) | Kind::StopSignal(word) => vec![word.node.clone()],
        Kind::Volume(list) | Kind::Expose(list) => words(list),
        Kind::Maintainer(text) => vec![text.clone()],
        Kind::Healthcheck(check) => match &check.command {
            None => vec!["NONE".to_owned()],
            Some(text) => std::iter::once("CMD".to_owned()).chain(command(text)).collect(),
        },
        // The table has no arguments of a trigger.
        Kind::Onbuild { .. } => vec![String::new()],
    }
}

fn copy_args(instruction: &Instruction, copy: &Copy) -> Vec<String> {
    let typed: Vec<String> = copy.sources.iter().chain([&copy.destination]).map(|word| word.node.clone()).collect();
    if copy.heredocs.is_empty() {
        return typed;
    }
    let line = line_words(instruction);
    let paths: Vec<&String> = line.iter().filter(|word| !word.contains("<<")).collect();
    assert_eq!(paths, typed.iter().collect::<Vec<_>>());
    line
}

/// The flags in an order of our own.
fn flags(instruction: &Instruction, stage: Option<&Stage>) -> Vec<String> {
    let mut flags = Vec::new();
    let mut add =
        |name: &str, value: Option<&Word>| flags.extend(value.map(|value| format!("--{name}={}", value.node)));
    match &instruction.kind {
        Kind::From => add("platform", stage.unwrap().platform.as_ref()),
        Kind::Copy(copy) | Kind::Add(copy) => {
            add("from", copy.from.as_ref());
            add("chown", copy.chown.as_ref());
            add("chmod", copy.chmod.as_ref());
            add("checksum", copy.checksum.as_ref());
            copy.exclude.iter().for_each(|value| add("exclude", Some(value)));
            flags.extend(copy.link.then(|| "--link".to_owned()));
            flags.extend(copy.parents.then(|| "--parents".to_owned()));
            flags.extend(copy.keep_git_dir.map(|value| format!("--keep-git-dir={value}")));
            flags.extend(copy.unpack.map(|value| format!("--unpack={value}")));
        }
        Kind::Run(run) => {
            run.mounts.iter().for_each(|value| add("mount", Some(value)));
            run.devices.iter().for_each(|value| add("device", Some(value)));
            add("network", run.network.as_ref());
            add("security", run.security.as_ref());
        }
        Kind::Healthcheck(check) => {
            let names = ["interval", "timeout", "start-period", "start-interval"];
            let times = [check.interval_ns, check.timeout_ns, check.start_period_ns, check.start_interval_ns];
            let given = names.iter().zip(times).filter(|(_, time)| *time != 0);
            flags.extend(given.map(|(name, time)| format!("--{name}={}ns", time)));
            flags.extend((check.retries != 0).then(|| format!("--retries={}", check.retries)));
        }
        _ => {}
    }
    flags.sort();
    flags
}

/// The recorded flags in our order and spelling.
fn recorded_flags(row: &Value) -> Vec<String> {
    let mut flags: Vec<String> = strings(&row["flags"])
        .into_iter()
        .filter(|flag| flag != "--link=false" && flag != "--parents=false")
        .map(|flag| match flag.as_str() {
            "--link=true" => "--link".to_owned(),
            "--parents=true" => "--parents".to_owned(),
            "--keep-git-dir" => "--keep-git-dir=true".to_owned(),
            "--unpack" => "--unpack=true".to_owned(),
            _ => nanoseconds(&flag).unwrap_or(flag),
        })
        .collect();
    flags.sort();
    flags
}

fn nanoseconds(flag: &str) -> Option<String> {
    let (name, value) = flag.split_once('=')?;
    let is_time = ["--interval", "--timeout", "--start-period", "--start-interval"].contains(&name);
    let units = [("ms", 1_000_000_i64), ("s", 1_000_000_000), ("m", 60_000_000_000), ("h", 3_600_000_000_000)];
    let (number, unit) = units.iter().find_map(|(unit, ns)| Some((value.strip_suffix(unit)?, ns)))?;
    is_time.then(|| format!("{name}={}ns", number.parse::<i64>().unwrap() * unit))
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().map_or(Vec::new(), |list| list.iter().map(|item| item.as_str().unwrap().to_owned()).collect())
}

fn heredocs(instruction: &Instruction) -> &[Heredoc] {
    match &instruction.kind {
        Kind::Run(run) => &run.heredocs,
        Kind::Copy(copy) | Kind::Add(copy) => &copy.heredocs,
        Kind::Onbuild { instruction: Ok(instruction), .. } => heredocs(instruction),
        _ => &[],
    }
}

/// Instructions in the order of the file, with the stage for a `FROM`.
fn all(dockerfile: &Dockerfile) -> Vec<(&Instruction, Option<&Stage>)> {
    let stages = dockerfile.stages.iter();
    let staged = stages.flat_map(|stage| {
        std::iter::once((&stage.from, Some(stage)))
            .chain(stage.instructions.iter().map(|instruction| (instruction, None)))
    });
    dockerfile.global_args.iter().map(|instruction| (instruction, None)).chain(staged).collect()
}

fn described(dockerfile: &Dockerfile, instruction: &Instruction, stage: Option<&Stage>) -> Value {
    let line = |offset| dockerfile.source.line_column(offset).0;
    let bodies: Vec<&str> = heredocs(instruction).iter().map(|heredoc| heredoc.body.as_str()).collect();
    json!({
        "line": line(instruction.span.start),
        "end": line(instruction.span.end),
        "name": instruction.keyword.node.to_uppercase(),
        "flags": flags(instruction, stage),
        "args": args(dockerfile, instruction, stage),
        "heredocs": bodies,
    })
}

fn recorded(row: &Value) -> Value {
    let strips_tabs = strings(&row["args"]).iter().any(|word| word.contains("<<-"));
    let mut bodies = strings(&row["heredocs"]);
    if strips_tabs {
        bodies
            .iter_mut()
            .for_each(|body| *body = body.lines().map(|line| format!("{}\n", line.trim_start_matches('\t'))).collect());
    }
    json!({
        "line": row["line"],
        "end": row["end"],
        "name": row["name"],
        "flags": recorded_flags(row),
        "args": strings(&row["args"]),
        "heredocs": bodies,
    })
}

/// Compares a row; returns what differs.
fn difference(row: &Value) -> Option<String> {
    let parsed = cooper::dockerfile::parse("Dockerfile", row["text"].as_str().unwrap().as_bytes());
    let parsed = match (parsed, row["error"].as_str()) {
        (Err(_), Some(_)) => return None,
        (Err(error), None) => return Some(format!("refused: {error}")),
        (Ok(_), Some(error)) => return Some(format!("accepted, but BuildKit says: {error}")),
        (Ok(parsed), None) => parsed,
    };
    let dockerfile = &parsed.dockerfile;
    if json!(dockerfile.stages.len()) != row["stages"] {
        return Some(format!("stages: {}", dockerfile.stages.len()));
    }
    let ours: Vec<Value> = all(dockerfile).into_iter().map(|(one, stage)| described(dockerfile, one, stage)).collect();
    let theirs: Vec<Value> = row["instructions"].as_array().unwrap().iter().map(recorded).collect();
    if ours.len() != theirs.len() {
        return Some(format!("{} instructions", ours.len()));
    }
    ours.iter().zip(&theirs).find(|(a, b)| a != b).map(|(ours, theirs)| format!("\n  ours   {ours}\n  theirs {theirs}"))
}

#[test]
fn parsing_agrees_with_buildkit() {
    let table: Value = serde_json::from_str(include_str!("data/parse.json")).unwrap();
    let rows = table["rows"].as_array().unwrap();
    let found: Vec<String> = rows
        .iter()
        .filter(|row| DIFFERENCES.iter().all(|(file, _)| row["file"] != *file))
        .filter_map(|row| Some(format!("{}: {}", row["file"], difference(row)?)))
        .collect();
    assert_eq!(rows.len(), 263);
    assert!(found.is_empty(), "{} rows differ:\n{}", found.len(), found.join("\n"));
}

#[test]
fn findings_agree_with_buildkit() {
    const RECORDED: [&str; 3] = ["FromAsCasing", "MaintainerDeprecated", "StageNameCasing"];
    let table: Value = serde_json::from_str(include_str!("data/parse.json")).unwrap();
    let mut count = 0;
    for row in table["rows"].as_array().unwrap() {
        // The table was recorded with every rule on.
        let text = row["text"].as_str().unwrap().replace("# check=", "# other=");
        let Ok(parsed) = cooper::dockerfile::parse("Dockerfile", text.as_bytes()) else { continue };
        let mut ours: Vec<String> = parsed
            .warnings
            .iter()
            .filter(|finding| RECORDED.contains(&finding.rule.unwrap()))
            .map(|finding| {
                let place = finding.place.as_ref().unwrap();
                format!("{} {}", place.source.line_column(place.span.start).0, finding.rule.unwrap())
            })
            .collect();
        let mut theirs = strings(&row["warnings"]);
        ours.sort();
        theirs.sort();
        assert_eq!(ours, theirs, "{}", row["file"]);
        count += theirs.len();
    }
    assert!(count > 10, "only {count} findings were compared");
}
