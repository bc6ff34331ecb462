//! Command lines as requests.

use super::*;
use crate::exec::request::{ContextSource, DockerfileSource, OutputKind};
use crate::plan::graph::Network;
use clap::FromArgMatches;

fn parsed(args: &[&str], environment: &Environment) -> Result<BuildRequest, String> {
    let line = ["cooper", "build"].iter().chain(args);
    let matches = crate::cli::command().try_get_matches_from(line).map_err(|error| error.to_string())?;
    let matches = matches.subcommand_matches("build").ok_or("no build")?;
    refused::check(matches).map_err(|diagnostic| diagnostic.message)?;
    let args = BuildArgs::from_arg_matches(matches).map_err(|error| error.to_string())?;
    mode(&args, environment).map_err(|diagnostic| diagnostic.message)?;
    request(args, environment).map_err(|diagnostic| diagnostic.message)
}

fn ok(args: &[&str]) -> BuildRequest {
    parsed(args, &Environment::default()).unwrap_or_else(|error| panic!("{args:?}: {error}"))
}

fn error(args: &[&str]) -> String {
    let environment = Environment::default();
    parsed(args, &environment).err().unwrap_or_else(|| panic!("{args:?} is accepted"))
}

#[test]
fn a_bare_build_has_the_defaults() {
    let request = ok(&["."]);
    assert_eq!(request.context, ContextSource::Directory(".".into()));
    assert_eq!(request.dockerfile, DockerfileSource::Default);
    assert_eq!(request.network, Network::Default);
    assert!(request.outputs.is_empty() && request.tags.is_empty() && request.jobs.is_none());
    assert!(!request.no_cache && !request.pull && !request.explain);
}

#[test]
fn a_command_line_of_buildx_is_taken_as_it_is() {
    let request = ok(&[
        "-t",
        "app:1",
        "--tag=app:2",
        "-f",
        "-",
        "--target",
        "prod",
        "--build-arg",
        "A=1",
        "--build-arg",
        "B",
        "--build-context",
        "src=../src",
        "--secret",
        "id=a,src=b",
        "--ssh",
        "default",
        "--label",
        "a=b",
        "--annotation",
        "index,manifest:k=v",
        "--platform",
        "linux/arm64",
        "--network=host",
        "--add-host",
        "h:1.2.3.4",
        "--shm-size",
        "64m",
        "--ulimit",
        "nofile=1:2",
        "--no-cache-filter",
        "a,b",
        "--no-cache-filter",
        "c",
        "--pull",
        "--push=true",
        "--load",
        "--progress=plain",
        "--iidfile",
        "id",
        "--metadata-file",
        "meta",
        "-j",
        "3",
        "--isolation",
        "root",
        "--explain",
        "--allow",
        "network.host",
        "--rm",
        "--force-rm=false",
        "--layers",
        ".",
    ]);
    assert_eq!(request.tags, ["app:1", "app:2"]);
    assert_eq!(request.dockerfile, DockerfileSource::Stdin);
    assert_eq!(request.build_args, [("A".to_owned(), Some("1".to_owned())), ("B".to_owned(), None)]);
    assert_eq!(request.annotations.len(), 2);
    assert_eq!(request.platforms, ["linux/arm64"]);
    assert_eq!(request.no_cache_filter, ["a", "b", "c"]);
    assert_eq!(request.shm_size_bytes, Some(64 << 20));
    assert_eq!(request.jobs, Some(3));
    assert_eq!(request.outputs.iter().map(|o| o.kind).collect::<Vec<_>>(), [OutputKind::Registry, OutputKind::Docker]);
    assert!(request.pull && request.explain && !request.no_cache);
}

#[test]
fn the_last_of_a_flag_counts() {
    assert_eq!(ok(&["--target=a", "--target", "b", "."]).target.as_deref(), Some("b"));
    assert!(!ok(&["--pull", "--pull=false", "."]).pull);
    assert_eq!(ok(&["-t", "a", "-t", "b", "."]).tags, ["a", "b"]);
}

