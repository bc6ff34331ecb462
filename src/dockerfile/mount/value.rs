//! The values of mount keys: booleans, numbers, sizes.

use super::MountError;

fn invalid(key: &str, value: &str, expected: &'static str) -> MountError {
    MountError::Value { key: key.to_owned(), value: value.to_owned(), expected }
}

/// Reads a boolean in one of the spellings that Go knows.
pub(super) fn boolean(key: &str, value: &str) -> Result<bool, MountError> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(invalid(key, value, "`true` or `false`")),
    }
}

/// Reads a number of 32 bits without sign.
pub(super) fn number(key: &str, value: &str, radix: u32) -> Result<u32, MountError> {
    let expected = if radix == 8 { "an octal mode" } else { "a number" };
    // The standard parser takes a `+`, the reference one does not.
    let is_digits = value.chars().all(|c| c.is_digit(radix));
    u32::from_str_radix(value, radix).ok().filter(|_| is_digits).ok_or_else(|| invalid(key, value, expected))
}

/// Reads a size: a decimal number, a blank perhaps, and `b`, `k`, `kb`, `kib` and so on up to `p`, all binary.
pub(super) fn size(key: &str, value: &str) -> Result<u64, MountError> {
    size_bytes(value).ok_or_else(|| invalid(key, value, "a size such as `64m` or `1.5GiB`"))
}

fn size_bytes(value: &str) -> Option<u64> {
    let at = value.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ')?;
    let (number, suffix) = (value[..=at].strip_suffix(' ').unwrap_or(&value[..=at]), &value[at + 1..]);
    if !number.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let number: f64 = number.parse().ok()?;
    let suffix = suffix.to_ascii_lowercase();
    let power = match suffix.strip_suffix("ib").or(suffix.strip_suffix('b')).unwrap_or(&suffix) {
        "" if suffix != "ib" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let bytes = number * 1024_f64.powi(power);
    // Beyond this a size is no count of bytes of any machine, and no longer exact.
    const LIMIT: f64 = (1_u64 << 62) as f64;
    (bytes.is_finite() && bytes <= LIMIT).then_some(bytes as u64)
}
