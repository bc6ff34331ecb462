//! Digests of files that have not changed since they were last read.
//!
//! One flat file for each context root, of records of one size, so that loading is one read, one checksum and one pass.
//! It holds nothing that cannot be made again: whatever is wrong with it makes it empty, never an error.

use super::tree::FileStamp;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

/// Largest cache file that [`StatCache::load`] is usually told to read: 2.7 million files.
pub const STAT_CACHE_LIMIT_BYTES: u64 = 256 << 20;

/// Names the format and its version; anything else is an empty cache.
const MAGIC: &[u8; 8] = b"cprstat\x01";
const KEY_SIZE: usize = 16;
const RECORD_SIZE: usize = KEY_SIZE + 8 * 5 + 4 * 2 + 32;
const HEADER_SIZE: usize = 8 + 32;
/// A clock tick of the kernel, doubled and rounded up: two changes nearer than this may have one time stamp.
const TICK: Duration = Duration::from_millis(20);
/// The same for file systems that know only seconds (FAT: two).
const COARSE_TICK: Duration = Duration::from_secs(2);
/// A save keeps what this build did not ask for (another target may), up to this many times what it did ask for.
const KEPT_FACTOR: usize = 4;
/// So many records are kept in any case.
const KEPT_ALWAYS: usize = 10_000;

/// BLAKE3 digest of a file's content.
pub type ContentDigest = [u8; 32];

/// The hash of a path.
type Key = [u8; KEY_SIZE];

/// The digests known for the files of one root; many threads may ask and tell.
#[derive(Debug, Default)]
pub struct StatCache {
    /// Where in `records` the loaded ones are.
    index: HashMap<Key, usize, BuildHasherDefault<KeyHasher>>,
    records: Vec<u8>,
    /// For each loaded record, whether it was found.
    used: Vec<AtomicBool>,
    added: Mutex<HashMap<Key, (FileStamp, ContentDigest), BuildHasherDefault<KeyHasher>>>,
}

impl StatCache {
    /// Loads a cache; a file that is missing, damaged, of another version or larger than `limit_bytes` is an empty one.
    pub fn load(file: &Path, limit_bytes: u64) -> StatCache {
        read(file, limit_bytes).and_then(StatCache::parse).unwrap_or_default()
    }

    fn parse(bytes: Vec<u8>) -> Option<StatCache> {
        let body = bytes.strip_prefix(MAGIC)?;
        let (checksum, records) = body.split_at_checked(32)?;
        if records.len() % RECORD_SIZE != 0 || blake3::hash(records).as_bytes() != checksum {
            return None;
        }
        let mut index = HashMap::with_capacity_and_hasher(records.len() / RECORD_SIZE, BuildHasherDefault::default());
        for (number, record) in records.chunks_exact(RECORD_SIZE).enumerate() {
            index.insert(*record.first_chunk()?, HEADER_SIZE + number * RECORD_SIZE);
        }
        let used = (0..records.len() / RECORD_SIZE).map(|_| AtomicBool::new(false)).collect();
        Some(StatCache { index, records: bytes, used, added: Mutex::default() })
    }

    /// Returns the digest of the file at `path` if it is known with exactly this stamp.
    pub fn digest_of(&self, path: &Path, stamp: &FileStamp) -> Option<ContentDigest> {
        let key = key_of(path);
        if let Some(at) = self.index.get(&key) {
            let record = self.records.get(at + KEY_SIZE..at + RECORD_SIZE)?;
            let (known, digest) = record.split_at(RECORD_SIZE - KEY_SIZE - 32);
            if known == encode(stamp) {
                self.mark(*at);
                return digest.try_into().ok();
            }
        }
        let added = self.lock();
        added.get(&key).filter(|(known, _)| known == stamp).map(|(_, digest)| *digest)
    }

    /// Remembers a digest, unless the file is so new that it could change again without a new time (git's racy-clean rule).
    ///
    /// `stamp` was taken before `read_at`, and `read_at` before the first byte was read.
    pub fn insert(&self, path: &Path, stamp: &FileStamp, digest: ContentDigest, read_at: SystemTime) {
        if !is_racy(stamp, read_at) {
            self.lock().insert(key_of(path), (*stamp, digest));
        }
    }

