//! Users, groups and capabilities that processes of a step believe to have: the rules of credentials(7) and
//! capabilities(7), played.

use super::capabilities::{CAP_CHOWN, CAP_SETGID, CAP_SETUID, Capabilities};
use crate::sandbox::user::User;
use rustix::io::Errno;

/// The id that leaves an id as it is.
const UNCHANGED: u32 = u32::MAX;

/// The ids of one kind of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    /// Who started it.
    pub real: u32,
    /// Whose rights it has.
    pub effective: u32,
    /// What it can become again.
    pub saved: u32,
    /// Who owns the files that it makes.
    pub files: u32,
}

impl Ids {
    fn all(id: u32) -> Ids {
        Ids { real: id, effective: id, saved: id, files: id }
    }

    fn has(self, id: u32) -> bool {
        [self.real, self.effective, self.saved].contains(&id)
    }

    fn become_one(&mut self, id: u32, is_privileged: bool) -> Result<(), Errno> {
        if is_privileged {
            *self = Ids::all(id);
        } else if id == self.real || id == self.saved {
            (self.effective, self.files) = (id, id);
        } else {
            return Err(Errno::PERM);
        }
        Ok(())
    }

    fn become_two(&mut self, real: u32, effective: u32, is_privileged: bool) -> Result<(), Errno> {
        let old = *self;
        let allowed = |id: u32, known: &[u32]| id == UNCHANGED || is_privileged || known.contains(&id);
        if !allowed(real, &[old.real, old.effective]) || !allowed(effective, &[old.real, old.effective, old.saved]) {
            return Err(Errno::PERM);
        }
        set(&mut self.real, real);
        set(&mut self.effective, effective);
        if real != UNCHANGED || (effective != UNCHANGED && effective != old.real) {
            self.saved = self.effective;
        }
        self.files = self.effective;
        Ok(())
    }

    fn become_three(&mut self, ids: [u32; 3], is_privileged: bool) -> Result<(), Errno> {
        if !is_privileged && ids.iter().any(|id| *id != UNCHANGED && !self.has(*id)) {
            return Err(Errno::PERM);
        }
        set(&mut self.real, ids[0]);
        set(&mut self.effective, ids[1]);
        set(&mut self.saved, ids[2]);
        self.files = self.effective;
        Ok(())
    }

    /// Returns the id before; that is all that a caller learns.
    fn become_for_files(&mut self, id: u32, is_privileged: bool) -> u32 {
        let old = self.files;
        if id != UNCHANGED && (is_privileged || self.has(id) || id == old) {
            self.files = id;
        }
        old
    }
}

fn set(id: &mut u32, new: u32) {
    if new != UNCHANGED {
        *id = new;
    }
}

/// Who a process believes to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User ids.
    pub user: Ids,
    /// Group ids.
    pub group: Ids,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// What it may do whoever it is.
    pub capabilities: Capabilities,
}

impl Credentials {
    /// Returns what a step of this user starts with.
    pub fn of(user: &User) -> Credentials {
        let mut groups = user.groups.clone();
        groups.sort_unstable();
        let user_ids = Ids::all(user.uid);
        Credentials {
            user: user_ids,
            group: Ids::all(user.gid),
            groups,
            capabilities: Capabilities::executed(user_ids),
        }
    }

    /// Whether it may give files away.
    pub fn may_chown(&self) -> bool {
        self.capabilities.has(CAP_CHOWN)
    }

    /// Whether it belongs to a group.
    pub fn has_group(&self, gid: u32) -> bool {
        self.group.files == gid || self.groups.contains(&gid)
    }

    /// Changes ids as the call `name` does with these arguments; returns what the call returns.
    pub fn change(&mut self, name: &str, arguments: [u32; 3]) -> Result<u32, Errno> {
        let is_user = name.contains("uid");
        let is_privileged = self.capabilities.has(if is_user { CAP_SETUID } else { CAP_SETGID });
        let before = self.user;
        let ids = if is_user { &mut self.user } else { &mut self.group };
        let [first, second, _] = arguments;
        let result = match name {
            "setuid" | "setgid" if first == UNCHANGED => Err(Errno::INVAL),
            "setuid" | "setgid" => ids.become_one(first, is_privileged).map(|()| 0),
            "setreuid" | "setregid" => ids.become_two(first, second, is_privileged).map(|()| 0),
            "setresuid" | "setresgid" => ids.become_three(arguments, is_privileged).map(|()| 0),
            "setfsuid" | "setfsgid" => Ok(ids.become_for_files(first, is_privileged)),
            _ => Err(Errno::NOSYS),
        };
        self.capabilities.follow(before, self.user);
        result
    }

