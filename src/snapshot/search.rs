//! Looks for byte strings in files while they are read for something else.

use memchr::memmem::Finder;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Most files that are told for one string: the first few show how it came there.
const FOUND_LIMIT: usize = 3;

/// Strings to look for, and where they were found.
pub struct Search {
    needles: Vec<Needle>,
    /// The end of what was read of the current file, in which a string may have begun, and the piece that follows.
    window: Vec<u8>,
    /// How much of a piece is kept for the next one.
    overlap: usize,
}

struct Needle {
    name: String,
    finder: Finder<'static>,
    found: Vec<PathBuf>,
}

impl Search {
    /// Returns a search for named strings, none of them empty.
    pub fn new<'a>(needles: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Search {
        let needle = |(name, bytes): (&str, &[u8])| Needle {
            name: name.to_owned(),
            finder: Finder::new(bytes).into_owned(),
            found: Vec::new(),
        };
        let needles: Vec<Needle> = needles.into_iter().map(needle).collect();
        let longest = needles.iter().map(|needle| needle.finder.needle().len()).max().unwrap_or(1);
        Search { needles, window: Vec::new(), overlap: longest.saturating_sub(1) }
    }

    /// Returns a reader of a file's content that is searched as it goes by.
    pub fn reading<'a, R: Read>(&'a mut self, path: &'a Path, content: R) -> Reading<'a, R> {
        self.window.clear();
        Reading { search: self, path, content }
    }

    /// Returns the strings that were found: their names, and the first few files of each.
    pub fn found(&self) -> impl Iterator<Item = (&str, &[PathBuf])> {
        let found = self.needles.iter().filter(|needle| !needle.found.is_empty());
        found.map(|needle| (needle.name.as_str(), needle.found.as_slice()))
    }

    fn take(&mut self, path: &Path, bytes: &[u8]) {
        self.window.extend_from_slice(bytes);
        for needle in self.needles.iter_mut().filter(|needle| needle.found.len() < FOUND_LIMIT) {
            let is_known = needle.found.last().is_some_and(|last| last == path);
            if !is_known && needle.finder.find(&self.window).is_some() {
                needle.found.push(path.to_owned());
            }
        }
        let past = self.window.len().saturating_sub(self.overlap);
        self.window.drain(..past);
    }
}

/// See [`Search::reading`].
pub struct Reading<'a, R> {
    search: &'a mut Search,
    path: &'a Path,
    content: R,
}

impl<R: Read> Read for Reading<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buffer)?;
        self.search.take(self.path, &buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Reads a file in pieces of some size and returns whether the string was found.
    fn finds(needles: &[&str], content: &str, piece: usize) -> Vec<String> {
        let mut search = Search::new(needles.iter().map(|needle| (*needle, needle.as_bytes())));
        let mut reading = search.reading(Path::new("f"), content.as_bytes());
        let mut buffer = vec![0; piece];
        while reading.read(&mut buffer).unwrap() > 0 {}
        search.found().map(|(name, _)| name.to_owned()).collect()
    }

    #[test]
    fn a_string_is_found_wherever_pieces_end() {
        for piece in 1..12 {
            assert_eq!(finds(&["secret"], "a secsecret b", piece), ["secret"], "{piece}");
            assert_eq!(finds(&["secret", "longer string"], "longer strin secret", piece), ["secret"], "{piece}");
            assert!(finds(&["secret"], "secre t", piece).is_empty());
        }
    }

    #[test]
    fn the_end_of_one_file_and_the_beginning_of_the_next_are_no_string() {
        let mut search = Search::new([("s", b"secret".as_slice())]);
        for (path, content) in [("a", "sec"), ("b", "ret")] {
            io::copy(&mut search.reading(Path::new(path), content.as_bytes()), &mut io::sink()).unwrap();
        }
        assert_eq!(search.found().count(), 0);
    }

    #[test]
    fn the_first_few_files_are_told() {
        let mut search = Search::new([("s", b"secret".as_slice())]);
        for path in ["a", "b", "c", "d", "e"] {
            let content = "secret secret".as_bytes();
            io::copy(&mut search.reading(Path::new(path), content), &mut io::sink()).unwrap();
        }
        assert_eq!(search.found().next().unwrap().1, ["a", "b", "c"].map(PathBuf::from));
    }
}
