//! `--load`: an image into a Docker engine on this machine.
//!
//! The engine's API takes the archive as the body of one POST (Engine API, ImageLoad).  That is little enough to write here; a
//! client library is eighty packages, and the `docker` program may not be there.

use crate::diag::{Diagnostic, Exit};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Largest answer that is read.
const ANSWER_LIMIT_BYTES: u64 = 1 << 20;

/// Sends a docker-load archive to the engine.
pub fn load(archive: &Path) -> Result<(), Diagnostic> {
    let socket = socket_path()?;
    let failed = |error: io::Error| {
        Diagnostic::error(Exit::Network, format!("cannot load the image into Docker through `{}`", socket.display()))
            .note(error.to_string())
            .hint("start the Docker engine or set DOCKER_HOST, or write a file with `-o type=docker,dest=image.tar`")
    };
    let stream = UnixStream::connect(&socket).map_err(failed)?;
    let (status, answer) = post(stream, archive).map_err(failed)?;
    let error = answer.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let error = error
        .filter_map(|line| line.get("error").or(line.get("message")).and_then(|e| e.as_str().map(str::to_owned)))
        .next();
    match error {
        None if (200..300).contains(&status) => Ok(()),
        other => {
            Err(failed(io::Error::other(other.unwrap_or_else(|| format!("the engine answered with status {status}")))))
        }
    }
}

fn socket_path() -> Result<PathBuf, Diagnostic> {
    match std::env::var("DOCKER_HOST") {
        Err(_) => Ok("/var/run/docker.sock".into()),
        Ok(host) => host.strip_prefix("unix://").map(PathBuf::from).ok_or_else(|| {
            Diagnostic::error(
                Exit::Usage,
                format!("`--load` needs a Docker engine on a unix socket, but DOCKER_HOST is `{host}`"),
            )
            .hint("write a file with `-o type=docker,dest=image.tar` and use `docker load`")
        }),
    }
}

fn post(mut stream: UnixStream, archive: &Path) -> io::Result<(u16, String)> {
    let mut file = std::fs::File::open(archive)?;
    let size_bytes = file.metadata()?.len();
    write!(
        stream,
        "POST /images/load?quiet=1 HTTP/1.0\r\nHost: docker\r\nContent-Type: application/x-tar\r\nContent-Length: {size_bytes}\r\n\r\n"
    )?;
    io::copy(&mut file, &mut stream)?;
    let mut reader = BufReader::new(stream.take(ANSWER_LIMIT_BYTES));
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the engine's answer is not HTTP"))?;
    while line.trim_end() != "" {
        line.clear();
        reader.read_line(&mut line)?;
    }
    let mut body = Vec::new();
    reader.read_to_end(&mut body)?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
