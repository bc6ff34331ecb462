//! A place for one attack: a store, a context, base images, and a directory outside that must not change.

use super::layout::{Image, busybox};
use super::rungs::Account;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The longest that a build of these tests may take; an attack that hangs the program fails.
const TIME_LIMIT: Duration = Duration::from_secs(120);
/// What a build ended with.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    /// Standard error: progress and messages.
    pub text: String,
}

impl Outcome {
    /// Panics unless the build succeeded.
    #[track_caller]
    pub fn succeeded(self) -> Outcome {
        assert_eq!(self.code, 0, "{}", self.text);
        self
    }

    /// Panics unless the build was refused, in words, with this among them.
    #[track_caller]
    pub fn refused(self, words: &str) -> Outcome {
        // 5 is a defect of the program.
        assert!((1..5).contains(&self.code), "code {}: {}", self.code, self.text);
        assert!(self.text.contains(words), "no `{words}` in: {}", self.text);
        self
    }
}

/// A place for one attack.
pub struct Bench {
    directory: tempfile::TempDir,
    pub account: Account,
    before: BTreeMap<PathBuf, Seen>,
}

type Seen = (u32, u32, u32, u64, i64, i64, Vec<u8>);

impl Bench {
    /// Returns a place with an honest base image by the name `base`, and an empty context.
    pub fn new(account: Account) -> Bench {
        let directory = tempfile::Builder::new().prefix("attack-").tempdir_in("/tmp").unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut bench = Bench { directory, account, before: BTreeMap::new() };
        for name in ["context", "home", "elsewhere", "outside/inner", "outside/closed"] {
            fs::create_dir_all(bench.path(name)).unwrap();
        }
        fs::write(bench.path("outside/file"), "canary").unwrap();
        fs::write(bench.path("outside/inner/file"), "canary of the canary").unwrap();
        fs::set_permissions(bench.path("outside/file"), fs::Permissions::from_mode(0o640)).unwrap();
        fs::set_permissions(bench.path("outside/closed"), fs::Permissions::from_mode(0o700)).unwrap();
        symlink("file", bench.path("outside/link")).unwrap();
        bench.image("base").write(&bench.path("base"));
        bench.hand_over();
        bench.before = bench.seen_outside();
        bench
    }

    /// Returns the honest image that `base` is.
    pub fn image(&self, _name: &str) -> Image {
        Image::of([busybox().end()])
    }

    /// Returns a path of this place.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns a path of this place as text.
    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Returns the path of something outside as text.
    pub fn outside(&self, name: &str) -> String {
        self.text("outside") + name
    }

    /// Writes a file of the context.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path("context").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Makes an image be what `FROM evil` means.
    pub fn evil(&self, image: &Image) {
        image.write(&self.path("evil"));
    }

    /// Builds a Dockerfile in the context.
    #[track_caller]
    pub fn build(&self, dockerfile: &str, flags: &[&str]) -> Outcome {
        self.write("Dockerfile", dockerfile);
        self.build_as_is(flags)
    }

    /// Builds the context as it is.
    #[track_caller]
    pub fn build_as_is(&self, flags: &[&str]) -> Outcome {
        let context = self.text("context");
        self.run(&[&["--progress=plain"], flags, &[&context]].concat(), |_| {})
    }

    /// Builds with all the command line given, and looks at what is outside.
    #[track_caller]
    pub fn run(&self, arguments: &[&str], change: impl FnOnce(&mut Command)) -> Outcome {
        self.hand_over();
        let mut command = self.command(arguments);
        change(&mut command);
        let outcome = wait(&mut command);
        self.assert_outside_is_untouched();
        assert!(!outcome.text.contains("panicked"), "{}", outcome.text);
        outcome
    }

