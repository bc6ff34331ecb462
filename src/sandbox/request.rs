//! A step's specification made ready for its process: strings pooled, mounts cloned, limits numbered.

use super::network::{Connector, with_nameserver};
use super::run::io_error;
use super::spec::{MountSpec, RunError, RunSpec};
use super::user::User;
use super::wire::{self, Bytes, Pool};
use crate::plan::graph::Network;
use crate::sys::mount::{Attributes, clone_mount, set_attributes};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Docker's size of `/dev/shm`.
const DEFAULT_SHM_BYTES: u64 = 64 << 20;

/// Returns the size of a step's `/dev/shm`, bytes.
pub(super) fn shm_size(spec: &RunSpec<'_>) -> u64 {
    spec.shm_size_bytes.unwrap_or(DEFAULT_SHM_BYTES)
}

/// The specification for the step's process and the descriptors that go with it.
pub(super) struct Request {
    /// The specification, see [`wire::read`].
    pub sealed: OwnedFd,
    /// What the process inherits besides its standard streams.
    pub keep: Vec<RawFd>,
    _mounts: Vec<OwnedFd>,
}

impl Request {
    pub(super) fn new(
        spec: &RunSpec<'_>,
        user: &User,
        failure: RawFd,
        supervision: Option<wire::Supervision>,
        way: wire::Way,
        network: Option<(&Connector, RawFd)>,
    ) -> Result<Request, RunError> {
        let socket = supervision.as_ref().map(|supervision| supervision.socket);
        let mut pool = Pool::default();
        let mut mounts = Vec::new();
        let (root, list) = if way != wire::Way::Namespaces {
            // What would be mounted is in place already.
            let root = spec.root.as_fd().try_clone_to_owned().map_err(io_error("duplicate a descriptor"))?;
            (root, Vec::new())
        } else {
            let root = detached(spec.root.as_fd(), false, false).map_err(io_error("clone the root's mount"))?;
            let own = spec.mounts.iter().map(|mount| mount_of(mount, user, &mut pool, &mut mounts));
            let own = own.collect::<Result<Vec<_>, _>>()?;
            (
                root,
                network_mounts(spec, network.map(|(connector, _)| connector), &mut pool)?
                    .into_iter()
                    .chain(own)
                    .collect(),
            )
        };
        let wire = wire::Spec {
            root: root.as_raw_fd(),
            way,
            argv: arguments(spec, &mut pool)?,
            env: environment(spec, user, &mut pool)?,
            cwd: pool.put(spec.cwd.as_os_str().as_bytes()),
            uid: user.uid,
            gid: user.gid,
            groups: user.groups.clone(),
            mounts: list,
            has_own_network: matches!(spec.network, Network::None | Network::Private),
            network_gate: network.map(|(_, gate)| gate),
            hostname: pool.put(spec.hostname.as_bytes()),
            shm_size_bytes: shm_size(spec),
            limits: limits(&spec.ulimits)?,
            is_insecure: spec.is_insecure,
            capabilities: spec.bounds.capabilities.0,
            has_own_cgroup: spec.bounds.cgroup.is_some() && way == wire::Way::Namespaces,
            has_stdin: spec.stdin.is_some(),
            supervision,
            failure,
        };
        mounts.push(root);
        let sealed = wire::write(&wire, &pool).map_err(io_error("write the specification"))?;
        let mut keep: Vec<RawFd> = mounts.iter().map(AsRawFd::as_raw_fd).collect();
        keep.extend([sealed.as_raw_fd(), failure]);
        keep.extend(socket);
        keep.extend(network.map(|(_, gate)| gate));
        Ok(Request { sealed, keep, _mounts: mounts })
    }
}

/// Returns a mount attached nowhere for what `source` stands for.
///
/// Before Linux 6.15 a mount that is attached nowhere cannot be cloned; it is then handed over itself.
fn detached(source: BorrowedFd<'_>, is_recursive: bool, read_only: bool) -> io::Result<OwnedFd> {
    let mount = match clone_mount(source, is_recursive) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => source.try_clone_to_owned()?,
        result => result?,
    };
    if read_only {
        set_attributes(mount.as_fd(), Attributes::MOUNT_ATTR_RDONLY, is_recursive)?;
    }
    Ok(mount)
}

fn mount_of(mount: &MountSpec, user: &User, pool: &mut Pool, held: &mut Vec<OwnedFd>) -> Result<wire::Mount, RunError> {
    let target = pool.put(mount.target().as_os_str().as_bytes());
    Ok(match mount {
        MountSpec::Bind { source, read_only, is_recursive, .. } => {
            let fd = detached(source.as_fd(), *is_recursive, *read_only).map_err(io_error("clone a mount"))?;
            held.push(fd);
            let mount = held[held.len() - 1].as_raw_fd();
            wire::Mount::Attach { mount, source: None, target, read_only: false }
        }
        MountSpec::Overlay { mount, source, read_only, .. } => {
            held.push(mount.try_clone().map_err(io_error("duplicate a descriptor"))?);
            let mount = held[held.len() - 1].as_raw_fd();
            let part = (source != Path::new("/")).then(|| pool.put(source.as_os_str().as_bytes()));
            wire::Mount::Attach { mount, source: part, target, read_only: *read_only }
        }
        MountSpec::Device { source, number: (is_block, major, minor), mode, uid, gid, .. } => {
            let source = source.as_ref().map(|node| detached(node.as_fd(), false, false)).transpose();
            let source = source.map_err(io_error("clone a mount"))?;
            let number = source.as_ref().map(AsRawFd::as_raw_fd);
            held.extend(source);
            wire::Mount::Device {
                source: number,
                target,
                is_block: *is_block,
                major: *major,
                minor: *minor,
                mode: *mode,
                uid: uid.unwrap_or(user.uid),
                gid: gid.unwrap_or(user.gid),
            }
        }
        MountSpec::Tmpfs { size_bytes, mode, .. } => {
            wire::Mount::Tmpfs { target, size_bytes: *size_bytes, mode: *mode }
        }
        MountSpec::File { content, mode, uid, gid, .. } => {
            wire::Mount::File { target, content: pool.put(content), mode: *mode, uid: *uid, gid: *gid, read_only: true }
        }
    })
}

