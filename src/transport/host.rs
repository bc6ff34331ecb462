//! What the name of a host says: whether it is this machine, a private network, and how it is written in messages.

use std::net::IpAddr;
use url::{Host, Url};

/// Returns host and, where it is not the scheme's own, port: the exact scope of settings and credentials.
pub fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Tells whether a URL is on this machine: `localhost`, 127.0.0.0/8 or `[::1]`.
pub fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Tells whether an address is not of the public internet: this machine, a private or a link-local network (where
/// clouds have their metadata service).
pub fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            v4.is_loopback() || v4.is_private() || v4.is_link_local() || v4.is_unspecified() || shared
        }
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => is_private(IpAddr::V4(v4)),
            None => {
                let unique_local = v6.segments()[0] & 0xfe00 == 0xfc00;
                v6.is_loopback() || v6.is_unspecified() || unique_local || v6.is_unicast_link_local()
            }
        },
    }
}

/// Returns a URL for messages: without user, password, query and fragment, any of which may be a credential.
pub fn redacted(url: &Url) -> String {
    let mut shown = url.clone();
    // Both fail only for URLs that cannot have them.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.set_fragment(None);
    if shown.query().is_some_and(|q| !q.is_empty()) {
        shown.set_query(None);
        return format!("{shown}?...");
    }
    shown.into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("http://localhost:5000/", true)]
    #[case("http://LOCALHOST/", true)]
    #[case("http://127.9.9.9/", true)]
    #[case("http://2130706433/", true)]
    #[case("http://[::1]:1/", true)]
    #[case("http://localhost.evil.com/", false)]
    #[case("http://127.0.0.1.evil.com/", false)]
    #[case("http://10.0.0.1/", false)]
    fn only_this_machine_is_local(#[case] url: &str, #[case] local: bool) {
        assert_eq!(is_local(&url.parse().unwrap()), local);
    }

    #[rstest]
    #[case("127.0.0.1", true)]
    #[case("169.254.169.254", true)]
    #[case("10.1.2.3", true)]
    #[case("100.64.0.1", true)]
    #[case("::ffff:192.168.1.1", true)]
    #[case("fd00:ec2::254", true)]
    #[case("fe80::1", true)]
    #[case("8.8.8.8", false)]
    #[case("2001:4860:4860::8888", false)]
    fn private_networks_are_known(#[case] address: &str, #[case] private: bool) {
        assert_eq!(is_private(address.parse().unwrap()), private);
    }

    #[test]
    fn messages_hold_no_credentials() {
        let url: Url = "https://user:secret@x.io:8/a?X-Amz-Signature=secret#secret".parse().unwrap();
        assert_eq!(redacted(&url), "https://x.io:8/a?...");
        assert_eq!(authority(&url), "x.io:8");
    }
}
