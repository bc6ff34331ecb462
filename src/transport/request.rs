//! A request that can be sent several times: its body is described, not consumed.

use super::TransportError;
use bytes::Bytes;
use http::{HeaderMap, Method};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use url::Url;

/// How much of a file is read at once.
const FILE_CHUNK_BYTES: usize = 128 << 10;

/// Called with the bytes of the body that have been sent so far.
pub type Sent = Arc<dyn Fn(u64) + Send + Sync>;

/// What is sent.
#[derive(Clone, Default)]
pub enum Body {
    /// Nothing.
    #[default]
    Empty,
    /// Bytes in memory.
    Bytes(Bytes),
    /// A part of a file, streamed.
    File {
        /// The file.
        path: PathBuf,
        /// Where the part begins.
        offset_bytes: u64,
        /// Its length.
        length_bytes: u64,
    },
}

/// When a request is sent again by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// After broken connections, 429 and 5xx.
    Always,
    /// After 429 and 503 and connections that never came about: the server has not begun to act.
    Unstarted,
    /// Never: the caller has to look at the state of things first.
    Never,
}

/// A request.
#[derive(Clone)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// Its headers; `Authorization` stays with the first host.
    pub headers: HeaderMap,
    /// What is sent.
    pub body: Body,
    /// When it is sent again.
    pub retry: Retry,
    /// Whether plain http was asked for by whoever wrote the URL.
    pub allow_http: bool,
    /// Told about the bytes of the body as they are sent.
    pub sent: Option<Sent>,
}

impl Request {
    /// Returns a request without body, sent again whenever that is harmless.
    pub fn new(method: Method, url: Url) -> Request {
        let is_safe = [Method::GET, Method::HEAD, Method::PUT].contains(&method);
        let retry = if is_safe { Retry::Always } else { Retry::Unstarted };
        Request { method, url, headers: HeaderMap::new(), body: Body::Empty, retry, allow_http: false, sent: None }
    }

    /// Returns a GET.
    pub fn get(url: Url) -> Request {
        Request::new(Method::GET, url)
    }

    /// Adds a header; one that cannot be written is left out.
    pub fn header(mut self, name: http::HeaderName, value: &str) -> Request {
        if let Ok(value) = value.parse() {
            self.headers.append(name, value);
        }
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: Body) -> Request {
        self.body = body;
        self
    }
}

impl Body {
    /// Returns its length.
    pub fn length_bytes(&self) -> u64 {
        match self {
            Body::Empty => 0,
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::File { length_bytes, .. } => *length_bytes,
        }
    }

    /// Opens it for one sending; `moved` counts the bytes as they are taken.
    pub(super) async fn open(
        &self,
        moved: Arc<AtomicU64>,
        sent: Option<Sent>,
    ) -> Result<reqwest::Body, TransportError> {
        match self {
            Body::Empty => Ok(reqwest::Body::from(Bytes::new())),
            Body::Bytes(bytes) => {
                moved.store(bytes.len() as u64, Ordering::Relaxed);
                Ok(reqwest::Body::from(bytes.clone()))
            }
            Body::File { path, offset_bytes, length_bytes } => {
                let failed = |source| TransportError::File { path: path.clone(), source };
                let mut file = tokio::fs::File::open(path).await.map_err(failed)?;
                file.seek(std::io::SeekFrom::Start(*offset_bytes)).await.map_err(failed)?;
                let reader = file.take(*length_bytes);
                let stream = tokio_util::io::ReaderStream::with_capacity(reader, FILE_CHUNK_BYTES);
                Ok(reqwest::Body::wrap_stream(futures_util::StreamExt::inspect(stream, move |chunk| {
                    let length = chunk.as_ref().map_or(0, Bytes::len) as u64;
                    let total = moved.fetch_add(length, Ordering::Relaxed) + length;
                    if let Some(sent) = &sent {
                        sent(total);
                    }
                })))
            }
        }
    }
}
