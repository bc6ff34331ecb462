//! Sparse files in their four forms: GNU's old one and pax 0.0, 0.1 and 1.0 (GNU tar manual, Sparse Formats).

use super::header::{BLOCK_BYTES, Header, number};
use super::pax::decimal;
use std::io::{self, Read};

/// One region of data; what lies between regions is zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Region {
    pub offset: u64,
    pub length: u64,
}

/// A sparse map that contradicts itself, or is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadMap;

/// Whether the regions are in order, inside the file, and hold exactly the bytes that the tar stores.
pub(crate) fn check(regions: &[Region], real_size: u64, stored_size: u64) -> Result<(), BadMap> {
    let mut end = 0u64;
    let mut data = 0u64;
    for region in regions {
        let region_end = region.offset.checked_add(region.length).ok_or(BadMap)?;
        if region.offset < end || region_end > real_size {
            return Err(BadMap);
        }
        end = region_end;
        data = data.checked_add(region.length).ok_or(BadMap)?;
    }
    if data == stored_size { Ok(()) } else { Err(BadMap) }
}

/// Reads the old GNU form: four regions in the header, 21 in each block that follows it.  Returns the regions, the
/// real size and the number of blocks read.
pub(crate) fn read_old_gnu(
    header: &Header,
    input: &mut impl Read,
    limit: usize,
) -> io::Result<Result<(Vec<Region>, u64), BadMap>> {
    let Some(real_size) = number(&header.0[483..495]).ok().and_then(|size| u64::try_from(size).ok()) else {
        return Ok(Err(BadMap));
    };
    let mut regions = Vec::new();
    if collect(&header.0[386..482], &mut regions).is_err() {
        return Ok(Err(BadMap));
    }
    let mut is_continued = header.0[482] != 0;
    let mut block = [0; BLOCK_BYTES];
    while is_continued {
        input.read_exact(&mut block)?;
        if collect(&block[..504], &mut regions).is_err() || regions.len() > limit {
            return Ok(Err(BadMap));
        }
        is_continued = block[504] != 0;
    }
    Ok(Ok((regions, real_size)))
}

fn collect(fields: &[u8], regions: &mut Vec<Region>) -> Result<(), BadMap> {
    for field in fields.chunks_exact(24) {
        // An unused slot is empty, and nothing follows it.
        if field[0] == 0 {
            break;
        }
        let parse = |field| number(field).ok().and_then(|n| u64::try_from(n).ok()).ok_or(BadMap);
        regions.push(Region { offset: parse(&field[..12])?, length: parse(&field[12..])? });
    }
    Ok(())
}

/// Pairs up the numbers of the pax forms 0.0 and 0.1.
pub(crate) fn pair(numbers: &[u64]) -> Result<Vec<Region>, BadMap> {
    let pairs = numbers.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return Err(BadMap);
    }
    Ok(pairs.map(|pair| Region { offset: pair[0], length: pair[1] }).collect())
}

/// Reads the pax form 1.0: decimal lines in front of the data, padded to a block; their count, then the numbers.
/// Returns the regions and how many bytes the map took.
pub(crate) fn read_pax_1_0(
    input: &mut impl Read,
    stored_size: u64,
    limit: usize,
) -> io::Result<Result<(Vec<Region>, u64), BadMap>> {
    let mut lines = Lines { input, buffer: Vec::new(), read_bytes: 0, stored_size };
    let Some(count) = lines.next()? else { return Ok(Err(BadMap)) };
    if count > limit as u64 {
        return Ok(Err(BadMap));
    }
    let mut numbers = Vec::new();
    for _ in 0..count * 2 {
        match lines.next()? {
            Some(number) => numbers.push(number),
            None => return Ok(Err(BadMap)),
        }
    }
    let read_bytes = lines.read_bytes;
    Ok(pair(&numbers).map(|regions| (regions, read_bytes)))
}

/// Decimal lines out of whole blocks.
struct Lines<'a, R> {
    input: &'a mut R,
    buffer: Vec<u8>,
    read_bytes: u64,
    stored_size: u64,
}

impl<R: Read> Lines<'_, R> {
    /// The next number; `None` if there is none where one must be.
    fn next(&mut self) -> io::Result<Option<u64>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let number = decimal(&self.buffer[..end]);
                self.buffer.drain(..=end);
                return Ok(number);
            }
            // No number is longer than 20 digits, so that a block without a newline is no map.
            if self.buffer.len() > 20 || self.read_bytes + BLOCK_BYTES as u64 > self.stored_size {
                return Ok(None);
            }
            let mut block = [0; BLOCK_BYTES];
            self.input.read_exact(&mut block)?;
            self.buffer.extend_from_slice(&block);
            self.read_bytes += BLOCK_BYTES as u64;
        }
    }
}
