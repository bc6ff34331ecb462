//! Capabilities that processes of a step believe to have, as far as calls that are played ask for them.
//!
//! The kernel's own are root's, whoever a process believes to be.

use super::credentials::Ids;

/// Numbers of capabilities (capabilities(7)).
pub const CAP_CHOWN: u32 = 0;
pub const CAP_SETGID: u32 = 6;
pub const CAP_SETUID: u32 = 7;
pub const CAP_MKNOD: u32 = 27;

/// Two sets, of the first 32 capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    effective: u32,
    permitted: u32,
    /// Whether they outlive a change to users none of which is root (PR_SET_KEEPCAPS).
    pub keeps: bool,
}

impl Capabilities {
    /// Returns those of a process with these user ids that has just executed a program.
    pub fn executed(user: Ids) -> Capabilities {
        let all_if = |condition: bool| if condition { u32::MAX } else { 0 };
        let permitted = all_if(user.real == 0 || user.effective == 0);
        Capabilities { effective: all_if(user.effective == 0), permitted, keeps: false }
    }

    /// Whether one is in effect.
    pub fn has(self, capability: u32) -> bool {
        self.effective & (1 << capability) != 0
    }

    /// Follows a change of user ids (capabilities(7), section Effect of user ID changes on capabilities).
    pub fn follow(&mut self, before: Ids, now: Ids) {
        let has_root = |ids: Ids| [ids.real, ids.effective, ids.saved].contains(&0);
        if has_root(before) && !has_root(now) && !self.keeps {
            self.permitted = 0;
        }
        match (before.effective == 0, now.effective == 0) {
            (true, false) => self.effective = 0,
            (false, true) => self.effective = self.permitted,
            _ => self.effective &= self.permitted,
        }
    }

    /// Does what capset(2) does; nothing that is not permitted can be gained.
    pub fn set(&mut self, effective: u32, permitted: u32) {
        self.permitted &= permitted;
        self.effective = effective & self.permitted;
    }
}
