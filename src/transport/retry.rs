//! When to try again, and after how long.

use super::{Response, Retry, TransportError};
use http::StatusCode;
use http::header::RETRY_AFTER;
use std::time::Duration;

/// How often a request is sent at most.
pub const ATTEMPT_LIMIT: u32 = 5;
/// How often a connection is tried at most: each attempt may last as long as the time-out.
const CONNECT_LIMIT: u32 = 3;
/// The longest wait that a server may ask for; one that wants more gets no second request.
pub const WAIT_LIMIT: Duration = Duration::from_secs(60);
/// The longest wait of our own choosing.
const BACKOFF_LIMIT: Duration = Duration::from_secs(8);

/// Returns how long to wait before the request is sent again, `None` when the outcome stands.
pub(super) fn wait(
    outcome: &Result<Response, TransportError>,
    retry: Retry,
    attempt: u32,
    base: Duration,
) -> Option<Duration> {
    if attempt >= ATTEMPT_LIMIT {
        return None;
    }
    let backoff = (base * 2u32.pow(attempt - 1)).min(BACKOFF_LIMIT);
    match outcome {
        Ok(response) => {
            let again = match (response.status(), retry) {
                (_, Retry::Never) => false,
                (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE, _) => true,
                (
                    StatusCode::INTERNAL_SERVER_ERROR | StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT,
                    Retry::Always,
                ) => true,
                _ => false,
            };
            let asked = response.header(RETRY_AFTER).and_then(|text| retry_after(text, jiff::Timestamp::now()));
            let wait = asked.unwrap_or(backoff);
            (again && wait <= WAIT_LIMIT).then_some(wait)
        }
        Err(TransportError::Unreachable { reason, .. }) => {
            // A certificate does not become valid, nor a name known, within seconds; resolvers do say when they
            // failed only for now.
            let lasting = ["certificate", "Name or service not known", "InvalidContentType", "Connection refused"];
            let hopeless = lasting.iter().any(|text| reason.contains(text));
            (retry != Retry::Never && !hopeless && attempt < CONNECT_LIMIT).then_some(backoff)
        }
        Err(TransportError::Broken { .. } | TransportError::Idle { .. }) => (retry == Retry::Always).then_some(backoff),
        Err(_) => None,
    }
}

/// Reads `Retry-After`: seconds or a date (RFC 9110, section 10.2.3).
pub(super) fn retry_after(text: &str, now: jiff::Timestamp) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp();
    Some(Duration::from_secs(u64::try_from(date.as_second() - now.as_second()).unwrap_or(0)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: jiff::Timestamp = "1994-11-06T08:49:30Z".parse().unwrap();
        assert_eq!(retry_after("7", now), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
    }
}
