//! The instructions that only change the image config.

use super::gotext;
use super::planner::Planner;
use super::stages::Command;
use super::state::State;
use super::{port, signal};
use crate::diag::Diagnostic;
use crate::dockerfile::ast::{self, ArgDefinition, HealthcheckSpec, KeyValue, Word};
use crate::dockerfile::lint;
use crate::image::Healthcheck;
use serde_json::{Map, Value};

/// Applies CMD.
pub(super) fn cmd(command: &ast::Command, state: &mut State) {
    let argv = argv(command, state);
    state.record(format!("CMD {}", gotext::quoted_list(&argv)));
    state.has_cmd = true;
    state.config.config.args_escaped = true;
    state.config.config.cmd = if argv.is_empty() { None } else { Some(argv) };
}

/// Applies ENTRYPOINT, which drops the CMD of the base but not one of the same stage.
pub(super) fn entrypoint(command: &ast::Command, state: &mut State) {
    let argv = argv(command, state);
    state.record(format!("ENTRYPOINT {}", gotext::quoted_list(&argv)));
    state.config.config.entrypoint = if argv.is_empty() { None } else { Some(argv) };
    if !state.has_cmd {
        state.config.config.cmd = None;
    }
}

/// Returns program and arguments of a command, the shell's in front of a shell form.
pub(super) fn argv(command: &ast::Command, state: &State) -> Vec<String> {
    match command {
        ast::Command::Exec(argv) => argv.clone(),
        ast::Command::Shell(text) => {
            let mut argv = state.shell();
            argv.push(text.node.clone());
            argv
        }
    }
}

/// Applies SHELL.
pub(super) fn shell(shell: &[String], state: &mut State) {
    state.config.config.shell = shell.to_vec();
    state.record(format!("SHELL {}", gotext::plain_list(shell)));
}

/// Applies MAINTAINER.
pub(super) fn maintainer(name: &str, state: &mut State) {
    state.config.author = name.to_owned();
    state.record(format!("MAINTAINER {name}"));
}

/// Applies HEALTHCHECK; its shell form does not take SHELL.
pub(super) fn healthcheck(spec: &HealthcheckSpec, state: &mut State) {
    let test = match &spec.command {
        None => vec!["NONE".to_owned()],
        Some(ast::Command::Shell(text)) => vec!["CMD-SHELL".to_owned(), text.node.clone()],
        Some(ast::Command::Exec(argv)) => std::iter::once("CMD".to_owned()).chain(argv.iter().cloned()).collect(),
    };
    let check = Healthcheck {
        test,
        interval: spec.interval_ns,
        timeout: spec.timeout_ns,
        start_period: spec.start_period_ns,
        start_interval: spec.start_interval_ns,
        retries: spec.retries,
    };
    state.record(format!("HEALTHCHECK {}", gotext::healthcheck(&check)));
    state.config.config.healthcheck = Some(check);
}

