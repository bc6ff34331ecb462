//! One blob's way into a registry: there already, mounted, sent whole, or sent in chunks (distribution-spec, Push).

use super::client::{Answer, Client, refusal};
use super::endpoint::{Access, Endpoint};
use super::{BlobSource, Progress, PushBlob, RegistryError};
use crate::image::{Descriptor, Reference};
use crate::transport::{Body, Request, Retry, Sent, redacted};
use http::header::{CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use http::{Method, StatusCode};
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// How often a broken upload is taken up again without a byte gained.
const RESUME_LIMIT: u32 = 5;
/// The first wait before it is; it doubles.
const RESUME_WAIT: Duration = Duration::from_millis(200);
/// The longest wait that a registry may ask for.
const WAIT_LIMIT: Duration = Duration::from_secs(60);
/// Size of the chunks for registries that do not take a blob whole.
const CHUNK_BYTES: u64 = 16 << 20;

/// An upload under way.
struct Upload<'a> {
    client: &'a Client,
    endpoint: &'a Endpoint,
    scopes: &'a [String],
    blob: &'a PushBlob,
    /// Where the session lives now; it may move with every answer.
    location: Url,
    /// Bytes that the registry has.
    offset: u64,
    /// Whether the registry refused to take the rest in one piece.
    in_chunks: bool,
}

/// What came of one attempt to send the rest.
enum Attempt {
    Done,
    /// Something is missing; the registry knows how much it has.
    Broken(RegistryError),
    /// It wants chunks.
    TooLarge(RegistryError),
    /// The session is gone.
    Lost(RegistryError),
}

/// How an upload begins.
enum Opening {
    /// It need not: the blob was linked from another repository.
    Mounted,
    /// In a session that the registry opened instead of linking, with the scopes it was asked with.
    Session(Url, Vec<String>),
    /// In a session that is still to be opened.
    Fresh,
}

/// Sees to it that a registry has a blob.
pub(super) async fn push(client: &Client, endpoint: &Endpoint, blob: &PushBlob) -> Result<(), RegistryError> {
    let whole = || report(client.progress().as_ref(), blob, blob.descriptor.size_bytes);
    if exists(client, endpoint, &blob.descriptor).await? {
        whole();
        return Ok(());
    }
    let mut opening = mount(client, endpoint, blob).await?;
    let mut lost = 0;
    loop {
        let (location, scopes) = match std::mem::replace(&mut opening, Opening::Fresh) {
            Opening::Mounted => {
                whole();
                return Ok(());
            }
            Opening::Session(location, scopes) => (location, scopes),
            Opening::Fresh => {
                let location = open(client, endpoint, &[], "blobs/uploads/").await?;
                let odd = || protocol(endpoint, "it answered 201 to the opening of an upload".into());
                (location.ok_or_else(odd)?, Vec::new())
            }
        };
        let mut upload = Upload { client, endpoint, scopes: &scopes, blob, location, offset: 0, in_chunks: false };
        match upload.run().await? {
            None => return Ok(()),
            Some(error) if lost >= RESUME_LIMIT => return Err(error),
            Some(_) => lost += 1,
        }
    }
}

/// Asks the registry to link a blob from the repository that has it.
async fn mount(client: &Client, endpoint: &Endpoint, blob: &PushBlob) -> Result<Opening, RegistryError> {
    let Some(source) = blob.mount_from.as_ref().and_then(|from| mount_source(client, endpoint, from)) else {
        return Ok(Opening::Fresh);
    };
    let scopes = vec![source.scope(Access::Pull)];
    let query = format!("blobs/uploads/?mount={}&from={}", blob.descriptor.digest, source.repository);
    match open(client, endpoint, &scopes, &query).await {
        Ok(None) => Ok(Opening::Mounted),
        Ok(Some(location)) => Ok(Opening::Session(location, scopes)),
        // Who may not read the other repository may still write this one.
        Err(RegistryError::Unauthorized { .. } | RegistryError::Denied { .. }) => Ok(Opening::Fresh),
        Err(error) => Err(error),
    }
}

/// Returns the other repository if it is on the same registry.
fn mount_source(client: &Client, endpoint: &Endpoint, from: &Reference) -> Option<Endpoint> {
    let source = client.primary(from).ok()?;
    (source.host == endpoint.host && source.repository != endpoint.repository).then_some(source)
}

