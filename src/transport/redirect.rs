//! Where a redirect may lead, and what is sent there.

use super::host::{is_local, is_private};
use super::{Body, Request, TransportError};
use http::header::{AUTHORIZATION, COOKIE, LOCATION, PROXY_AUTHORIZATION};
use http::{HeaderMap, Method, StatusCode};
use url::{Host, Url};

/// How many redirects are followed.
pub const REDIRECT_LIMIT: u32 = 10;

/// Returns the request that a redirect asks for, `None` when the answer is no redirect.
pub(super) fn follow(
    request: &Request,
    status: StatusCode,
    headers: &HeaderMap,
) -> Result<Option<Request>, TransportError> {
    let is_redirect = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
    let Some(location) = headers.get(LOCATION).and_then(|l| l.to_str().ok()).filter(|_| is_redirect) else {
        return Ok(None);
    };
    let from = &request.url;
    let refuse = |to: &Url, reason| TransportError::redirect(from, to, reason);
    let to = from.join(location).map_err(|_| refuse(from, "its target is malformed"))?;
    match (from.scheme(), to.scheme()) {
        ("https", "http") => return Err(refuse(&to, "it leads from https to plain http")),
        (_, "http" | "https") => {}
        _ => return Err(refuse(&to, "it leads out of http")),
    }
    if to.host().is_none() {
        return Err(refuse(&to, "it has no host"));
    }
    let same_host = from.origin() == to.origin();
    if !same_host && !is_private_host(from) && is_private_host(&to) {
        // A server on the internet must not make us ask the services of this machine's network (SSRF).
        return Err(refuse(&to, "it leads into a private network"));
    }
    if !same_host && ![Method::GET, Method::HEAD].contains(&request.method) {
        // The body may be a token or somebody's layer.
        return Err(refuse(&to, "what is sent is meant for the first host only"));
    }
    let mut next = Request { url: to, ..request.clone() };
    if status == StatusCode::SEE_OTHER && next.method != Method::HEAD {
        (next.method, next.body) = (Method::GET, Body::Empty);
    }
    if !same_host {
        for name in [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION] {
            next.headers.remove(name);
        }
    }
    Ok(Some(next))
}

fn is_private_host(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => is_private(address.into()),
        Some(Host::Ipv6(address)) => is_private(address.into()),
        _ => is_local(url),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn redirect(method: Method, from: &str, to: &str) -> Result<Option<Request>, TransportError> {
        let request = Request::new(method, from.parse().unwrap()).header(AUTHORIZATION, "Basic eA==");
        let headers = HeaderMap::from_iter([(LOCATION, to.parse().unwrap())]);
        follow(&request, StatusCode::TEMPORARY_REDIRECT, &headers)
    }

    #[rstest]
    #[case("https://a.io/x", "/y", true)]
    #[case("https://a.io/x", "https://a.io:443/y", true)]
    #[case("https://a.io/x", "https://b.io/y", false)]
    #[case("https://a.io/x", "https://a.io:8443/y", false)]
    #[case("https://a.io/x", "https://sub.a.io/y", false)]
    #[case("http://127.0.0.1:1/x", "http://127.0.0.1:2/y", false)]
    fn authorization_stays_with_its_host(#[case] from: &str, #[case] to: &str, #[case] kept: bool) {
        let next = redirect(Method::GET, from, to).unwrap().unwrap();
        assert_eq!(next.headers.contains_key(AUTHORIZATION), kept);
    }

    #[test]
    fn see_other_is_a_get() {
        let request = Request::new(Method::POST, "https://a.io/x".parse().unwrap()).body(Body::Bytes("x".into()));
        let headers = HeaderMap::from_iter([(LOCATION, "/y".parse().unwrap())]);
        let next = follow(&request, StatusCode::SEE_OTHER, &headers).unwrap().unwrap();
        assert_eq!((next.method, next.body.length_bytes()), (Method::GET, 0));
    }

    #[rstest]
    #[case(Method::GET, "https://a.io/", "http://a.io/", "from https to plain http")]
    #[case(Method::GET, "https://a.io/", "file:///etc/passwd", "out of http")]
    #[case(Method::GET, "https://a.io/", "https://169.254.169.254/latest", "private network")]
    #[case(Method::GET, "http://a.io/", "http://localhost/", "private network")]
    #[case(Method::GET, "http://a.io/", "http://[::ffff:10.0.0.1]/", "private network")]
    #[case(Method::POST, "https://a.io/token", "https://b.io/token", "first host only")]
    #[case(Method::PUT, "https://a.io/", "https://b.io/", "first host only")]
    fn dangerous_redirects_are_refused(
        #[case] method: Method,
        #[case] from: &str,
        #[case] to: &str,
        #[case] reason: &str,
    ) {
        let error = redirect(method, from, to).err().unwrap();
        assert!(error.to_string().contains(reason), "{error}");
    }
}
