//! Servers on the loopback device that end with the test.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for a server to answer.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A process that is killed with its owner.
pub struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns a port that nobody listens on at the moment.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn wait_for(port: u16) {
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(start.elapsed() < START_LIMIT, "no server at port {port}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The registry of the distribution project.
pub struct Registry {
    /// `127.0.0.1:PORT`.
    pub host: String,
    _process: Daemon,
}

impl Registry {
    /// Starts one that keeps its files in a new directory.
    pub fn start(directory: &Path) -> Registry {
        std::fs::create_dir_all(directory).unwrap();
        let port = free_port();
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\nhttp: {{addr: \"127.0.0.1:{port}\"}}\n",
            directory.display()
        );
        let file = directory.join("config.yml");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = Daemon(command.spawn().unwrap());
        wait_for(port);
        Registry { host: format!("127.0.0.1:{port}"), _process: process }
    }
}

/// Serves what lies below a directory over the git protocol; returns its URL.
pub fn git_daemon(directory: &Path) -> (String, Daemon) {
    let port = free_port();
    let mut command = Command::new("git");
    command.args(["daemon", "--export-all", "--reuseaddr", "--listen=127.0.0.1", &format!("--port={port}")]);
    command.arg(format!("--base-path={}", directory.display())).arg(directory);
    let process = Daemon(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    wait_for(port);
    (format!("git://127.0.0.1:{port}"), process)
}

/// Runs git in a directory, with a name and times of its own; returns what it prints.
pub fn git(directory: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.current_dir(directory).args(arguments);
    for (name, value) in [("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1")] {
        command.env(name, value);
    }
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "T").env(format!("GIT_{who}_EMAIL"), "t@example.org");
        command.env(format!("GIT_{who}_DATE"), "2020-01-01T00:00:00Z");
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// An HTTP server of a few files.
pub struct FileServer {
    address: SocketAddr,
}

impl FileServer {
    /// Starts one that answers with these contents by path, until the test ends.
    pub fn start(files: BTreeMap<String, Vec<u8>>) -> FileServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that goes away is its own business.
                let _ = answer(stream, &files);
            }
        });
        FileServer { address }
    }

    /// Returns the URL of a path that begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

fn answer(mut stream: TcpStream, files: &BTreeMap<String, Vec<u8>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let mut words = request.split(' ');
    let is_head = words.next() == Some("HEAD");
    let content = files.get(words.next().unwrap_or_default());
    let (status, body) = content.map_or(("404 Not Found", &b""[..]), |content| ("200 OK", content));
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    if is_head { Ok(()) } else { stream.write_all(body) }
}
