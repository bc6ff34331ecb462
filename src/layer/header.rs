//! A tar header: one block of 512 bytes (POSIX pax, section ustar Interchange Format; GNU tar, Basic Tar Format).

/// Size of a block.
pub(crate) const BLOCK_BYTES: usize = 512;

/// One header block.
#[derive(Clone)]
pub(crate) struct Header(pub [u8; BLOCK_BYTES]);

/// Which of the dialects a header is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Before POSIX: no prefix.
    V7,
    /// POSIX, with a prefix of 155 bytes.
    Ustar,
    /// Schilling's, with a prefix of 131 bytes.
    Star,
    /// GNU's: what other dialects use for the prefix has other meanings.
    Gnu,
}

/// A field that is no number, or one that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadNumber;

impl Header {
    pub fn is_zero(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }

    /// Whether the checksum is right: the sum of all bytes, its own field counted as spaces.
    ///
    /// Some old programs summed signed bytes; every reader takes both.
    pub fn has_valid_checksum(&self) -> bool {
        let Ok(written) = number(&self.0[148..156]) else { return false };
        let covered = |(index, byte): (usize, &u8)| if (148..156).contains(&index) { b' ' } else { *byte };
        let unsigned: i64 = self.0.iter().enumerate().map(covered).map(i64::from).sum();
        let signed: i64 = self.0.iter().enumerate().map(covered).map(|byte| i64::from(byte as i8)).sum();
        written == unsigned || written == signed
    }

    pub fn dialect(&self) -> Dialect {
        match (&self.0[257..263], &self.0[263..265], &self.0[508..512]) {
            (b"ustar\0", _, b"tar\0") => Dialect::Star,
            (b"ustar\0", _, _) => Dialect::Ustar,
            (b"ustar ", b" \0", _) => Dialect::Gnu,
            _ => Dialect::V7,
        }
    }

    pub fn type_flag(&self) -> u8 {
        self.0[156]
    }

    /// The path, with the prefix where the dialect has one.
    pub fn path(&self) -> Vec<u8> {
        let name = text(&self.0[..100]);
        let prefix = match self.dialect() {
            Dialect::Ustar => text(&self.0[345..500]),
            Dialect::Star => text(&self.0[345..476]),
            Dialect::V7 | Dialect::Gnu => b"",
        };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    pub fn link_target(&self) -> Vec<u8> {
        text(&self.0[157..257]).to_vec()
    }

    pub fn mode(&self) -> Result<i64, BadNumber> {
        number(&self.0[100..108])
    }

    pub fn uid(&self) -> Result<i64, BadNumber> {
        number(&self.0[108..116])
    }

    pub fn gid(&self) -> Result<i64, BadNumber> {
        number(&self.0[116..124])
    }

    pub fn size(&self) -> Result<i64, BadNumber> {
        number(&self.0[124..136])
    }

    pub fn mtime(&self) -> Result<i64, BadNumber> {
        number(&self.0[136..148])
    }

    /// Major and minor number; before POSIX there were none.
    pub fn device(&self) -> Result<(i64, i64), BadNumber> {
        match self.dialect() {
            Dialect::V7 => Ok((0, 0)),
            _ => Ok((number(&self.0[329..337])?, number(&self.0[337..345])?)),
        }
    }
}

/// A field up to its first NUL.
pub(crate) fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A numeric field: octal digits between spaces and NULs, or GNU's base-256, a two's complement with the top bit set.
pub(crate) fn number(field: &[u8]) -> Result<i64, BadNumber> {
    let Some(first) = field.first() else { return Ok(0) };
    if first & 0x80 != 0 {
        return base256(field);
    }
    let is_padding = |byte: &u8| *byte == b' ' || *byte == 0;
    let start = field.iter().position(|byte| !is_padding(byte)).unwrap_or(field.len());
    let end = field.iter().rposition(|byte| !is_padding(byte)).map_or(start, |last| last + 1);
    // What follows a terminator is not part of the number.
    text(&field[start..end]).iter().try_fold(0i64, |value, byte| match byte {
        b'0'..=b'7' => value.checked_mul(8).and_then(|v| v.checked_add(i64::from(byte - b'0'))).ok_or(BadNumber),
        _ => Err(BadNumber),
    })
}

fn base256(field: &[u8]) -> Result<i64, BadNumber> {
    let is_negative = field[0] & 0x40 != 0;
    // The marking bit is not part of the value: it takes the sign's place.
    let first = if is_negative { field[0] | 0x80 } else { field[0] & 0x7f };
    let start = if is_negative { -1i128 } else { 0 };
    let bytes = std::iter::once(first).chain(field[1..].iter().copied());
    let value = bytes.fold(start, |value, byte| (value << 8) | i128::from(byte));
    i64::try_from(value).map_err(|_| BadNumber)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        for (field, value) in [
            (&b"0000644\0"[..], Ok(0o644)),
            (b"  644 \0 ", Ok(0o644)),
            (b"\0\0\0\0\0\0\0\0", Ok(0)),
            (b"        ", Ok(0)),
            (b"0000649\0", Err(BadNumber)),
            (b"-000644\0", Err(BadNumber)),
            (b"\x80\0\0\0\0\0\x01\0", Ok(256)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Ok(-1)),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Ok(i64::MAX)),
            (b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", Err(BadNumber)),
        ] {
            assert_eq!(number(field), value, "{field:?}");
        }
    }
}
