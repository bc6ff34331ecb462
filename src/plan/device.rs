//! `--device` of RUN: which devices a step gets, and whether it may.

use super::planner::Planner;
use super::stages::Command;
use crate::diag::{Diagnostic, Exit, Span};
use crate::dockerfile::ast::Run;
use crate::dockerfile::mount::{Device, parse_device};

/// A device of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundDevice {
    /// Its qualified name, `vendor/class=name`.
    pub name: String,
    /// Whether every build may use it.
    pub is_auto_allowed: bool,
}

/// What `--allow device` grants.
#[derive(Debug, Default)]
struct Grants {
    all: bool,
    names: Vec<String>,
    /// What the Dockerfile calls a device, and the device.
    aliases: Vec<(String, String)>,
}

impl Grants {
    fn of(allow: &[String]) -> Grants {
        let mut grants = Grants::default();
        for value in allow.iter().filter_map(|allowed| allowed.strip_prefix("device")) {
            let mut fields = value.trim_start_matches('=').split(',');
            let name = fields.next().unwrap_or_default().to_owned();
            match fields.find_map(|field| field.strip_prefix("alias=")) {
                _ if name.is_empty() => grants.all = true,
                Some(alias) if !alias.is_empty() => grants.aliases.push((alias.to_owned(), name)),
                _ => grants.names.push(name),
            }
        }
        grants
    }
}

impl Planner<'_> {
    /// Returns the qualified names of the devices that a RUN gets.
    ///
    /// Where nothing is known of devices, as in lint, they are what was written.
    pub(super) fn devices(&mut self, run: &Run, command: &Command<'_>) -> Result<Vec<String>, Diagnostic> {
        let grants = Grants::of(&self.options.allow);
        let mut granted = None;
        let mut names: Vec<String> = Vec::new();
        for word in &run.devices {
            let span = command.span_of(word.span);
            let mut device = parse_device(&word.node).map_err(|error| self.error(span, error.to_string()))?;
            let alias = grants.aliases.iter().rfind(|(alias, _)| *alias == device.name);
            if let Some((_, name)) = alias {
                device.name.clone_from(name);
            }
            let Some(found) = self.facts.devices(&device.name).map_err(|error| self.at_command(error, span))? else {
                names.push(device.name);
                continue;
            };
            if found.is_empty() {
                self.no_device(&device, span)?;
            }
            for found in found {
                if !grants.all && alias.is_none() && !found.is_auto_allowed {
                    let granted = match &mut granted {
                        Some(granted) => granted,
                        None => granted.insert(self.granted(&grants)?),
                    };
                    if !granted.contains(&found.name) {
                        return Err(self.not_allowed(&found.name, span));
                    }
                }
                if !names.contains(&found.name) {
                    names.push(found.name);
                }
            }
        }
        Ok(names)
    }

    fn at_command(&self, error: Diagnostic, span: Span) -> Diagnostic {
        if error.place.is_some() { error } else { error.at(self.source(), span) }
    }

    /// Returns the devices that the names of `--allow device=NAME` stand for.
    fn granted(&mut self, grants: &Grants) -> Result<Vec<String>, Diagnostic> {
        let mut granted = Vec::new();
        for name in &grants.names {
            let found = self.facts.devices(name)?.unwrap_or_default();
            if found.is_empty() {
                return Err(Diagnostic::error(
                    Exit::Usage,
                    format!("`--allow device={name}` names no device of this machine"),
                ));
            }
            granted.extend(found.into_iter().map(|device| device.name));
        }
        Ok(granted)
    }

    fn no_device(&mut self, device: &Device, span: Span) -> Result<(), Diagnostic> {
        let name = &device.name;
        if device.required {
            let error = self.error(span, format!("required device `{name}` is not registered on this machine"));
            let error = self.facts.device_problems().into_iter().fold(error, Diagnostic::note);
            return Err(error.hint("install the CDI specification of its vendor in `/etc/cdi`, or name another directory with `--cdi-spec-dir`"));
        }
        let warning =
            Diagnostic::warning(format!("device `{name}` is not registered on this machine: the step runs without it"));
        let warning = self.facts.device_problems().into_iter().fold(warning, Diagnostic::note);
        self.warnings.push(warning.at(self.source(), span));
        Ok(())
    }

    fn not_allowed(&self, name: &str, span: Span) -> Diagnostic {
        Diagnostic::error(Exit::Usage, format!("device `{name}` is requested by the build but not allowed"))
            .at(self.source(), span)
            .hint(format!("grant it with `--allow device={name}`, or all devices with `--allow device`"))
    }
}

#[cfg(test)]
mod tests {
    use super::Grants;

    #[test]
    fn grants_are_all_one_or_by_another_name() {
        let grants = |allow: &[&str]| Grants::of(&allow.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert!(grants(&["device"]).all && grants(&["network.host", "device="]).all);
        let some = grants(&["device=v/c=1", "device=v/c=2,alias=gpu"]);
        assert!(!some.all);
        assert_eq!(some.names, ["v/c=1"]);
        assert_eq!(some.aliases, [("gpu".to_owned(), "v/c=2".to_owned())]);
    }
}
