//! `cooper doctor`: what this machine allows, which way of isolating RUN is taken, and what would lift it.

use super::diagnostic::clean;
use super::stored;
use super::table::{Format, list, table};
use crate::diag::{Diagnostic, Exit};
use crate::exec::store_failure;
use crate::registry::{CredentialStore, Registries};
use crate::sandbox::{Probe, Rung, enter, probe};
use crate::snapshot::overlay_works;
use crate::store::Store;
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Says how RUN is isolated on this machine, and what would make it better
#[derive(Debug, clap::Args)]
pub struct DoctorArgs {
    /// How the findings are printed: `table` or `json`
    #[arg(long, value_name = "FORMAT", default_value = "table", hide_default_value = true)]
    pub format: Format,
}

/// One way of isolating RUN and whether it works here.
#[derive(Debug, Clone, Serialize)]
pub struct RungReport {
    /// Its number; lower is better.
    pub rung: u8,
    /// Name as `--isolation` takes it.
    pub name: String,
    /// Whether it works here.
    pub works: bool,
    /// Why not, or what it needs.
    pub reason: String,
    /// What would make it work, an action.
    pub mend: Option<String>,
}

/// What `doctor` found.
#[derive(Debug, Clone, Serialize)]
pub struct DoctorReport {
    /// The rung that is taken, if any works.
    pub chosen: Option<u8>,
    /// All rungs, best first.
    pub rungs: Vec<RungReport>,
    /// Facts about machine and store: name and value, e.g. `store` and its path, `overlay` and why not.
    pub facts: Vec<(String, String)>,
}

/// Programs that are not needed, and what each is for where it is there.
const PROGRAMS: [&str; 5] = ["newuidmap", "newgidmap", "pasta", "slirp4netns", "git"];

/// Runs the command.  Must be called before any thread is started.
pub fn run(args: &DoctorArgs, out: &mut dyn Write) -> Result<(), Diagnostic> {
    let probe = probe();
    // Who the user is decides where the store is; in a user namespace everyone looks like root.
    let root = Store::default_root(rustix::process::geteuid().is_root()).map_err(store_failure)?;
    let (chosen, _) = probe.choose(None).map_err(|error| Diagnostic::from_error(Exit::Isolation, &error))?;
    let rungs = Rung::ALL.into_iter().zip(1..).map(|(rung, number)| rung_report(&probe, rung, number)).collect();
    let mut facts = vec![("store".to_owned(), root.display().to_string())];
    let entered = enter(&probe, chosen);
    let can_run = match &entered {
        Ok(entered) => entered.can_run.clone().map_err(|wall| (wall.what, wall.mend)),
        Err(error) => Err((error.to_string(), error.hint().unwrap_or_default().to_owned())),
    };
    facts.push(("overlay".to_owned(), overlay(&root, probe.overlay_form(chosen))));
    facts.extend(PROGRAMS.map(|name| (name.to_owned(), program(name))));
    facts.push(("registries".to_owned(), paths(&Registries::files())));
    let credentials = CredentialStore::from_environment();
    let files: Vec<PathBuf> = credentials.files().into_iter().map(Path::to_owned).collect();
    facts.push(("credentials".to_owned(), paths(&files)));
    let chosen = Rung::ALL.iter().zip(1..).find(|(rung, _)| **rung == chosen).map(|(_, number)| number);
    stored::print(out, &format(args, &DoctorReport { chosen, rungs, facts })?)?;
    can_run.map_err(|(what, mend)| {
        let diagnostic = Diagnostic::error(Exit::Isolation, format!("RUN does not work here: {what}"));
        if mend.is_empty() { diagnostic } else { diagnostic.hint(mend) }
    })
}

fn rung_report(probe: &Probe, rung: Rung, number: u8) -> RungReport {
    let (works, reason, mend) = match probe.allows(rung) {
        Ok(()) => (true, description(rung).to_owned(), None),
        Err(wall) => (false, wall.what, Some(wall.mend).filter(|mend| !mend.is_empty())),
    };
    RungReport { rung: number, name: rung.name().to_owned(), works, reason, mend }
}

fn description(rung: Rung) -> &'static str {
    match rung {
        Rung::Root => "namespaces and mounts of root",
        Rung::Rootless => "a user namespace with subordinate ids",
        Rung::SingleId => "a user namespace with one id",
        Rung::Chroot => "chroot; files, processes and network are those of this container",
        Rung::None => "everything but RUN",
    }
}

fn overlay(root: &Path, form: crate::sys::overlay::OverlayForm) -> String {
    let works = Store::open(root).map_err(|error| error.to_string()).and_then(|store| {
        let scratch = store.temporary().map_err(|error| error.to_string())?;
        overlay_works(scratch.path(), form).map_err(|error| error.to_string())
    });
    works.map_or_else(|reason| format!("no: {reason}"), |()| "works on the store".to_owned())
}

fn program(name: &str) -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|directory| directory.join(name)).find(|path| path.is_file());
    found.map_or_else(|| "not found".to_owned(), |path| path.display().to_string())
}

fn paths(paths: &[PathBuf]) -> String {
    match paths {
        [] => "none".to_owned(),
        paths => paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "),
    }
}

/// Returns the findings as asked for.
pub fn format(args: &DoctorArgs, report: &DoctorReport) -> Result<String, Diagnostic> {
    if args.format != Format::Table {
        return list(&args.format, std::slice::from_ref(report), String::new);
    }
    let rows: Vec<[String; 4]> = report
        .rungs
        .iter()
        .map(|rung| {
            let mark = if report.chosen == Some(rung.rung) { "*" } else { "" };
            let works = if rung.works { "yes" } else { "no" };
            [format!("{}{mark}", rung.rung), rung.name.clone(), works.to_owned(), rung.reason.clone()]
        })
        .collect();
    let mut text = table(["RUNG", "NAME", "WORKS", "REASON"], &rows);
    if !report.facts.is_empty() {
        text.push('\n');
    }
    for (name, value) in &report.facts {
        text.push_str(&format!("{}: {}\n", clean(name), clean(value)));
    }
    // Only what is better than the choice is worth a change of the machine.
    let better =
        report.rungs.iter().filter(|rung| !rung.works && report.chosen.is_none_or(|chosen| rung.rung < chosen));
    let mends: String = better
        .filter_map(|rung| Some(format!("hint: for rung {}: {}\n", rung.rung, clean(rung.mend.as_deref()?))))
        .collect();
    if !mends.is_empty() {
        text.push('\n');
    }
    Ok(text + &mends)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_and_what_would_lift_it_are_told() {
        let rung = |rung, name: &str, works, mend: Option<&str>| RungReport {
            rung,
            name: name.into(),
            works,
            reason: "a reason".into(),
            mend: mend.map(str::to_owned),
        };
        let report = DoctorReport {
            chosen: Some(2),
            rungs: vec![
                rung(1, "root", false, Some("run as root")),
                rung(2, "subids", true, None),
                rung(4, "chroot", false, Some("run as root in a container")),
            ],
            facts: vec![("store".into(), "/var/lib/cooper".into())],
        };
        assert_eq!(
            format(&DoctorArgs { format: Format::Table }, &report).unwrap(),
            "\
RUNG   NAME     WORKS   REASON
1      root     no      a reason
2*     subids   yes     a reason
4      chroot   no      a reason

store: /var/lib/cooper

hint: for rung 1: run as root
"
        );
        let json = format(&DoctorArgs { format: Format::Json }, &report).unwrap();
        assert!(json.starts_with(r#"{"chosen":2,"rungs":[{"rung":1,"name":"root","works":false"#));
    }
}