    /// Returns the command of a build, with `base` and `evil` known.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.program();
        command.args(["build", "--isolation", self.account.rung.name()]);
        for name in ["base", "evil"] {
            command.arg(format!("--build-context={name}=oci-layout://{}", self.text(name)));
        }
        command.args(arguments);
        command
    }

    /// Returns the program as the account runs it, without arguments.
    pub fn program(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cooper"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
            .env("COOPER_ROOT", self.path("store"))
            .env("HOME", self.path("home"))
            .current_dir(self.path("elsewhere"))
            .stdin(Stdio::null());
        if rustix::process::geteuid().is_root() && self.account.uid != 0 {
            // Without groups of root: the standard library drops them along with the user.
            command.uid(self.account.uid).gid(self.account.gid);
        }
        command
    }

    /// Panics if anything outside is not as it was.
    #[track_caller]
    pub fn assert_outside_is_untouched(&self) {
        assert_eq!(self.seen_outside(), self.before);
        assert_eq!(fs::read_dir(self.path("elsewhere")).unwrap().count(), 0, "files in the working directory");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.directory.path().to_str().unwrap()), "{mounts}");
    }

    /// Makes everything the account's before a program is started by hand.
    pub fn prepare(&self) {
        self.hand_over();
    }

    /// Takes what is outside now for what must not change.
    pub fn with_new_canary(mut self) -> Bench {
        self.before.clear();
        self.hand_over();
        self.before = self.seen_outside();
        self
    }

    /// Gives everything to the account, what is outside too: nothing but the program protects it.
    fn hand_over(&self) {
        if !rustix::process::geteuid().is_root() || self.account.uid == 0 {
            return;
        }
        let top = self.directory.path();
        lchown(top, Some(self.account.uid), Some(self.account.gid)).unwrap();
        for entry in fs::read_dir(top).unwrap().map(Result::unwrap) {
            if entry.file_name() != "store" && (entry.file_name() != "outside" || self.before.is_empty()) {
                chown_all(&entry.path(), self.account);
            }
        }
    }

    fn seen_outside(&self) -> BTreeMap<PathBuf, Seen> {
        let mut seen = BTreeMap::new();
        look(&self.path("outside"), &mut seen);
        seen
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // Directories without rights are removed too.
        let _ = Command::new("chmod").args(["-R", "u+rwx"]).arg(self.directory.path()).stderr(Stdio::null()).status();
    }
}

fn chown_all(path: &Path, account: Account) {
    lchown(path, Some(account.uid), Some(account.gid)).unwrap();
    if path.symlink_metadata().unwrap().is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| chown_all(&entry.unwrap().path(), account));
    }
}

fn look(path: &Path, seen: &mut BTreeMap<PathBuf, Seen>) {
    let metadata = path.symlink_metadata().unwrap();
    let content = match metadata.file_type() {
        kind if kind.is_file() => fs::read(path).unwrap(),
        kind if kind.is_symlink() => fs::read_link(path).unwrap().into_os_string().into_encoded_bytes(),
        kind if kind.is_dir() => {
            fs::read_dir(path).unwrap().for_each(|entry| look(&entry.unwrap().path(), seen));
            Vec::new()
        }
        _ => Vec::new(),
    };
    let size = if metadata.is_dir() { 0 } else { metadata.len() };
    let facts =
        (metadata.mode(), metadata.uid(), metadata.gid(), size, metadata.mtime(), metadata.mtime_nsec(), content);
    seen.insert(path.to_owned(), facts);
}

fn wait(command: &mut Command) -> Outcome {
    let stderr = tempfile::tempfile().unwrap();
    command.stdout(Stdio::null()).stderr(stderr.try_clone().unwrap());
    let mut child = command.spawn().unwrap();
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > TIME_LIMIT {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the build hangs: {}", String::from_utf8_lossy(&content(stderr)));
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let text = String::from_utf8_lossy(&content(stderr)).into_owned();
    Outcome { code: status.code().unwrap_or(-1), text }
}

fn content(mut file: fs::File) -> Vec<u8> {
    use std::io::{Read, Seek};
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn the_canary_notices_every_change() {
    let changes: [fn(&Path); 6] = [
        |outside| fs::write(outside.join("inner/file"), "canary of the canarY").unwrap(),
        |outside| fs::write(outside.join("new"), "").unwrap(),
        |outside| fs::remove_dir(outside.join("closed")).unwrap(),
        |outside| fs::set_permissions(outside.join("inner"), fs::Permissions::from_mode(0o777)).unwrap(),
        |outside| fs::write(outside.join("../elsewhere/f"), "").unwrap(),
        |outside| {
            fs::remove_file(outside.join("link")).unwrap();
            symlink("inner", outside.join("link")).unwrap();
        },
    ];
    for change in changes {
        let bench = Bench::new(super::rungs::any_account());
        bench.assert_outside_is_untouched();
        change(&bench.path("outside"));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| bench.assert_outside_is_untouched()));
        assert!(result.is_err());
    }
}
