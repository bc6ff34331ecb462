//! Subordinate ids: which ids of the machine a user may use as the ids of its own user namespace.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Bytes that `/etc/subuid`, `/etc/subgid` and `/etc/passwd` of the machine may have.
const FILE_LIMIT_BYTES: u64 = 16 << 20;
/// Ranges that are used; the kernel takes 340 lines.
const RANGE_LIMIT: usize = 64;

/// A range of ids of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First id.
    pub start: u32,
    /// How many.
    pub count: u32,
}

/// A line of `uid_map`: ids inside, ids outside, how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    /// First id inside.
    pub inside: u32,
    /// First id outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// Returns the ranges of a user in the text of a subordinate id file; lines name it by name or by number.
pub fn ranges(text: &str, name: Option<&str>, id: u32) -> Vec<Range> {
    let number = id.to_string();
    let owned = |owner: &str| Some(owner) == name || owner == number;
    text.lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let (owner, start, count) = (fields.next()?, fields.next()?, fields.next()?);
            let range = Range { start: start.parse().ok()?, count: count.parse().ok()? };
            let is_sound = fields.next().is_none() && range.count > 0 && range.start.checked_add(range.count).is_some();
            (owned(owner) && is_sound).then_some(range)
        })
        .take(RANGE_LIMIT)
        .collect()
}

/// Returns the map in which 0 is the user's own id and 1 and on are its subordinate ids.
pub fn map(own: u32, ranges: &[Range]) -> Vec<Mapping> {
    let mut map = vec![Mapping { inside: 0, outside: own, count: 1 }];
    let mut inside = 1_u32;
    for range in ranges {
        let Some(next) = inside.checked_add(range.count) else { break };
        map.push(Mapping { inside, outside: range.start, count: range.count });
        inside = next;
    }
    map
}

/// Returns the name that the machine's `/etc/passwd` has for a user id.
pub fn user_name(id: u32) -> io::Result<Option<String>> {
    let text = read(Path::new("/etc/passwd"))?;
    let id = id.to_string();
    Ok(text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == id).then(|| name.to_owned())
    }))
}

/// Reads a file of the machine; one that is not there is empty.
pub fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
        Ok(file) => {
            file.take(FILE_LIMIT_BYTES).read_to_string(&mut text)?;
        }
    }
    Ok(text)
}

/// Returns the lines of a `uid_map` file of `/proc`.
pub fn parse_map(text: &str) -> Vec<Mapping> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace().map(str::parse);
            let mut next = || fields.next()?.ok();
            Some(Mapping { inside: next()?, outside: next()?, count: next()? })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_by_number_and_broken_lines_are_none() {
        let text =
            "ann:100000:65536\nbob:1:2\n1000:300000:10\nann:x:1\nann:5:0\nann:4294967295:5\nann:1:2:3\n\nann:200:1\n";
        let found = ranges(text, Some("ann"), 1000);
        let wanted = [(100_000, 65536), (300_000, 10), (200, 1)].map(|(start, count)| Range { start, count });
        assert_eq!(found, wanted);
        assert_eq!(ranges(text, None, 7), []);
    }

    #[test]
    fn a_map_has_the_own_id_as_root_and_the_ranges_behind_it() {
        let found = map(1000, &[Range { start: 100_000, count: 10 }, Range { start: 200_000, count: 5 }]);
        let wanted = [(0, 1000, 1), (1, 100_000, 10), (11, 200_000, 5)];
        assert_eq!(found, wanted.map(|(inside, outside, count)| Mapping { inside, outside, count }));
        assert_eq!(parse_map("         0          0 4294967295\n")[0].count, u32::MAX);
    }
}