/// Returns `/etc/resolv.conf` and `/etc/hosts`.
///
/// With the machine's network, or none, a resolver at 127.0.0.53 is as reachable as from the builder; in a network of
/// its own a step asks who connects that.
pub(super) fn network_files(
    spec: &RunSpec<'_>,
    connector: Option<&Connector>,
) -> Result<[(&'static str, Vec<u8>); 2], RunError> {
    const RESOLV_CONF_LIMIT_BYTES: u64 = 1 << 20;
    let mut resolv_conf = Vec::new();
    if let Ok(file) = std::fs::File::open("/etc/resolv.conf") {
        file.take(RESOLV_CONF_LIMIT_BYTES)
            .read_to_end(&mut resolv_conf)
            .map_err(io_error("read `/etc/resolv.conf`"))?;
    }
    if let Some(connector) = connector {
        resolv_conf = with_nameserver(&resolv_conf, connector.nameserver());
    }
    let mut hosts = format!("127.0.0.1\tlocalhost {}\n::1\tlocalhost ip6-localhost ip6-loopback\n", spec.hostname);
    for (name, address) in &spec.extra_hosts {
        if name.contains(char::is_whitespace) || address.contains(char::is_whitespace) {
            return Err(RunError::Host(format!("{name}:{address}")));
        }
        hosts.push_str(&format!("{address}\t{name}\n"));
    }
    Ok([("/etc/resolv.conf", resolv_conf), ("/etc/hosts", hosts.into_bytes())])
}

fn network_mounts(
    spec: &RunSpec<'_>,
    connector: Option<&Connector>,
    pool: &mut Pool,
) -> Result<[wire::Mount; 2], RunError> {
    Ok(network_files(spec, connector)?.map(|(path, content)| wire::Mount::File {
        target: pool.put(path.as_bytes()),
        content: pool.put(&content),
        mode: 0o644,
        uid: 0,
        gid: 0,
        // As in Docker: `echo >> /etc/hosts` is common, and is thrown away.
        read_only: false,
    }))
}

fn arguments(spec: &RunSpec<'_>, pool: &mut Pool) -> Result<Vec<Bytes>, RunError> {
    if spec.argv.is_empty() {
        return Err(RunError::NoCommand);
    }
    let without_nul = |argument: &std::ffi::OsString| !argument.as_bytes().contains(&0);
    if !spec.argv.iter().all(without_nul) {
        return Err(RunError::Nul("the command"));
    }
    Ok(spec.argv.iter().map(|argument| pool.put(argument.as_bytes())).collect())
}

fn environment(spec: &RunSpec<'_>, user: &User, pool: &mut Pool) -> Result<Vec<Bytes>, RunError> {
    let has_home = spec.env.iter().any(|(name, _)| name == "HOME");
    let home = (!has_home).then(|| ("HOME".into(), user.home.clone().into()));
    let mut list = Vec::with_capacity(spec.env.len() + 1);
    for (name, value) in spec.env.iter().chain(&home) {
        let entry = [name.as_bytes(), b"=", value.as_bytes()].concat();
        if entry.contains(&0) {
            return Err(RunError::Nul("the environment"));
        }
        list.push(pool.put(&entry));
    }
    Ok(list)
}

fn limits(ulimits: &[(String, u64, u64)]) -> Result<Vec<(u32, u64, u64)>, RunError> {
    let number = |name: &str| {
        Some(match name {
            "core" => libc::RLIMIT_CORE,
            "cpu" => libc::RLIMIT_CPU,
            "data" => libc::RLIMIT_DATA,
            "fsize" => libc::RLIMIT_FSIZE,
            "locks" => libc::RLIMIT_LOCKS,
            "memlock" => libc::RLIMIT_MEMLOCK,
            "msgqueue" => libc::RLIMIT_MSGQUEUE,
            "nice" => libc::RLIMIT_NICE,
            "nofile" => libc::RLIMIT_NOFILE,
            "nproc" => libc::RLIMIT_NPROC,
            "rss" => libc::RLIMIT_RSS,
            "rtprio" => libc::RLIMIT_RTPRIO,
            "rttime" => libc::RLIMIT_RTTIME,
            "sigpending" => libc::RLIMIT_SIGPENDING,
            "stack" => libc::RLIMIT_STACK,
            _ => return None,
        })
    };
    ulimits
        .iter()
        .map(|(name, soft, hard)| {
            let resource = number(name).ok_or_else(|| RunError::Limit(name.clone()))?;
            Ok((resource, *soft, *hard))
        })
        .collect()
}
