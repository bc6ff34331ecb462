//! Users and groups that processes of a step believe to have: the rules of credentials(7), played.

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
}

impl Credentials {
    /// Returns what a step of this user starts with.
    pub fn of(user: &User) -> Credentials {
        let mut groups = user.groups.clone();
        groups.sort_unstable();
        Credentials { user: Ids::all(user.uid), group: Ids::all(user.gid), groups }
    }

    /// Whether it has the rights of root, CAP_SETUID, CAP_SETGID and CAP_CHOWN among them.
    pub fn is_privileged(&self) -> bool {
        self.user.effective == 0
    }

    /// Whether it belongs to a group.
    pub fn has_group(&self, gid: u32) -> bool {
        self.group.files == gid || self.groups.contains(&gid)
    }

    /// Changes ids as the call `name` does with these arguments; returns what the call returns.
    pub fn change(&mut self, name: &str, arguments: [u32; 3]) -> Result<u32, Errno> {
        let is_privileged = self.is_privileged();
        let ids = if name.contains("uid") { &mut self.user } else { &mut self.group };
        let [first, second, _] = arguments;
        match name {
            "setuid" | "setgid" if first == UNCHANGED => Err(Errno::INVAL),
            "setuid" | "setgid" => ids.become_one(first, is_privileged).map(|()| 0),
            "setreuid" | "setregid" => ids.become_two(first, second, is_privileged).map(|()| 0),
            "setresuid" | "setresgid" => ids.become_three(arguments, is_privileged).map(|()| 0),
            "setfsuid" | "setfsgid" => Ok(ids.become_for_files(first, is_privileged)),
            _ => Err(Errno::NOSYS),
        }
    }

    /// Changes the supplementary groups.
    pub fn set_groups(&mut self, mut groups: Vec<u32>) -> Result<(), Errno> {
        if !self.is_privileged() {
            return Err(Errno::PERM);
        }
        // The kernel tells them in this order, whatever the order in which they were given.
        groups.sort_unstable();
        self.groups = groups;
        Ok(())
    }

    /// Takes the rights that a set-user-id or set-group-id program gives.
    pub fn execute(&mut self, user: Option<u32>, group: Option<u32>) {
        for (ids, id) in [(&mut self.user, user), (&mut self.group, group)] {
            ids.effective = id.unwrap_or(ids.effective);
            ids.saved = ids.effective;
            ids.files = ids.effective;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn root() -> Credentials {
        Credentials { user: Ids::all(0), group: Ids::all(0), groups: vec![0] }
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
    fn ids_for_files_change_alone_and_return_the_old_one() {
        let mut process = root();
        assert_eq!(process.change("setfsuid", [9, 0, 0]), Ok(0));
        assert_eq!(process.change("setfsuid", [NO, 0, 0]), Ok(9));
        assert_eq!((process.user.effective, process.user.files), (0, 9));
    }

    #[test]
    fn a_set_user_id_program_gives_rights_and_keeps_the_real_user() {
        let mut process = Credentials { user: Ids::all(1000), group: Ids::all(1000), groups: vec![] };
        process.execute(Some(0), None);
        assert_eq!(process.user, Ids { real: 1000, effective: 0, saved: 0, files: 0 });
        assert!(process.is_privileged());
        process.change("setresuid", [0, 0, 0]).unwrap();
        assert_eq!(process.user, Ids::all(0));
    }
}
