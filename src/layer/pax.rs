//! Records of a pax extended header, `LENGTH KEY=VALUE\n` (POSIX pax, section pax Extended Header).
//!
//! Records are cut by their length and never at newlines, and a malformed one ends the reading: a reader that skips
//! what it does not understand sees another archive than Docker does, which is how files were smuggled past checks
//! (CVE-2025-62518, CVE-2026-33055).

use super::entry::Timestamp;

/// A malformed record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PaxError {
    /// The length is no number, or does not end where a record can end.
    #[error("a pax record has a bad length")]
    Length,
    /// The record does not end in a newline.
    #[error("a pax record does not end in a newline")]
    Newline,
    /// There is no `=`, or nothing before it.
    #[error("a pax record has no key")]
    Key,
    /// A NUL where it ends the string for some readers.
    #[error("the pax record `{0}` has a NUL byte")]
    Nul(String),
    /// The same key twice: readers disagree about which one counts.
    #[error("the pax record `{0}` is there twice")]
    Duplicate(String),
    /// A value that its key does not allow.
    #[error("the pax record `{0}` has a bad value")]
    Value(String),
    /// A key that readers disagree about in a global header.
    #[error("a global pax header sets `{0}`")]
    Global(String),
}

/// One record, borrowed from the header's body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub key: &'a [u8],
    pub value: &'a [u8],
}

impl Record<'_> {
    pub fn key_text(&self) -> String {
        String::from_utf8_lossy(self.key).into_owned()
    }

    /// The value as a decimal number without sign.
    pub fn unsigned(&self) -> Result<u64, PaxError> {
        decimal(self.value).ok_or_else(|| PaxError::Value(self.key_text()))
    }

    /// The value as a time, `[-]SECONDS[.FRACTION]`; digits after the ninth are cut off.
    pub fn timestamp(&self) -> Result<Timestamp, PaxError> {
        timestamp(self.value).ok_or_else(|| PaxError::Value(self.key_text()))
    }
}

/// Cuts the body of an extended header into its records.
pub(crate) fn records(mut body: &[u8]) -> Result<Vec<Record<'_>>, PaxError> {
    let mut records = Vec::new();
    while !body.is_empty() {
        let (record, rest) = record(body)?;
        records.push(record);
        body = rest;
    }
    Ok(records)
}

fn record(body: &[u8]) -> Result<(Record<'_>, &[u8]), PaxError> {
    let space = body.iter().take(20).position(|byte| *byte == b' ').ok_or(PaxError::Length)?;
    let length = decimal(&body[..space]).and_then(|n| usize::try_from(n).ok()).ok_or(PaxError::Length)?;
    if length > body.len() || length < space + 2 {
        return Err(PaxError::Length);
    }
    let (record, rest) = body.split_at(length);
    let record = record[space + 1..].strip_suffix(b"\n").ok_or(PaxError::Newline)?;
    let equals = record.iter().position(|byte| *byte == b'=').ok_or(PaxError::Key)?;
    let (key, value) = (&record[..equals], &record[equals + 1..]);
    if key.is_empty() {
        return Err(PaxError::Key);
    }
    let record = Record { key, value };
    let value_is_string = matches!(key, b"path" | b"linkpath" | b"uname" | b"gname" | b"GNU.sparse.name");
    if key.contains(&0) || (value_is_string && value.contains(&0)) {
        return Err(PaxError::Nul(record.key_text()));
    }
    Ok((record, rest))
}

/// Appends a record.
pub(crate) fn write_record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // The length counts its own digits.
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + digits(length) > length {
        length = rest + digits(length);
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

fn digits(n: usize) -> usize {
    n.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// Digits only: no sign, no space, no empty text.
pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |value, byte| match byte {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

fn timestamp(text: &[u8]) -> Option<Timestamp> {
    let (is_negative, text) = text.strip_prefix(b"-").map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = match text.iter().position(|byte| *byte == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &b""[..]),
    };
    let seconds = i64::try_from(decimal(whole)?).ok()?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let padded = fraction.iter().chain(std::iter::repeat(&b'0')).take(9);
    let nanoseconds = padded.fold(0u32, |value, digit| value * 10 + u32::from(digit - b'0'));
    Some(match (is_negative, nanoseconds) {
        (false, nanoseconds) => Timestamp { seconds, nanoseconds },
        (true, 0) => Timestamp { seconds: -seconds, nanoseconds: 0 },
        // -1.25 s is 0.75 s after second -2.
        (true, nanoseconds) => Timestamp { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn records_are_cut_by_length() {
        let body = b"19 path=x\n9 y=zz\nz\n6 a=b\n";
        let records = records(body).unwrap();
        assert_eq!(records[0], Record { key: b"path", value: b"x\n9 y=zz\nz" });
        assert_eq!(records[1], Record { key: b"a", value: b"b" });
    }

    #[test]
    fn malformed_records_are_errors() {
        for (body, error) in [
            (&b"99 path=x\n"[..], PaxError::Length),
            (b"+9 path=x\n", PaxError::Length),
            (b"x", PaxError::Length),
            (b"0 path=x\n", PaxError::Length),
            (b"3 a", PaxError::Newline),
            (b"6 a=bc", PaxError::Newline),
            (b"5 ab\n", PaxError::Key),
            (b"5 =b\n", PaxError::Key),
            (b"10 path=\0\n", PaxError::Nul("path".into())),
            (b"7 \0a=b\n", PaxError::Nul("\0a".into())),
            (b"6 a=b\n\0\0\0", PaxError::Length),
        ] {
            assert_eq!(records(body), Err(error), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for length in [0, 1, 3, 4, 5, 90, 91, 92, 93, 94, 95, 96, 990, 991, 992, 993, 994, 995] {
            let value = vec![b'v'; length];
            let mut body = Vec::new();
            write_record(&mut body, b"k", &value);
            assert_eq!(records(&body).unwrap(), [Record { key: b"k", value: &value }], "{length}");
        }
    }

    #[test]
    fn times_have_signs_and_fractions() {
        let read = |text: &str| timestamp(text.as_bytes()).map(|t| (t.seconds, t.nanoseconds));
        assert_eq!(read("1"), Some((1, 0)));
        assert_eq!(read("1.5"), Some((1, 500_000_000)));
        assert_eq!(read("-1.25"), Some((-2, 750_000_000)));
        assert_eq!(read("-7"), Some((-7, 0)));
        assert_eq!(read("1.0000000019"), Some((1, 1)));
        for bad in ["", "-", "1.x", ".5", "99999999999999999999", "+1"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
