//! Files from the web: `ADD https://..` and contexts that are URLs.

use crate::image::{Digest, Sha256Writer};
use crate::transport::{Request, Response, Transport, TransportError, block_on, redacted};
use ::http::StatusCode;
use ::http::header::{ETAG, IF_NONE_MATCH, LAST_MODIFIED};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;
use url::Url;

/// Longest file name (`NAME_MAX` of Linux).
const NAME_LIMIT_BYTES: usize = 255;
/// Longest entity tag that is remembered.
const ETAG_LIMIT_BYTES: usize = 1024;
/// What is written to the disk at once.
const WRITE_BYTES: usize = 256 << 10;

/// A file that was fetched.
#[derive(Debug)]
pub struct Fetched {
    /// The file; it is deleted when this is dropped.
    pub file: NamedTempFile,
    /// Its size.
    pub size_bytes: u64,
    /// The digest of its bytes.
    pub digest: Digest,
    /// `Last-Modified`, seconds since the epoch.
    pub last_modified: Option<i64>,
    /// `ETag` as it came, to ask with the next time.
    pub etag: Option<String>,
    /// The last element of the URL's path; see [`file_name`].
    pub file_name: Option<String>,
}

/// What a server says about a file whose entity tag is known.
#[derive(Debug)]
pub enum Revalidated {
    /// It is the same.
    NotModified,
    /// It is another, or the server does not say.
    Modified,
}

/// A file that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The text is no web address.
    #[error("`{url}` is no http or https address")]
    Address {
        /// The URL, redacted where it could be parsed.
        url: String,
    },
    /// The server refuses.
    #[error("`{url}` answered {status}")]
    Status {
        /// Redacted.
        url: String,
        /// The status and its reason, e.g. `404 Not Found`.
        status: StatusCode,
    },
    /// No usable answer.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The file cannot be written.
    #[error("write the answer of `{url}` to `{}`", .dir.display())]
    Write {
        /// Redacted.
        url: String,
        /// Where to.
        dir: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Parses the URL of an ADD or a context.
pub fn parse_url(text: &str) -> Result<Url, FetchError> {
    let parsed: Option<Url> = text.parse().ok();
    let shown = || parsed.as_ref().map_or_else(|| "the URL".to_owned(), redacted);
    match &parsed {
        Some(url) if ["http", "https"].contains(&url.scheme()) && url.host().is_some() => Ok(url.clone()),
        _ => Err(FetchError::Address { url: shown() }),
    }
}

/// Returns the name that a fetched file has: the last element of the URL's path, query and fragment left out.
///
/// `/dir/` gives `dir`.  The server's `Content-Disposition` has no say: a name must be known before anything is asked,
/// and must not be a stranger's choice.  Percent escapes are decoded, and a name that they turn into a path is refused.
pub fn file_name(url: &Url) -> Option<String> {
    let segments = url.path_segments()?;
    let last = segments.rev().find(|segment| !segment.is_empty())?;
    // `+` is a plus sign in a path; the form decoder would make it a space.
    let escaped = last.replace('+', "%2B");
    let name = url::form_urlencoded::parse(format!("n={}", escaped.replace('&', "%26")).as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())?;
    let is_plain = !name.contains(['/', '\0', '\u{fffd}']) && ![".", ".."].contains(&name.as_str());
    (is_plain && !name.is_empty() && name.len() <= NAME_LIMIT_BYTES).then_some(name)
}

/// Fetches a file into a directory; waits, and must not be called from within a future.
///
/// Plain http is used only where the URL says so; a redirect cannot change https to it.
pub fn fetch(transport: &Transport, url: &Url, dir: &Path, limit_bytes: u64) -> Result<Fetched, FetchError> {
    block_on(async {
        let response = transport.send(&request(url)).await?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status { url: redacted(url), status: response.status() });
        }
        store(response, url, dir, limit_bytes).await
    })
}

/// Asks a server whether a file is still the one with the given entity tag; nothing of it is transferred.
///
/// Servers that do not answer HEAD well count as saying [`Revalidated::Modified`]: the fetch that follows will tell.
pub fn revalidate(transport: &Transport, url: &Url, etag: &str) -> Result<Revalidated, FetchError> {
    let mut request = request(url).header(IF_NONE_MATCH, etag);
    request.method = ::http::Method::HEAD;
    let response = block_on(transport.send(&request))?;
    let same = || response.header(ETAG).is_some_and(|now| opaque(now) == opaque(etag));
    match response.status() {
        StatusCode::NOT_MODIFIED => Ok(Revalidated::NotModified),
        StatusCode::OK if same() => Ok(Revalidated::NotModified),
        StatusCode::NOT_FOUND | StatusCode::GONE => {
            Err(FetchError::Status { url: redacted(url), status: response.status() })
        }
        _ => Ok(Revalidated::Modified),
    }
}

/// Compares weakly (RFC 9110, section 8.8.3.2), as `If-None-Match` does.
fn opaque(etag: &str) -> &str {
    etag.strip_prefix("W/").unwrap_or(etag)
}

fn request(url: &Url) -> Request {
    let mut request = Request::get(url.clone());
    request.allow_http = url.scheme() == "http";
    request
}

