//! Holds `docs/commands.md` to the command line; `UPDATE_DOCS=1 cargo test --test commands` writes it anew.

use std::fmt::Write;
use std::path::Path;

/// Returns the reference as Markdown.
fn reference() -> String {
    let mut text = String::from(
        "# Commands\n\nThis page is made from the command line itself; a test compares the two.\n\n\
         Exit codes: 0 success, 1 a step of the build failed, 2 the command line, the Dockerfile or the context is\n\
         wrong, 3 this machine does not allow the isolation that is needed, 4 a registry or another server failed,\n\
         5 a bug in cooper, 130 interrupted.\n\n\
         Called by the name `build` (a link), the binary is `cooper build`.\n",
    );
    let mut root = cooper::cli::documented_command();
    root.build();
    let mut commands: Vec<_> = root.get_subcommands().filter(|command| command.get_name() != "help").collect();
    commands.sort_by_key(|command| command.get_name());
    for command in commands {
        add_command(&mut text, "cooper", command);
    }
    text.push_str(OUTPUT);
    text.push_str(&environment());
    text.push_str(&refused());
    text
}

fn add_command(text: &mut String, parent: &str, command: &clap::Command) {
    let name = format!("{parent} {}", command.get_name());
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let _ = writeln!(text, "\n## {name}\n\n{about}.\n");
    for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
        add_command(text, &name, command);
    }
    let mut args: Vec<_> = command.get_arguments().filter(|arg| !arg.is_hide_set() && arg.get_id() != "help").collect();
    args.sort_by_key(|arg| arg.get_long());
    for arg in args {
        let help = arg.get_long_help().or_else(|| arg.get_help()).map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(text, "- `{}`: {}.{}", usage(arg), help.trim_end_matches('.'), values(arg));
    }
}

/// Returns `-t, --tag <NAME>`, or `<CONTEXT>` for an argument without a flag.
fn usage(arg: &clap::Arg) -> String {
    let value = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string).unwrap_or_default();
    let short = arg.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
    match arg.get_long() {
        None => format!("<{value}>"),
        Some(long) if !arg.get_action().takes_values() => format!("{short}--{long}"),
        Some(long) if arg.is_require_equals_set() => format!("{short}--{long}[=<{value}>]"),
        Some(long) => format!("{short}--{long} <{value}>"),
    }
}

fn values(arg: &clap::Arg) -> String {
    let values = arg.get_possible_values();
    if values.is_empty() || arg.is_hide_possible_values_set() || !arg.get_action().takes_values() {
        return String::new();
    }
    let names: Vec<String> = values.iter().map(|value| format!("`{}`", value.get_name())).collect();
    format!(" One of {}.", names.join(", "))
}

const OUTPUT: &str = "
## Attributes of --output

The value is a record of CSV: fields with a comma are quoted as a whole, `-o 'type=image,\"name=a:1,b:1\",push=true'`.

| attribute | types | meaning |
|---|---|---|
| `type` | | `oci` and `docker` are archives, `tar` and `local` the file tree, `image` an image in the store, `registry` one that is pushed, `cacheonly` nothing |
| `dest` | oci, docker, tar, local | path; `-` or none is standard output, for `docker` without `dest` the Docker daemon |
| `tar` | oci, docker | `false` for a directory |
| `name` | oci, docker, image, registry | names besides `--tag`, separated by commas |
| `push` | image | `true` is `type=registry` |
| `compression` | oci, docker, image, registry | `gzip` (default), `zstd`, `uncompressed` |
| `compression-level` | | 1 to 12 for gzip, 1 to 22 for zstd |
| `force-compression` | | layers of the base too |
| `oci-mediatypes` | | `false` for Docker's media types |
| `rewrite-timestamp` | | times of files are not later than `SOURCE_DATE_EPOCH` |
| `annotation.KEY`, `annotation-LEVEL.KEY`, `annotation[PLATFORM].KEY` | oci, image, registry | as `--annotation` |

An attribute that is not in this list is refused.
";

fn environment() -> String {
    "\n## Environment\n\n\
     - `BUILDKIT_PROGRESS`: how progress is shown where `--progress` is not given.\n\
     - `NO_COLOR`: no colours.\n\
     - `SOURCE_DATE_EPOCH`: is handed to the build as a build argument, as buildx does.\n\
     - `BUILDX_NO_DEFAULT_ATTESTATIONS`: no effect, for no attestations are made.\n\
     - `GITHUB_ACTIONS`, `TF_BUILD`: what the CI system would take for a command in the log is broken up.\n"
        .to_owned()
}

fn refused() -> String {
    let mut text = String::from(
        "\n## Flags of others that are refused\n\n\
         Flags of `docker buildx build` and `buildah build` that cooper does not have end the program with exit code 2\n\
         rather than being ignored. A switch with the value `false`, `--provenance=false` and `--sbom=false` ask for\n\
         nothing and are accepted.\n\n| flag | why | what to do |\n|---|---|---|\n",
    );
    for (name, why, instead) in cooper::cli::build::refused::table() {
        let _ = writeln!(text, "| `--{name}` | {why} | {instead} |");
    }
    text
}

#[test]
fn the_reference_is_that_of_the_command_line() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/commands.md");
    let expected = reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &expected).expect("the page can be written");
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(page == expected, "docs/commands.md is not up to date: run `UPDATE_DOCS=1 cargo test --test commands`");
}
