//! What executing a path of the step means: which file the kernel is to load, and with which arguments in front.

use super::Step;
use super::elf;
use super::tasks::Caller;
use super::view::{Directory, Found};
use crate::sandbox::supervise::CURRENT_DIRECTORY;
use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Scripts whose interpreters are scripts, the kernel's limit.
const SCRIPT_DEPTH: usize = 5;
/// Bytes of a file that the kernel looks at.
const HEAD_BYTES: usize = 256;

/// Something that can be executed.
#[derive(Debug)]
pub(super) struct Program {
    /// What the kernel loads: the file itself, or the copy with the loader of the step.
    pub file: OwnedFd,
    /// Its metadata.
    pub stat: Stat,
    /// Real path of the program in the step.
    pub path: PathBuf,
    /// What the first argument is replaced by: interpreter, its argument, script.
    pub prefix: Vec<Vec<u8>>,
    /// The path as the caller said it.
    pub name: Vec<u8>,
    /// Mode and owner decide about the rights that it gives.
    pub original: OwnedFd,
}

/// What an `execveat` names.
#[derive(Debug)]
pub(super) struct Named {
    /// The directory, or the file itself.
    pub directory: u32,
    pub path: PathBuf,
    pub flags: u32,
}

impl Step {
    /// Finds what is to be loaded when a thread executes something.
    pub(super) fn program(&self, caller: &Caller<'_>, named: &Named) -> io::Result<Program> {
        let is_descriptor = named.path.as_os_str().is_empty();
        if is_descriptor && named.flags & libc::AT_EMPTY_PATH.unsigned_abs() == 0 {
            return Err(Errno::NOENT.into());
        }
        let path = if is_descriptor { format!("/proc/self/fd/{}", named.directory).into() } else { named.path.clone() };
        let follow = named.flags & libc::AT_SYMLINK_NOFOLLOW.unsigned_abs() == 0;
        let mut from = self.start(caller, named.directory, &path)?;
        let mut name = match (is_descriptor, named.directory) {
            (true, number) => format!("/dev/fd/{number}").into_bytes(),
            (false, number) if number != CURRENT_DIRECTORY && named.path.is_relative() => {
                [format!("/dev/fd/{number}/").as_bytes(), named.path.as_os_str().as_bytes()].concat()
            }
            _ => named.path.as_os_str().as_bytes().to_vec(),
        };
        let first = name.clone();
        let mut path = path;
        let mut prefix: Vec<Vec<u8>> = Vec::new();
        let mut original = None;
        for _ in 0..=SCRIPT_DEPTH {
            let found = self.view.find(caller, &from, &path, follow || original.is_some())?;
            let file = open_executable(&found)?;
            if original.is_none() {
                original = Some(OwnedFd::from(file.try_clone()?));
            }
            let mut head = [0; HEAD_BYTES];
            let count = file.read_at(&mut head, 0)?;
            let Some((interpreter, argument)) = interpreter(&head[..count])? else {
                let original = original.ok_or(Errno::NOEXEC)?;
                return self.loadable(caller, found, file, prefix, first, original);
            };
            let mut new = vec![interpreter.to_vec()];
            new.extend(argument.map(<[u8]>::to_vec));
            new.push(name);
            new.extend(prefix.into_iter().skip(1));
            prefix = new;
            name = interpreter.to_vec();
            path = PathBuf::from(OsStr::from_bytes(interpreter));
            from = self.start(caller, CURRENT_DIRECTORY, &path)?;
        }
        Err(Errno::LOOP.into())
    }

    fn loadable(
        &self,
        caller: &Caller<'_>,
        found: Found,
        file: File,
        prefix: Vec<Vec<u8>>,
        name: Vec<u8>,
        original: OwnedFd,
    ) -> io::Result<Program> {
        // The kernel calls a process after the file that it was given.
        let shown = Path::new(OsStr::from_bytes(&name)).file_name().filter(|_| !name.starts_with(b"/dev/fd/"));
        let shown = shown.or(found.path.file_name()).unwrap_or(OsStr::new("program")).to_owned();
        let file = match elf::loader_of(&file)? {
            None if found.path.file_name() == Some(&shown) => file,
            None => self.copy(&file, &shown, |_| Ok(()))?.0,
            Some(loader) => {
                let path = PathBuf::from(OsStr::from_bytes(&loader.path));
                let from: Directory = self.start(caller, CURRENT_DIRECTORY, &path)?;
                let own = self.view.find(caller, &from, &path, true)?;
                let own = self.copy(&open_executable(&own)?, OsStr::new("loader"), |_| Ok(()))?;
                let own = own.1.into_os_string();
                self.copy(&file, &shown, |copy| elf::set_loader(copy, &loader, own.as_bytes()))?.0
            }
        };
        let stat = rustix::fs::fstat(&file)?;
        Ok(Program { file: file.into(), stat, path: found.path, prefix, name, original })
    }

