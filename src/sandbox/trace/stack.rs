//! The stack that a program starts with: arguments put in front of it, and the path that it was executed by.
//!
//! The kernel has put strings at the top and below them, at the stack pointer, the count and addresses of arguments, the
//! environment and the auxiliary vector.  These lists are moved down and the new strings put where they were.

use crate::sys::notify::read_memory;
use crate::sys::trace::Registers;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Most bytes of the lists: the kernel lets arguments have a quarter of 8 MiB of stack, one byte each.
const LIST_LIMIT_BYTES: usize = 64 << 20;
const WORD: usize = 8;
const AT_EXECFN: u64 = 31;

/// Replaces the first argument of a program that is about to start by `prefix`, if there is any, and its path by `name`.
pub(super) fn rewrite(thread: u32, registers: &Registers, prefix: &[Vec<u8>], name: &[u8]) -> io::Result<()> {
    let stack = registers.stack();
    let old = Lists::read(thread, stack)?;
    let end = stack + (old.words() * WORD) as u64;
    let mut strings = Vec::new();
    let mut put = |string: &[u8]| {
        let at = strings.len();
        strings.extend_from_slice(string);
        strings.push(0);
        at as u64
    };
    let name = put(name);
    let prefix: Vec<u64> = prefix.iter().map(|string| put(string)).collect();
    let extra = if prefix.is_empty() { 0 } else { prefix.len() - old.arguments.len().min(1) };
    let base = end - strings.len() as u64;
    let start = (base - ((old.words() + extra) * WORD) as u64) & !15;
    let arguments = match prefix.as_slice() {
        [] => old.arguments,
        prefix => prefix.iter().map(|at| base + at).chain(old.arguments.into_iter().skip(1)).collect(),
    };
    let auxiliary =
        old.auxiliary.iter().map(|(kind, value)| (*kind, if *kind == AT_EXECFN { base + name } else { *value }));
    let lists = Lists { arguments, environment: old.environment, auxiliary: auxiliary.collect() };
    // It is stopped and traced by us, so its number is nobody else's.
    let memory = File::options().write(true).open(format!("/proc/{thread}/mem"))?;
    memory.write_all_at(&strings, base)?;
    memory.write_all_at(&lists.bytes(), start)?;
    registers.with_stack(start).write(thread)
}

struct Lists {
    arguments: Vec<u64>,
    environment: Vec<u64>,
    auxiliary: Vec<(u64, u64)>,
}

impl Lists {
    fn read(thread: u32, stack: u64) -> io::Result<Lists> {
        let mut words = Words { thread, at: stack, buffer: Vec::new(), next: 0 };
        let count = usize::try_from(words.next()?).map_err(io::Error::other)?;
        let arguments = (0..count).map(|_| words.next()).collect::<io::Result<_>>()?;
        words.next()?;
        let mut environment = Vec::new();
        loop {
            match words.next()? {
                0 => break,
                word => environment.push(word),
            }
        }
        let mut auxiliary = Vec::new();
        loop {
            match (words.next()?, words.next()?) {
                (0, _) => break,
                pair => auxiliary.push(pair),
            }
        }
        Ok(Lists { arguments, environment, auxiliary })
    }

    fn words(&self) -> usize {
        1 + self.arguments.len() + 1 + self.environment.len() + 1 + 2 * (self.auxiliary.len() + 1)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut words = Vec::with_capacity(self.words());
        words.push(self.arguments.len() as u64);
        words.extend(self.arguments.iter().chain(&[0]));
        words.extend(self.environment.iter().chain(&[0]));
        words.extend(self.auxiliary.iter().chain(&[(0, 0)]).flat_map(|(kind, value)| [*kind, *value]));
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }
}

/// Reads words of another process, a page at a time.
struct Words {
    thread: u32,
    at: u64,
    buffer: Vec<u8>,
    next: usize,
}

impl Words {
    fn next(&mut self) -> io::Result<u64> {
        const PAGE: u64 = 4096;
        if self.next == self.buffer.len() {
            let mut page = vec![0; (PAGE - self.at % PAGE) as usize];
            let count = read_memory(self.thread, self.at, &mut page)?;
            page.truncate(count - count % WORD);
            if page.is_empty() || self.buffer.len() > LIST_LIMIT_BYTES {
                return Err(io::Error::from_raw_os_error(libc::EFAULT));
            }
            self.at += page.len() as u64;
            self.buffer.extend(page);
        }
        let word = &self.buffer[self.next..self.next + WORD];
        self.next += WORD;
        Ok(u64::from_ne_bytes(word.try_into().map_err(io::Error::other)?))
    }
}
