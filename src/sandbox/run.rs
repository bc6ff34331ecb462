//! Runs one step in new namespaces: the builder's side.
//!
//! The step's process is this program executed again (`__run`) rather than a fork: a forked child of a threaded
//! program may call hardly anything, and setting up mounts allocates.  It is executed from a sealed copy in memory,
//! so no step can reach the file on disk through `/proc/self/exe` (runc CVE-2019-5736).

use super::cancel::Cancel;
use super::cgroup::Leaf;
use super::chroot::{Covers, kill_descendants, pid_of};
use super::devices::Devices;
use super::mountpoint::{Kind, Making, ensure, kind_of};
use super::network::Connector;
use super::probe::Rung;
use super::request::{Request, network_files, shm_size};
use super::seccomp::succeed_program;
use super::single_id::{MUST_SUCCEED, SingleId};
use super::spec::{MountSpec, RunError, RunSpec};
use super::stubs::Stubs;
use super::supervise::Supervisor;
use super::supervise::proc::Proc;
use super::trace;
use super::user::{self, User};
use super::wire;
use crate::event::Stream;
use crate::plan::graph::Network;
use crate::sys::Root;
use crate::sys::process::{Child, Command, ExitStatus, sealed_memory, sealed_program, spawn};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Gid, OFlags, Uid};
use rustix::pipe::{PipeFlags, pipe_with};
use std::ffi::{CString, OsString};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The argument that makes the program a step's process; the binary must hand it to [`super::child_main`].
pub const RUN_ARGUMENT: &str = "__run";

/// Bytes read from a step at once.
const CHUNK_BYTES: usize = 64 << 10;
/// Bytes that a report of failure may have.
const FAILURE_LIMIT_BYTES: u64 = 64 << 10;

/// What a step's output ends with where its calls could not be answered.
const NOT_PLAYED: &[u8] = b"cooper: system calls cannot be answered here, so chown and setuid did nothing: \
    what this step made belongs to root\n";

/// Directories that every step needs; they stay in the image, as Docker leaves them.
const KERNEL_DIRECTORIES: [&str; 3] = ["/proc", "/sys", "/dev"];

/// Starts steps; one for a build.
#[derive(Debug)]
pub struct Runner {
    executable: OwnedFd,
    rung: Rung,
}

impl Runner {
    /// Copies the running program into sealed memory.
    pub fn new() -> io::Result<Runner> {
        Runner::with_executable(Path::new("/proc/self/exe"))
    }

    /// Takes another program, which must treat [`RUN_ARGUMENT`] as this one does.
    pub fn with_executable(path: &Path) -> io::Result<Runner> {
        let mut program = std::fs::File::open(path)?;
        let executable = sealed_program(c"cooper", |copy| io::copy(&mut program, copy).map(drop))?;
        Ok(Runner { executable, rung: Rung::Root })
    }

    /// Tells on which rung steps run; what it lacks is emulated.
    pub fn on(self, rung: Rung) -> Runner {
        Runner { rung, ..self }
    }

    /// Runs a command to its end, hands on what it writes, and leaves no mount point behind.
    ///
    /// Must be called on a thread that lives until it returns: the step dies with it.
    pub fn run(
        &self,
        spec: &RunSpec<'_>,
        output: &mut dyn FnMut(Stream, &[u8]),
        cancel: &Cancel,
    ) -> Result<ExitStatus, RunError> {
        let mut user = user::resolve(spec.root, &spec.user)?;
        user.groups.extend(&spec.additional_gids);
        let mut stubs = Stubs::default();
        let prepared = prepare_root(spec, &mut stubs);
        let result = prepared.and_then(|()| match &spec.aside {
            Some(aside) if self.rung == Rung::Chroot => self.run_covered(spec, aside, &user, output, cancel),
            Some(aside) if self.rung == Rung::Trace => self.run_traced(spec, aside, &user, output, cancel),
            _ => self.run_prepared(spec, &user, None, output, cancel),
        });
        let cleaned = stubs.remove(spec.root);
        let status = result?;
        cleaned.map_err(io_error("remove mount points"))?;
        Ok(status)
    }

