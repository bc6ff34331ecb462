//! `cooper doctor`: what this machine allows, which way of isolating RUN is taken, and what would lift it.

use super::diagnostic::clean;
use super::stored;
use super::table::{Format, list, table};
use crate::diag::{Diagnostic, Exit};
use crate::exec::store_failure;
use crate::registry::{CredentialStore, Registries};
use crate::sandbox::{Finding, Probe, Rung, Wall, enter, find_program, in_rung, probe, reason, survey};
use crate::snapshot::overlay_works;
use crate::store::Store;
use serde::{Serialize, Serializer};
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

/// One part that rungs are made of.
#[derive(Debug, Clone, Serialize)]
pub struct PartReport {
    /// What it is.
    pub name: String,
    /// Whether it is allowed here.
    pub allowed: bool,
    /// How it is had, or why not.
    pub reason: String,
    /// What would lift the wall, an action.
    pub mend: Option<String>,
}

/// What `doctor` found.
#[derive(Debug, Clone, Serialize)]
pub struct DoctorReport {
    /// The rung that is taken.
    pub chosen: Option<u8>,
    /// All rungs, best first.
    pub rungs: Vec<RungReport>,
    /// What is allowed, part by part.
    pub parts: Vec<PartReport>,
    /// Facts about machine and store, e.g. `store` and its path.
    #[serde(serialize_with = "as_object")]
    pub facts: Vec<(&'static str, String)>,
}

fn as_object<S: Serializer>(facts: &[(&'static str, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(facts.iter().map(|(name, value)| (name, value)))
}

/// Runs the command.  Must be called before any thread is started.
pub fn run(args: &DoctorArgs, out: &mut dyn Write) -> Result<(), Diagnostic> {
    let probe = probe();
    // Who the user is decides where the store is; in a user namespace everyone looks like root.
    let root = Store::default_root(rustix::process::geteuid().is_root()).map_err(store_failure)?;
    let (chosen, _) = probe.choose(None).map_err(|error| Diagnostic::from_error(Exit::Isolation, &error))?;
    let rungs = Rung::ALL.into_iter().zip(1..).map(|(rung, number)| rung_report(&probe, rung, number)).collect();
    let mut findings = survey(&probe);
    let overlays = [(Rung::Root, "overlay as root"), (Rung::SingleId, "overlay in a user namespace")];
    findings.extend(overlays.map(|(rung, name)| Finding { name, verdict: overlay(&probe, rung, &root) }));
    findings.push(Finding { name: "device nodes", verdict: device_nodes(&root) });
    let number = Rung::ALL.iter().zip(1..).find(|(rung, _)| **rung == chosen).map(|(_, number)| number);
    let parts = findings.into_iter().map(part_report).collect();
    stored::print(out, &format(args, &DoctorReport { chosen: number, rungs, parts, facts: facts(&root) })?)?;
    let entered = enter(&probe, chosen);
    let can_run = match &entered {
        Ok(entered) => entered.can_run.clone().map_err(|wall| (wall.what, wall.mend)),
        Err(error) => Err((error.to_string(), error.hint().unwrap_or_default().to_owned())),
    };
    can_run.map_err(|(what, mend)| {
        let diagnostic = Diagnostic::error(Exit::Isolation, format!("RUN does not work here: {what}"));
        if mend.is_empty() { diagnostic } else { diagnostic.hint(mend) }
    })
}

fn facts(root: &Path) -> Vec<(&'static str, String)> {
    let credentials = CredentialStore::from_environment();
    let files: Vec<PathBuf> = credentials.files().into_iter().map(Path::to_owned).collect();
    let kernel = rustix::system::uname();
    vec![
        ("store", root.display().to_string()),
        ("kernel", kernel.release().to_string_lossy().into_owned()),
        ("git", find_program("git").map_or_else(|| "not found".to_owned(), |path| path.display().to_string())),
        ("registries", paths(&Registries::files())),
        ("credentials", paths(&files)),
    ]
}

/// Mounts an overlay on the store as a build on this rung would, in a child that leaves nothing behind.
fn overlay(probe: &Probe, rung: Rung, root: &Path) -> Result<String, Wall> {
    let needed = if rung == Rung::Root { "it wants mounts as root" } else { "it wants user namespaces" };
    probe.allows(rung).map_err(|_| Wall { what: needed.to_owned(), mend: String::new() })?;
    let form = probe.overlay_form(rung);
    let tried = in_rung(probe, rung, || {
        let store = Store::open(root).map_err(|error| error.to_string())?;
        let scratch = store.temporary().map_err(|error| error.to_string())?;
        overlay_works(scratch.path(), form).map_err(|error| error.to_string())
    });
    let mend =
        "name a directory on a plain disk by `COOPER_ROOT` (in Kubernetes an `emptyDir`); until then roots are copied";
    tried.map(|()| "works on the store".to_owned()).map_err(|what| Wall { what, mend: mend.to_owned() })
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
        Rung::Trace => "tracing, with paths answered by the builder",
        Rung::None => "everything but RUN",
    }
}

/// Makes a device node in the store, where it is removed again.
fn device_nodes(root: &Path) -> Result<String, Wall> {
    let tried = Store::open(root).and_then(|store| store.temporary()).map_err(|error| error.to_string());
    let tried = tried.and_then(|scratch| {
        let (null, mode) = (rustix::fs::makedev(1, 3), rustix::fs::Mode::from_raw_mode(0o600));
        let kind = rustix::fs::FileType::CharacterDevice;
        rustix::fs::mknodat(rustix::fs::CWD, scratch.path().join("null"), kind, mode, null)
            .map_err(|error| format!("refused ({}): a step's own `mknod` is emulated or fails", reason(&error.into())))
    });
    tried.map(|()| "allowed".to_owned()).map_err(|what| Wall { what, mend: String::new() })
}

fn part_report(finding: Finding) -> PartReport {
    let (allowed, reason, mend) = match finding.verdict {
        Ok(how) => (true, how, None),
        Err(wall) => (false, wall.what, Some(wall.mend).filter(|mend| !mend.is_empty())),
    };
    PartReport { name: finding.name.to_owned(), allowed, reason, mend }
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
    let answer = |yes| if yes { "yes" } else { "no" }.to_owned();
    let rungs = report.rungs.iter().map(|rung| {
        let mark = if report.chosen == Some(rung.rung) { "*" } else { "" };
        [format!("{}{mark}", rung.rung), rung.name.clone(), answer(rung.works), rung.reason.clone()]
    });
    let parts = report.parts.iter().map(|part| [part.name.clone(), answer(part.allowed), part.reason.clone()]);
    let mut text = table(["RUNG", "NAME", "WORKS", "REASON"], &rungs.collect::<Vec<_>>());
    text.push('\n');
    text.push_str(&table(["PART", "ALLOWED", "REASON"], &parts.collect::<Vec<_>>()));
    text.push('\n');
    for (name, value) in &report.facts {
        text.push_str(&format!("{name}: {}\n", clean(value)));
    }
    let mends = mends(report);
    if !mends.is_empty() {
        text.push('\n');
    }
    Ok(text + &mends)
}

/// Returns a line for everything that could be lifted; what one line lifts is named in it together.
fn mends(report: &DoctorReport) -> String {
    // Only a rung that is better than the choice is worth a change of the machine.
    let better =
        report.rungs.iter().filter(|rung| !rung.works && report.chosen.is_none_or(|chosen| rung.rung < chosen));
    let rungs = better.map(|rung| (format!("rung {}", rung.rung), rung.mend.as_deref()));
    let parts = report.parts.iter().map(|part| (part.name.clone(), part.mend.as_deref()));
    let mut mends: Vec<(String, &str)> = Vec::new();
    for (what, mend) in rungs.chain(parts) {
        let Some(mend) = mend else { continue };
        match mends.iter_mut().find(|(_, known)| *known == mend) {
            Some((names, _)) => *names = format!("{names}, {what}"),
            None => mends.push((what, mend)),
        }
    }
    mends.iter().map(|(what, mend)| format!("hint: for {what}: {}\n", clean(mend))).collect()
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
            parts: vec![
                PartReport {
                    name: "chroot".into(),
                    allowed: false,
                    reason: "refused".into(),
                    mend: Some("run as root".into()),
                },
                PartReport { name: "chown".into(), allowed: true, reason: "allowed".into(), mend: None },
            ],
            facts: vec![("store", "/var/lib/cooper".into())],
        };
        assert_eq!(
            format(&DoctorArgs { format: Format::Table }, &report).unwrap(),
            "\
RUNG   NAME     WORKS   REASON
1      root     no      a reason
2*     subids   yes     a reason
4      chroot   no      a reason

PART     ALLOWED   REASON
chroot   no        refused
chown    yes       allowed

store: /var/lib/cooper

hint: for rung 1, chroot: run as root
"
        );
        let json = format(&DoctorArgs { format: Format::Json }, &report).unwrap();
        assert!(json.starts_with(r#"{"chosen":2,"rungs":[{"rung":1,"name":"root","works":false"#));
        assert!(json.ends_with("\"facts\":{\"store\":\"/var/lib/cooper\"}}\n"), "{json}");
    }
}
