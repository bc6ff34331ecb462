//! What this machine allows, found by trying, and the rung that follows from it.
//!
//! Settings tell half of it: a security module may let a user namespace be made and refuse every mount in it, a
//! seccomp filter may refuse either with any errno.  So the probe makes the namespaces and the mount that a build
//! would make, in a process that ends at once, and looks at settings only to explain a refusal.

use super::subid::{self, Mapping};
use super::surroundings::Surroundings;
use crate::sys::attempt;
use crate::sys::overlay::OverlayForm;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A way of isolating RUN, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rung {
    /// Root with namespaces and mounts.
    Root,
    /// A user namespace with subordinate ids.
    Rootless,
    /// A user namespace in which only one id exists.
    SingleId,
    /// Root that may neither make namespaces nor mounts: chroot.
    Chroot,
    /// Nothing of all that, but processes can be traced: paths are answered by the builder.
    Trace,
    /// Nothing: all but RUN.
    None,
}

impl Rung {
    /// All of them, the best first.
    pub const ALL: [Rung; 6] = [Rung::Root, Rung::Rootless, Rung::SingleId, Rung::Chroot, Rung::Trace, Rung::None];

    /// Returns its name for `--isolation`.
    pub fn name(self) -> &'static str {
        match self {
            Rung::Root => "root",
            Rung::Rootless => "rootless",
            Rung::SingleId => "single-id",
            Rung::Chroot => "chroot",
            Rung::Trace => "trace",
            Rung::None => "none",
        }
    }
}

impl Rung {
    /// Returns what of a step is not real or not kept apart on this rung; empty where all is.
    pub fn lacks(self) -> &'static str {
        match self {
            Rung::SingleId => "owners, users and device nodes are emulated",
            Rung::Trace => {
                "owners, users, paths and device nodes are emulated, processes and network are the container's"
            }
            Rung::Chroot => "RUN shares files, processes and network of this container, and root can leave its chroot",
            Rung::Root | Rung::Rootless | Rung::None => "",
        }
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What stands in the way, and what would lift it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Wall {
    /// One sentence without a full stop.
    pub what: String,
    /// An action.
    pub mend: String,
}

impl Wall {
    pub(super) fn new(what: impl Into<String>, mend: impl Into<String>) -> Wall {
        Wall { what: what.into(), mend: mend.into() }
    }
}

/// Returns what the system says of an error, without its number.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error").map_or(text.as_str(), |(reason, _)| reason).to_owned()
}

/// Why the isolation that is wanted cannot be had; exit code 3.
#[derive(Debug, thiserror::Error)]
pub enum IsolationError {
    /// `--isolation` has a value that is none.
    #[error("unknown isolation `{0}`: it is one of auto, root, rootless, single-id, chroot, trace, none")]
    Unknown(String),
    /// The machine does not allow it.
    #[error("isolation `{rung}` is not possible here: {wall}")]
    Refused {
        /// What was wanted.
        rung: Rung,
        /// What is in the way.
        wall: Wall,
    },
    /// It should have worked and did not.
    #[error("enter isolation `{rung}`: {stage}")]
    Enter {
        /// What was entered.
        rung: Rung,
        /// What was being done.
        stage: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl IsolationError {
    /// Returns what the user can do, if there is something.
    pub fn hint(&self) -> Option<&str> {
        match self {
            IsolationError::Refused { wall, .. } => Some(&wall.mend),
            _ => None,
        }
    }
}

/// How the ids of a new user namespace are mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdMap {
    /// By `newuidmap` and `newgidmap`, to subordinate ids.
    Helpers {
        /// The programs.
        programs: [PathBuf; 2],
        /// The map of user ids.
        uids: Vec<Mapping>,
        /// The map of group ids.
        gids: Vec<Mapping>,
    },
    /// By ourselves, with CAP_SETUID and CAP_SETGID: every id as it is.
    Own {
        /// The map of user ids.
        uids: Vec<Mapping>,
        /// The map of group ids.
        gids: Vec<Mapping>,
    },
}

const CAP_SETGID: u32 = 6;
const CAP_SETUID: u32 = 7;
const CAP_SYS_CHROOT: u32 = 18;
const CAP_SYS_ADMIN: u32 = 21;

/// What this machine allows this process.
#[derive(Debug)]
pub struct Probe {
    /// Effective user id at the start of the program.
    pub euid: u32,
    /// Effective group id at the start of the program.
    pub egid: u32,
    /// Effective capabilities.
    pub capabilities: u64,
    /// Capabilities that no program started from here can ever have more of.
    pub bounding: u64,
    /// Whether set-uid programs have no effect.
    pub no_new_privs: bool,
    /// Whether a seccomp filter is on.
    pub is_filtered: bool,
    /// Whether this is the machine's own user namespace and no container's.
    pub is_initial_user_namespace: bool,
    root_mounts: OnceLock<Result<(), Wall>>,
    user_namespace: OnceLock<Result<(), Wall>>,
    id_map: OnceLock<Result<IdMap, Wall>>,
    tracing: OnceLock<Result<(), Wall>>,
}

/// Looks at this process.  What must be tried is tried when it is first asked for; nothing on the machine changes.
pub fn probe() -> Probe {
    let status = subid::read(Path::new("/proc/self/status")).unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(str::trim).unwrap_or_default()
    };
    let set = |name: &str| u64::from_str_radix(field(name), 16).unwrap_or(0);
    let map = subid::parse_map(&subid::read(Path::new("/proc/self/uid_map")).unwrap_or_default());
    Probe {
        euid: rustix::process::geteuid().as_raw(),
        egid: rustix::process::getegid().as_raw(),
        capabilities: set("CapEff"),
        bounding: set("CapBnd"),
        no_new_privs: field("NoNewPrivs") == "1",
        is_filtered: field("Seccomp") == "2",
        is_initial_user_namespace: map == [Mapping { inside: 0, outside: 0, count: u32::MAX }],
        root_mounts: OnceLock::new(),
        user_namespace: OnceLock::new(),
        id_map: OnceLock::new(),
        tracing: OnceLock::new(),
    }
}

