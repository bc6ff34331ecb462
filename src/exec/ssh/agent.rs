//! The agent protocol (draft-ietf-sshm-ssh-agent), of which a step may use two requests: list keys, and sign.
//!
//! The rest (adding and removing keys, locking the agent) would change the agent of the user who builds; BuildKit lets
//! a step do none of it either.

use super::Agent;
use super::key::Key;
use super::wire::{Reader, put_string};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

/// Bytes that a message may have, the limit of OpenSSH.
const MESSAGE_LIMIT_BYTES: u32 = 256 << 10;

const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;

impl Agent {
    /// Answers the requests of a client until it hangs up.
    pub(super) fn serve(&self, mut client: UnixStream) -> io::Result<()> {
        let mut upstream = match self {
            Agent::Socket(path) => Some(UnixStream::connect(path)?),
            Agent::Keys(_) => None,
        };
        loop {
            let Some(request) = read_message(&mut client)? else { return Ok(()) };
            let is_harmless = matches!(request.first(), Some(&(REQUEST_IDENTITIES | SIGN_REQUEST)));
            let answer = match (self, &mut upstream) {
                _ if !is_harmless => vec![FAILURE],
                (Agent::Keys(keys), _) => answer(keys, &request),
                (Agent::Socket(_), Some(agent)) => {
                    write_message(agent, &request)?;
                    read_message(agent)?.ok_or(io::ErrorKind::UnexpectedEof)?
                }
                (Agent::Socket(_), None) => vec![FAILURE],
            };
            write_message(&mut client, &answer)?;
        }
    }
}

/// Answers one request with these keys.
pub(super) fn answer(keys: &[Key], request: &[u8]) -> Vec<u8> {
    let mut request = Reader(request);
    match request.byte() {
        Some(REQUEST_IDENTITIES) => identities(keys),
        Some(SIGN_REQUEST) => signature(keys, &mut request).unwrap_or_else(|| vec![FAILURE]),
        _ => vec![FAILURE],
    }
}

fn identities(keys: &[Key]) -> Vec<u8> {
    let mut answer = vec![IDENTITIES_ANSWER];
    answer.extend(u32::try_from(keys.len()).unwrap_or(u32::MAX).to_be_bytes());
    for key in keys {
        put_string(&mut answer, &key.public());
        put_string(&mut answer, key.comment.as_bytes());
    }
    answer
}

fn signature(keys: &[Key], request: &mut Reader<'_>) -> Option<Vec<u8>> {
    let (public, data, flags) = (request.string()?, request.string()?, request.number()?);
    let key = keys.iter().find(|key| key.public() == public)?;
    let mut answer = vec![SIGN_RESPONSE];
    put_string(&mut answer, &key.sign(data, flags)?);
    Some(answer)
}

/// Reads a message; `None` at the end of the stream.
fn read_message(stream: &mut UnixStream) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    }
    let length = u32::from_be_bytes(length);
    if length > MESSAGE_LIMIT_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the message is too long"));
    }
    let mut message = Vec::new();
    stream.take(u64::from(length)).read_to_end(&mut message)?;
    if message.len() as u64 != u64::from(length) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(message))
}

fn write_message(stream: &mut UnixStream, message: &[u8]) -> io::Result<()> {
    let mut framed = Vec::with_capacity(message.len() + 4);
    put_string(&mut framed, message);
    stream.write_all(&framed)
}
