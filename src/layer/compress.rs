//! Compresses a stream on all cores into bytes that do not depend on their number.
//!
//! The stream is cut into blocks of a fixed size, and each becomes a gzip member or a zstd frame of its own from an
//! encoder that keeps no state.  Readers take the concatenation for one stream (RFC 1952, section 2.2; RFC 8878,
//! section 3.1).  It costs about 1 % in size, and reading the layer can be spread over cores too.

use super::{Compression, LayerBlob};
use crate::image::{Digest, media_type};
use sha2::Digest as _;
use std::io::{self, Write};
use std::num::NonZero;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Uncompressed size of a gzip member.
const GZIP_BLOCK_BYTES: usize = 1 << 20;
/// Uncompressed size of a zstd frame: the window of level 3.
const ZSTD_BLOCK_BYTES: usize = 2 << 20;
/// Default level of gzip: smaller than Go's default at three times its speed.
const GZIP_LEVEL: u8 = 5;
/// Default level of zstd.
const ZSTD_LEVEL: u8 = 3;
/// Most compressing threads; more would only take memory, the reading of files could not feed them.
const MAX_WORKERS: usize = 16;

/// Compresses and digests what is written to it, once, and writes the result to `W`.
///
/// The writing thread cuts blocks and computes the diff id, workers compress, and one thread puts the results in
/// order, digests and writes them.  Memory is bounded by the number of blocks under way: two a worker and two.
pub struct LayerWriter<W> {
    block: Vec<u8>,
    block_bytes: usize,
    diff_id: sha2::Sha256,
    uncompressed_bytes: u64,
    compression: Compression,
    /// Tickets for the output thread, in the order of the blocks.
    tickets: Option<SyncSender<Receiver<io::Result<Vec<u8>>>>>,
    jobs: Option<Sender<Job>>,
    spent: Receiver<Vec<u8>>,
    workers: Vec<JoinHandle<()>>,
    output: Option<JoinHandle<io::Result<Output<W>>>>,
}

/// A block on its way to a worker.
struct Job {
    block: Vec<u8>,
    result: SyncSender<io::Result<Vec<u8>>>,
}

/// What the output thread leaves behind.
struct Output<W> {
    out: W,
    /// `None` for an uncompressed layer, whose digest is its diff id.
    hasher: Option<sha2::Sha256>,
    size_bytes: u64,
}

impl<W: Write + Send + 'static> LayerWriter<W> {
    /// Starts the threads, one worker a CPU.
    pub fn new(out: W, compression: Compression) -> io::Result<LayerWriter<W>> {
        let cpus = std::thread::available_parallelism().map_or(1, NonZero::get);
        LayerWriter::with_threads(out, compression, cpus)
    }

    /// Starts the threads, with that many workers; their number does not change the bytes.
    pub fn with_threads(out: W, compression: Compression, threads: usize) -> io::Result<LayerWriter<W>> {
        let workers_count = match compression {
            Compression::Uncompressed => 0,
            _ => threads.clamp(1, MAX_WORKERS),
        };
        let (tickets, ordered) = sync_channel::<Receiver<_>>(workers_count * 2 + 1);
        let (jobs, queue) = channel();
        let (give_back, spent) = channel();
        let queue = Arc::new(Mutex::new(queue));
        let spawn = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let workers = (0..workers_count)
            .map(|_| {
                let (queue, give_back) = (Arc::clone(&queue), give_back.clone());
                spawn("compress").spawn(move || work(&queue, &give_back, compression))
            })
            .collect::<io::Result<_>>()?;
        let has_own_digest = compression != Compression::Uncompressed;
        let give_back = (!has_own_digest).then_some(give_back);
        let output = spawn("layer-out").spawn(move || write_in_order(out, &ordered, has_own_digest, give_back))?;
        let block_bytes = match compression {
            Compression::Zstd(_) => ZSTD_BLOCK_BYTES,
            _ => GZIP_BLOCK_BYTES,
        };
        Ok(LayerWriter {
            block: Vec::with_capacity(block_bytes),
            block_bytes,
            diff_id: sha2::Sha256::new(),
            uncompressed_bytes: 0,
            compression,
            tickets: Some(tickets),
            jobs: Some(jobs),
            spent,
            workers,
            output: Some(output),
        })
    }

    /// Waits for all threads and returns the layer's identity and the writer, which is not synced.
    pub fn finish(mut self) -> io::Result<(LayerBlob, W)> {
        if !self.block.is_empty() {
            self.send_block()?;
        }
        let output = self.stop()?;
        let diff_id = Digest::from_raw(std::mem::take(&mut self.diff_id).finalize().into());
        let digest = output.hasher.map_or(diff_id, |hasher| Digest::from_raw(hasher.finalize().into()));
        let media_type = match self.compression {
            Compression::Gzip(_) => media_type::LAYER_GZIP,
            Compression::Zstd(_) => media_type::LAYER_ZSTD,
            Compression::Uncompressed => media_type::LAYER,
        };
        let (size_bytes, uncompressed_bytes) = (output.size_bytes, self.uncompressed_bytes);
        Ok((LayerBlob { diff_id, digest, size_bytes, uncompressed_bytes, media_type }, output.out))
    }

    fn send_block(&mut self) -> io::Result<()> {
        let mut next = self.spent.try_recv().unwrap_or_default();
        next.clear();
        next.reserve_exact(self.block_bytes);
        let block = std::mem::replace(&mut self.block, next);
        self.diff_id.update(&block);
        self.uncompressed_bytes += block.len() as u64;
        let (result, ticket) = sync_channel(1);
        // The ticket goes first: it waits while too many blocks are under way.
        let is_open = self.tickets.as_ref().is_some_and(|tickets| tickets.send(ticket).is_ok());
        if !is_open {
            return Err(self.output_error());
        }
        let job = Job { block, result };
        let is_sent = match (self.compression, &self.jobs) {
            (Compression::Uncompressed, _) => job.result.send(Ok(job.block)).is_ok(),
            (_, Some(jobs)) => jobs.send(job).is_ok(),
            (_, None) => false,
        };
        if is_sent { Ok(()) } else { Err(self.output_error()) }
    }

    /// The reason why the output thread has stopped listening.
    fn output_error(&mut self) -> io::Error {
        self.stop().err().unwrap_or_else(|| io::Error::other("the layer's writer has ended"))
    }

    fn stop(&mut self) -> io::Result<Output<W>> {
        self.jobs = None;
        self.tickets = None;
        let ended = || io::Error::other("the layer's writer has ended");
        let mut has_panicked = false;
        for worker in self.workers.drain(..) {
            has_panicked |= worker.join().is_err();
        }
        let output = self.output.take().ok_or_else(ended)?.join().map_err(|_| ended())?;
        if has_panicked { Err(io::Error::other("a compressing thread panicked")) } else { output }
    }
}

