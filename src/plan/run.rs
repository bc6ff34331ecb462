//! RUN.

use super::args::{BuilderArgs, proxies};
use super::graph::{Network, Op, RunMount, RunOp, Script};
use super::label::Progress;
use super::metadata::argv;
use super::planner::Planner;
use super::stages::Command;
use super::state::State;
use crate::diag::{Diagnostic, Exit, Span};
use crate::dockerfile::ast::{self, Heredoc, Kind, Run};
use std::sync::Arc;

/// Where a script with a shebang is mounted.
const SCRIPT_DIRECTORY: &str = "/dev/pipes";

/// What a RUN executes.
struct Invocation {
    argv: Vec<String>,
    script: Option<Script>,
}

impl Planner<'_> {
    /// Applies RUN.
    pub(super) fn run_step(
        &mut self,
        stage: usize,
        run: &Run,
        command: &Command<'_>,
        state: &mut State,
        progress: &mut Progress,
    ) -> Result<(), Diagnostic> {
        let Invocation { argv, script } = invocation(run, state);
        let no_cache = self.is_no_cache(stage);
        let mounts = self.mounts(stage, run, command, state, no_cache)?;
        let socket = mounts.iter().find_map(|mount| match mount {
            RunMount::Ssh { target, .. } => Some(target.clone()),
            _ => None,
        });
        let mut env = state.env.shared();
        if let Some(socket) = socket.filter(|_| state.env.get("SSH_AUTH_SOCK").is_none()) {
            Arc::make_mut(&mut env).push(("SSH_AUTH_SOCK".to_owned(), socket));
        }
        let label = progress.next(&self.words.shown_run(&run_text(run, &command.instruction.text), &state.env));
        let entry = format!("RUN {} # buildkit", history_text(&argv, state));
        self.account(entry.len(), command.span())?;
        state.record_layer(entry);
        let op = RunOp {
            base: state.root,
            argv,
            script,
            env,
            unkeyed_env: proxies(&self.build_args),
            cwd: state.cwd(),
            user: state.config.config.user.clone(),
            mounts,
            network: self.network(run, command)?,
            insecure: is_insecure(run),
            devices: self.devices(run, command)?,
            shm_size_bytes: self.options.shm_size_bytes,
            ulimits: self.options.ulimits.clone(),
            capabilities: self.options.capabilities,
            extra_hosts: self.options.extra_hosts.clone(),
            hostname: BuilderArgs::of(&self.build_args).hostname,
        };
        self.add_step(stage, label, command, state, Op::Run(Box::new(op)));
        Ok(())
    }

    fn network(&self, run: &Run, command: &Command<'_>) -> Result<Network, Diagnostic> {
        match run.network.as_ref().map(|word| (word.node.as_str(), word.span)) {
            None | Some(("default" | "", _)) => Ok(self.options.network),
            Some(("none", _)) => Ok(Network::None),
            Some(("host", _)) => Ok(Network::Host),
            Some((other, span)) => {
                Err(self.error(command.span_of(span), format!("unsupported network mode: `{other}`")))
            }
        }
    }

    /// Refuses what the user has not allowed, before anything is built.
    pub(super) fn check_entitlements(&self) -> Result<(), Diagnostic> {
        for stage in self.stages.iter().filter(|stage| stage.is_needed && stage.replaced_by.is_none()) {
            for command in &stage.commands {
                let Kind::Run(run) = &command.instruction.kind else { continue };
                let is_host = run.network.as_ref().is_some_and(|network| network.node == "host");
                if let Some(word) = run.network.as_ref().filter(|_| is_host && self.options.network != Network::Host) {
                    self.entitled("network.host", "--network=host", command.span_of(word.span))?;
                }
                if let Some(word) = run.security.as_ref().filter(|_| is_insecure(run)) {
                    self.entitled("security.insecure", "--security=insecure", command.span_of(word.span))?;
                }
            }
        }
        Ok(())
    }

    fn entitled(&self, name: &str, flag: &str, span: Span) -> Result<(), Diagnostic> {
        if self.options.allow.iter().any(|allowed| allowed == name) {
            return Ok(());
        }
        Err(Diagnostic::error(Exit::Usage, format!("`RUN {flag}` is not allowed without the entitlement `{name}`"))
            .at(self.source(), span)
            .hint(format!("grant it with `--allow {name}`")))
    }
}

fn is_insecure(run: &Run) -> bool {
    run.security.as_ref().is_some_and(|security| security.node == "insecure")
}

/// Returns what runs: an exec form as it is, all else by the shell, a script with a shebang as a file.
fn invocation(run: &Run, state: &State) -> Invocation {
    let (ast::Command::Shell(text), Some(first)) = (&run.command, run.heredocs.first()) else {
        return Invocation { argv: argv(&run.command, state), script: None };
    };
    let by_shell = |text: String| {
        let mut argv = state.shell();
        argv.push(text);
        Invocation { argv, script: None }
    };
    if !is_lone_heredoc(&text.node) {
        return by_shell(with_heredocs(&text.node, &run.heredocs));
    }
    if state.config.os != "windows" && first.body.starts_with("#!") {
        let path = format!("{SCRIPT_DIRECTORY}/{}", first.name);
        let script = Script { content: first.body.clone(), path: path.clone() };
        return Invocation { script: Some(script), ..by_shell(path) };
    }
    by_shell(first.body.clone())
}

/// Whether there is nothing but one `<<WORD`: then it is a script rather than the input of a command.
fn is_lone_heredoc(text: &str) -> bool {
    let text = text.trim();
    text.is_empty()
        || (text.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with("<<")
            && !text.contains(char::is_whitespace))
}

/// Returns the text with its heredocs behind it, as the shell reads them.
fn with_heredocs(text: &str, heredocs: &[Heredoc]) -> String {
    heredocs.iter().fold(text.to_owned(), |mut whole, heredoc| {
        whole.push('\n');
        whole.push_str(&heredoc.body);
        whole.push_str(&heredoc.name);
        whole
    })
}

/// Returns the text for progress; of a lone heredoc its first line is shown.
fn run_text(run: &Run, text: &str) -> String {
    let is_lone = matches!(&run.command, ast::Command::Shell(command) if is_lone_heredoc(&command.node));
    let Some(first) = run.heredocs.first().filter(|_| is_lone) else { return text.to_owned() };
    let body = first.body.trim();
    let line = body.lines().next().unwrap_or_default();
    let dots = if body.lines().count() > 1 { "..." } else { "" };
    format!("{text} ({line}{dots})")
}

/// `|2 A=1 B=2 /bin/sh -c make`: the ARGs in force, then the command.
fn history_text(argv: &[String], state: &State) -> String {
    let mut text = String::new();
    if !state.args.is_empty() {
        text.push_str(&format!("|{} ", state.args.len()));
    }
    for (name, declared) in &state.args {
        let value = state.env.get(name).or(declared.as_deref()).unwrap_or_default();
        text.push_str(&format!("{name}={value} "));
    }
    text + &argv.join(" ")
}