    /// Writes the cache if anything was added: a new file beside `file`, then renamed.
    ///
    /// What two builds add at once is lost for one of them, which costs a reading and nothing else.
    pub fn save(&self, file: &Path) -> io::Result<()> {
        let added = self.lock();
        if added.is_empty() {
            return Ok(());
        }
        let mut bytes = vec![0; HEADER_SIZE];
        bytes.reserve((self.index.len() + added.len()) * RECORD_SIZE);
        let used = self.used.iter().filter(|used| used.load(Relaxed)).count();
        let keeps_all = self.index.len() <= KEPT_FACTOR * (used + added.len()) + KEPT_ALWAYS;
        let is_kept = |key: &Key, at: usize| !added.contains_key(key) && (keeps_all || self.is_used(at));
        for (key, at) in self.index.iter().filter(|(key, at)| is_kept(key, **at)) {
            debug_assert!(self.records[*at..].starts_with(key));
            bytes.extend_from_slice(&self.records[*at..at + RECORD_SIZE]);
        }
        for (key, (stamp, digest)) in added.iter() {
            bytes.extend_from_slice(key);
            bytes.extend_from_slice(&encode(stamp));
            bytes.extend_from_slice(digest);
        }
        let checksum = blake3::hash(&bytes[HEADER_SIZE..]);
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..HEADER_SIZE].copy_from_slice(checksum.as_bytes());
        let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // No sync: after a power cut the checksum finds a torn file, and it is empty.
        let mut temporary = tempfile::NamedTempFile::new_in(directory)?;
        temporary.write_all(&bytes)?;
        temporary.persist(file)?;
        Ok(())
    }

    fn mark(&self, at: usize) {
        if let Some(used) = self.used.get((at - HEADER_SIZE) / RECORD_SIZE) {
            used.store(true, Relaxed);
        }
    }

    fn is_used(&self, at: usize) -> bool {
        self.used.get((at - HEADER_SIZE) / RECORD_SIZE).is_some_and(|used| used.load(Relaxed))
    }

    fn lock(
        &self,
    ) -> std::sync::MutexGuard<'_, HashMap<Key, (FileStamp, ContentDigest), BuildHasherDefault<KeyHasher>>> {
        // A panic while it was held leaves a map that is whole.
        self.added.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn read(file: &Path, limit_bytes: u64) -> Option<Vec<u8>> {
    use std::io::Read;
    // Not blocking on a FIFO, not following a link: neither belongs in a store.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(file).ok()?;
    let size = file.metadata().ok()?.len();
    if size > limit_bytes {
        return None;
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).ok()? + 1);
    file.take(limit_bytes).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Whether the file may be changed after `read_at` and still have the times of `stamp`.
fn is_racy(stamp: &FileStamp, read_at: SystemTime) -> bool {
    let is_coarse = stamp.ctime.1 == 0 && stamp.mtime.1 == 0;
    let tick = if is_coarse { COARSE_TICK } else { TICK };
    let Ok(since_epoch) = read_at.duration_since(SystemTime::UNIX_EPOCH) else { return true };
    let Some(limit) = since_epoch.checked_sub(tick) else { return true };
    let newest = stamp.ctime.max(stamp.mtime);
    let limit = (i64::try_from(limit.as_secs()).unwrap_or(i64::MAX), limit.subsec_nanos());
    newest >= limit
}

fn encode(stamp: &FileStamp) -> [u8; RECORD_SIZE - KEY_SIZE - 32] {
    let mut out = [0; RECORD_SIZE - KEY_SIZE - 32];
    let (longs, shorts) = out.split_at_mut(40);
    let values = [stamp.size_bytes, stamp.mtime.0 as u64, stamp.ctime.0 as u64, stamp.inode, stamp.device];
    for (place, value) in longs.chunks_exact_mut(8).zip(values) {
        place.copy_from_slice(&value.to_le_bytes());
    }
    for (place, value) in shorts.chunks_exact_mut(4).zip([stamp.mtime.1, stamp.ctime.1]) {
        place.copy_from_slice(&value.to_le_bytes());
    }
    out
}

/// The start of a BLAKE3: a stranger who names files must not be able to make two paths one.
fn key_of(path: &Path) -> Key {
    let mut key = Key::default();
    key.copy_from_slice(&blake3::hash(path.as_os_str().as_bytes()).as_bytes()[..KEY_SIZE]);
    key
}

