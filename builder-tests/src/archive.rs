//! Tars, written and read with cooper's own library.

use cooper::layer::{Entry, Kind, Limits, TarReader, TarWriter, decompress};
use std::io::Read;

/// Returns a tar of these entries with their contents.
pub fn tar_of(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new());
    for (entry, content) in entries {
        writer.append(entry, &mut &content[..]).unwrap();
    }
    writer.finish().unwrap()
}

/// Returns the entries of a tar, whatever it is compressed with, with their contents.
pub fn read_tar<R: Read + Send>(tar: R) -> Vec<(Entry, Vec<u8>)> {
    let mut reader = TarReader::new(decompress(tar).unwrap(), Limits::default());
    let mut entries = Vec::new();
    while let Some(entry) = reader.next().unwrap() {
        let mut content = Vec::new();
        if matches!(entry.kind, Kind::File { .. }) {
            reader.read_to_end(&mut content).unwrap();
        }
        entries.push((entry, content));
    }
    entries
}
