//! `WWW-Authenticate`: what a registry wants to see (RFC 9110 section 11.6.1, and the distribution project's token flow).

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// Most bytes of one header that are looked at.
const HEADER_LIMIT_BYTES: usize = 8 << 10;

/// What a registry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password.
    Basic,
    /// A token of a service.
    Bearer {
        /// URL of the token service.
        realm: String,
        /// The name by which the service knows the registry.
        service: String,
        /// What the registry found missing, space-separated.
        scope: String,
    },
}

/// Returns the challenge to answer: a token is preferred to a password.
pub(super) fn pick(headers: &HeaderMap) -> Option<Challenge> {
    let mut found = None;
    for value in headers.get_all(WWW_AUTHENTICATE) {
        for challenge in value.to_str().map(parse).unwrap_or_default() {
            if matches!(challenge, Challenge::Bearer { .. }) {
                return Some(challenge);
            }
            found = found.or(Some(challenge));
        }
    }
    found
}

/// Parses one header, which may hold several challenges; unknown schemes are passed over.
fn parse(header: &str) -> Vec<Challenge> {
    let mut rest = header.get(..HEADER_LIMIT_BYTES).unwrap_or(header);
    let mut challenges = Vec::new();
    while !rest.trim_start_matches([' ', ',', '\t']).is_empty() {
        let (scheme, after) = token(rest.trim_start_matches([' ', ',', '\t']));
        if scheme.is_empty() {
            break;
        }
        let (parameters, after) = parameters(after);
        let get = |name: &str| {
            parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
        };
        if scheme.eq_ignore_ascii_case("basic") {
            challenges.push(Challenge::Basic);
        } else if let ("bearer", Some(realm)) = (scheme.to_ascii_lowercase().as_str(), get("realm")) {
            let (service, scope) = (get("service").unwrap_or_default(), get("scope").unwrap_or_default());
            challenges.push(Challenge::Bearer { realm, service, scope });
        }
        rest = after;
    }
    challenges
}

/// Reads `name=value` pairs until something comes that is none: the next scheme.
fn parameters(text: &str) -> (Vec<(&str, String)>, &str) {
    let (mut found, mut rest) = (Vec::new(), text);
    loop {
        let (name, after) = token(rest.trim_start_matches([' ', ',', '\t']));
        let Some(value) = after.trim_start().strip_prefix('=').filter(|_| !name.is_empty()) else {
            return (found, rest);
        };
        let (value, after) = value_of(value.trim_start());
        found.push((name, value));
        rest = after;
    }
}

fn token(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !"!#$%&'*+-.^_`|~".contains(c));
    text.split_at(end.unwrap_or(text.len()))
}

/// Reads a token or a quoted string.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let (mut value, mut characters) = (String::new(), quoted.char_indices());
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: &str, scope: &str) -> Challenge {
        Challenge::Bearer { realm: realm.into(), service: service.into(), scope: scope.into() }
    }

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let cases = [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/a:pull,push""#,
                vec![bearer("https://auth.docker.io/token", "registry.docker.io", "repository:library/a:pull,push")],
            ),
            (r#"Basic realm="Registry Realm""#, vec![Challenge::Basic]),
            (r#"basic"#, vec![Challenge::Basic]),
            (r#"Basic realm="a, b", Bearer realm=x , service=y"#, vec![Challenge::Basic, bearer("x", "y", "")]),
            (r#"BEARER Realm = "a\"b""#, vec![bearer("a\"b", "", "")]),
            (r#"Negotiate, Basic"#, vec![Challenge::Basic]),
            (r#"Bearer service="x""#, vec![]),
            (r#"Bearer realm="unterminated"#, vec![bearer("unterminated", "", "")]),
            ("", vec![]),
            ("=,=,\"", vec![]),
        ];
        for (header, expected) in cases {
            assert_eq!(parse(header), expected, "{header}");
        }
    }

    #[test]
    fn a_token_is_preferred_to_a_password() {
        let mut headers = HeaderMap::new();
        headers.append(WWW_AUTHENTICATE, http::HeaderValue::from_static("Basic realm=x"));
        headers.append(WWW_AUTHENTICATE, http::HeaderValue::from_static("Bearer realm=x"));
        assert_eq!(pick(&headers), Some(bearer("x", "", "")));
    }

    proptest::proptest! {
        #[test]
        fn no_header_is_a_panic(header in "(Basic|Bearer|[ ,=\"\\\\a-z]){0,40}\\PC{0,10}") {
            parse(&header);
        }
    }
}
