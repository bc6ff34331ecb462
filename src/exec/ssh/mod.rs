//! `--ssh` and `--mount=type=ssh`: an agent for a step, the user's own or one of cooper's with the user's keys.

mod agent;
mod der;
mod key;
mod openssh;
mod rsa;
mod socket;
#[cfg(test)]
mod tests;
mod wire;

pub use socket::AgentSocket;

use super::steps::Build;
use crate::diag::{Diagnostic, Exit};
use key::{Key, KeyError};
use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Bytes that a file with a key may have.
const KEY_LIMIT_BYTES: u64 = 100 << 10;

/// Who answers the requests of a step.
#[derive(Debug)]
pub enum Agent {
    /// The agent that listens at a socket.
    Socket(PathBuf),
    /// These keys.
    Keys(Vec<Key>),
}

/// Returns the agent of an id; `None` if none was given.
pub fn agent(build: &Build<'_>, id: &str) -> Result<Option<Agent>, Diagnostic> {
    let Some((_, paths)) = build.request.ssh.iter().find(|(name, _)| name == id) else { return Ok(None) };
    if paths.is_empty() {
        let Some(path) = std::env::var_os("SSH_AUTH_SOCK") else {
            let message = format!("`--ssh {id}` needs an agent, but SSH_AUTH_SOCK is not set");
            return Err(Diagnostic::error(Exit::Usage, message).hint(format!(
                "start one with `eval $(ssh-agent)` and `ssh-add`, or name a key with `--ssh {id}=FILE`"
            )));
        };
        return Ok(Some(Agent::Socket(path.into())));
    }
    let (sockets, files): (Vec<&PathBuf>, Vec<&PathBuf>) = paths.iter().partition(|path| is_socket(path));
    let refuse = |message: &str| Err(Diagnostic::error(Exit::Usage, format!("`--ssh {id}`: {message}")));
    match (sockets.as_slice(), files.as_slice()) {
        ([socket], []) => Ok(Some(Agent::Socket((*socket).clone()))),
        ([], files) => files.iter().map(|path| read(id, path)).collect::<Result<_, _>>().map(Agent::Keys).map(Some),
        ([_, _, ..], []) => refuse("only one agent can be forwarded by one id"),
        _ => refuse("an agent's socket and files with keys cannot be mixed in one id"),
    }
}

fn is_socket(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

fn read(id: &str, path: &Path) -> Result<Key, Diagnostic> {
    let failed = |reason: String| {
        Diagnostic::error(Exit::Usage, format!("`--ssh {id}`: `{}` cannot be used", path.display())).note(reason)
    };
    let mut content = Vec::new();
    // A FIFO would wait for a writer that never comes.
    let metadata = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?;
    if !metadata.is_file() {
        return Err(failed("it is neither a file nor the socket of an agent".into()));
    }
    let file = std::fs::File::open(path).map_err(|error| failed(error.to_string()))?;
    file.take(KEY_LIMIT_BYTES + 1).read_to_end(&mut content).map_err(|error| failed(error.to_string()))?;
    if content.len() as u64 > KEY_LIMIT_BYTES {
        return Err(failed(format!("it is larger than {KEY_LIMIT_BYTES} bytes")));
    }
    Key::parse(&content).map_err(|error| {
        let diagnostic = failed(error.to_string());
        match error {
            KeyError::Encrypted | KeyError::Kind(_) | KeyError::Size => {
                diagnostic.hint(format!("add it to an agent with `ssh-add {}` and use `--ssh {id}`", path.display()))
            }
            KeyError::NotAKey | KeyError::Damaged => diagnostic,
        }
    })
}
