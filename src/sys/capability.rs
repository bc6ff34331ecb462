//! Names and sets of capabilities (capabilities(7)).

/// The names by number, without `CAP_`.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// A set of capabilities: bit N is the capability with the number N.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Capabilities(pub u64);

/// Why capabilities cannot be added and dropped as asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CapabilityError {
    /// No such name.
    #[error("there is no capability `{name}`{}", meant.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default())]
    Unknown {
        /// What was written.
        name: String,
        /// A name that is near.
        meant: Option<&'static str>,
    },
    /// Added and dropped.
    #[error("the capability `{0}` cannot be both added and dropped")]
    Contradiction(String),
}

impl Capabilities {
    /// Docker's default.
    pub const DOCKER: Capabilities = Capabilities(0xa804_25fb);
    /// Every one that the kernel has, unknown ones too.
    pub const ALL: Capabilities = Capabilities(u64::MAX);
    /// None.
    pub const NONE: Capabilities = Capabilities(0);

    /// Returns the set that a name stands for: `ALL`, or one with or without `CAP_`, in any case.
    pub fn named(name: &str) -> Result<Capabilities, CapabilityError> {
        let upper = name.trim().to_ascii_uppercase();
        if upper == "ALL" {
            return Ok(Capabilities::ALL);
        }
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        match NAMES.iter().position(|known| *known == bare) {
            Some(number) => Ok(Capabilities(1 << number)),
            None => Err(CapabilityError::Unknown { name: name.to_owned(), meant: crate::diag::nearest(bare, NAMES) }),
        }
    }

    /// Returns this set with others added and dropped, by podman's rules: `ALL` first, then single ones from it.
    pub fn changed(self, add: &[Capabilities], drop: &[Capabilities]) -> Result<Capabilities, CapabilityError> {
        let union = |sets: &[Capabilities]| {
            sets.iter().filter(|set| **set != Capabilities::ALL).fold(0, |all, set| all | set.0)
        };
        let (adds_all, drops_all) = (add.contains(&Capabilities::ALL), drop.contains(&Capabilities::ALL));
        let (added, dropped) = (union(add), union(drop));
        match (adds_all, drops_all) {
            (true, true) => Err(CapabilityError::Contradiction("ALL".to_owned())),
            (true, false) => Ok(Capabilities(!dropped)),
            (false, true) => Ok(Capabilities(added)),
            (false, false) if added & dropped != 0 => {
                Err(CapabilityError::Contradiction(Capabilities(added & dropped).to_string()))
            }
            (false, false) => Ok(Capabilities((self.0 | added) & !dropped)),
        }
    }

    /// Whether the set was made from all: what the kernel does not have is in it too.
    pub fn is_all_but_some(self) -> bool {
        self.0 >> NAMES.len() != 0
    }

    /// Whether a capability is in the set.
    pub fn has(self, number: u32) -> bool {
        number < 64 && self.0 & (1 << number) != 0
    }
}

impl std::fmt::Display for Capabilities {
    /// The names with commas between them; `ALL` without those that are missing.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = |set: u64| {
            let numbers = (0..).zip(NAMES).filter(move |(number, _)| set & (1 << number) != 0);
            numbers.map(|(_, name)| format!("CAP_{name}")).collect::<Vec<_>>()
        };
        // Bits above the known ones are there only where all were.
        if !self.is_all_but_some() {
            return f.write_str(&names(self.0).join(","));
        }
        f.write_str("ALL")?;
        names(!self.0).iter().try_for_each(|name| write!(f, ",-{name}"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sets(names: &[&str]) -> Vec<Capabilities> {
        names.iter().map(|name| Capabilities::named(name).unwrap()).collect()
    }

    #[test]
    fn names_have_any_case_and_a_prefix_or_none() {
        for name in ["sys_admin", "SYS_ADMIN", "cap_sys_admin", "CAP_SYS_ADMIN", " Cap_Sys_Admin"] {
            assert_eq!(Capabilities::named(name), Ok(Capabilities(1 << 21)), "{name}");
        }
        assert_eq!(Capabilities::named("all"), Ok(Capabilities::ALL));
        let error = Capabilities::named("CAP_SYS_ADMINS").unwrap_err();
        assert_eq!(error.to_string(), "there is no capability `CAP_SYS_ADMINS`, did you mean `SYS_ADMIN`?");
        assert!(Capabilities::named("").is_err());
    }

    #[test]
    fn adding_and_dropping_follow_podman() {
        let changed = |add: &[&str], drop: &[&str]| {
            Capabilities::DOCKER.changed(&sets(add), &sets(drop)).map(|set| set.0).map_err(|error| error.to_string())
        };
        let docker = Capabilities::DOCKER.0;
        assert_eq!(changed(&[], &[]), Ok(docker));
        assert_eq!(changed(&["NET_ADMIN"], &["CHOWN"]), Ok((docker | 1 << 12) & !1));
        assert_eq!(changed(&[], &["ALL"]), Ok(0));
        assert_eq!(changed(&["CHOWN"], &["ALL"]), Ok(1));
        assert_eq!(changed(&["ALL"], &["SYS_ADMIN"]), Ok(!(1 << 21)));
        assert_eq!(changed(&["ALL"], &["ALL"]).unwrap_err(), "the capability `ALL` cannot be both added and dropped");
        let both = "the capability `CAP_CHOWN` cannot be both added and dropped";
        assert_eq!(changed(&["CHOWN"], &["CHOWN"]).unwrap_err(), both);
    }

    #[test]
    fn sets_are_shown_by_name() {
        let docker = "CAP_CHOWN,CAP_DAC_OVERRIDE,CAP_FOWNER,CAP_FSETID,CAP_KILL,CAP_SETGID,CAP_SETUID,CAP_SETPCAP,\
                      CAP_NET_BIND_SERVICE,CAP_NET_RAW,CAP_SYS_CHROOT,CAP_MKNOD,CAP_AUDIT_WRITE,CAP_SETFCAP";
        assert_eq!(Capabilities::DOCKER.to_string(), docker);
        assert_eq!(Capabilities(!1).to_string(), "ALL,-CAP_CHOWN");
    }
}