async fn store(mut response: Response, url: &Url, dir: &Path, limit_bytes: u64) -> Result<Fetched, FetchError> {
    let failed = |source| FetchError::Write { url: redacted(url), dir: dir.to_owned(), source };
    let too_large = || TransportError::TooLarge { url: redacted(url), limit_bytes };
    let expected = response.length_bytes();
    if expected.is_some_and(|length| length > limit_bytes) {
        return Err(too_large().into());
    }
    let etag = response.header(ETAG).filter(|e| !e.is_empty() && e.len() <= ETAG_LIMIT_BYTES).map(str::to_owned);
    let last_modified = response.header(LAST_MODIFIED).and_then(seconds);
    let file = NamedTempFile::new_in(dir).map_err(failed)?;
    let mut writer = Sha256Writer::new(BufWriter::with_capacity(WRITE_BYTES, file));
    let mut received = 0;
    while let Some(chunk) = response.chunk().await? {
        received += chunk.len() as u64;
        if received > limit_bytes {
            return Err(too_large().into());
        }
        writer.write_all(&chunk).map_err(failed)?;
    }
    let (buffer, digest, size_bytes) = writer.finish();
    let file = buffer.into_inner().map_err(|e| failed(e.into_error()))?;
    Ok(Fetched { file, size_bytes, digest, last_modified, etag, file_name: file_name(url) })
}

/// Reads an HTTP date (RFC 9110, section 5.6.7).
fn seconds(date: &str) -> Option<i64> {
    jiff::fmt::rfc2822::parse(date).ok().map(|time| time.timestamp().as_second())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::transport::Options;
    use rstest::rstest;
    use std::time::Duration;
    use wiremock::matchers::{header, method, path};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    fn transport() -> Transport {
        Transport::new(Options { backoff: Duration::from_millis(1), ..Options::default() })
    }

    fn server(mocks: Vec<Mock>) -> MockServer {
        block_on(async {
            let server = MockServer::start().await;
            for mock in mocks {
                server.register(mock).await;
            }
            server
        })
    }

    fn url(server: &MockServer, path: &str) -> Url {
        parse_url(&format!("{}{path}", server.uri())).unwrap()
    }

    #[rstest]
    #[case("https://x.io/a/b.tar.gz?v=1#c", Some("b.tar.gz"))]
    #[case("https://x.io/dir/", Some("dir"))]
    #[case("https://x.io/a%20b+c&d", Some("a b+c&d"))]
    #[case("https://x.io/", None)]
    #[case("https://x.io", None)]
    #[case("https://x.io/a%2Fb", None)]
    #[case("https://x.io/..%2f..%2fetc", None)]
    #[case("https://x.io/a/%2e%2e", None)]
    #[case("https://x.io/%ff", None)]
    fn the_name_is_the_last_element_of_the_path(#[case] url: &str, #[case] name: Option<&str>) {
        assert_eq!(file_name(&parse_url(url).unwrap()).as_deref(), name);
    }

    #[test]
    fn a_file_is_fetched_with_what_the_cache_needs() {
        let answer = ResponseTemplate::new(200)
            .insert_header("ETag", "\"v1\"")
            .insert_header("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT")
            .insert_header("Content-Disposition", "attachment; filename=evil")
            .set_body_string("hello");
        let server = server(vec![Mock::given(path("/a/x.txt")).respond_with(answer)]);
        let dir = tempfile::tempdir().unwrap();
        let got = fetch(&transport(), &url(&server, "/a/x.txt?token=1"), dir.path(), 5).unwrap();
        assert_eq!(std::fs::read(got.file.path()).unwrap(), b"hello");
        assert_eq!((got.size_bytes, got.digest), (5, Digest::of(b"hello")));
        assert_eq!((got.last_modified, got.etag.as_deref()), (Some(784_111_777), Some("\"v1\"")));
        assert_eq!(got.file_name.as_deref(), Some("x.txt"));
    }

    #[test]
    fn errors_name_the_status_and_the_limit_but_no_credentials() {
        let server = server(vec![
            Mock::given(path("/gone")).respond_with(ResponseTemplate::new(404)),
            Mock::given(path("/big")).respond_with(ResponseTemplate::new(200).set_body_bytes([0; 9])),
        ]);
        let dir = tempfile::tempdir().unwrap();
        let fail = |path: &str| fetch(&transport(), &url(&server, path), dir.path(), 8).unwrap_err().to_string();
        assert_eq!(fail("/gone?t=s3cret"), format!("`{}/gone?...` answered 404 Not Found", server.uri()));
        assert_eq!(fail("/big?t=s3cret"), format!("the answer of `{}/big?...` is larger than 8 bytes", server.uri()));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_known_file_is_revalidated_without_its_bytes() {
        let same = Mock::given(method("HEAD")).and(header("If-None-Match", "\"v1\""));
        let server = server(vec![
            same.respond_with(ResponseTemplate::new(304)),
            Mock::given(method("HEAD"))
                .and(header("If-None-Match", "\"v2\""))
                .respond_with(ResponseTemplate::new(200).insert_header("ETag", "W/\"v2\"")),
            Mock::given(method("HEAD")).and(path("/405")).respond_with(ResponseTemplate::new(405)),
            Mock::given(method("HEAD")).respond_with(ResponseTemplate::new(200).insert_header("ETag", "\"v4\"")),
        ]);
        let ask = |path: &str, etag: &str| revalidate(&transport(), &url(&server, path), etag).unwrap();
        assert!(matches!(ask("/", "\"v1\""), Revalidated::NotModified));
        assert!(matches!(ask("/", "\"v2\""), Revalidated::NotModified));
        assert!(matches!(ask("/", "\"v3\""), Revalidated::Modified));
        assert!(matches!(ask("/405", "\"v3\""), Revalidated::Modified));
    }

    #[test]
    fn other_schemes_are_refused() {
        for text in ["file:///etc/passwd", "ftp://x.io/a", "x", "git@x.io:a"] {
            assert!(matches!(parse_url(text), Err(FetchError::Address { .. })), "{text}");
        }
    }
}
