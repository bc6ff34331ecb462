//! The name that a file from a URL has in a destination directory.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use url::Url;

/// The name of a file whose URL has none.
const UNNAMED: &str = "__unnamed__";

/// Returns the last element of a URL's path, decoded, without the query; of `/dir/` it is `dir`.
///
/// Redirects and the server's `Content-Disposition` do not count: the name is known before anything is fetched.
pub fn download_name(url: &str) -> OsString {
    let Ok(url) = Url::parse(url) else { return UNNAMED.into() };
    let path = decode(url.path());
    let name = path.split(|byte| *byte == b'/').rfind(|part| !part.is_empty()).unwrap_or_default();
    match name {
        b"" | b"." | b".." => UNNAMED.into(),
        _ if name.contains(&0) => UNNAMED.into(),
        _ => OsString::from_vec(name.to_vec()),
    }
}

fn decode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let is_hex = |digits: &&[u8]| first == b'%' && digits.iter().all(u8::is_ascii_hexdigit);
        let digits = after.get(..2).filter(is_hex).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_element_of_the_path_is_the_name() {
        for (url, name) in [
            ("https://h/a/b.tar?x=/y#z", "b.tar"),
            ("https://h/dir/", "dir"),
            ("https://h/a%20b+c", "a b+c"),
            ("https://h/%", "%"),
            ("https://h/a%2Fb", "b"),
            ("https://h", UNNAMED),
            ("https://h/", UNNAMED),
            ("https://h/..", UNNAMED),
            ("https://h/a%2F%2E%2E", UNNAMED),
            ("https://h/a%00b", UNNAMED),
            ("no url", UNNAMED),
        ] {
            assert_eq!(download_name(url), name, "{url}");
        }
    }
}