    /// Runs a step without mounts: what would be mounted covers its root for the time of it.
    fn run_covered(
        &self,
        spec: &RunSpec<'_>,
        aside: &Path,
        user: &User,
        output: &mut dyn FnMut(Stream, &[u8]),
        cancel: &Cancel,
    ) -> Result<ExitStatus, RunError> {
        self.refuse_private(spec)?;
        let mut covers = Covers::new(spec.root, aside)?;
        let put = covers.put(&network_files(spec, None)?, &spec.mounts, shm_size(spec));
        let result = put.and_then(|()| self.run_prepared(spec, user, None, output, cancel));
        let removed = covers.remove();
        let status = result?;
        removed.map_err(io_error("take mounts away"))?;
        Ok(status)
    }

    fn refuse_private(&self, spec: &RunSpec<'_>) -> Result<(), RunError> {
        if spec.network != Network::Private {
            return Ok(());
        }
        Err(RunError::Network {
            what: format!("isolation `{}` has no namespaces", self.rung),
            mend: "use `--network=none` or `--network=host`".to_owned(),
        })
    }

    /// Runs a step whose paths the builder answers for.
    fn run_traced(
        &self,
        spec: &RunSpec<'_>,
        aside: &Path,
        user: &User,
        output: &mut dyn FnMut(Stream, &[u8]),
        cancel: &Cancel,
    ) -> Result<ExitStatus, RunError> {
        self.refuse_private(spec)?;
        let prepared = trace::prepare(spec, aside)?;
        self.run_prepared(spec, user, Some(&prepared), output, cancel)
    }

    fn run_prepared(
        &self,
        spec: &RunSpec<'_>,
        user: &User,
        traced: Option<&trace::Prepared>,
        output: &mut dyn FnMut(Stream, &[u8]),
        cancel: &Cancel,
    ) -> Result<ExitStatus, RunError> {
        let plays_user = matches!(self.rung, Rung::SingleId | Rung::Trace);
        let pipes = Pipes::new(if plays_user { None } else { Some(user) }).map_err(io_error("make pipes"))?;
        let mut supervisor = self.supervisor(spec, user, traced)?;
        let sockets = supervisor.as_ref().map(|_| UnixStream::pair()).transpose().map_err(io_error("make a socket"))?;
        let (ours, theirs) = sockets.unzip();
        let supervision = supervisor.as_ref().zip(theirs.as_ref()).map(|(supervisor, theirs)| wire::Supervision {
            program: if traced.is_some() { trace::filter(&supervisor.watches()) } else { supervisor.program() },
            fallback: succeed_program(if plays_user { MUST_SUCCEED } else { &[] }),
            socket: theirs.as_raw_fd(),
            plays_user,
        });
        let connector = (spec.network == Network::Private).then(Connector::find).transpose()?;
        let gate = connector.as_ref().map(|_| pipe_with(PipeFlags::CLOEXEC)).transpose();
        let (waiting, gate) = gate.map_err(|error| io_error("make pipes")(error.into()))?.unzip();
        let network = connector.as_ref().zip(waiting.as_ref().map(AsRawFd::as_raw_fd));
        let request = Request::new(spec, user, pipes.failure.1.as_raw_fd(), supervision, self.way(), network)?;
        let child = self.start(spec, &pipes, &request)?;
        drop((request, theirs, waiting));
        // It ends with the step, or at a failure here.
        let _connection = match connector.zip(gate).map(|(connector, gate)| connector.connect(&child, gate, cancel)) {
            Some(Err(error)) => {
                child.kill();
                child.wait().map_err(io_error("wait for the step"))?;
                return Err(error);
            }
            connection => connection,
        };
        let mut readers = pipes.into_readers();
        let socket = ours.map(OwnedFd::from);
        let (pumped, status, served) = std::thread::scope(|scope| {
            let serving = supervisor.as_mut().zip(socket.as_ref()).map(|(supervisor, socket)| {
                scope.spawn(move || {
                    let served = supervisor.serve(socket);
                    if let Some(traced) = traced {
                        traced.step.close();
                    }
                    served
                })
            });
            let tracing = traced.map(|traced| scope.spawn(|| traced.step.trace(&traced.begin)));
            let pumped = pump(&child, &mut readers, output, cancel, spec.bounds.timeout);
            if pumped.is_err() {
                self.end(&child);
                child.kill();
            }
            let status = child.wait().map_err(io_error("wait for the step"));
            // With the first process all others of the step have ended, and so does the serving.
            let traced = tracing.map(std::thread::ScopedJoinHandle::join);
            (pumped, status, (serving.map(std::thread::ScopedJoinHandle::join), traced))
        });
        pumped?;
        let failure = readers.failure()?;
        let (served, traced) = served;
        if let Some(Ok(Err(error))) = traced {
            return Err(io_error("trace the step")(error));
        }
        match served {
            Some(Ok(Err(error))) => return Err(io_error("answer system calls of the step")(error)),
            Some(Ok(Ok(false))) if plays_user && failure.is_none() => output(Stream::Stderr, NOT_PLAYED),
            _ => {}
        }
        match failure {
            None => status,
            Some(failure) => failed(failure, spec, output),
        }
    }

