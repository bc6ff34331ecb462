//! The step's own process, from the start of `__run` to the execution of the command: pid 1, single-threaded.
//!
//! The order matters.  Mounts come first, for they need everything; then the root is swapped; then the filter goes
//! in while CAP_SYS_ADMIN is still there (so `no_new_privs` stays off and set-uid programs work, as in Docker); then
//! user and capabilities go; then the command is executed.

use super::chroot;
use super::mountpoint::{Kind, ensure, is_proc};
use super::network;
use super::rootfs::{self, Staging};
use super::seccomp;
use super::trace;
use super::wire::{self, Failure, Pool, Spec, Way};
use crate::sys::capability::Capabilities;
use crate::sys::{Root, mount, notify, owner, process, restrict};
use rustix::fs::{Mode, OFlags};
use std::ffi::{CString, OsStr};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Name of the stage whose failure is the command's own.
pub(super) const STAGE_EXEC: &str = "execute the command";

/// Name of the stage in which a step comes to be traced.
pub(super) const STAGE_TRACE: &str = "let the builder trace the step";

/// Where `execvp` looks when the environment has no PATH.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A failed stage.
#[derive(Debug)]
pub(super) struct Failed {
    stage: &'static str,
    detail: String,
    error: io::Error,
}

/// Names the stage that an operation belongs to.
pub(super) fn stage(stage: &'static str, detail: impl Into<String>) -> impl FnOnce(io::Error) -> Failed {
    let detail = detail.into();
    move |error| Failed { stage, detail, error }
}

/// Turns this process into the step that the specification on the given descriptor asks for.
///
/// To be called before anything else when the first argument is [`super::RUN_ARGUMENT`]; the second is the number.
pub fn child_main() -> ! {
    process::reset_signals();
    let number = std::env::args().nth(2).and_then(|number| number.parse().ok()).unwrap_or(-1);
    let request = process::take_descriptor(number).and_then(wire::read);
    let Ok((spec, pool)) = request else {
        // Only someone who types `__run` by hand comes here.
        std::process::exit(2);
    };
    if let Ok(failure) = process::take_descriptor(spec.failure) {
        if !is_reader_alive(&failure) {
            std::process::exit(1);
        }
        let Err(failed) = match spec.way {
            Way::Namespaces => run(&spec, &pool),
            Way::Chroot => chroot::run(&spec, &pool, &failure),
            Way::Trace => trace::run(&spec, &pool, &failure),
        };
        report(failure, failed);
    }
    std::process::exit(1);
}

/// Whether the builder lives: it may have died before we asked to die with it.
fn is_reader_alive(failure: &OwnedFd) -> bool {
    let mut fds = [rustix::event::PollFd::new(failure, rustix::event::PollFlags::empty())];
    !matches!(rustix::event::poll(&mut fds, Some(&Default::default())), Ok(1))
}

fn report(failure: OwnedFd, failed: Failed) {
    let errno = failed.error.raw_os_error();
    let mut detail = failed.detail;
    if errno.is_none() {
        detail = format!("{detail}: {}", failed.error);
    }
    let report = Failure { stage: failed.stage.to_owned(), errno, detail };
    if let Ok(json) = serde_json::to_vec(&report) {
        // With the builder gone there is nobody to tell.
        let _ = std::fs::File::from(failure).write_all(&json);
    }
}

fn run(spec: &Spec, pool: &Pool) -> Result<std::convert::Infallible, Failed> {
    rustix::process::umask(Mode::empty());
    restrict::new_session_keyring();
    if spec.has_own_cgroup {
        process::unshare(libc::CLONE_NEWCGROUP).map_err(stage("make a namespace of control groups", ""))?;
    }
    mount::make_all_private().map_err(stage("make mounts private", ""))?;
    let hostname = pool.get(spec.hostname);
    rustix::system::sethostname(hostname).map_err(|e| stage("set the host name", "")(e.into()))?;
    if spec.has_own_network {
        restrict::loopback_up().map_err(stage("bring up the loopback interface", ""))?;
    }
    if let Some(gate) = spec.network_gate {
        let gate = process::take_descriptor(gate).and_then(network::wait_at);
        gate.map_err(stage("wait for the network", ""))?;
    }
    if spec.supervision.as_ref().is_some_and(|supervision| supervision.plays_user) {
        owner::keep_aside();
    }
    let root_mount = process::take_descriptor(spec.root).map_err(stage("take the root", ""))?;
    let mut staging = Staging::new().map_err(stage("mount a staging directory", ""))?;
    let root = staging.attach_root(root_mount).map_err(stage("attach the root", ""))?;
    rootfs::kernel_mounts(&root, spec)?;
    for item in &spec.mounts {
        staging.mount(&root, item, pool)?;
    }
    enter_root(&root, spec, pool)?;
    confine(spec)?;
    execute(spec, pool)
}