impl Probe {
    fn has(&self, capability: u32) -> bool {
        self.capabilities & (1 << capability) != 0
    }

    /// Returns the form of overlay metadata for a rung.
    pub fn overlay_form(&self, rung: Rung) -> OverlayForm {
        match rung {
            // Root that does not use all it may (`--isolation chroot`) leaves layers that it can mount tomorrow.
            Rung::Root | Rung::Chroot | Rung::None
                if self.is_initial_user_namespace && (rung == Rung::Root || self.has(CAP_SYS_ADMIN)) =>
            {
                OverlayForm::Trusted
            }
            _ => OverlayForm::User,
        }
    }

    /// Whether a rung can be had, and what stands in the way if not.
    pub fn allows(&self, rung: Rung) -> Result<(), Wall> {
        match rung {
            Rung::Root => self.root_mounts().clone(),
            Rung::Rootless => {
                self.user_namespace().clone()?;
                self.id_map().as_ref().map(|_| ()).map_err(Clone::clone)
            }
            Rung::SingleId => self.user_namespace().clone(),
            Rung::Chroot if self.euid == 0 && self.has(CAP_SYS_CHROOT) => Ok(()),
            Rung::Chroot => Err(Wall::new(
                "chroot needs root with CAP_SYS_CHROOT",
                Surroundings::detect().setting("securityContext: {runAsUser: 0}", "--user 0"),
            )),
            Rung::Trace => self.tracing().clone(),
            Rung::None => Ok(()),
        }
    }

    /// Returns the rung for `--isolation` and the reason for it in one sentence.
    pub fn choose(&self, wanted: Option<&str>) -> Result<(Rung, String), IsolationError> {
        let wanted = wanted.unwrap_or("auto");
        if wanted != "auto" {
            let rung = Rung::ALL.into_iter().find(|rung| rung.name() == wanted);
            let rung = rung.ok_or_else(|| IsolationError::Unknown(wanted.to_owned()))?;
            self.allows(rung).map_err(|wall| IsolationError::Refused { rung, wall })?;
            return Ok((rung, "asked for by `--isolation`".to_owned()));
        }
        let mut walls = Vec::new();
        for rung in Rung::ALL {
            match self.allows(rung) {
                Ok(()) if walls.is_empty() => return Ok((rung, "root may make namespaces and mounts".to_owned())),
                Ok(()) => return Ok((rung, walls.join("; "))),
                Err(wall) => {
                    let reason = format!("not {rung}: {}", wall.what);
                    if !walls.iter().any(|known: &String| known.ends_with(&wall.what)) {
                        walls.push(reason);
                    }
                }
            }
        }
        Ok((Rung::None, walls.join("; ")))
    }

    pub(super) fn root_mounts(&self) -> &Result<(), Wall> {
        self.root_mounts.get_or_init(|| {
            if self.euid != 0 {
                return Err(Wall::new("this process is not root", "run as root"));
            }
            if !self.has(CAP_SYS_ADMIN) {
                return Err(Wall::new(
                    "root has no CAP_SYS_ADMIN here",
                    Surroundings::detect()
                        .setting("securityContext: {capabilities: {add: [SYS_ADMIN]}}", "--cap-add SYS_ADMIN"),
                ));
            }
            let namespaces = libc::CLONE_NEWNS | libc::CLONE_NEWPID;
            attempt::mount(namespaces, attempt::Mount::Tmpfs).map_err(|error| {
                Wall::new(
                    format!("namespaces and mounts are refused ({})", reason(&error)),
                    Surroundings::detect().setting(
                        "securityContext: {seccompProfile: {type: Unconfined}, appArmorProfile: {type: Unconfined}}",
                        "--security-opt seccomp=unconfined --security-opt apparmor=unconfined",
                    ),
                )
            })
        })
    }