    /// Ends what a step has started, where no pid namespace ends with its first process.
    fn end(&self, child: &Child) {
        if self.way() != wire::Way::Namespaces
            && let Some(pid) = pid_of(child.as_fd())
        {
            // Without /proc there is nothing to find them by.
            let _ = kill_descendants(pid);
        }
    }

    /// Returns what answers system calls of the step, on the rungs that need it.
    fn supervisor(
        &self,
        spec: &RunSpec<'_>,
        user: &User,
        traced: Option<&trace::Prepared>,
    ) -> Result<Option<Supervisor<'static>>, RunError> {
        if let Some(traced) = traced {
            let traced = traced.step.clone();
            let supervisor = Supervisor::new(vec![Box::new(trace::Traced::new(traced.clone(), user))]);
            return Ok(Some(supervisor.with_paths(traced)));
        }
        let supervisor = match self.rung {
            Rung::SingleId => Supervisor::new(vec![Box::new(SingleId::new(user))]),
            Rung::Chroot => Supervisor::new(vec![Box::new(proc_of(spec)?)]).with_several_roots(),
            Rung::Rootless => Supervisor::new(vec![Box::new(Devices)]),
            Rung::Root | Rung::Trace | Rung::None => return Ok(None),
        };
        Ok(Some(if spec.is_insecure { supervisor.with_several_roots() } else { supervisor }))
    }

    /// Returns how steps come into their roots.
    fn way(&self) -> wire::Way {
        match self.rung {
            Rung::Root | Rung::Rootless | Rung::SingleId | Rung::None => wire::Way::Namespaces,
            Rung::Chroot => wire::Way::Chroot,
            Rung::Trace => wire::Way::Trace,
        }
    }

    /// Returns the `CLONE_NEW*` flags of a step.
    fn namespaces(&self, spec: &RunSpec<'_>) -> i32 {
        if self.way() != wire::Way::Namespaces {
            return 0;
        }
        let mut all = libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
        // The namespace begins at the group that a process is in: with a group of its own, the step makes it there.
        if spec.bounds.cgroup.is_none() {
            all |= libc::CLONE_NEWCGROUP;
        }
        if matches!(spec.network, Network::None | Network::Private) { all | libc::CLONE_NEWNET } else { all }
    }

    fn start(&self, spec: &RunSpec<'_>, pipes: &Pipes, request: &Request) -> Result<Child, RunError> {
        let stdin = match &spec.stdin {
            Some(bytes) => sealed_memory(c"stdin", |file| io::Write::write_all(file, bytes)),
            None => crate::sys::mount::open_path(Path::new("/")),
        };
        let stdin = stdin.map_err(io_error("prepare standard input"))?;
        let number = CString::new(request.sealed.as_raw_fd().to_string()).map_err(|_| RunError::Nul("a number"))?;
        let argv = [c"cooper".to_owned(), CString::new(RUN_ARGUMENT).map_err(|_| RunError::Nul("a name"))?, number];
        spawn(&Command {
            executable: self.executable.as_fd(),
            argv: &argv,
            namespaces: self.namespaces(spec),
            cgroup: spec.bounds.cgroup.map(Leaf::processes),
            stdio: [stdin.as_fd(), pipes.stdout.1.as_fd(), pipes.stderr.1.as_fd()],
            keep: &request.keep,
        })
        .map_err(io_error("start the step's process"))
    }
}

/// Returns the real path of a root that is a directory.
fn name_of(root: &Root) -> Result<PathBuf, RunError> {
    let path = rustix::fs::readlink(format!("/proc/self/fd/{}", root.as_fd().as_raw_fd()), Vec::new());
    let path = path.map_err(|error| io_error("name the root")(error.into()))?;
    Ok(PathBuf::from(OsString::from_vec(path.into_bytes())))
}

