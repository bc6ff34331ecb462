//! `cooper doctor`: what this machine allows, which way of isolating RUN is taken, and what would lift it.

use super::diagnostic::clean;
use super::table::{Format, table};
use crate::diag::{Diagnostic, Exit};
use serde::Serialize;

/// Says how RUN is isolated on this machine, and what would make it better
#[derive(Debug, clap::Args)]
pub struct DoctorArgs {
    /// How the findings are printed
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "table")]
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

/// Returns the findings as asked for.
pub fn format(args: &DoctorArgs, report: &DoctorReport) -> Result<String, Diagnostic> {
    if args.format == Format::Json {
        let json = serde_json::to_string(report).map_err(|error| Diagnostic::from_error(Exit::Bug, &error))?;
        return Ok(json + "\n");
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
