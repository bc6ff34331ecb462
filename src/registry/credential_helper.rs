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
    run(&format!("docker-credential-{helper}"), helper, server)
}

fn run(program: &str, helper: &str, server: &str) -> Result<Option<Credential>, CredentialsError> {
    let failed = |reason: String| CredentialsError::Helper { helper: helper.to_owned(), reason };
    let mut command = Command::new(program);
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
    Ok(Some(Credential { secret, source: program.to_owned() }))
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn ask(script: &str) -> Result<Option<Credential>, CredentialsError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("helper");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        // Another test's fork may hold the file open for writing for a moment (ETXTBSY).
        for _ in 0..50 {
            match run(path.to_str().unwrap(), "x", "reg.io") {
                Err(e) if e.to_string().contains("busy") => std::thread::sleep(Duration::from_millis(10)),
                outcome => return outcome,
            }
        }
        panic!("the script stays busy");
    }

    #[test]
    fn a_helper_is_asked_on_its_standard_input() {
        let answer = ask(r#"[ "$1" = get ] && read s; echo "{\"Username\":\"$s\",\"Secret\":\"p\"}""#);
        let secret = answer.unwrap().unwrap().secret;
        assert_eq!(secret, Secret::Basic { username: "reg.io".into(), password: "p".into() });
        let token = ask(r#"echo '{"Username":"<token>","Secret":"T"}'"#).unwrap().unwrap().secret;
        assert_eq!(token, Secret::IdentityToken("T".into()));
    }

    #[test]
    fn a_helper_sees_a_clean_environment() {
        // Cargo sets this one for every test.
        let script = r#"printf '{"Username":"%s","Secret":"%s"}' "${CARGO_PKG_NAME-unset}" "${PATH:+set}""#;
        let secret = ask(script).unwrap().unwrap().secret;
        assert_eq!(secret, Secret::Basic { username: "unset".into(), password: "set".into() });
    }

    #[test]
    fn nothing_found_is_no_error_but_a_failure_is() {
        assert_eq!(ask("echo 'credentials not found in native keychain'; exit 1").unwrap(), None);
        let error = ask("echo s3cret; exit 1").unwrap_err().to_string();
        assert_eq!(error, "credential helper `docker-credential-x`: it failed");
        let error = ask("echo s3cret").unwrap_err().to_string();
        assert_eq!(error, "credential helper `docker-credential-x`: its answer is malformed");
    }
}
