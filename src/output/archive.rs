//! Named files as a tar or as a directory, never seen half-written.

use crate::layer::{Entry, Kind, TarWriter};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Where the files of a layout go.
pub enum Archive {
    /// A tar, renamed to its name when it is complete.
    Tar {
        /// The writer.
        writer: TarWriter<BufWriter<Target>>,
        /// Where it goes; `None` is standard output.
        rename: Option<(tempfile::TempPath, PathBuf)>,
    },
    /// A directory; files are renamed into it one by one, `index.json` among the last.
    Directory(PathBuf),
}

/// The end of a tar.
pub enum Target {
    /// A file.
    File(File),
    /// Standard output.
    Stdout(io::Stdout),
}

impl Write for Target {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Target::File(file) => file.write(buf),
            Target::Stdout(stdout) => stdout.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Target::File(file) => file.flush(),
            Target::Stdout(stdout) => stdout.flush(),
        }
    }
}

impl Archive {
    /// Begins a tar at `dest`, `-` being standard output.
    pub fn tar(dest: &Path) -> io::Result<Archive> {
        let (target, rename) = open_target(dest)?;
        Ok(Archive::Tar { writer: TarWriter::new(BufWriter::with_capacity(1 << 20, target)), rename })
    }

    /// Begins a directory.
    pub fn directory(dest: &Path) -> io::Result<Archive> {
        std::fs::create_dir_all(dest)?;
        Ok(Archive::Directory(dest.to_owned()))
    }

    /// Adds a file with the given content.
    pub fn add_bytes(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        match self {
            Archive::Tar { writer, .. } => writer.append(&entry(name, content.len() as u64), &mut &*content),
            Archive::Directory(directory) => {
                let path = prepare(directory, name)?;
                let mut file = new_file(&path)?;
                file.write_all(content)?;
                file.persist(path).map(drop).map_err(|e| e.error)
            }
        }
    }

    /// Adds a copy of a file.
    pub fn add_file(&mut self, name: &str, source: &Path) -> io::Result<()> {
        let mut file = File::open(source)?;
        match self {
            Archive::Tar { writer, .. } => writer.append(&entry(name, file.metadata()?.len()), &mut file),
            Archive::Directory(directory) => {
                let path = prepare(directory, name)?;
                if path.exists() {
                    return Ok(());
                }
                let mut target = new_file(&path)?;
                io::copy(&mut file, target.as_file_mut())?;
                target.persist(path).map(drop).map_err(|e| e.error)
            }
        }
    }

    /// Completes it.
    pub fn finish(self) -> io::Result<()> {
        let Archive::Tar { writer, rename } = self else { return Ok(()) };
        close_target(writer.finish()?, rename)
    }
}

/// Opens `dest` for writing under a temporary name beside it.
pub fn open_target(dest: &Path) -> io::Result<(Target, Option<(tempfile::TempPath, PathBuf)>)> {
    if dest == Path::new("-") {
        return Ok((Target::Stdout(io::stdout()), None));
    }
    // A device or a FIFO (`dest=/dev/null`, `>(..)`) cannot be renamed over.
    if std::fs::metadata(dest).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir()) {
        return Ok((Target::File(File::options().write(true).open(dest)?), None));
    }
    let file = new_file(dest)?;
    let (file, path) = file.into_parts();
    Ok((Target::File(file), Some((path, dest.to_owned()))))
}

/// Writes out what is buffered and gives the file its name.
pub fn close_target(writer: BufWriter<Target>, rename: Option<(tempfile::TempPath, PathBuf)>) -> io::Result<()> {
    let mut target = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
    target.flush()?;
    match rename {
        Some((path, dest)) => path.persist(dest).map_err(|e| e.error),
        None => Ok(()),
    }
}

fn new_file(path: &Path) -> io::Result<tempfile::NamedTempFile> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    tempfile::Builder::new().prefix(".cooper-").permissions(mode).tempfile_in(directory)
}

fn prepare(directory: &Path, name: &str) -> io::Result<PathBuf> {
    let path = directory.join(name);
    std::fs::create_dir_all(path.parent().unwrap_or(directory))?;
    Ok(path)
}

fn entry(name: &str, size_bytes: u64) -> Entry {
    Entry::new(name, Kind::File { size_bytes }, 0o644)
}
