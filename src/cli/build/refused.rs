//! Flags of `docker buildx build` and `buildah build` that cooper does not have: refused by name, never ignored.

use super::value::parse_bool;
use crate::diag::{Diagnostic, Exit};
use clap::{Arg, ArgAction, ArgMatches, Command, parser::ValueSource};

/// A flag that is refused: its long name, why, and what to do instead.
struct Refused {
    name: &'static str,
    short: Option<char>,
    is_switch: bool,
    why: &'static str,
    instead: Option<&'static str>,
}

/// A flag with a value.
const fn valued(name: &'static str, why: &'static str, instead: Option<&'static str>) -> Refused {
    Refused { name, short: None, is_switch: false, why, instead }
}

/// A flag that stands alone, or has a boolean behind `=`.
const fn switch(name: &'static str, why: &'static str, instead: Option<&'static str>) -> Refused {
    Refused { name, short: None, is_switch: true, why, instead }
}

const NO_DAEMON: &str = "cooper has no daemon and no builder instances: the build runs in this process";
const NOT_YET: &str = "it is not there yet";
const NO_REAL_TIME: &str = "control groups of version 2 have no real-time CPU time";
const PROBED: &str = "the way of isolating RUN is found by asking the machine";
const FROM_FILES: &str = "registries are described in files, as podman and skopeo have them";

const REFUSED: &[Refused] = &[
    valued("builder", NO_DAEMON, Some("leave the flag out")),
    valued("cache-from", NOT_YET, Some("leave the flag out: the store of this machine is the cache")),
    valued("cache-to", NOT_YET, Some("leave the flag out: the store of this machine is the cache")),
    valued("attest", "cooper makes no attestations yet", None),
    valued("provenance", "cooper makes no attestations yet", Some("leave the flag out: none is made")),
    valued("sbom", "cooper makes no attestations yet", Some("scan the image of `-o type=oci` with a scanner")),
    valued("policy", "cooper has no policy language", None),
    valued("source-policy-file", "cooper has no policy language", None),
    Refused {
        name: "debug",
        short: Some('D'),
        is_switch: true,
        why: "cooper has no debug log; the store keeps the output of every RUN",
        instead: Some("use `--explain` to learn why a step missed the cache"),
    },
    switch("squash", NOT_YET, Some("copy the result into a stage `FROM scratch`")),
    switch("compress", "nothing is sent to a daemon that could be compressed", Some("leave the flag out")),
    valued("security-opt", "every RUN has Docker's default profile", Some("leave the flag out")),
    valued("resource", "each limit has a flag of its own", Some("use `--memory`, `--cpus` and their like")),
    valued("cpu-rt-period", NO_REAL_TIME, None),
    valued("cpu-rt-runtime", NO_REAL_TIME, None),
    valued("runtime", "cooper runs RUN by itself, without an OCI runtime", Some("leave the flag out")),
    valued("userns", PROBED, Some("use `--isolation`")),
    valued("authfile", FROM_FILES, Some("set REGISTRY_AUTH_FILE")),
    valued("creds", FROM_FILES, Some("log in with `docker login` or `podman login`")),
    valued("cert-dir", FROM_FILES, Some("put the certificates below /etc/containers/certs.d")),
    switch("tls-verify", FROM_FILES, Some("mark the registry `insecure = true` in registries.conf")),
    valued("manifest", "several platforms make an index by themselves", Some("use `--platform A,B`")),
    switch("all-platforms", "platforms are named", Some("use `--platform`")),
    valued("arch", "platforms have one flag", Some("use `--platform linux/ARCH`")),
    valued("os", "platforms have one flag", Some("use `--platform`")),
    valued("variant", "platforms have one flag", Some("use `--platform`")),
    valued("format", "the format belongs to an output", Some("use `-o type=...,oci-mediatypes=false` for Docker's")),
    valued("ignorefile", NOT_YET, Some("name it like the Dockerfile: `Dockerfile.dockerignore`")),
    valued("volume", "no path of this machine enters a RUN by a flag", Some("use `--build-context` and a bind mount")),
    valued("timestamp", "there is one way to say it", Some("set SOURCE_DATE_EPOCH")),
    valued("source-date-epoch", "there is one way to say it", Some("set SOURCE_DATE_EPOCH")),
];

/// Adds the refused flags to the command, hidden from its help.
pub fn add(command: Command) -> Command {
    command.args(REFUSED.iter().map(|refused| {
        let arg = Arg::new(refused.name).long(refused.name).hide(true).action(ArgAction::Append);
        let arg = match refused.is_switch {
            true => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
            false => arg.num_args(1),
        };
        match refused.short {
            Some(short) => arg.short(short),
            None => arg,
        }
    }))
}

/// Returns the reason if one of them was given; `false` (`--provenance=false`) asks for what is the case anyway.
pub fn check(matches: &ArgMatches) -> Result<(), Diagnostic> {
    let given = |refused: &&Refused| {
        let mut values = matches.get_many::<String>(refused.name).into_iter().flatten();
        let can_be_false = refused.is_switch || matches!(refused.name, "provenance" | "sbom");
        matches.value_source(refused.name) == Some(ValueSource::CommandLine)
            && !(can_be_false && values.all(|value| parse_bool(value) == Ok(false)))
    };
    match REFUSED.iter().find(given) {
        None => Ok(()),
        Some(refused) => {
            let message = format!("cooper does not have `--{}`: {}", refused.name, refused.why);
            let diagnostic = Diagnostic::error(Exit::Usage, message);
            Err(refused.instead.into_iter().fold(diagnostic, Diagnostic::hint))
        }
    }
}

/// Returns name, reason and alternative of every refused flag, for the reference of commands.
pub fn table() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    REFUSED.iter().map(|refused| (refused.name, refused.why, refused.instead.unwrap_or_default()))
}
