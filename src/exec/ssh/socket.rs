//! `--mount=type=ssh`: a socket in the step at which an ssh agent answers.
//!
//! The socket of the user's agent is not mounted: its owner and mode are the user's, a step needs those the mount asks
//! for, and must not have all of the agent's services.

use super::Agent;
use crate::sys::owner;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A socket at which an agent answers until it is dropped.
#[derive(Debug)]
pub struct AgentSocket {
    path: PathBuf,
    closed: Arc<AtomicBool>,
}

impl AgentSocket {
    /// Makes the socket at `path` and starts to serve it.
    pub fn open(path: PathBuf, agent: Agent, mode: u32, uid: u32, gid: u32) -> io::Result<AgentSocket> {
        // Tried before the step runs: an agent that is gone is told by name and not by what ssh says of it.
        if let Agent::Socket(path) = &agent {
            drop(UnixStream::connect(path)?);
        }
        let agent = Arc::new(agent);
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
        owner::set_at(rustix::fs::CWD, path.as_os_str(), uid, gid)?;
        let closed = Arc::new(AtomicBool::new(false));
        let flag = closed.clone();
        std::thread::Builder::new().name("ssh-agent".into()).spawn(move || accept(&listener, &agent, &flag))?;
        Ok(AgentSocket { path, closed })
    }
}

impl Drop for AgentSocket {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for a connection.
        let _ = UnixStream::connect(&self.path);
    }
}

fn accept(listener: &UnixListener, agent: &Arc<Agent>, closed: &AtomicBool) {
    for client in listener.incoming() {
        if closed.load(Ordering::Relaxed) {
            return;
        }
        let Ok(client) = client else { return };
        let agent = agent.clone();
        // A client whose agent does not answer sees its connection closed, as it would without us.
        std::thread::spawn(move || agent.serve(client));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn a_connection_reaches_the_agent_and_its_answer_comes_back() {
        let directory = tempfile::tempdir().unwrap();
        let agent = UnixListener::bind(directory.path().join("agent")).unwrap();
        std::thread::spawn(move || {
            // The first connection is the try before the step.
            for stream in agent.incoming().take(2) {
                let mut stream = stream.unwrap();
                let mut request = [0; 5];
                if stream.read_exact(&mut request).is_ok() {
                    assert_eq!(request, [0, 0, 0, 1, 11]);
                    stream.write_all(&[0, 0, 0, 2, 12, 99]).unwrap();
                }
            }
        });
        let socket =
            AgentSocket::open(directory.path().join("s"), Agent::Socket(directory.path().join("agent")), 0o600, 0, 0)
                .unwrap();
        let mut client = UnixStream::connect(&socket.path).unwrap();
        // A request to remove all keys does not reach the agent.
        let mut answer = [0; 5];
        client.write_all(&[0, 0, 0, 1, 19]).unwrap();
        client.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [0, 0, 0, 1, 5]);
        let mut answer = [0; 6];
        client.write_all(&[0, 0, 0, 1, 11]).unwrap();
        client.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [0, 0, 0, 2, 12, 99]);
        client.write_all(&[255, 255, 255, 255, 11]).unwrap();
        assert!(!client.read(&mut answer).is_ok_and(|count| count > 0), "the connection is closed");
        assert_eq!(std::fs::metadata(&socket.path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