#[test]
fn quiet_prints_the_digest_and_nothing_else() {
    let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let printed = |args: &[&str]| {
        let matches = crate::cli::command().get_matches_from(["cooper", "build"].iter().chain(args));
        let matches = matches.subcommand_matches("build").expect("the command is build");
        let args = BuildArgs::from_arg_matches(matches).expect("the flags are right");
        let build: fn(BuildRequest, &Reporter) -> Result<BuildResult, Diagnostic> = |request, reporter| {
            reporter.start("[1/1] COPY . /").end(crate::event::Outcome::Done);
            match request.target {
                Some(_) => Err(Diagnostic::error(Exit::Step, "no such stage")),
                None => Ok(BuildResult {
                    digest: "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".parse().ok(),
                }),
            }
        };
        let mut out = Vec::new();
        let result = run(args, build, Style::default(), &mut out);
        (result.map_err(|diagnostic| diagnostic.exit), String::from_utf8_lossy(&out).into_owned())
    };
    assert_eq!(printed(&["-q", "."]), (Ok(()), format!("{digest}\n")));
    assert_eq!(printed(&["--progress=none", "."]), (Ok(()), String::new()));
    assert_eq!(printed(&["-q", "--target=x", "."]), (Err(Exit::Step), String::new()));
}

#[test]
fn booleans_take_values() {
    assert!(ok(&["--no-cache", "."]).no_cache);
    assert!(!ok(&["--no-cache=F", "."]).no_cache);
    assert!(ok(&["--pull=1", "."]).pull);
    assert!(error(&["--pull=yes", "."]).contains("`yes` is neither `true` nor `false`"));
}

#[test]
fn source_date_epoch_of_the_environment_is_a_build_arg() {
    let environment = Environment { source_date_epoch: Some("7".into()), ..Environment::default() };
    let epochs = |args: &[&str]| {
        let request = parsed(args, &environment).unwrap_or_else(|error| panic!("{error}"));
        request.build_args.into_iter().map(|(_, value)| value).collect::<Vec<_>>()
    };
    assert_eq!(epochs(&["."]), [Some("7".to_owned())]);
    assert_eq!(epochs(&["--build-arg", "SOURCE_DATE_EPOCH=0", "."]), [Some("0".to_owned())]);
}

#[test]
fn what_does_not_go_together_is_refused() {
    for (args, message) in [
        (&["-f", "-", "-"][..], "the context and the Dockerfile cannot both come from standard input"),
        (&["--platform", "lin", "."], "invalid platform, expected `os/architecture[/variant]`: `lin`"),
        (&["--secret", "id=a", "--secret", "id=a", "."], "the secret `a` is given twice"),
        (&["-q", "--progress=tty", "."], "`--quiet` and `--progress=tty` contradict each other"),
        (&["-o", "type=tar", "-o", "type=oci,dest=-", "."], "only one `--output` can be written to standard output"),
        (&["-q", "-o", "-", "."], "`--quiet` prints the digest to standard output, where the `--output` goes"),
        (&["--file", "", "."], "invalid value for `--file`: the path is empty"),
    ] {
        assert_eq!(error(args), message);
    }
}

#[test]
fn flags_of_others_are_refused_by_name() {
    for (name, why, _) in refused::table() {
        assert_eq!(error(&[&format!("--{name}=x"), "."]), format!("cooper does not have `--{name}`: {why}"));
    }
    assert!(error(&["--provenance", "true", "."]).starts_with("cooper does not have `--provenance`"));
    ok(&["--provenance=false", "--sbom", "false", "."]);
    assert!(error(&["-D", "."]).starts_with("cooper does not have `--debug`"));
    assert!(error(&["--builder", "x", "."]).starts_with("cooper does not have `--builder`"));
}

#[test]
fn an_unknown_flag_brings_the_nearest_one() {
    let message = error(&["--no-cahce", "."]);
    assert!(message.contains("--no-cahce") && message.contains("a similar argument exists: '--no-cache'"), "{message}");
}

#[test]
fn the_mode_comes_from_flags_then_the_environment() {
    let plain = Environment { progress: Some("plain".into()), ..Environment::default() };
    let mode_of = |args: &[&str], environment: &Environment| {
        let matches = crate::cli::command().get_matches_from(["cooper", "build"].iter().chain(args));
        let matches = matches.subcommand_matches("build").expect("the command is build");
        mode(&BuildArgs::from_arg_matches(matches).expect("the flags are right"), environment)
    };
    assert_eq!(mode_of(&["."], &Environment::default()).ok(), Some(Mode::Auto));
    assert_eq!(mode_of(&["."], &plain).ok(), Some(Mode::Plain));
    assert_eq!(mode_of(&["-q", "."], &plain).ok(), Some(Mode::Quiet));
    assert_eq!(mode_of(&["--progress=rawjson", "."], &plain).ok(), Some(Mode::RawJson));
    let odd = Environment { progress: Some("fancy".into()), ..Environment::default() };
    assert!(mode_of(&["."], &odd).is_err());
}