    pub(super) fn tracing(&self) -> &Result<(), Wall> {
        self.tracing.get_or_init(|| {
            let attempts = [
                ("ptrace", attempt::trace()),
                ("seccomp notification", attempt::listener()),
                ("process_vm_readv", attempt::read_memory()),
            ];
            for (name, attempt) in attempts {
                let Err(error) = attempt else { continue };
                return Err(Wall::new(
                    format!("{name} is refused ({})", reason(&error)),
                    Surroundings::detect().setting(
                        "securityContext: {seccompProfile: {type: Unconfined}}",
                        "--security-opt seccomp=unconfined",
                    ),
                ));
            }
            Ok(())
        })
    }

    pub(super) fn user_namespace(&self) -> &Result<(), Wall> {
        self.user_namespace.get_or_init(|| {
            let namespaces = libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWPID;
            attempt::mount(namespaces, attempt::Mount::Tmpfs).map_err(|error| self.explain_user_namespace(&error))
        })
    }

    fn explain_user_namespace(&self, error: &io::Error) -> Wall {
        let setting = |name: &str| {
            let text = subid::read(&Path::new("/proc/sys").join(name)).unwrap_or_default();
            text.trim().parse::<u64>().ok()
        };
        if setting("user/max_user_namespaces") == Some(0) {
            return Wall::new(
                "user namespaces are switched off (`user.max_user_namespaces` is 0)",
                "as root: `sysctl user.max_user_namespaces=15000`",
            );
        }
        if setting("kernel/unprivileged_userns_clone") == Some(0) && self.euid != 0 {
            return Wall::new(
                "user namespaces are for root only (`kernel.unprivileged_userns_clone` is 0)",
                "as root: `sysctl kernel.unprivileged_userns_clone=1`",
            );
        }
        if setting("kernel/apparmor_restrict_unprivileged_userns") == Some(1) && self.euid != 0 {
            return Wall::new(
                "AppArmor takes the capabilities of user namespaces away \
                 (`kernel.apparmor_restrict_unprivileged_userns` is 1)",
                "as root: `sysctl kernel.apparmor_restrict_unprivileged_userns=0`, or a profile for this program with `userns,`",
            );
        }
        let by = if self.is_filtered { "the seccomp filter of this container" } else { "this machine" };
        Wall::new(
            format!("user namespaces with mounts are refused by {by} ({})", reason(error)),
            Surroundings::detect().setting(
                "securityContext: {seccompProfile: {type: Unconfined}, appArmorProfile: {type: Unconfined}}",
                "--security-opt seccomp=unconfined --security-opt apparmor=unconfined",
            ),
        )
    }

    /// Returns how ids are mapped in [`Rung::Rootless`].
    pub(super) fn id_map(&self) -> &Result<IdMap, Wall> {
        self.id_map.get_or_init(|| {
            if self.has(CAP_SETUID) && self.has(CAP_SETGID) {
                return Ok(IdMap::Own { uids: own_map("uid_map")?, gids: own_map("gid_map")? });
            }
            self.helpers()
        })
    }

    fn helpers(&self) -> Result<IdMap, Wall> {
        let unreadable = |error: io::Error| Wall::new(format!("subordinate ids cannot be read ({error})"), "");
        let name = subid::user_name(self.euid).map_err(unreadable)?;
        let mut maps = Vec::with_capacity(2);
        for (file, own) in [("/etc/subuid", self.euid), ("/etc/subgid", self.egid)] {
            let text = subid::read(Path::new(file)).map_err(unreadable)?;
            let ranges = subid::ranges(&text, name.as_deref(), self.euid);
            if ranges.is_empty() {
                let user = name.unwrap_or_else(|| self.euid.to_string());
                return Err(Wall::new(
                    format!("user {user} has no subordinate ids in {file}"),
                    format!("as root: `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}`"),
                ));
            }
            maps.push(subid::map(own, &ranges));
        }
        let programs = [self.helper("newuidmap", "cap_setuid")?, self.helper("newgidmap", "cap_setgid")?];
        let gids = maps.pop().unwrap_or_default();
        Ok(IdMap::Helpers { programs, uids: maps.pop().unwrap_or_default(), gids })
    }

