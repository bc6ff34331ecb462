//! The filter that takes the network away where no namespace can: sockets of this machine's own processes are all there are.

use super::watch::singled_out;
use super::{Verdict, architectures, program_of, table};
use crate::sys::restrict::Instruction;

/// `io_uring_setup`, by which a socket can be had without `socket`; the same number everywhere.
const IO_URING_SETUP: u32 = 425;

/// Returns the program that refuses every socket that is not of the family AF_UNIX, with EAFNOSUPPORT: programs take that
/// for a kernel without the protocol, and netlink's users (`useradd` and audit) go on without it.
pub(in crate::sandbox) fn local_sockets_program() -> Vec<Instruction> {
    program_of(architectures(), |arch| {
        let mut calls = vec![(IO_URING_SETUP, Verdict::Enosys)];
        let number = |name: &str| table::row(name).and_then(|row| arch.number(row));
        calls.extend(number("socket").map(|number| (number, Verdict::LocalSocket)));
        // Arguments of i386's old form are behind a pointer, so it makes no sockets at all.
        calls.extend(number("socketcall").map(|number| (number, Verdict::NoSocketCall)));
        singled_out(calls)
    })
}