/// Takes the first bytes of a key, which is a hash already.
#[derive(Debug, Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn stamp(inode: u64) -> FileStamp {
        FileStamp { size_bytes: 5, mtime: (1000, 7), ctime: (1001, 8), inode, device: 3 }
    }

    fn filled(count: u64) -> StatCache {
        let cache = StatCache::default();
        for number in 0..count {
            let path = format!("/dir/file-{number}");
            cache.insert(Path::new(&path), &stamp(number), [number as u8; 32], SystemTime::now());
        }
        cache
    }

    #[test]
    fn digests_survive_saving_and_loading_twice() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("cache");
        filled(100).save(&file).unwrap();
        let cache = StatCache::load(&file, STAT_CACHE_LIMIT_BYTES);
        cache.insert(Path::new("/dir/file-3"), &stamp(999), [77; 32], SystemTime::now());
        cache.save(&file).unwrap();
        let cache = StatCache::load(&file, STAT_CACHE_LIMIT_BYTES);
        assert_eq!(cache.digest_of(Path::new("/dir/file-42"), &stamp(42)), Some([42; 32]));
        assert_eq!(cache.digest_of(Path::new("/dir/file-3"), &stamp(999)), Some([77; 32]));
        assert_eq!(cache.digest_of(Path::new("/dir/file-3"), &stamp(3)), None);
        assert_eq!(cache.digest_of(Path::new("/dir/other"), &stamp(42)), None);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn any_other_time_size_or_inode_is_a_miss() {
        let cache = filled(1);
        let path = Path::new("/dir/file-0");
        assert_eq!(cache.digest_of(path, &stamp(0)), Some([0; 32]));
        for other in [
            FileStamp { size_bytes: 6, ..stamp(0) },
            FileStamp { mtime: (1000, 8), ..stamp(0) },
            FileStamp { ctime: (1002, 8), ..stamp(0) },
            FileStamp { inode: 1, ..stamp(0) },
            FileStamp { device: 4, ..stamp(0) },
        ] {
            assert_eq!(cache.digest_of(path, &other), None);
        }
    }

    #[test]
    fn a_damaged_file_is_an_empty_cache() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("cache");
        filled(2).save(&file).unwrap();
        let good = std::fs::read(&file).unwrap();
        for at in [0, 7, 8, 50, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(StatCache::parse(bad).is_none(), "byte {at}");
        }
        for length in 0..good.len() {
            let is_whole = (length.saturating_sub(HEADER_SIZE)) == 0 && length == HEADER_SIZE;
            assert!(StatCache::parse(good[..length].to_vec()).is_none() || is_whole, "length {length}");
        }
        assert!(StatCache::load(&file, 10).index.is_empty());
        assert!(StatCache::load(&directory.path().join("none"), 10).index.is_empty());
    }

    #[test]
    fn a_file_changed_just_now_is_not_remembered() {
        let now = SystemTime::now();
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
        let cache = StatCache::default();
        let path = Path::new("/f");
        for (stamp, is_kept) in [
            (FileStamp { ctime: (seconds, 999_999_999), ..stamp(1) }, false),
            (FileStamp { mtime: (seconds + 100, 1), ..stamp(1) }, false),
            (FileStamp { ctime: (seconds - 1, 0), mtime: (5, 0), ..stamp(1) }, false),
            (FileStamp { ctime: (seconds - 1, 1), ..stamp(1) }, true),
        ] {
            cache.insert(path, &stamp, [1; 32], now);
            assert_eq!(cache.digest_of(path, &stamp).is_some(), is_kept, "{stamp:?}");
        }
    }

    #[test]
    fn records_of_files_that_are_gone_do_not_pile_up() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("cache");
        filled(KEPT_ALWAYS as u64 + 100).save(&file).unwrap();
        let cache = StatCache::load(&file, STAT_CACHE_LIMIT_BYTES);
        assert!(cache.digest_of(Path::new("/dir/file-7"), &stamp(7)).is_some());
        cache.insert(Path::new("/dir/new"), &stamp(1), [1; 32], SystemTime::now());
        cache.save(&file).unwrap();
        let cache = StatCache::load(&file, STAT_CACHE_LIMIT_BYTES);
        assert_eq!(cache.index.len(), 2);
        assert!(cache.digest_of(Path::new("/dir/file-7"), &stamp(7)).is_some());
    }

    #[test]
    fn nothing_new_is_not_written() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("cache");
        StatCache::default().save(&file).unwrap();
        assert!(!file.exists());
    }
}