async fn exists(client: &Client, endpoint: &Endpoint, descriptor: &Descriptor) -> Result<bool, RegistryError> {
    let url = client.url(endpoint, &format!("blobs/{}", descriptor.digest)).await?;
    let answer = client.send(endpoint, Access::Push, &[], &Request::new(Method::HEAD, url)).await?;
    match answer.response.status() {
        StatusCode::OK => Ok(answer.response.length_bytes().is_none_or(|n| n == descriptor.size_bytes)),
        StatusCode::NOT_FOUND => Ok(false),
        _ => Err(refused(endpoint, answer).await),
    }
}

/// Opens a session, or mounts: `None` when the blob is there now.
async fn open(
    client: &Client,
    endpoint: &Endpoint,
    scopes: &[String],
    what: &str,
) -> Result<Option<Url>, RegistryError> {
    let url = client.url(endpoint, what).await?;
    let request = Request::new(Method::POST, url);
    let answer = client.send(endpoint, Access::Push, scopes, &request).await?;
    match answer.response.status() {
        StatusCode::CREATED => Ok(None),
        StatusCode::ACCEPTED => location(endpoint, &request.url, &answer).map(Some),
        _ => Err(refused(endpoint, answer).await),
    }
}

/// Returns where the upload goes on: on the same host, or the blob and the token would go to a stranger.
fn location(endpoint: &Endpoint, base: &Url, answer: &Answer) -> Result<Url, RegistryError> {
    let text = answer.response.header(LOCATION).unwrap_or_default();
    let next = base.join(text).ok().filter(|_| !text.is_empty());
    let next = next.ok_or_else(|| protocol(endpoint, "an upload has no usable location".into()))?;
    if next.origin() == base.origin() {
        Ok(next)
    } else {
        Err(protocol(endpoint, format!("an upload is to go on at another place: `{}`", redacted(&next))))
    }
}

