//! `--mount=type=ssh`: a socket in the step that leads to the user's ssh agent.
//!
//! The agent's own socket is not mounted: its owner and mode are the user's, and a step needs those the mount asks for.
//! Instead a socket is made that hands every connection on.

use crate::sys::owner;
use std::io;
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A socket that forwards to an agent until it is dropped.
#[derive(Debug)]
pub struct AgentSocket {
    path: PathBuf,
    closed: Arc<AtomicBool>,
}

impl AgentSocket {
    /// Makes the socket at `path` and starts forwarding to the agent at `agent`.
    pub fn open(path: PathBuf, agent: PathBuf, mode: u32, uid: u32, gid: u32) -> io::Result<AgentSocket> {
        // Tried before the step runs: an agent that is gone is told by name and not by what ssh says of it.
        drop(UnixStream::connect(&agent)?);
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

fn accept(listener: &UnixListener, agent: &Path, closed: &AtomicBool) {
    for client in listener.incoming() {
        if closed.load(Ordering::Relaxed) {
            return;
        }
        let Ok(client) = client else { return };
        let agent = agent.to_owned();
        std::thread::spawn(move || {
            // A client whose agent does not answer sees its connection closed, as without forwarding.
            let Ok(server) = UnixStream::connect(agent) else { return };
            let _ = forward(client, server);
        });
    }
}

fn forward(client: UnixStream, server: UnixStream) -> io::Result<()> {
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    let requests = std::thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    let (mut from_server, mut to_client) = (server, client);
    let _ = io::copy(&mut from_server, &mut to_client);
    let _ = to_client.shutdown(Shutdown::Both);
    let _ = requests.join();
    Ok(())
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
                let mut request = [0; 4];
                if stream.read_exact(&mut request).is_ok() {
                    stream.write_all(b"pong").unwrap();
                }
            }
        });
        let socket =
            AgentSocket::open(directory.path().join("s"), directory.path().join("agent"), 0o600, 0, 0).unwrap();
        let mut client = UnixStream::connect(&socket.path).unwrap();
        client.write_all(b"ping").unwrap();
        let mut answer = [0; 4];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"pong");
        assert_eq!(std::fs::metadata(&socket.path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
