//! Blobs as streams: checked for size and digest as they pass, taken up again where a connection broke.

use super::client::{Client, refusal};
use super::endpoint::{Access, Endpoint};
use super::{Progress, RegistryError};
use crate::image::{Descriptor, Digest, Reference};
use crate::transport::{Response, TransportError, block_on, runtime};
use bytes::{Buf, Bytes};
use http::header::{CONTENT_RANGE, RANGE};
use http::{Method, StatusCode};
use sha2::Digest as _;
use std::io::{self, Read};
use std::time::Duration;
use tokio::sync::mpsc;

/// How much comes between two reports of progress: chunks are small, and a report may take a lock.
const REPORT_BYTES: u64 = 256 << 10;
/// Chunks between the network and the reader; some 16 KiB each.
const QUEUED_CHUNKS: usize = 32;
/// How often a download is taken up again without a byte gained.
const RESUME_LIMIT: u32 = 5;
/// The first wait before it is; it doubles.
const RESUME_WAIT: Duration = Duration::from_millis(100);

/// A blob that is read while it comes.
///
/// The reader reports an end only after size and digest were found right; a mismatch is an [`io::Error`] that holds a
/// [`RegistryError`].  Dropping it early stops the transfer.  It must be read on a plain thread.
#[derive(Debug)]
pub struct BlobReader {
    chunks: mpsc::Receiver<Result<Bytes, RegistryError>>,
    current: Bytes,
    /// Once failed, it stays so: nobody shall take the rest for the whole.
    failed: bool,
    verified: bool,
}

/// What has come of a blob so far.
struct Download {
    client: Client,
    /// Who sends it.
    endpoint: Endpoint,
    /// Who else may have the rest of it.
    others: Vec<Endpoint>,
    descriptor: Descriptor,
    hasher: sha2::Sha256,
    received: u64,
    /// Bytes told to `progress`.
    reported: u64,
    progress: Option<Progress>,
}

impl Client {
    /// Begins to get a blob.  `urls` in the descriptor are never used (CVE-2020-15157).
    pub fn blob(&self, reference: &Reference, descriptor: &Descriptor) -> Result<BlobReader, RegistryError> {
        block_on(self.open_blob(reference, descriptor))
    }

    /// Gets a small blob whole.
    pub(super) async fn blob_bytes(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        limit_bytes: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        if descriptor.size_bytes > limit_bytes {
            let url = format!("blob {}", descriptor.digest);
            return Err(TransportError::TooLarge { url, limit_bytes }.into());
        }
        // The whole of it from one mirror or the next: wrong bytes of one are no loss.
        self.mirrored(reference, |endpoint| async {
            let mut reader = self.open_blob_at(endpoint, Vec::new(), descriptor).await?;
            let mut bytes = Vec::new();
            loop {
                match reader.chunks.recv().await {
                    Some(chunk) => bytes.extend_from_slice(&chunk?),
                    None => return Ok(bytes),
                }
            }
        })
        .await
    }

    async fn open_blob(&self, reference: &Reference, descriptor: &Descriptor) -> Result<BlobReader, RegistryError> {
        let all = self.endpoints(reference)?;
        self.mirrored(reference, |endpoint| {
            let others = all.iter().skip_while(|e| **e != endpoint).skip(1).cloned().collect();
            self.open_blob_at(endpoint, others, descriptor)
        })
        .await
    }

    async fn open_blob_at(
        &self,
        endpoint: Endpoint,
        mut others: Vec<Endpoint>,
        descriptor: &Descriptor,
    ) -> Result<BlobReader, RegistryError> {
        others.reverse();
        let response = self.request_blob(&endpoint, descriptor, 0).await?;
        let download = Download {
            client: self.clone(),
            endpoint,
            others,
            descriptor: descriptor.clone(),
            hasher: sha2::Sha256::new(),
            received: 0,
            reported: 0,
            progress: self.progress(),
        };
        let (sender, chunks) = mpsc::channel(QUEUED_CHUNKS);
        runtime().spawn(download.run(response, sender));
        Ok(BlobReader { chunks, current: Bytes::new(), failed: false, verified: false })
    }

    async fn request_blob(
        &self,
        endpoint: &Endpoint,
        descriptor: &Descriptor,
        offset: u64,
    ) -> Result<Response, RegistryError> {
        let range = format!("bytes={offset}-");
        let headers = [(RANGE, range.as_str())];
        let what = format!("blobs/{}", descriptor.digest);
        let headers = if offset > 0 { &headers[..] } else { &[] };
        let answer = self.ask(endpoint, Method::GET, &what, headers).await?;
        match answer.response.status() {
            StatusCode::OK => match answer.response.length_bytes() {
                // Told before a byte is passed on, while another mirror can still be asked.
                Some(actual) if actual != descriptor.size_bytes => Err(size_mismatch(endpoint, descriptor, actual)),
                _ => Ok(answer.response),
            },
            StatusCode::PARTIAL_CONTENT if offset > 0 => Ok(answer.response),
            StatusCode::NOT_FOUND => Err(RegistryError::UnknownBlob {
                digest: descriptor.digest,
                repository: endpoint.repository.clone(),
                registry: endpoint.host.clone(),
            }),
            _ => Err(refusal(endpoint, Access::Pull, answer.response, answer.credentials).await),
        }
    }
}

impl Download {
    /// Passes the blob on, then its verdict.
    async fn run(mut self, first: Response, sender: mpsc::Sender<Result<Bytes, RegistryError>>) {
        if let Err(error) = self.transfer(first, &sender).await {
            // A closed channel means that the reader is gone, and nobody is left to be told.
            let _ = sender.send(Err(error)).await;
        }
    }

