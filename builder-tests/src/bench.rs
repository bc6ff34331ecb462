//! One test's directories and the builds in them.

use crate::user::{ORDINARY, Who};
use crate::{Image, Outcome, write_base};
use cooper::store::{self, Store};
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

/// A build context, a store and a home, in a directory that is kept when the test fails.
pub struct Bench {
    directory: Option<tempfile::TempDir>,
    store: PathBuf,
    who: Who,
    /// Arguments of every build, before those of the call.
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Default for Bench {
    fn default() -> Bench {
        Bench::new()
    }
}

impl Bench {
    /// Returns a bench with an empty context and an empty store.
    pub fn new() -> Bench {
        let directory = tempfile::Builder::new().prefix("cooper-bench-").tempdir_in("/tmp").unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["context", "home", "out"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        fs::write(directory.path().join("registries.conf"), "").unwrap();
        let store = directory.path().join("store");
        Bench { directory: Some(directory), store, who: Who::Caller, arguments: Vec::new(), environment: Vec::new() }
    }

    /// Makes a base image which Dockerfiles call `base`.
    pub fn base(mut self) -> Bench {
        let layout = self.path("base");
        write_base(&layout);
        self.arguments.extend(["--build-context".into(), format!("base=oci-layout://{}", layout.display())]);
        self
    }

    /// Lets another user build.
    pub fn by(mut self, who: Who) -> Bench {
        self.who = who;
        self
    }

    /// Sets a variable for every build.
    pub fn env(mut self, name: &str, value: &str) -> Bench {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Uses another directory as the store.
    pub fn store_at(mut self, path: impl Into<PathBuf>) -> Bench {
        self.store = path.into();
        self
    }

    /// Writes a file of the context.
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Bench {
        self.write(path, content);
        self
    }

    /// Makes a symbolic link in the context.
    pub fn symlink(self, path: &str, target: &str) -> Bench {
        let path = self.context().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
        self
    }

    /// Writes a file of the context anew.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> &Bench {
        let path = self.context().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    /// Changes the mode of a file of the context.
    pub fn chmod(&self, path: &str, mode: u32) -> &Bench {
        fs::set_permissions(self.context().join(path), fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    /// Gives every file of the context another time.
    pub fn touch_all(&self) -> &Bench {
        let time = SystemTime::now() - Duration::from_secs(86_400);
        for path in walk(&self.context()).into_iter().filter(|path| path.is_file()) {
            fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
        }
        self
    }

    /// Returns a path in the bench's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.as_ref().expect("it is taken only in drop").path().join(name)
    }

    /// Returns the directory of the context.
    pub fn context(&self) -> PathBuf {
        self.path("context")
    }

    /// Returns the directory of the store.
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// Returns a path for an output, writable by whoever builds.
    pub fn out(&self, name: &str) -> PathBuf {
        self.path("out").join(name)
    }

    /// Runs `cooper build ARGUMENTS CONTEXT`.
    pub fn build<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Outcome {
        let context = self.context();
        let arguments = arguments.into_iter().map(|argument| argument.as_ref().to_owned());
        self.build_bare(arguments.chain([context.into_os_string()]))
    }

    /// Runs `cooper build ARGUMENTS`: the context is among the arguments.
    pub fn build_bare<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Outcome {
        Outcome::of(self.build_command(arguments).output().unwrap())
    }

    /// Runs `cooper build ARGUMENTS` with a standard input.
    pub fn build_from<A: AsRef<OsStr>>(&self, input: &[u8], arguments: impl IntoIterator<Item = A>) -> Outcome {
        let mut child = self.build_command(arguments).stdin(Stdio::piped()).spawn().unwrap();
        // Cooper may well end before it has read everything.
        let _ = child.stdin.take().unwrap().write_all(input);
        Outcome::of(child.wait_with_output().unwrap())
    }

    /// Starts `cooper build ARGUMENTS CONTEXT` and does not wait.
    pub fn start<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Child {
        self.build_command(arguments).arg(self.context()).spawn().unwrap()
    }

    /// Returns the command of `cooper build ARGUMENTS`, its output piped.
    pub fn build_command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = self.cooper();
        command.args(["build", "--explain"]).args(&self.arguments).args(arguments);
        command
    }

    /// Returns the command `cooper`, its output piped and its input empty.
    pub fn cooper(&self) -> Command {
        self.give_away();
        let mut command = self.who.command(&self.path("home"));
        command.env("COOPER_ROOT", &self.store).env("CONTAINERS_REGISTRIES_CONF", self.path("registries.conf"));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.path("out"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Reads an image of the store by name.
    #[track_caller]
    pub fn image(&self, name: &str) -> Image {
        Image::named(&self.store.join("oci"), &format!("docker.io/library/{name}"))
    }

    /// Asserts that the store is whole and that nothing uses it any more.
    #[track_caller]
    pub fn store_is_whole(&self) -> &Bench {
        let findings = store::check(&Store::open(&self.store).unwrap(), true).unwrap();
        assert_eq!(findings, [], "the store {}", self.store.display());
        self
    }

    /// Lets the user who builds own what he writes to and reads.
    fn give_away(&self) {
        if self.who == Who::Ordinary {
            let paths = ["context", "home", "out"].map(|name| self.path(name));
            fs::create_dir_all(&self.store).unwrap();
            let owner = format!("{ORDINARY}:");
            assert!(Command::new("chown").arg("-R").arg(&owner).args(paths).status().unwrap().success());
            // What lies in it belongs to subordinate ids.
            assert!(Command::new("chown").arg(&owner).arg(&self.store).status().unwrap().success());
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let Some(directory) = self.directory.take() else { return };
        if std::thread::panicking() {
            eprintln!("the directory of this test is kept: {}", directory.keep().display());
        } else {
            // An ordinary user's store holds files of subordinate ids, which only a user namespace can remove.
            let path = directory.path().to_owned();
            if directory.close().is_err() {
                let _ = Command::new("unshare").args(["--map-auto", "--map-root-user", "rm", "-rf"]).arg(path).status();
            }
        }
    }
}

/// Returns everything below a directory, without following links.
pub(crate) fn walk(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![directory.to_owned()];
    while let Some(next) = todo.pop() {
        for item in fs::read_dir(&next).unwrap().flatten() {
            if item.file_type().is_ok_and(|kind| kind.is_dir()) {
                todo.push(item.path());
            }
            found.push(item.path());
        }
    }
    found
}

impl Bench {
    /// Returns the files below the bench's directory, whatever wrote them, that hold a text.
    pub fn files_with(&self, text: &str) -> Vec<PathBuf> {
        let holds = |content: &[u8]| content.windows(text.len()).any(|window| window == text.as_bytes());
        let mut found = walk(&self.path(""));
        found.retain(|path| path.symlink_metadata().is_ok_and(|metadata| metadata.is_file()));
        found.retain(|path| {
            let content = fs::read(path).unwrap_or_default();
            let mut plain = Vec::new();
            let unpacked = cooper::layer::decompress(&content[..])
                .is_ok_and(|mut reader| std::io::copy(&mut reader, &mut plain).is_ok());
            holds(&content) || (unpacked && holds(&plain))
        });
        found
    }
}
