//! The full output of every RUN.

use super::{IoContext, Store, StoreError, file};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The log of one step, written as the step writes.
#[derive(Debug)]
pub struct LogFile {
    file: File,
    path: PathBuf,
}

impl LogFile {
    /// Appends what the step wrote.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes).during("write", &self.path)
    }

    /// Returns where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Store {
    /// Begins the log of a step of a build; `build` and `step` are names without slashes.
    pub fn log_file(&self, build: &str, step: u32) -> Result<LogFile, StoreError> {
        let directory = self.root().join("logs").join(build);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).during("make", &directory)?;
        let path = directory.join(format!("step-{step}.log"));
        let file = file::create(&path).during("make", &path)?;
        Ok(LogFile { file, path })
    }
}