    async fn transfer(
        &mut self,
        first: Response,
        sender: &mpsc::Sender<Result<Bytes, RegistryError>>,
    ) -> Result<(), RegistryError> {
        let (mut response, mut fruitless) = (first, 0);
        loop {
            let before = self.received;
            let skip = self.skip(&response)?;
            let broken = match self.pass_on(&mut response, skip, sender).await {
                Ok(Passed::ReaderGone) => return Ok(()),
                Ok(Passed::Whole) if self.received == self.descriptor.size_bytes => return self.verify(sender).await,
                // The body ended early without a broken connection.
                Ok(Passed::Whole) => self.size_mismatch(self.received),
                Err(RegistryError::Transport(e)) if e.is_transient() => e.into(),
                Err(other) => return Err(other),
            };
            fruitless = if self.received > before { 1 } else { fruitless + 1 };
            if fruitless > RESUME_LIMIT {
                response = self.resume_elsewhere(broken).await?;
                fruitless = 0;
                continue;
            }
            tokio::time::sleep(RESUME_WAIT * 2u32.pow(fruitless - 1)).await;
            response = match self.client.request_blob(&self.endpoint, &self.descriptor, self.received).await {
                Ok(response) => response,
                Err(error) => self.resume_elsewhere(error).await?,
            };
        }
    }

    /// Gets the rest from the next mirror, or from the registry itself: a digest names the same bytes everywhere.
    async fn resume_elsewhere(&mut self, mut error: RegistryError) -> Result<Response, RegistryError> {
        while let Some(next) = self.others.pop() {
            self.client.note_failure(&self.endpoint, &error);
            self.endpoint = next;
            match self.client.request_blob(&self.endpoint, &self.descriptor, self.received).await {
                Ok(response) => return Ok(response),
                Err(next) => error = next,
            }
        }
        Err(error)
    }

    /// Returns how many bytes of an answer are known already: a server need not heed `Range`.
    fn skip(&self, response: &Response) -> Result<u64, RegistryError> {
        if response.status() != StatusCode::PARTIAL_CONTENT {
            return Ok(self.received);
        }
        let range = response.header(CONTENT_RANGE).unwrap_or_default();
        let start: Option<u64> =
            range.strip_prefix("bytes ").and_then(|r| r.split('-').next()).and_then(|s| s.parse().ok());
        match start {
            Some(start) if start == self.received => Ok(0),
            _ => Err(RegistryError::Protocol {
                registry: self.endpoint.host.clone(),
                reason: format!("asked for bytes from {} on, it sent `{}`", self.received, range.escape_debug()),
            }),
        }
    }

    async fn pass_on(
        &mut self,
        response: &mut Response,
        mut skip: u64,
        sender: &mpsc::Sender<Result<Bytes, RegistryError>>,
    ) -> Result<Passed, RegistryError> {
        while let Some(mut chunk) = response.chunk().await? {
            let known = skip.min(chunk.len() as u64);
            chunk.advance(known as usize);
            skip -= known;
            let received = self.received + chunk.len() as u64;
            if received > self.descriptor.size_bytes {
                return Err(self.size_mismatch(received));
            }
            if chunk.is_empty() {
                continue;
            }
            self.hasher.update(&chunk);
            self.received = received;
            if sender.send(Ok(chunk)).await.is_err() {
                return Ok(Passed::ReaderGone);
            }
            self.report();
        }
        Ok(Passed::Whole)
    }

    fn report(&mut self) {
        let is_due = self.received == self.descriptor.size_bytes || self.received >= self.reported + REPORT_BYTES;
        if let Some(progress) = self.progress.as_ref().filter(|_| is_due) {
            progress(&self.descriptor.digest.to_string(), self.received, self.descriptor.size_bytes);
            self.reported = self.received;
        }
    }

    async fn verify(&mut self, sender: &mpsc::Sender<Result<Bytes, RegistryError>>) -> Result<(), RegistryError> {
        let actual = Digest::from_raw(std::mem::take(&mut self.hasher).finalize().into());
        if actual != self.descriptor.digest {
            return Err(RegistryError::DigestMismatch {
                what: "a blob",
                registry: self.endpoint.host.clone(),
                expected: self.descriptor.digest,
                actual: actual.to_string(),
            });
        }
        // An empty chunk is the seal: a channel that closes without it was cut, not finished.
        let _ = sender.send(Ok(Bytes::new())).await;
        Ok(())
    }

    fn size_mismatch(&self, actual: u64) -> RegistryError {
        size_mismatch(&self.endpoint, &self.descriptor, actual)
    }
}

fn size_mismatch(endpoint: &Endpoint, descriptor: &Descriptor, actual: u64) -> RegistryError {
    let (digest, expected, registry) = (descriptor.digest, descriptor.size_bytes, endpoint.host.clone());
    RegistryError::SizeMismatch { digest, registry, expected, actual }
}

enum Passed {
    Whole,
    ReaderGone,
}

impl Read for BlobReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.verified && !buf.is_empty() {
            if self.failed {
                return Err(io::Error::other("the transfer failed before"));
            }
            match self.chunks.blocking_recv() {
                Some(Ok(chunk)) if chunk.is_empty() => self.verified = true,
                Some(Ok(chunk)) => self.current = chunk,
                Some(Err(error)) => {
                    self.failed = true;
                    return Err(io::Error::other(error));
                }
                None => {
                    self.failed = true;
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the transfer was cut off"));
                }
            }
        }
        let n = buf.len().min(self.current.len());
        self.current.split_to(n).copy_to_slice(&mut buf[..n]);
        Ok(n)
    }
}