impl Upload<'_> {
    /// Sends everything; returns an error when the session was lost and another may be opened.
    async fn run(&mut self) -> Result<Option<RegistryError>, RegistryError> {
        let mut fruitless = 0;
        loop {
            let before = self.offset;
            let attempt = if self.in_chunks { self.chunked().await? } else { self.whole().await? };
            let error = match attempt {
                Attempt::Done => return Ok(None),
                Attempt::Lost(error) => return Ok(Some(error)),
                Attempt::TooLarge(error) if self.in_chunks => return Err(error),
                Attempt::TooLarge(error) => {
                    self.in_chunks = true;
                    error
                }
                Attempt::Broken(error) => error,
            };
            if asked_wait(&error).is_some_and(|wait| wait > WAIT_LIMIT) {
                return Err(error);
            }
            if !self.ask_offset().await? {
                return Ok(Some(error));
            }
            fruitless = if self.offset > before { 1 } else { fruitless + 1 };
            if fruitless > RESUME_LIMIT {
                return Err(error);
            }
            let backoff = RESUME_WAIT * 2u32.pow(fruitless - 1);
            tokio::time::sleep(asked_wait(&error).unwrap_or(backoff)).await;
        }
    }

    /// Sends what is missing and closes the session, in one request where the session is fresh.
    async fn whole(&mut self) -> Result<Attempt, RegistryError> {
        let rest = self.blob.descriptor.size_bytes - self.offset;
        // The specification has a range for PATCH only: a PUT that ends a resumed upload carries no bytes.
        if self.offset > 0 && rest > 0 {
            match self.patch(rest).await? {
                Attempt::Done => {}
                other => return Ok(other),
            }
        }
        let rest = self.blob.descriptor.size_bytes - self.offset;
        self.put(rest).await
    }

    async fn chunked(&mut self) -> Result<Attempt, RegistryError> {
        while self.offset < self.blob.descriptor.size_bytes {
            let length = CHUNK_BYTES.min(self.blob.descriptor.size_bytes - self.offset);
            match self.patch(length).await? {
                Attempt::Done => {}
                other => return Ok(other),
            }
        }
        self.put(0).await
    }

    async fn put(&mut self, length: u64) -> Result<Attempt, RegistryError> {
        let digest = self.blob.descriptor.digest;
        let mut url = self.location.clone();
        url.query_pairs_mut().append_pair("digest", &digest.to_string());
        let request = Request::new(Method::PUT, url).header(CONTENT_TYPE, "application/octet-stream");
        let answer = match self.send(request, length).await? {
            Ok(answer) => answer,
            Err(broken) => return Ok(broken),
        };
        match answer.response.status() {
            StatusCode::CREATED | StatusCode::NO_CONTENT => {
                super::push::check_returned(self.endpoint, "a blob", digest, &answer)?;
                self.offset = self.blob.descriptor.size_bytes;
                Ok(Attempt::Done)
            }
            _ => self.judge(answer).await,
        }
    }

    async fn patch(&mut self, length: u64) -> Result<Attempt, RegistryError> {
        let end = self.offset + length;
        let request = Request::new(Method::PATCH, self.location.clone())
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_RANGE, &format!("{}-{}", self.offset, end - 1));
        let answer = match self.send(request, length).await? {
            Ok(answer) => answer,
            Err(broken) => return Ok(broken),
        };
        match answer.response.status() {
            StatusCode::ACCEPTED | StatusCode::CREATED | StatusCode::NO_CONTENT => {
                self.location = location(self.endpoint, &self.location, &answer)?;
                self.offset = end;
                Ok(Attempt::Done)
            }
            _ => self.judge(answer).await,
        }
    }

    /// Sends a part of the blob; a broken connection is an [`Attempt`], not an error.
    async fn send(&self, mut request: Request, length: u64) -> Result<Result<Answer, Attempt>, RegistryError> {
        // What arrived of it is unknown: the session must be asked before anything is sent again.
        request.retry = Retry::Never;
        request.sent = self.sent();
        request.body = self.blob.source.part(self.offset, length);
        match self.client.send(self.endpoint, Access::Push, self.scopes, &request).await {
            Ok(answer) => Ok(Ok(answer)),
            Err(RegistryError::Transport(e)) if e.is_transient() => Ok(Err(Attempt::Broken(e.into()))),
            Err(error) => Err(error),
        }
    }

    async fn judge(&self, answer: Answer) -> Result<Attempt, RegistryError> {
        let status = answer.response.status();
        let error = refused(self.endpoint, answer).await;
        Ok(match status {
            StatusCode::NOT_FOUND => Attempt::Lost(error),
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
                Attempt::TooLarge(error)
            }
            StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::TOO_MANY_REQUESTS => Attempt::Broken(error),
            status if status.is_server_error() => Attempt::Broken(error),
            _ => return Err(error),
        })
    }

    /// Asks how much of the blob has arrived; `false` when the session is gone.
    async fn ask_offset(&mut self) -> Result<bool, RegistryError> {
        let request = Request::get(self.location.clone());
        let answer = self.client.send(self.endpoint, Access::Push, self.scopes, &request).await?;
        if answer.response.status() != StatusCode::NO_CONTENT {
            return Ok(false);
        }
        // `0-0` stands for nothing and for one byte alike: taking it for nothing costs one byte.
        let range = answer.response.header(RANGE).unwrap_or("0-0").trim_start_matches("bytes=");
        let last: u64 = range.split_once('-').and_then(|(_, end)| end.parse().ok()).unwrap_or(0);
        let arrived = if last == 0 { 0 } else { last + 1 };
        if arrived > self.blob.descriptor.size_bytes {
            return Ok(false);
        }
        if answer.response.header(LOCATION).is_some() {
            self.location = location(self.endpoint, &self.location, &answer)?;
        }
        self.offset = arrived;
        Ok(true)
    }

    fn sent(&self) -> Option<Sent> {
        let progress = self.client.progress()?;
        let (blob, offset) = (self.blob.clone(), self.offset);
        Some(Arc::new(move |sent| report(Some(&progress), &blob, offset + sent)))
    }
}

impl BlobSource {
    /// Returns the body of a part of the blob.
    fn part(&self, offset_bytes: u64, length_bytes: u64) -> Body {
        match self {
            _ if length_bytes == 0 => Body::Empty,
            BlobSource::File(path) => Body::File { path: path.clone(), offset_bytes, length_bytes },
            BlobSource::Bytes(bytes) => {
                let end = bytes.len().min((offset_bytes + length_bytes) as usize);
                Body::Bytes(bytes.slice((offset_bytes as usize).min(end)..end))
            }
        }
    }
}

/// Returns how long a registry asks to wait, where it does so in seconds.
fn asked_wait(error: &RegistryError) -> Option<Duration> {
    match error {
        RegistryError::RateLimited { retry_after: Some(text), .. } => text.trim().parse().ok().map(Duration::from_secs),
        _ => None,
    }
}

fn report(progress: Option<&Progress>, blob: &PushBlob, current: u64) {
    if let Some(progress) = progress {
        progress(&blob.descriptor.digest.to_string(), current, blob.descriptor.size_bytes);
    }
}

fn protocol(endpoint: &Endpoint, reason: String) -> RegistryError {
    RegistryError::Protocol { registry: endpoint.host.clone(), reason }
}

async fn refused(endpoint: &Endpoint, answer: Answer) -> RegistryError {
    refusal(endpoint, Access::Push, answer.response, answer.credentials).await
}
