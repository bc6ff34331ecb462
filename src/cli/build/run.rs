//! What RUN finds: hosts, limits, network.

use crate::plan::graph::Network;
use std::net::IpAddr;

/// The resource limits that `--ulimit` knows, by the names of `setrlimit(2)` without `RLIMIT_`.
const LIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Returns name and address of an `--add-host`: `name:address` or `name=address`, IPv6 also in brackets.
pub fn parse_add_host(text: &str) -> Result<(String, String), String> {
    let separator = if text.contains('=') { '=' } else { ':' };
    let Some((name, address)) = text.split_once(separator) else {
        return Err(format!("`{text}` is not of the form `host:ip`"));
    };
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(format!("`{name}` is not a host name"));
    }
    let bare = address.strip_prefix('[').and_then(|open| open.strip_suffix(']')).unwrap_or(address);
    match bare.parse::<IpAddr>() {
        Ok(address) => Ok((name.to_owned(), address.to_string())),
        Err(_) if bare == "host-gateway" => {
            Err("`host-gateway` is an address that the Docker daemon makes up: give the address itself".to_owned())
        }
        Err(_) => Err(format!("`{address}` is not an IP address")),
    }
}

/// Returns name, soft and hard limit of a `--ulimit NAME=SOFT[:HARD]`; `-1` is unlimited.
pub fn parse_ulimit(text: &str) -> Result<(String, u64, u64), String> {
    let Some((name, limits)) = text.split_once('=') else {
        return Err(format!("`{text}` is not of the form `name=soft[:hard]`"));
    };
    if !LIMITS.contains(&name) {
        let meant = crate::diag::nearest(name, LIMITS).map(|near| format!(", did you mean `{near}`?"));
        return Err(format!("there is no limit `{name}`{}", meant.unwrap_or_default()));
    }
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let (soft, hard) = (parse_limit(soft)?, parse_limit(hard)?);
    if soft > hard {
        return Err(format!("the soft limit of `{name}` is above its hard limit"));
    }
    Ok((name.to_owned(), soft, hard))
}

fn parse_limit(text: &str) -> Result<u64, String> {
    match text {
        "-1" => Ok(u64::MAX),
        _ => text.parse().map_err(|_| format!("`{text}` is not a number")),
    }
}

/// Returns the network that `--network` names.
pub fn parse_network(text: &str) -> Result<Network, String> {
    match text {
        "default" | "" => Ok(Network::Default),
        "none" => Ok(Network::None),
        "host" => Ok(Network::Host),
        other => Err(format!("there is no network `{other}`; there are `default`, `none` and `host`")),
    }
}

/// Returns an entitlement that `--allow` grants: `network.host`, `security.insecure` or `device[=NAME]`.
pub fn parse_entitlement(text: &str) -> Result<String, String> {
    let known = ["network.host", "security.insecure", "device"];
    let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
    if known.contains(&name) && (value.is_none() || name == "device") {
        return match value
            .into_iter()
            .flat_map(|value| value.split(',').skip(1))
            .find(|field| !field.starts_with("alias="))
        {
            Some(field) => Err(format!("a device has no `{field}`; it has `alias=NAME`")),
            None => Ok(text.to_owned()),
        };
    }
    let meant = crate::diag::nearest(name, known).map(|near| format!(", did you mean `{near}`?"));
    Err(format!("there is no entitlement `{text}`{}", meant.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_addresses() {
        let pair = |name: &str, address: &str| Ok((name.to_owned(), address.to_owned()));
        assert_eq!(parse_add_host("a:1.2.3.4"), pair("a", "1.2.3.4"));
        assert_eq!(parse_add_host("a=1.2.3.4"), pair("a", "1.2.3.4"));
        assert_eq!(parse_add_host("a:[::1]"), pair("a", "::1"));
        assert_eq!(parse_add_host("a:::1"), pair("a", "::1"));
        assert_eq!(parse_add_host("a=fe80::1"), pair("a", "fe80::1"));
        for bad in ["a", "a:", ":1.2.3.4", "a b:1.2.3.4", "a:host-gateway", "a:1.2.3"] {
            assert!(parse_add_host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn limits_have_names_and_an_order() {
        assert_eq!(parse_ulimit("nofile=1024"), Ok(("nofile".into(), 1024, 1024)));
        assert_eq!(parse_ulimit("nofile=1024:-1"), Ok(("nofile".into(), 1024, u64::MAX)));
        assert_eq!(parse_ulimit("nofiles=1"), Err("there is no limit `nofiles`, did you mean `nofile`?".into()));
        for bad in ["nofile", "nofile=", "nofile=2:1", "nofile=-1:1", "nofile=x"] {
            assert!(parse_ulimit(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn networks_are_three() {
        assert_eq!(parse_network("none"), Ok(Network::None));
        assert!(parse_network("bridge").is_err());
    }

    #[test]
    fn entitlements_are_known() {
        for text in ["network.host", "security.insecure", "device", "device=vendor.com/gpu", "device=v/c=1,alias=x"] {
            assert_eq!(parse_entitlement(text), Ok(text.to_owned()));
        }
        assert_eq!(
            parse_entitlement("security.unsecure"),
            Err("there is no entitlement `security.unsecure`, did you mean `security.insecure`?".into())
        );
        assert!(parse_entitlement("network.host=x").is_err() && parse_entitlement("device=v/c=1,x=y").is_err());
    }
}
