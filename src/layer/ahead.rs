//! Reads on a thread of its own, so that decompressing a layer and unpacking it take one core each.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

/// Size of the blocks that pass between the threads.
const BLOCK_BYTES: usize = 512 << 10;
/// Most blocks that are read ahead.
const BLOCKS: usize = 4;

/// A reader that another thread reads ahead of, at most 2.5 MiB.
pub struct ReadAhead<R> {
    filled: Option<Receiver<io::Result<Vec<u8>>>>,
    spent: Sender<Vec<u8>>,
    block: Vec<u8>,
    position: usize,
    has_ended: bool,
    thread: Option<JoinHandle<R>>,
}

impl<R: Read + Send + 'static> ReadAhead<R> {
    /// Starts reading.
    pub fn new(reader: R) -> io::Result<ReadAhead<R>> {
        let (fill, filled) = sync_channel(BLOCKS);
        let (spent, empty) = channel();
        let thread = std::thread::Builder::new()
            .name("read-ahead".to_owned())
            .spawn(move || read_blocks(reader, &fill, &empty))?;
        Ok(ReadAhead {
            filled: Some(filled),
            spent,
            block: Vec::new(),
            position: 0,
            has_ended: false,
            thread: Some(thread),
        })
    }

    /// Stops, and returns the reader, e.g. to ask it for a digest; it may have been read further than was asked for.
    pub fn into_inner(mut self) -> io::Result<R> {
        self.filled = None;
        let ended = || io::Error::other("the reading thread has ended");
        self.thread.take().ok_or_else(ended)?.join().map_err(|_| ended())
    }
}

impl<R> Read for ReadAhead<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.position == self.block.len() && !self.has_ended {
            self.next_block()?;
        }
        let rest = &self.block[self.position..];
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        self.position += n;
        Ok(n)
    }
}

impl<R> ReadAhead<R> {
    fn next_block(&mut self) -> io::Result<()> {
        let ended = || io::Error::other("the reading thread has ended");
        let received = self.filled.as_ref().map(Receiver::recv);
        let block = received.ok_or_else(ended)?.map_err(|_| ended())??;
        // An empty block is the end; a thread that has panicked sends none.
        self.has_ended = block.is_empty();
        let _ = self.spent.send(std::mem::replace(&mut self.block, block));
        self.position = 0;
        Ok(())
    }
}

/// Sends what is read, and an empty block or an error at the end; returns the reader when nobody listens any more.
fn read_blocks<R: Read>(mut reader: R, fill: &SyncSender<io::Result<Vec<u8>>>, empty: &Receiver<Vec<u8>>) -> R {
    loop {
        let mut block = empty.try_recv().unwrap_or_default();
        block.resize(BLOCK_BYTES, 0);
        let read = fill_block(&mut reader, &mut block);
        let is_last = !matches!(read, Ok(1..));
        let sent = fill.send(read.map(|length| {
            block.truncate(length);
            block
        }));
        if is_last || sent.is_err() {
            return reader;
        }
    }
}

/// Fills a block as far as the input goes.  Bytes in front of an error in the same block are lost with it: what
/// fails is not used in part.
fn fill_block(reader: &mut impl Read, block: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < block.len() {
        match reader.read(&mut block[length..]) {
            Ok(0) => break,
            Ok(n) => length += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn everything_is_read_and_the_reader_comes_back() {
        let content: Vec<u8> = (0..3_000_000u32).map(|n| (n / 7) as u8).collect();
        let mut ahead = ReadAhead::new(io::Cursor::new(content.clone())).unwrap();
        let mut back = Vec::new();
        ahead.read_to_end(&mut back).unwrap();
        assert!(back == content);
        assert_eq!(ahead.read(&mut [0; 8]).unwrap(), 0);
        assert_eq!(ahead.into_inner().unwrap().position(), 3_000_000);
    }

    #[test]
    fn an_error_is_passed_on() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
        let broken = io::Cursor::new(vec![1; 2 * BLOCK_BYTES]).chain(Broken);
        let mut back = Vec::new();
        let error = ReadAhead::new(broken).unwrap().read_to_end(&mut back).unwrap_err();
        assert_eq!((error.kind(), back.len()), (io::ErrorKind::ConnectionReset, 2 * BLOCK_BYTES));
    }

    #[test]
    fn a_reader_that_is_dropped_early_stops() {
        let mut ahead = ReadAhead::new(io::repeat(1)).unwrap();
        ahead.read_exact(&mut [0; 100]).unwrap();
        ahead.into_inner().unwrap();
    }
}