/// Returns what answers for /proc, which must be in its place.
fn proc_of(spec: &RunSpec<'_>) -> Result<Proc, RunError> {
    Proc::new(spec.root, name_of(spec.root)?, spec.hostname.clone(), shm_size(spec))
        .map_err(io_error("open `/proc` of the step"))
}

/// Names what the builder was doing.
pub(super) fn io_error(stage: &'static str) -> impl Fn(io::Error) -> RunError {
    move |source| RunError::Io { stage, source }
}

/// Makes what the step finds in its root: kernel directories and working directory to stay, mount points to go.
fn prepare_root(spec: &RunSpec<'_>, stubs: &mut Stubs) -> Result<(), RunError> {
    let root = spec.root;
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| RunError::MountPoint { path, source }
    };
    // An own size makes /dev/shm a mount like those of `--mount`, as it is in BuildKit.
    let shm = spec.shm_size_bytes.map(|_| Path::new("/dev/shm"));
    let targets: Vec<&Path> = spec.mounts.iter().map(MountSpec::target).chain(shm).collect();
    for directory in KERNEL_DIRECTORIES {
        let path = Path::new(directory);
        match root.stat(path, false).map_err(at(path))? {
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {}
            // A link here would let the masks be put elsewhere (runc CVE-2019-19921).
            Some(_) => return Err(RunError::HostileMountPoint(directory)),
            // As the parent of a mount point it goes with it; BuildKit does so, and its images are what people compare with.
            None if targets.iter().any(|target| target.starts_with(path)) => {
                stubs.make(root, path, Kind::Directory).map_err(at(path))?;
            }
            None => {
                ensure(root, path, Kind::Directory, &mut |_| Ok(())).map_err(at(path))?;
            }
        }
    }
    make_working_directory(root, &spec.cwd)?;
    for file in ["/etc/resolv.conf", "/etc/hosts"] {
        stubs.make(root, Path::new(file), Kind::File).map_err(at(Path::new(file)))?;
    }
    for (i, mount) in spec.mounts.iter().enumerate() {
        let target = mount.target();
        // What lies in an earlier mount is made there, by the step's process.
        if spec.mounts[..i].iter().any(|earlier| target.starts_with(earlier.target()))
            || KERNEL_DIRECTORIES.iter().any(|directory| target.starts_with(directory))
        {
            continue;
        }
        stubs.make(root, target, mount_kind(mount).map_err(at(target))?).map_err(at(target))?;
    }
    stubs.seal(root).map_err(io_error("look at mount points"))
}

/// Makes the working directory, unless its path leads into what the kernel's file systems will cover.
fn make_working_directory(root: &Root, cwd: &Path) -> Result<(), RunError> {
    let is_kernel = |path: &Path| KERNEL_DIRECTORIES[..2].iter().any(|directory| path.starts_with(directory));
    if is_kernel(cwd) {
        return Err(RunError::WorkingDirectory(cwd.to_owned()));
    }
    let made = ensure(root, cwd, Kind::Directory, &mut |making| match making {
        Making::Before { directory } if is_kernel(directory) => Err(io::Error::other("it leads into /proc or /sys")),
        _ => Ok(()),
    });
    made.map(drop).map_err(|source| RunError::MountPoint { path: cwd.to_owned(), source })
}

fn mount_kind(mount: &MountSpec) -> io::Result<Kind> {
    match mount {
        MountSpec::Bind { source, .. } => kind_of(source),
        MountSpec::Overlay { mount, source, .. } => {
            let view = Root::from_fd(mount.try_clone()?);
            kind_of(&view.open_at(source, OFlags::PATH, rustix::fs::Mode::empty())?)
        }
        MountSpec::Tmpfs { .. } => Ok(Kind::Directory),
        MountSpec::File { .. } | MountSpec::Device { .. } => Ok(Kind::File),
    }
}

/// Read ends first.
struct Pipes {
    stdout: (OwnedFd, OwnedFd),
    stderr: (OwnedFd, OwnedFd),
    failure: (OwnedFd, OwnedFd),
}

