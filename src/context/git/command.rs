//! Runs git with nothing but what it needs.

use super::{GitError, GitOptions, GitSource};
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use url::Url;

/// Most that git may write to its output, bytes: a list of a few references.
const MAX_OUTPUT_BYTES: u64 = 1 << 20;

/// What is kept of git's messages, bytes.
const MAX_MESSAGE_BYTES: usize = 4 << 10;

/// Shortest user or password that is taken out of messages, bytes: a shorter one is part of every word.
const MIN_SECRET_BYTES: usize = 3;

/// Variables of the caller that git sees: where programs, proxies and certificates are.
const PASSED: [&str; 12] = [
    "PATH",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "GIT_SSL_CAINFO",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// Variables that also pass with [`GitOptions::user_config`].
const PASSED_FOR_CONFIG: [&str; 4] = ["HOME", "XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"];

/// Answers git's question for a password from the environment: what stands in arguments, every process can read.
const CREDENTIAL_HELPER: &str =
    r#"!f() { test "$1" = get && printf 'username=%s\npassword=%s\n' "$COOPER_GIT_USER" "$COOPER_GIT_PASSWORD"; }; f"#;

/// git for one repository.
pub(super) struct Git<'a> {
    pub options: &'a GitOptions,
    pub source: &'a GitSource,
    /// Where it runs: a directory of our own, with the repository in it.
    pub directory: &'a Path,
}

impl Git<'_> {
    /// Runs git; `action` says in a message what for.  Returns its output.
    pub fn run(&self, action: &'static str, arguments: &[&str]) -> Result<String, GitError> {
        let mut command = self.command();
        let mut child = command.args(arguments).spawn().map_err(|error| match error.kind() {
            // The search of PATH ends so if a directory in it may not be read.
            ErrorKind::NotFound | ErrorKind::PermissionDenied if self.directory.is_dir() => {
                GitError::NotInstalled { program: self.options.program.to_string_lossy().into_owned() }
            }
            _ => GitError::Run(error),
        })?;
        let messages = child.stderr.take().map(|stderr| std::thread::spawn(move || last_bytes(stderr)));
        let mut output = Vec::new();
        let read = child.stdout.take().map_or(Ok(0), |out| out.take(MAX_OUTPUT_BYTES).read_to_end(&mut output));
        let status = child.wait().map_err(GitError::Run)?;
        read.map_err(GitError::Run)?;
        let messages = messages.and_then(|thread| thread.join().ok()).unwrap_or_default();
        if !status.success() {
            return Err(self.failed(action, &String::from_utf8_lossy(&messages)));
        }
        Ok(String::from_utf8_lossy(&output).into_owned())
    }

    fn failed(&self, action: &'static str, messages: &str) -> GitError {
        let mut detail = messages.trim().replace('\n', "; ");
        if let Some(credentials) = &self.source.credentials {
            for secret in [&credentials.password, &credentials.user] {
                // Git is not told them but on request; a server could still send them back.
                if secret.len() >= MIN_SECRET_BYTES {
                    detail = detail.replace(secret.as_str(), "xxxxx");
                }
            }
        }
        if detail.is_empty() {
            detail = "it gave no reason".to_owned();
        }
        GitError::Command { action, remote: self.source.remote.clone(), detail }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.options.program);
        command.current_dir(self.directory).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let config: &[&str] = if self.options.user_config { &PASSED_FOR_CONFIG } else { &[] };
        for name in PASSED.iter().chain(config) {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        if !self.options.user_config {
            let nowhere = "/dev/null";
            command.env("HOME", nowhere).env("GIT_CONFIG_GLOBAL", nowhere).env("GIT_CONFIG_NOSYSTEM", "1");
        }
        if let Some(socket) = &self.options.ssh_auth_sock {
            command.env("SSH_AUTH_SOCK", socket);
        }
        let file = if self.options.allow_file { ":file" } else { "" };
        command
            .env("LC_ALL", "C")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes -o ConnectTimeout=30")
            // Also for submodules, whose URLs come from the repository: no `ext::`, no files of this machine.
            .env("GIT_ALLOW_PROTOCOL", format!("https:http:ssh:git{file}"));
        // The repository of someone else may lie above; its configuration could name programs to run.
        if let Some(above) = std::fs::canonicalize(self.directory).ok().as_deref().and_then(Path::parent) {
            command.env("GIT_CEILING_DIRECTORIES", above);
        }
        self.add_config(&mut command);
        command
    }

    /// Sets configuration by environment, which wins over what a repository brings.
    fn add_config(&self, command: &mut Command) {
        let mut settings: Vec<(String, String)> = [
            ("core.hooksPath", "/dev/null"),
            ("core.fsmonitor", "false"),
            ("core.symlinks", "true"),
            ("core.protectNTFS", "true"),
            ("core.protectHFS", "true"),
            ("init.defaultBranch", "master"),
            ("init.templateDir", ""),
            ("advice.detachedHead", "false"),
            ("gc.auto", "0"),
            ("maintenance.auto", "false"),
            ("fetch.recurseSubmodules", "false"),
            // A server that says nothing for a minute is given up.
            ("http.lowSpeedLimit", "1"),
            ("http.lowSpeedTime", "60"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        settings.push(("safe.directory".into(), self.directory.to_string_lossy().into_owned()));
        if let (Some(credentials), Some(scope)) = (&self.source.credentials, origin(&self.source.remote)) {
            settings.push((format!("credential.{scope}.helper"), CREDENTIAL_HELPER.into()));
            command.env("COOPER_GIT_USER", &credentials.user).env("COOPER_GIT_PASSWORD", &credentials.password);
        }
        command.env("GIT_CONFIG_COUNT", settings.len().to_string());
        for (index, (name, value)) in settings.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{index}"), name).env(format!("GIT_CONFIG_VALUE_{index}"), value);
        }
    }
}

/// Returns scheme, host and port: the part of a URL that a password is for.
fn origin(remote: &str) -> Option<String> {
    let url = Url::parse(remote).ok()?;
    Some(url.origin().ascii_serialization())
}

fn last_bytes(mut messages: impl Read) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = messages.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..count]);
        let surplus = kept.len().saturating_sub(MAX_MESSAGE_BYTES);
        kept.drain(..surplus);
    }
    kept
}
