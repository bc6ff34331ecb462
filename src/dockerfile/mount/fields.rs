//! The fields of one CSV record (RFC 4180).

use super::MountError;

/// Splits a record at its commas; a field in double quotes may hold commas, and quotes when doubled.
pub(super) fn fields(record: &str) -> Result<Vec<String>, MountError> {
    let record = record.strip_suffix('\n').map_or(record, |line| line.strip_suffix('\r').unwrap_or(line));
    if record.is_empty() {
        return Err(MountError::Empty);
    }
    let misplaced = || MountError::Quote { value: record.to_owned() };
    let mut fields = Vec::new();
    let mut rest = record;
    loop {
        let (field, tail) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted).ok_or_else(misplaced)?,
            None => {
                let (field, tail) = rest.split_at(rest.find(',').unwrap_or(rest.len()));
                if field.contains('"') {
                    return Err(misplaced());
                }
                (field.to_owned(), tail)
            }
        };
        fields.push(field);
        match tail.strip_prefix(',') {
            Some(next) => rest = next,
            None if tail.is_empty() => return Ok(fields),
            None => return Err(misplaced()),
        }
    }
}

/// Reads a field behind its opening quote; returns what follows its closing one, too.
fn quoted_field(quoted: &str) -> Option<(String, &str)> {
    let mut field = String::new();
    let mut rest = quoted;
    loop {
        let (piece, tail) = rest.split_once('"')?;
        field.push_str(piece);
        let Some(next) = tail.strip_prefix('"') else { return Some((field, tail)) };
        field.push('"');
        rest = next;
    }
}