impl Pipes {
    /// The write ends belong to the user, if one is given.
    fn new(user: Option<&User>) -> io::Result<Pipes> {
        let pipes = Pipes {
            stdout: pipe_with(PipeFlags::CLOEXEC)?,
            stderr: pipe_with(PipeFlags::CLOEXEC)?,
            failure: pipe_with(PipeFlags::CLOEXEC)?,
        };
        if let Some(user) = user.filter(|user| user.uid != 0) {
            // Or `echo > /dev/stderr` would be refused to it.
            for (_, writer) in [&pipes.stdout, &pipes.stderr] {
                rustix::fs::fchown(writer, Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)))?;
            }
        }
        Ok(pipes)
    }

    /// Closes the write ends.
    fn into_readers(self) -> Readers {
        Readers { output: [Some(self.stdout.0), Some(self.stderr.0)], failure: self.failure.0 }
    }
}

struct Readers {
    output: [Option<OwnedFd>; 2],
    failure: OwnedFd,
}

impl Readers {
    /// Returns the report of a failed set-up; the process has ended.
    fn failure(self) -> Result<Option<wire::Failure>, RunError> {
        let mut bytes = Vec::new();
        std::fs::File::from(self.failure)
            .take(FAILURE_LIMIT_BYTES)
            .read_to_end(&mut bytes)
            .map_err(io_error("read the report of the step's process"))?;
        if bytes.is_empty() {
            return Ok(None);
        }
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| io_error("read the report of the step's process")(error.into()))
    }
}

/// Hands on output until the process has ended and what it wrote is read.
fn pump(
    child: &Child,
    readers: &mut Readers,
    output: &mut dyn FnMut(Stream, &[u8]),
    cancel: &Cancel,
    timeout: Option<Duration>,
) -> Result<(), RunError> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let started = Instant::now();
    loop {
        let left = timeout.map(|timeout| timeout.saturating_sub(started.elapsed()));
        if let (Some(Duration::ZERO), Some(timeout)) = (left, timeout) {
            return Err(RunError::Timeout(timeout));
        }
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let ready = {
            let mut fds = vec![PollFd::new(cancel, PollFlags::IN), PollFd::new(child, PollFlags::IN)];
            fds.extend(readers.output.iter().flatten().map(|reader| PollFd::new(reader, PollFlags::IN)));
            match poll(&mut fds, left.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(io_error("wait for output")(error.into())),
            }
            fds.iter().map(|fd| !fd.revents().is_empty()).collect::<Vec<_>>()
        };
        if ready[0] {
            return Err(RunError::Canceled);
        }
        let mut flags = ready[2..].iter();
        let mut has_read = false;
        for (slot, stream) in readers.output.iter_mut().zip([Stream::Stdout, Stream::Stderr]) {
            let Some(reader) = slot else { continue };
            if flags.next() != Some(&true) {
                continue;
            }
            match rustix::io::read(&*reader, &mut buffer) {
                Ok(0) => *slot = None,
                Ok(len) => output(stream, &buffer[..len]),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(io_error("read output")(error.into())),
            }
            has_read = true;
        }
        // The first process has ended, so all have; a pipe that is still open was passed out of the namespace by a
        // socket and is not waited for.
        if ready[1] && !has_read {
            return Ok(());
        }
    }
}

/// What a failure means: a command that cannot be executed is an ordinary failure of the step.
fn failed(
    failure: wire::Failure,
    spec: &RunSpec<'_>,
    output: &mut dyn FnMut(Stream, &[u8]),
) -> Result<ExitStatus, RunError> {
    let source = failure.errno.map_or_else(|| io::Error::other("refused"), io::Error::from_raw_os_error);
    if failure.stage == super::child::STAGE_EXEC {
        let name = spec.argv.first().map(|name| name.to_string_lossy()).unwrap_or_default();
        let not_found = source.kind() == io::ErrorKind::NotFound;
        let text = match failure.errno {
            Some(libc::ENOENT) if !name.contains('/') => "executable file not found in $PATH".to_owned(),
            Some(libc::ENOENT) => "no such file or directory".to_owned(),
            Some(libc::EACCES) => "permission denied".to_owned(),
            Some(libc::ENOEXEC) => "exec format error".to_owned(),
            _ => source.to_string(),
        };
        output(Stream::Stderr, format!("exec: {name:?}: {text}\n").as_bytes());
        return Ok(ExitStatus::Code(if not_found { 127 } else { 126 }));
    }
    Err(RunError::Setup { stage: failure.stage, detail: failure.detail, source })
}