    /// Returns the copy of a file under a name, and its path; made when it is first asked for.
    fn copy(
        &self,
        file: &File,
        name: &OsStr,
        change: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> io::Result<(File, PathBuf)> {
        let stat = rustix::fs::fstat(file)?;
        let times = [stat.st_mtime, stat.st_mtime_nsec.cast_signed(), stat.st_ctime, stat.st_ctime_nsec.cast_signed()];
        let times = times.map(|time| time.to_string()).join("-");
        let directory = self.programs.join(format!("{}-{}-{}-{times}", stat.st_dev, stat.st_ino, stat.st_size));
        let (names, whole) = (directory.join("names"), directory.join("whole"));
        let path = names.join(name);
        if let Ok(copy) = File::open(&path) {
            return Ok((copy, path));
        }
        if !whole.exists() {
            std::fs::create_dir_all(&names)?;
            let new = directory.join("new");
            let mut copy = File::options().read(true).write(true).create(true).truncate(true).open(&new)?;
            let mut source = file.try_clone()?;
            io::Seek::rewind(&mut source)?;
            io::copy(&mut source, &mut copy)?;
            change(&mut copy)?;
            rustix::fs::fchmod(&copy, Mode::RWXU)?;
            drop(copy);
            std::fs::rename(&new, &whole)?;
        }
        std::fs::hard_link(&whole, &path)?;
        Ok((File::open(&path)?, path))
    }
}

fn open_executable(found: &Found) -> io::Result<File> {
    let node = found.existing()?;
    match node.file_type() {
        FileType::Symlink => return Err(Errno::LOOP.into()),
        FileType::RegularFile if node.stat.st_mode & 0o111 != 0 => {}
        _ => return Err(Errno::ACCESS.into()),
    }
    Ok(rustix::fs::open(node.own_path(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?.into())
}

/// An interpreter and its argument.
type Interpreter<'a> = (&'a [u8], Option<&'a [u8]>);

/// Returns the interpreter that a script names in its first line, and its argument.
fn interpreter(head: &[u8]) -> Result<Option<Interpreter<'_>>, Errno> {
    let Some(line) = head.strip_prefix(b"#!") else { return Ok(None) };
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let end = line.iter().position(|byte| *byte == b'\n');
    let line = match end {
        Some(end) => &line[..end],
        // A name that is cut off must not be taken for another one.
        None if head.len() == HEAD_BYTES && !line.trim_ascii_start().iter().any(is_blank) => return Err(Errno::NOEXEC),
        None => line,
    };
    let line = line.split(|byte| *byte == 0).next().unwrap_or_default();
    let start = line.iter().position(|byte| !is_blank(byte)).ok_or(Errno::NOEXEC)?;
    let last = line.iter().rposition(|byte| !is_blank(byte)).ok_or(Errno::NOEXEC)?;
    let line = &line[start..=last];
    Ok(Some(match line.iter().position(is_blank) {
        None => (line, None),
        Some(at) => {
            let rest = &line[at..];
            let start = rest.iter().position(|byte| !is_blank(byte)).unwrap_or(0);
            (&line[..at], Some(&rest[start..]))
        }
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn first_lines_are_read_as_the_kernel_reads_them() {
        let read = |text: &str| {
            interpreter(text.as_bytes()).map(|found| {
                found.map(|(program, argument)| {
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    (text(program), argument.map(text))
                })
            })
        };
        let found = |program: &str, argument: Option<&str>| Ok(Some((program.to_owned(), argument.map(str::to_owned))));
        assert_eq!(read("#!/bin/sh\nrest"), found("/bin/sh", None));
        assert_eq!(read("#! /usr/bin/env  python3 -u \n"), found("/usr/bin/env", Some("python3 -u")));
        assert_eq!(read("#!/bin/sh"), found("/bin/sh", None));
        assert_eq!(read("\x7fELF"), Ok(None));
        assert_eq!(read("#!  \n"), Err(Errno::NOEXEC));
        assert_eq!(read(&format!("#!{}", "x".repeat(254))), Err(Errno::NOEXEC));
    }
}
