//! Programs whose loader the kernel would look for on the machine: copies that name the loader of the step.
//!
//! A dynamically linked program says which loader the kernel shall start with it, by an absolute path.  A copy says another
//! path; all else is as it was, and the loader still reads the usual path where it looks for it, in memory.

use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

/// Bytes of the header of a 64-bit file.
const HEADER_BYTES: usize = 64;
/// Bytes of one program header.
const ENTRY_BYTES: usize = 56;
/// Most bytes of a path, its NUL included.
const PATH_LIMIT_BYTES: u64 = 4096;
const PT_INTERP: u32 = 3;

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;

/// The loader that a program asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Loader {
    /// Its path.
    pub path: Vec<u8>,
    /// Where in the file the header is that names it.
    entry: u64,
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; N])
}

/// Returns the loader of a program, `None` if it has none; ENOEXEC for what is no program of this machine.
pub(super) fn loader_of(file: &File) -> io::Result<Option<Loader>> {
    let mut header = [0; HEADER_BYTES];
    let refused = || io::Error::from(Errno::NOEXEC);
    file.read_exact_at(&mut header, 0).map_err(|_| refused())?;
    // 64 bits, least significant byte first, executable or shared.
    let kind = u16::from_le_bytes(number(&header, 16));
    let is_ours = header.starts_with(b"\x7fELF\x02\x01") && u16::from_le_bytes(number(&header, 18)) == MACHINE;
    let entry_bytes = usize::from(u16::from_le_bytes(number(&header, 54)));
    if !is_ours || !matches!(kind, 2 | 3) || entry_bytes != ENTRY_BYTES {
        return Err(refused());
    }
    let (start, count) = (u64::from_le_bytes(number(&header, 32)), u16::from_le_bytes(number(&header, 56)));
    let mut table = vec![0; usize::from(count) * ENTRY_BYTES];
    file.read_exact_at(&mut table, start).map_err(|_| refused())?;
    for (index, entry) in table.chunks_exact(ENTRY_BYTES).enumerate() {
        if u32::from_le_bytes(number(entry, 0)) != PT_INTERP {
            continue;
        }
        let (offset, size) = (u64::from_le_bytes(number(entry, 8)), u64::from_le_bytes(number(entry, 32)));
        if !(2..=PATH_LIMIT_BYTES).contains(&size) {
            return Err(refused());
        }
        let mut path = vec![0; size as usize];
        file.read_exact_at(&mut path, offset).map_err(|_| refused())?;
        if path.pop() != Some(0) {
            return Err(refused());
        }
        // As the kernel reads it: to the first NUL.
        path.truncate(path.iter().position(|byte| *byte == 0).unwrap_or(path.len()));
        return Ok(Some(Loader { path, entry: start + (index * ENTRY_BYTES) as u64 }));
    }
    Ok(None)
}

/// Makes a copy of a program ask for another loader.
pub(super) fn set_loader(copy: &mut File, loader: &Loader, path: &[u8]) -> io::Result<()> {
    let end = copy.seek(SeekFrom::End(0))?;
    copy.write_all(&[path, b"\0"].concat())?;
    copy.write_all_at(&end.to_le_bytes(), loader.entry + 8)?;
    copy.write_all_at(&(path.len() as u64 + 1).to_le_bytes(), loader.entry + 32)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_copy_asks_for_another_loader() {
        let mut table = vec![0; ENTRY_BYTES];
        table.extend(PT_INTERP.to_le_bytes());
        table.resize(2 * ENTRY_BYTES, 0);
        let text = b"/lib64/ld.so\0";
        table[ENTRY_BYTES + 8..ENTRY_BYTES + 16]
            .copy_from_slice(&((HEADER_BYTES + 2 * ENTRY_BYTES) as u64).to_le_bytes());
        table[ENTRY_BYTES + 32..ENTRY_BYTES + 40].copy_from_slice(&(text.len() as u64).to_le_bytes());
        let mut header = vec![0; HEADER_BYTES];
        header[..6].copy_from_slice(b"\x7fELF\x02\x01");
        header[16] = 3;
        header[18..20].copy_from_slice(&MACHINE.to_le_bytes());
        header[32] = HEADER_BYTES as u8;
        header[54] = ENTRY_BYTES as u8;
        header[56] = 2;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[header, table, text.to_vec()].concat()).unwrap();
        let loader = loader_of(&file).unwrap().unwrap();
        assert_eq!(loader.path, b"/lib64/ld.so");
        set_loader(&mut file, &loader, b"/store/of/the/builder/ld.so").unwrap();
        assert_eq!(loader_of(&file).unwrap().unwrap().path, b"/store/of/the/builder/ld.so");
    }

    #[test]
    fn what_is_no_program_of_this_machine_is_refused() {
        for content in [b"".as_slice(), b"#!/bin/sh\n", &[b"\x7fELF\x01\x01".as_slice(), &[0; 100]].concat()] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(content).unwrap();
            assert_eq!(loader_of(&file).unwrap_err().raw_os_error(), Some(libc::ENOEXEC));
        }
    }
}
