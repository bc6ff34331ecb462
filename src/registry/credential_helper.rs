//! Runs `docker-credential-NAME get`: the server's name goes in on stdin, a JSON object comes out.

use super::credentials::{Credential, CredentialsError, Secret};
use serde::Deserialize;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a helper may take: some ask a person.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Most bytes of its answer.
const OUTPUT_LIMIT_BYTES: u64 = 1 << 20;
/// The variables a helper sees: those that find its files, its session and its cloud.
const ENVIRONMENT: [&str; 8] =
    ["PATH", "HOME", "USER", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "GNUPGHOME"];
/// And those whose names begin so.
const ENVIRONMENT_PREFIXES: [&str; 4] = ["AWS_", "GOOGLE_", "CLOUDSDK_", "AZURE_"];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Asks a helper for the credential of a server; `None` when it has none.
pub(super) fn get(helper: &str, server: &str) -> Result<Option<Credential>, CredentialsError> {
    let failed = |reason: String| CredentialsError::Helper { helper: helper.to_owned(), reason };
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if helper.is_empty() || !helper.bytes().all(is_plain) {
        return Err(failed("its name may hold only lower-case letters, digits and dashes".into()));
    }
    let program = format!("docker-credential-{helper}");
    let mut command = Command::new(&program);
    command.arg("get").env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let wanted = |name: &str| ENVIRONMENT.contains(&name) || ENVIRONMENT_PREFIXES.iter().any(|p| name.starts_with(p));
    command.envs(std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(wanted)));
    let child = command.spawn().map_err(|e| failed(e.to_string()))?;
    let (success, output) = converse(child, server).map_err(|e| failed(e.to_string()))?;
    if !success {
        let text = String::from_utf8_lossy(&output);
        // The protocol has no code for it, only this sentence.
        if text.contains("credentials not found") {
            return Ok(None);
        }
        return Err(failed("it failed".into()));
    }
    let answer: Answer = serde_json::from_slice(&output).map_err(|_| failed("its answer is malformed".into()))?;
    let secret = match answer.username.as_str() {
        "<token>" => Secret::IdentityToken(answer.secret),
        _ => Secret::Basic { username: answer.username, password: answer.secret },
    };
    Ok(Some(Credential { secret, source: program }))
}

/// Writes the server's name, reads the answer and waits, all within the time.
fn converse(mut child: Child, server: &str) -> std::io::Result<(bool, Vec<u8>)> {
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read its input may still answer.
        let _ = stdin.write_all(server.as_bytes());
    }
    let stdout = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut output = Vec::new();
        let read = stdout.map(|out| out.take(OUTPUT_LIMIT_BYTES).read_to_end(&mut output));
        read.transpose().map(|_| output)
    });
    let start = Instant::now();
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if start.elapsed() > TIMEOUT => {
                child.kill()?;
                child.wait()?;
                let reason = format!("no answer within {} seconds", TIMEOUT.as_secs());
                return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, reason));
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let output = reader.join().map_err(|_| std::io::Error::other("reading its answer failed"))??;
    Ok((status.success(), output))
}