/// Swaps the root and goes to the working directory.
fn enter_root(root: &Root, spec: &Spec, pool: &Pool) -> Result<(), Failed> {
    let cwd = Path::new(OsStr::from_bytes(pool.get(spec.cwd)));
    let name = cwd.display().to_string();
    let real = ensure(root, cwd, Kind::Directory, &mut |_| Ok(()))
        .map_err(stage("make the working directory", name.clone()))?;
    let directory = root.open_dir(&real).map_err(stage("open the working directory", name.clone()))?;
    // Descriptors and processes as directories are ways out (runc CVE-2024-21626).
    if is_proc(directory.as_fd()).map_err(stage("look at the working directory", name.clone()))? {
        return Err(stage("enter the working directory", name)(io::Error::other("it is inside /proc")));
    }
    mount::pivot(root.as_fd()).map_err(stage("change the root", ""))?;
    let entered = (|| {
        rustix::process::fchdir(&directory)?;
        let path = rustix::process::getcwd(Vec::new())?;
        if path.as_bytes().first() == Some(&b'/') { Ok(()) } else { Err(io::Error::other("it is outside the root")) }
    })();
    entered.map_err(stage("enter the working directory", name))?;
    empty_stdin(spec)
}

/// Gives the step an empty standard input, unless it has one.
///
/// Opened inside the new root, so that it is the step's own device and no way to a mount of the builder.
pub(super) fn empty_stdin(spec: &Spec) -> Result<(), Failed> {
    if spec.has_stdin {
        return Ok(());
    }
    let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    null.map_err(io::Error::from).and_then(|null| process::replace_stdin(&null)).map_err(stage("open /dev/null", ""))
}

/// Gives up what the command must not have.
fn confine(spec: &Spec) -> Result<(), Failed> {
    set_limits(spec)?;
    if !spec.is_insecure {
        restrict::limit_bounding_set(spec.capabilities).map_err(stage("limit capabilities", ""))?;
        restrict::install_filter(&seccomp::docker_profile(Capabilities(spec.capabilities)))
            .map_err(stage("install the seccomp filter", ""))?;
    }
    if let Some(supervision) = &spec.supervision {
        hand_calls_to_builder(supervision).map_err(stage("install the filter of the supervisor", ""))?;
    }
    confine_ids(spec)
}

/// Sets resource limits, file mode mask, and what descriptors exec leaves open.
pub(super) fn set_limits(spec: &Spec) -> Result<(), Failed> {
    for (resource, soft, hard) in &spec.limits {
        restrict::set_limit(*resource, *soft, *hard).map_err(stage("set a resource limit", resource.to_string()))?;
    }
    rustix::process::umask(Mode::from_raw_mode(0o022));
    restrict::close_on_exec_from_3().map_err(stage("close descriptors", ""))
}

/// Becomes the user, with the capabilities of the step as far as they are there.
pub(super) fn confine_ids(spec: &Spec) -> Result<(), Failed> {
    let capabilities = if spec.is_insecure { u64::MAX } else { spec.capabilities };
    if !spec.supervision.as_ref().is_some_and(|supervision| supervision.plays_user) {
        restrict::become_user(spec.uid, spec.gid, &spec.groups)
            .map_err(stage("become the user", format!("{}:{}", spec.uid, spec.gid)))?;
    }
    restrict::set_capabilities(capabilities).map_err(stage("drop capabilities", ""))?;
    restrict::die_with_parent().map_err(stage("tie the step to the builder", ""))
}

/// From here on the builder answers the calls that it watches.
pub(super) fn hand_calls_to_builder(supervision: &wire::Supervision) -> io::Result<()> {
    let socket = process::take_descriptor(supervision.socket)?;
    match notify::install_listener(&supervision.program) {
        // Something that holds a listener already is above us, or notifications are not there (gVisor).
        Err(error) if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EINVAL | libc::ENOSYS)) => {
            restrict::install_filter(&supervision.fallback)
        }
        listener => notify::send_descriptor(&socket, listener?.as_fd()),
    }
}

pub(super) fn execute(spec: &Spec, pool: &Pool) -> Result<std::convert::Infallible, Failed> {
    let strings = |list: &[wire::Bytes]| -> Result<Vec<CString>, Failed> {
        let strings: Result<Vec<_>, _> = list.iter().map(|range| CString::new(pool.get(*range))).collect();
        strings.map_err(|error| stage("read the command", "")(error.into()))
    };
    let (argv, envp) = (strings(&spec.argv)?, strings(&spec.env)?);
    let name = argv.first().map(|name| name.as_bytes()).unwrap_or_default();
    let mut error = io::Error::from_raw_os_error(libc::ENOENT);
    for candidate in candidates(name, &envp) {
        let Ok(path) = CString::new(candidate) else { continue };
        let refused = process::exec(&path, &argv, &envp);
        match refused.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => {}
            // Remembered, but a later directory may hold one that can be executed.
            Some(libc::EACCES) => error = refused,
            _ => return Err(stage(STAGE_EXEC, "")(refused)),
        }
    }
    Err(stage(STAGE_EXEC, "")(error))
}

/// Returns the paths that may be meant by a command's name.
fn candidates(name: &[u8], envp: &[CString]) -> Vec<Vec<u8>> {
    if name.is_empty() {
        return Vec::new();
    }
    if name.contains(&b'/') {
        return vec![name.to_vec()];
    }
    let path = envp.iter().find_map(|entry| entry.as_bytes().strip_prefix(b"PATH=")).unwrap_or(DEFAULT_PATH);
    path.split(|byte| *byte == b':')
        .map(|directory| if directory.is_empty() { b".".as_slice() } else { directory })
        .map(|directory| [directory, b"/", name].concat())
        .collect()
}
