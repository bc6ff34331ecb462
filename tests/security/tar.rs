//! Tars as an attacker writes them: every field can be wrong.

/// The most that fits the name field.
const NAME_BYTES: usize = 100;
const BLOCK: usize = 512;

/// A tar in the making.
#[derive(Clone, Default)]
pub struct Tar(Vec<u8>);

impl Tar {
    /// Returns a tar without entries.
    pub fn new() -> Tar {
        Tar::default()
    }

    /// Adds a regular file.
    pub fn file(self, name: &str, content: &[u8]) -> Tar {
        self.entry(b'0', name, "", 0o644, content)
    }

    /// Adds a regular file with a mode.
    pub fn file_with_mode(self, name: &str, mode: u32, content: &[u8]) -> Tar {
        self.entry(b'0', name, "", mode, content)
    }

    /// Adds a directory.
    pub fn directory(self, name: &str, mode: u32) -> Tar {
        self.entry(b'5', name, "", mode, b"")
    }

    /// Adds a symbolic link.
    pub fn symlink(self, name: &str, target: &str) -> Tar {
        self.entry(b'2', name, target, 0o777, b"")
    }

    /// Adds a hard link.
    pub fn hard_link(self, name: &str, target: &str) -> Tar {
        self.entry(b'1', name, target, 0o644, b"")
    }

    /// Adds records for the next entry, their lengths counted.
    pub fn pax(self, records: &[(&str, &[u8])]) -> Tar {
        let mut body = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length.to_string().len() + rest != length {
                length = length.to_string().len() + rest;
            }
            body.extend_from_slice(format!("{length} {key}=").as_bytes());
            body.extend_from_slice(value);
            body.push(b'\n');
        }
        self.entry(b'x', "PaxHeaders/x", "", 0o644, &body)
    }

    /// Adds an entry of any type.
    pub fn entry(self, kind: u8, name: &str, target: &str, mode: u32, content: &[u8]) -> Tar {
        self.entry_of_size(kind, name, target, mode, content.len() as u64, content)
    }

    /// Adds an entry whose header states any size.
    pub fn entry_of_size(
        mut self,
        kind: u8,
        name: &str,
        target: &str,
        mode: u32,
        stated_bytes: u64,
        content: &[u8],
    ) -> Tar {
        assert!(name.len() <= NAME_BYTES && target.len() <= NAME_BYTES);
        let mut header = [0u8; BLOCK];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, name.as_bytes());
        put(100, format!("{mode:07o}").as_bytes());
        put(108, b"0000000\x000000000");
        put(124, format!("{stated_bytes:011o}").as_bytes());
        put(136, b"00000000001");
        put(148, b"        ");
        put(156, &[kind]);
        put(157, target.as_bytes());
        put(257, b"ustar\x0000");
        // Device numbers of /dev/null.
        put(329, b"0000001\x000000003\x00");
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&header);
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
        self
    }

    /// Returns the tar with its end.
    pub fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 2 * BLOCK, 0);
        self.0
    }
}
