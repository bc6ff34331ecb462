//! A build context that is a directory of this machine.

use super::ignore::{IGNORE_FILE_LIMIT_BYTES, IgnoreRules};
use super::tree::Tree;
use crate::diag::{Diagnostic, Exit};
use crate::sys::Root;
use rustix::fs::FileType;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// The name of the ignore file of a context.
pub const IGNORE_FILE: &str = ".dockerignore";

/// An open context directory with its ignore rules.
#[derive(Debug)]
pub struct LocalContext {
    /// The directory.
    pub root: Root,
    /// Its real path, which names its stat cache.
    pub path: PathBuf,
    /// The rules in force.
    pub ignore: Option<IgnoreRules>,
    /// What the user should know: an ignore file that leads nowhere.
    pub warnings: Vec<Diagnostic>,
    /// Whether owners count: for an unpacked archive, not for a directory of the user's.
    pub keep_owner: bool,
}

impl LocalContext {
    /// Opens a directory of the user's.
    ///
    /// `dockerfile` is the path of the Dockerfile on this machine, if it has one: `<name>.dockerignore` beside it wins over
    /// the context's own `.dockerignore`.
    ///
    /// # Errors
    ///
    /// The directory cannot be opened, an ignore file cannot be read, is too large or has a pattern that is not well formed.
    // One a build; its size is of no account.
    #[allow(clippy::result_large_err)]
    pub fn open(path: &Path, dockerfile: Option<&Path>) -> Result<LocalContext, Diagnostic> {
        let mut context = LocalContext::without_rules(path)?;
        context.find_rules(dockerfile)?;
        Ok(context)
    }

    #[allow(clippy::result_large_err)]
    fn without_rules(path: &Path) -> Result<LocalContext, Diagnostic> {
        let failed = |error: io::Error| {
            let message = format!("cannot open the build context `{}`", path.display());
            Diagnostic::error(Exit::Usage, message).note(error.to_string())
        };
        let real = std::fs::canonicalize(path).map_err(failed)?;
        let root = Root::open(&real).map_err(failed)?;
        Ok(LocalContext { root, path: real, ignore: None, warnings: Vec::new(), keep_owner: false })
    }

    /// Takes a directory that an archive or a repository was unpacked into; `dockerfile` is a path in it.
    #[allow(clippy::result_large_err)]
    pub fn unpacked(path: &Path, dockerfile: Option<&Path>, keep_owner: bool) -> Result<LocalContext, Diagnostic> {
        let mut context = LocalContext { keep_owner, ..LocalContext::without_rules(path)? };
        let beside = dockerfile.map(|dockerfile| {
            let mut name = dockerfile.as_os_str().to_owned();
            name.push(IGNORE_FILE);
            PathBuf::from(name)
        });
        // All of it is a stranger's: a link among the directories of the Dockerfile is followed inside only.
        for path in beside.iter().map(PathBuf::as_path).chain([Path::new(IGNORE_FILE)]) {
            let root = context.root.try_clone().map_err(|error| unreadable(IGNORE_FILE, &error))?;
            if context.read_rules(&root, path, &path.display().to_string())? {
                break;
            }
        }
        Ok(context)
    }

    /// Returns the tree that sources are looked up in.
    pub fn tree(&self) -> Tree<'_> {
        Tree { root: &self.root, ignore: self.ignore.as_ref(), keep_owner: self.keep_owner }
    }

    #[allow(clippy::result_large_err)]
    fn find_rules(&mut self, dockerfile: Option<&Path>) -> Result<(), Diagnostic> {
        if let Some(dockerfile) = dockerfile
            && self.read_beside(dockerfile)?
        {
            return Ok(());
        }
        let root = self.root.try_clone().map_err(|error| unreadable(IGNORE_FILE, &error))?;
        self.read_rules(&root, Path::new(IGNORE_FILE), IGNORE_FILE)?;
        Ok(())
    }

    /// Reads `<Dockerfile>.dockerignore`; inside the context through its root, elsewhere through the Dockerfile's directory.
    #[allow(clippy::result_large_err)]
    fn read_beside(&mut self, dockerfile: &Path) -> Result<bool, Diagnostic> {
        let Some(name) = dockerfile.file_name() else { return Ok(false) };
        let mut ignore_name: OsString = name.to_owned();
        ignore_name.push(IGNORE_FILE);
        let shown = dockerfile.with_file_name(&ignore_name).display().to_string();
        let parent = dockerfile.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let Ok(directory) = std::fs::canonicalize(parent) else { return Ok(false) };
        let (root, relative) = match directory.strip_prefix(&self.path) {
            Ok(inside) => (self.root.try_clone(), inside.join(&ignore_name)),
            Err(_) => (Root::open(&directory), PathBuf::from(&ignore_name)),
        };
        self.read_rules(&root.map_err(|error| unreadable(&shown, &error))?, &relative, &shown)
    }

    /// Reads and parses an ignore file; `false` if there is none.
    #[allow(clippy::result_large_err)]
    fn read_rules(&mut self, root: &Root, path: &Path, shown: &str) -> Result<bool, Diagnostic> {
        let bytes = root.read_limited(path, IGNORE_FILE_LIMIT_BYTES).map_err(|error| unreadable(shown, &error))?;
        let Some(bytes) = bytes else {
            let stat = root.stat(path, false).ok().flatten();
            if stat.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink) {
                let message = format!("`{shown}` is a link that leads nowhere in the context and is not used");
                self.warnings.push(Diagnostic::warning(message).hint(format!("replace `{shown}` by a file")));
            }
            return Ok(false);
        };
        self.ignore = Some(IgnoreRules::parse(shown, &bytes)?);
        Ok(true)
    }
}

