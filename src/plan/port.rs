//! What EXPOSE accepts: `[ip:][host:]port[-port][/protocol]`, of which the container's ports count.

/// A port that EXPOSE does not accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid port in `EXPOSE`: {reason}: `{text}`")]
pub(super) struct PortError {
    text: String,
    reason: &'static str,
}

/// Returns the ports that a word names; a range gives each of its ports.
pub(super) fn parse(text: &str) -> Result<Vec<String>, PortError> {
    let bad = |reason| PortError { text: text.to_owned(), reason };
    let (mapping, container) = text.rsplit_once(':').unwrap_or(("", text));
    let (range, protocol) = container.split_once('/').unwrap_or((container, ""));
    if range.is_empty() {
        return Err(bad("no port specified"));
    }
    let protocol = protocol.to_ascii_lowercase();
    let protocol_name = match protocol.as_str() {
        "" => "tcp",
        known @ ("tcp" | "udp" | "sctp") => known,
        _ => return Err(bad("the protocol is not tcp, udp or sctp")),
    };
    let (first, last) = parse_range(range).ok_or_else(|| bad("expected a number up to 65535 or a range"))?;
    if let Some(reason) = mapping_error(mapping, first, last) {
        return Err(bad(reason));
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol_name}")).collect())
}

fn parse_range(text: &str) -> Option<(u16, u16)> {
    let number = |text: &str| text.strip_prefix('+').unwrap_or(text).parse::<u16>().ok();
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last))
}

fn mapping_error(mapping: &str, first: u16, last: u16) -> Option<&'static str> {
    if mapping.is_empty() {
        return None;
    }
    let (address, host) = mapping.rsplit_once(':').unwrap_or(("", mapping));
    let address = address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(address);
    if !address.is_empty() && address.parse::<std::net::IpAddr>().is_err() {
        return Some("the address is not an IP address");
    }
    match parse_range(host) {
        _ if host.is_empty() => None,
        None => Some("the host port is not a number or a range"),
        Some((from, to)) if first != last && to - from != last - first => {
            Some("the ranges of host and container ports differ in length")
        }
        Some(_) => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("80", &["80/tcp"])]
    #[case("8000-8002/UDP", &["8000/udp", "8001/udp", "8002/udp"])]
    #[case("127.0.0.1:8080:80/sctp", &["80/sctp"])]
    #[case("[::1]::80", &["80/tcp"])]
    fn ports_are_read(#[case] text: &str, #[case] expected: &[&str]) {
        assert_eq!(parse(text).unwrap(), expected);
    }

    #[rstest]
    #[case("")]
    #[case("/tcp")]
    #[case("80/http")]
    #[case("65536")]
    #[case("9-8")]
    #[case("x.y:1:80")]
    #[case("1-3:80-81")]
    fn nonsense_is_refused(#[case] text: &str) {
        assert!(parse(text).is_err());
    }
}