    /// Finds a helper and checks that it can do what it is for.
    fn helper(&self, name: &str, capability: &str) -> Result<PathBuf, Wall> {
        let Some(path) = find_program(name) else {
            return Err(Wall::new(
                format!("the program `{name}` is not there"),
                "install the package `uidmap` (Debian, Ubuntu) or `shadow-utils` (Fedora)",
            ));
        };
        if self.no_new_privs {
            return Err(Wall::new(
                format!("`no_new_privs` is set, so `{name}` has no power"),
                Surroundings::detect().setting(
                    "securityContext: {allowPrivilegeEscalation: true}",
                    "--security-opt no-new-privileges=false",
                ),
            ));
        }
        let metadata = std::fs::metadata(&path).ok();
        let is_set_uid =
            metadata.is_some_and(|metadata| metadata.uid() == 0 && metadata.permissions().mode() & 0o4000 != 0);
        let has_capability = rustix::fs::getxattr(&path, "security.capability", &mut [0_u8; 64][..]).is_ok();
        // The kernel wants CAP_SYS_ADMIN over the namespace from a writer that is not its owner, which a set-uid
        // program is; in a container that does not have it only a file capability helps.
        if has_capability || (is_set_uid && self.bounding & (1 << CAP_SYS_ADMIN) != 0) {
            return Ok(path);
        }
        Err(Wall::new(
            format!("`{}` lacks the file capability {capability}", path.display()),
            format!("as root: `setcap {capability}=ep {}`", path.display()),
        ))
    }
}

/// Returns this namespace's own map with every id mapped to itself.
fn own_map(file: &str) -> Result<Vec<Mapping>, Wall> {
    let text = subid::read(&Path::new("/proc/self").join(file))
        .map_err(|error| Wall::new(format!("/proc/self/{file} cannot be read ({error})"), "mount /proc"))?;
    Ok(subid::parse_map(&text).into_iter().map(|line| Mapping { outside: line.inside, ..line }).collect())
}

/// Returns where a program is; `/usr/bin` is looked into whatever the environment says.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH");
    let path = path.as_deref().unwrap_or(OsStr::new("/usr/bin:/bin"));
    std::env::split_paths(path)
        .chain([PathBuf::from("/usr/bin")])
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_absolute() && candidate.is_file())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn process(euid: u32, capabilities: u64) -> Probe {
        let refused = || Err(Wall::new("refused", "mend it"));
        Probe {
            euid,
            egid: euid,
            capabilities,
            bounding: capabilities,
            no_new_privs: false,
            is_filtered: true,
            is_initial_user_namespace: true,
            root_mounts: OnceLock::from(refused()),
            user_namespace: OnceLock::from(refused()),
            id_map: OnceLock::from(Err(Wall::new("no ids", "usermod"))),
            tracing: OnceLock::from(refused()),
        }
    }

    fn allowed<T>(value: T) -> OnceLock<Result<T, Wall>> {
        OnceLock::from(Ok(value))
    }

    #[test]
    fn the_best_rung_that_is_allowed_is_chosen() {
        let ids = || IdMap::Own { uids: Vec::new(), gids: Vec::new() };
        let rung = |probe: &Probe| probe.choose(None).unwrap().0;
        assert_eq!(rung(&Probe { root_mounts: allowed(()), ..process(0, !0) }), Rung::Root);
        assert_eq!(
            rung(&Probe { user_namespace: allowed(()), id_map: allowed(ids()), ..process(7, 0) }),
            Rung::Rootless
        );
        assert_eq!(rung(&Probe { user_namespace: allowed(()), ..process(7, 0) }), Rung::SingleId);
        assert_eq!(rung(&process(0, 1 << CAP_SYS_CHROOT)), Rung::Chroot);
        assert_eq!(rung(&Probe { tracing: allowed(()), ..process(7, 0) }), Rung::Trace);
        let (last, reason) = process(7, 0).choose(Some("auto")).unwrap();
        assert_eq!(
            (last, reason.as_str()),
            (Rung::None, "not root: refused; not chroot: chroot needs root with CAP_SYS_CHROOT")
        );
    }

    #[test]
    fn a_rung_asked_for_by_hand_is_had_or_an_error_with_a_hint() {
        let error = process(7, 0).choose(Some("root")).unwrap_err();
        assert_eq!(error.to_string(), "isolation `root` is not possible here: refused");
        assert_eq!(error.hint(), Some("mend it"));
        assert!(matches!(process(7, 0).choose(Some("docker")), Err(IsolationError::Unknown(_))));
        assert_eq!(process(7, 0).choose(Some("none")).unwrap().0, Rung::None);
    }

    #[test]
    fn overlay_metadata_is_trusted_only_in_the_machines_own_namespace() {
        let contained = Probe { is_initial_user_namespace: false, ..process(0, !0) };
        assert_eq!(contained.overlay_form(Rung::Root), OverlayForm::User);
        assert_eq!(process(0, !0).overlay_form(Rung::Root), OverlayForm::Trusted);
        assert_eq!(process(7, 0).overlay_form(Rung::Rootless), OverlayForm::User);
    }
}