fn unreadable(shown: &str, error: &io::Error) -> Diagnostic {
    Diagnostic::error(Exit::Usage, format!("cannot read `{shown}`")).note(error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn file_of(context: &LocalContext) -> Option<String> {
        let name = context.ignore.as_ref()?.name();
        Some(Path::new(name).file_name().unwrap().to_str().unwrap().to_owned())
    }

    #[test]
    fn the_ignore_file_beside_the_dockerfile_wins() {
        let (context, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(context.path().join(".dockerignore"), "a").unwrap();
        let open = |dockerfile: &Path| LocalContext::open(context.path(), Some(dockerfile)).unwrap();
        let (inside, outside) = (context.path().join("sub/my.Dockerfile"), elsewhere.path().join("Dockerfile"));
        assert_eq!(file_of(&open(&inside)).as_deref(), Some(".dockerignore"));
        fs::create_dir(context.path().join("sub")).unwrap();
        fs::write(context.path().join("sub/my.Dockerfile.dockerignore"), "b").unwrap();
        assert_eq!(file_of(&open(&inside)).as_deref(), Some("my.Dockerfile.dockerignore"));
        assert_eq!(file_of(&open(&outside)).as_deref(), Some(".dockerignore"));
        fs::write(elsewhere.path().join("Dockerfile.dockerignore"), "").unwrap();
        assert_eq!(file_of(&open(&outside)).as_deref(), Some("Dockerfile.dockerignore"));
        assert!(LocalContext::open(context.path(), None).unwrap().tree().ignore.is_some());
    }

    #[test]
    fn an_ignore_file_that_links_out_of_the_context_is_not_read() {
        let (context, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("rules"), "[broken").unwrap();
        symlink(outside.path().join("rules"), context.path().join(".dockerignore")).unwrap();
        let opened = LocalContext::open(context.path(), None).unwrap();
        assert!(opened.ignore.is_none());
        assert_eq!(opened.warnings.len(), 1);
        fs::write(context.path().join("real"), "x").unwrap();
        fs::remove_file(context.path().join(".dockerignore")).unwrap();
        symlink("/real", context.path().join(".dockerignore")).unwrap();
        assert!(LocalContext::open(context.path(), None).unwrap().ignore.is_some());
    }

    #[test]
    fn an_ignore_file_that_is_none_or_too_large_is_an_error() {
        let context = tempfile::tempdir().unwrap();
        let file = context.path().join(".dockerignore");
        rustix::fs::mknodat(rustix::fs::CWD, &file, FileType::Fifo, 0o600.into(), 0).unwrap();
        let error = LocalContext::open(context.path(), None).unwrap_err();
        assert!(error.to_string().contains("is not a regular file"), "{error}");
        fs::remove_file(&file).unwrap();
        fs::write(&file, vec![b'\n'; IGNORE_FILE_LIMIT_BYTES as usize + 1]).unwrap();
        assert!(LocalContext::open(context.path(), None).is_err());
        fs::write(&file, "ok\n[bad\n").unwrap();
        assert!(LocalContext::open(context.path(), None).unwrap_err().to_string().starts_with(".dockerignore:2:1"));
        assert!(LocalContext::open(&file, None).is_err());
    }
}