impl<W: Write + Send + 'static> Write for LayerWriter<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = buf.len().min(self.block_bytes - self.block.len());
        self.block.extend_from_slice(&buf[..n]);
        if self.block.len() == self.block_bytes {
            self.send_block()?;
        }
        Ok(n)
    }

    /// Does nothing: blocks are of a fixed size.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn work(queue: &Mutex<Receiver<Job>>, give_back: &Sender<Vec<u8>>, compression: Compression) {
    let mut encoder = Encoder::new(compression);
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { block, result }) = job else { return };
        let compressed = match &mut encoder {
            Ok(encoder) => encoder.compress(&block),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        // Neither is listened to after an error elsewhere, and then nothing is lost.
        let _ = result.send(compressed);
        let _ = give_back.send(block);
    }
}

fn write_in_order<W: Write>(
    mut out: W,
    ordered: &Receiver<Receiver<io::Result<Vec<u8>>>>,
    has_own_digest: bool,
    give_back: Option<Sender<Vec<u8>>>,
) -> io::Result<Output<W>> {
    let mut hasher = has_own_digest.then(sha2::Sha256::new);
    let mut size_bytes = 0;
    for ticket in ordered {
        let block = ticket.recv().map_err(|_| io::Error::other("a compressing thread has ended"))??;
        if let Some(hasher) = &mut hasher {
            hasher.update(&block);
        }
        out.write_all(&block)?;
        size_bytes += block.len() as u64;
        if let Some(give_back) = &give_back {
            let _ = give_back.send(block);
        }
    }
    out.flush()?;
    Ok(Output { out, hasher, size_bytes })
}

/// One worker's encoder.
enum Encoder {
    Gzip(libdeflater::Compressor),
    Zstd(Box<zstd::bulk::Compressor<'static>>),
}

impl Encoder {
    fn new(compression: Compression) -> io::Result<Encoder> {
        match compression {
            Compression::Zstd(level) => {
                let level = i32::from(level.unwrap_or(ZSTD_LEVEL)).clamp(1, 22);
                Ok(Encoder::Zstd(Box::new(zstd::bulk::Compressor::new(level)?)))
            }
            Compression::Gzip(_) | Compression::Uncompressed => {
                let level = match compression {
                    Compression::Gzip(level) => i32::from(level.unwrap_or(GZIP_LEVEL)).min(12),
                    _ => 0,
                };
                let level = libdeflater::CompressionLvl::new(level)
                    .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "no such gzip level"))?;
                Ok(Encoder::Gzip(libdeflater::Compressor::new(level)))
            }
        }
    }

    fn compress(&mut self, block: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Encoder::Zstd(encoder) => encoder.compress(block),
            Encoder::Gzip(encoder) => {
                let mut out = vec![0; encoder.gzip_compress_bound(block.len())];
                let length = encoder
                    .gzip_compress(block, &mut out)
                    .map_err(|_| io::Error::other("a compressed block is larger than its bound"))?;
                out.truncate(length);
                Ok(out)
            }
        }
    }
}