impl Planner<'_> {
    /// Applies ARG: the command line's value, else the stage's default, else the global one.
    pub(super) fn arg(
        &mut self,
        args: &[ArgDefinition],
        command: &Command<'_>,
        state: &mut State,
    ) -> Result<(), Diagnostic> {
        let mut entries = Vec::with_capacity(args.len());
        for arg in args {
            let name = &arg.name.node;
            self.lint_secret("ARG", name, command.span_of(arg.name.span));
            let value = match (self.build_args.get(name), &arg.default) {
                (Some(value), _) => Some(value.clone()),
                (None, Some(default)) => Some(self.expand(default, command, state)?),
                (None, None) => self.globals.args.get(name).map(str::to_owned),
            };
            if let Some(value) = &value {
                if !is_scanner_argument(name) {
                    state.env.set(name, value);
                }
                entries.push(format!("{name}={value}"));
            } else {
                entries.push(name.clone());
            }
            let is_own =
                self.build_args.contains_key(name) || arg.default.is_some() || self.globals.args.get(name).is_none();
            self.capture.arg(&command.instruction, command.span(), name, value.as_deref(), is_own);
            state.declare(name, value);
        }
        state.record(format!("ARG {}", entries.join(" ")));
        Ok(())
    }

    /// Applies ENV; the variables of one line see the values before that line.
    pub(super) fn env(
        &mut self,
        pairs: &[KeyValue],
        command: &Command<'_>,
        state: &mut State,
    ) -> Result<(), Diagnostic> {
        let expanded = self.pairs(pairs, command, state)?;
        let mut entry = "ENV".to_owned();
        for (name, value) in expanded {
            self.lint_secret("ENV", &name, command.span());
            entry.push_str(&format!(" {name}={value}"));
            state.env_places.set(&mut state.config.config.env, &name, &value);
            state.env.set(&name, value);
        }
        state.record(entry);
        Ok(())
    }

    /// Applies LABEL.
    pub(super) fn label(
        &mut self,
        pairs: &[KeyValue],
        command: &Command<'_>,
        state: &mut State,
    ) -> Result<(), Diagnostic> {
        let mut entry = "LABEL".to_owned();
        for (name, value) in self.pairs(pairs, command, state)? {
            entry.push_str(&format!(" {name}={value}"));
            state.config.config.labels.insert(name, value);
        }
        state.record(entry);
        Ok(())
    }

    fn pairs(
        &mut self,
        pairs: &[KeyValue],
        command: &Command<'_>,
        state: &State,
    ) -> Result<Vec<(String, String)>, Diagnostic> {
        let expand = |pair: &KeyValue| {
            let name = self.expand(&pair.key, command, state)?;
            if name.is_empty() {
                let message = format!("the name in `{}` is empty", command.instruction.keyword.node);
                return Err(self.error(command.span_of(pair.key.span), message));
            }
            Ok((name, self.expand(&pair.value, command, state)?))
        };
        pairs.iter().map(expand).collect()
    }

    /// Applies USER.
    pub(super) fn user(&mut self, word: &Word, command: &Command<'_>, state: &mut State) -> Result<(), Diagnostic> {
        let user = self.expand(word, command, state)?;
        state.record(format!("USER {user}"));
        state.config.config.user = user;
        Ok(())
    }

    /// Applies VOLUME.
    pub(super) fn volume(
        &mut self,
        words: &[Word],
        command: &Command<'_>,
        state: &mut State,
    ) -> Result<(), Diagnostic> {
        let volumes = self.expand_all(words, command, state)?;
        if volumes.iter().any(String::is_empty) {
            return Err(self.error(command.span(), "VOLUME specified can not be an empty string"));
        }
        state.record(format!("VOLUME {}", gotext::plain_list(&volumes)));
        for volume in volumes {
            state.config.config.volumes.insert(volume, Value::Object(Map::new()));
        }
        Ok(())
    }

    /// Applies EXPOSE, whose variables may hold several ports.
    pub(super) fn expose(
        &mut self,
        words: &[Word],
        command: &Command<'_>,
        state: &mut State,
    ) -> Result<(), Diagnostic> {
        let mut sorted: Vec<&Word> = words.iter().collect();
        sorted.sort_by(|a, b| a.node.cmp(&b.node));
        let mut entries = Vec::new();
        for word in sorted {
            let span = command.span_of(word.span);
            let split =
                self.words.split(&word.node, &state.env).map_err(|error| self.unexpanded(span, word, &error))?;
            for text in split {
                if word.node.contains('$') {
                    let port = Word { node: text.clone(), span };
                    let instruction = &command.instruction;
                    let found = lint::expanded_port(self.dockerfile, &self.checks, instruction, &port);
                    self.warnings.extend(found);
                    self.warnings.truncate(super::warn::MAX_FINDINGS);
                }
                entries.extend(port::parse(&text).map_err(|error| {
                    self.error(span, error.to_string()).hint("write a port such as `8080`, `53/udp` or `8000-8010/tcp`")
                })?);
            }
        }
        state.record(format!("EXPOSE {}", gotext::plain_list(&entries)));
        for entry in entries {
            state.config.config.exposed_ports.insert(entry, Value::Object(Map::new()));
        }
        Ok(())
    }

    /// Applies STOPSIGNAL, kept as written.
    pub(super) fn stop_signal(
        &mut self,
        word: &Word,
        command: &Command<'_>,
        state: &mut State,
    ) -> Result<(), Diagnostic> {
        let text = self.expand(word, command, state)?;
        if !signal::is_signal(&text) {
            return Err(self
                .error(command.span_of(word.span), format!("invalid signal: `{text}`"))
                .hint("name a signal such as `SIGTERM` or `SIGQUIT`, or give its number"));
        }
        state.record(format!("STOPSIGNAL {text}"));
        state.config.config.stop_signal = text;
        Ok(())
    }
}

/// Arguments that only tell a scanner of the builder what to look at; RUN does not see them.
fn is_scanner_argument(name: &str) -> bool {
    matches!(name, "BUILDKIT_SBOM_SCAN_CONTEXT" | "BUILDKIT_SBOM_SCAN_STAGE")
}