    /// Changes the supplementary groups.
    pub fn set_groups(&mut self, mut groups: Vec<u32>) -> Result<(), Errno> {
        if !self.capabilities.has(CAP_SETGID) {
            return Err(Errno::PERM);
        }
        // The kernel tells them in this order, whatever the order in which they were given.
        groups.sort_unstable();
        self.groups = groups;
        Ok(())
    }

    /// Takes the rights that a program gives: those of its owner if it is set-user-id or set-group-id.
    pub fn execute(&mut self, user: Option<u32>, group: Option<u32>) {
        for (ids, id) in [(&mut self.user, user), (&mut self.group, group)] {
            ids.effective = id.unwrap_or(ids.effective);
            ids.saved = ids.effective;
            ids.files = ids.effective;
        }
        self.capabilities = Capabilities::executed(self.user);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(uid: u32, gid: u32, groups: Vec<u32>) -> Credentials {
        Credentials::of(&User { uid, gid, groups, home: "/".into() })
    }

    fn root() -> Credentials {
        of(0, 0, vec![0])
    }

    const NO: u32 = UNCHANGED;

    #[test]
    fn root_becomes_anyone_and_then_nobody_else() {
        let mut process = root();
        process.set_groups(vec![5]).unwrap();
        process.change("setgid", [1001, 0, 0]).unwrap();
        process.change("setuid", [1000, 0, 0]).unwrap();
        assert_eq!((process.user, process.group), (Ids::all(1000), Ids::all(1001)));
        for (name, arguments) in [("setuid", [0; 3]), ("setgid", [0; 3]), ("setresuid", [NO, 0, NO])] {
            assert_eq!(process.change(name, arguments), Err(Errno::PERM), "{name}");
        }
        assert_eq!(process.set_groups(vec![0]), Err(Errno::PERM));
        assert_eq!(process.change("setresuid", [1000, NO, 1000]), Ok(0));
    }

    #[test]
    fn root_can_come_back_from_effective_ids() {
        let mut process = root();
        process.change("setresuid", [NO, 7, NO]).unwrap();
        assert_eq!(process.user, Ids { real: 0, effective: 7, saved: 0, files: 7 });
        process.change("setuid", [0; 3]).unwrap();
        assert_eq!(process.user, Ids::all(0));
        process.change("setreuid", [NO, 7, 0]).unwrap();
        assert_eq!(process.user, Ids { real: 0, effective: 7, saved: 7, files: 7 });
        process.change("setreuid", [7, 0, 0]).unwrap();
        assert_eq!(process.user, Ids { real: 7, effective: 0, saved: 0, files: 0 });
    }

    #[test]
    fn capabilities_that_are_kept_let_a_user_become_others_until_it_executes_a_program() {
        // As setpriv(1) does it: the user first, then the group.
        let mut process = root();
        process.capabilities.keeps = true;
        process.change("setresuid", [1000, 1000, NO]).unwrap();
        assert_eq!(process.change("setresgid", [7, 7, 7]), Err(Errno::PERM), "kept, but not in effect");
        process.capabilities.set(!0, !0);
        process.change("setresgid", [7, 7, 7]).unwrap();
        process.set_groups(vec![8]).unwrap();
        process.change("setresuid", [1000, 1000, 1000]).unwrap();
        process.capabilities.set(!0, !0);
        assert!(process.may_chown());
        process.execute(None, None);
        assert!(!process.may_chown());
        assert_eq!(process.change("setuid", [0; 3]), Err(Errno::PERM));
    }

    #[test]
    fn ids_for_files_change_alone_and_return_the_old_one() {
        let mut process = root();
        assert_eq!(process.change("setfsuid", [9, 0, 0]), Ok(0));
        assert_eq!(process.change("setfsuid", [NO, 0, 0]), Ok(9));
        assert_eq!((process.user.effective, process.user.files), (0, 9));
    }

    #[test]
    fn a_set_user_id_program_gives_rights_and_keeps_the_real_user() {
        let mut process = of(1000, 1000, vec![]);
        process.execute(Some(0), None);
        assert_eq!(process.user, Ids { real: 1000, effective: 0, saved: 0, files: 0 });
        assert!(process.may_chown());
        process.change("setresuid", [0, 0, 0]).unwrap();
        assert_eq!(process.user, Ids::all(0));
    }
}
