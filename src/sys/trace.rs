//! Tracing processes with ptrace(2): their stops, and the registers of a system call.
//!
//! All functions act for the calling thread, which is the tracer; no other thread may take over for it.
#![allow(unsafe_code)]

use std::io;

/// What a traced thread has stopped for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// A filter has asked for the tracer (`SECCOMP_RET_TRACE`): the call has not begun.
    Filtered,
    /// A system call is about to begin or has ended; asked for with [`Resume::Call`].
    Call,
    /// It has made a thread or process with this number.
    Made(u32),
    /// It has executed a program; the number is the one that its thread had before.
    Executed(u32),
    /// It is about to get a signal, which [`Resume::Signal`] delivers.
    Signal(i32),
    /// A signal has stopped it, with all threads of its process.
    Group,
    /// It has just begun to be traced, or was asked to stop.
    Begun,
    /// It has ended.
    Ended,
}

/// How a stopped thread goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// To its next stop.
    Run,
    /// To the beginning or end of its next system call.
    Call,
    /// Gets a signal and runs.
    Signal(i32),
    /// Stays stopped, but hears when the stop of its process ends.
    Listen,
}

const OPTIONS: libc::c_int = libc::PTRACE_O_TRACESYSGOOD
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEEXEC
    | libc::PTRACE_O_TRACESECCOMP
    | libc::PTRACE_O_EXITKILL;

fn request(request: libc::c_uint, thread: u32, address: usize, data: usize) -> io::Result<()> {
    // SAFETY: none of the requests that come here with numbers writes to memory of this process.
    let result = unsafe { libc::ptrace(request, thread.cast_signed(), address, data) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Begins to trace a thread and all that it will start; they die with the tracer.
pub fn seize(thread: u32) -> io::Result<()> {
    request(libc::PTRACE_SEIZE, thread, 0, OPTIONS.unsigned_abs() as usize)
}

/// Lets a stopped thread go on.
pub fn resume(thread: u32, how: Resume) -> io::Result<()> {
    let (kind, data) = match how {
        Resume::Run => (libc::PTRACE_CONT, 0),
        Resume::Call => (libc::PTRACE_SYSCALL, 0),
        Resume::Signal(signal) => (libc::PTRACE_CONT, signal.unsigned_abs() as usize),
        Resume::Listen => (libc::PTRACE_LISTEN, 0),
    };
    request(kind, thread, 0, data)
}

/// Waits for a stop of any thread that this one traces; `None` when there are none left.
pub fn wait() -> io::Result<Option<(u32, Stop)>> {
    let mut status = 0;
    let thread = loop {
        // SAFETY: the status is live.  Children of other threads are none of our business.
        let found = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
        match io::Error::last_os_error().raw_os_error() {
            _ if found > 0 => break found.unsigned_abs(),
            Some(libc::EINTR) => {}
            Some(libc::ECHILD) => return Ok(None),
            _ => return Err(io::Error::last_os_error()),
        }
    };
    Ok(Some((thread, stop_of(thread, status)?)))
}

fn stop_of(thread: u32, status: libc::c_int) -> io::Result<Stop> {
    if !libc::WIFSTOPPED(status) {
        return Ok(Stop::Ended);
    }
    let signal = libc::WSTOPSIG(status);
    Ok(match status >> 16 {
        0 if signal == libc::SIGTRAP | 0x80 => Stop::Call,
        0 => Stop::Signal(signal),
        libc::PTRACE_EVENT_SECCOMP => Stop::Filtered,
        libc::PTRACE_EVENT_EXEC => Stop::Executed(message(thread)?),
        libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => Stop::Made(message(thread)?),
        libc::PTRACE_EVENT_STOP if signal != libc::SIGTRAP => Stop::Group,
        _ => Stop::Begun,
    })
}

fn message(thread: u32) -> io::Result<u32> {
    let mut message: libc::c_ulong = 0;
    // SAFETY: the request stores one number at the address, which is live.
    let result = unsafe { libc::ptrace(libc::PTRACE_GETEVENTMSG, thread.cast_signed(), 0, &raw mut message) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    u32::try_from(message).map_err(io::Error::other)
}

/// The registers of a stopped thread, as far as system calls and a program's start are concerned.
#[derive(Clone, Copy)]
pub struct Registers(arch::Registers);

impl Registers {
    /// Reads those of a stopped thread.
    pub fn read(thread: u32) -> io::Result<Registers> {
        arch::read(thread).map(Registers)
    }

    /// Gives them to a stopped thread.
    pub fn write(&self, thread: u32) -> io::Result<()> {
        arch::write(thread, &self.0)
    }

    /// Returns the number of the call that the thread is in.
    pub fn call(&self) -> i64 {
        arch::call(&self.0)
    }

    /// Returns an argument of the call.
    pub fn argument(&self, index: usize) -> u64 {
        arch::argument(&self.0, index)
    }

    /// Returns what a call that has ended returns.
    pub fn result(&self) -> i64 {
        arch::result(&self.0)
    }

    /// Returns the top of the stack.
    pub fn stack(&self) -> u64 {
        arch::stack(&self.0)
    }

    /// These registers with another stack.
    pub fn with_stack(mut self, stack: u64) -> Registers {
        arch::set_stack(&mut self.0, stack);
        self
    }

    /// These registers with another result, for the end of a call.
    pub fn with_result(mut self, result: i64) -> Registers {
        arch::set_result(&mut self.0, result);
        self
    }

    /// These registers with an argument changed.
    pub fn with_argument(mut self, index: usize, value: u64) -> Registers {
        arch::set_argument(&mut self.0, index, value);
        self
    }
}

/// Makes a call that has not begun another one, without arguments.
pub fn replace_call(thread: u32, registers: &Registers, number: i64) -> io::Result<()> {
    arch::replace_call(thread, registers.0, number)
}

/// Makes a call that has not begun return this at once.
pub fn skip_call(thread: u32, registers: &Registers, result: i64) -> io::Result<()> {
    arch::skip_call(thread, registers.0, result)
}

/// Lets a thread whose call has ended make another one from the same place.
pub fn next_call(thread: u32, registers: &Registers, number: i64, arguments: &[u64]) -> io::Result<()> {
    let mut registers = *registers;
    for (index, argument) in arguments.iter().enumerate() {
        registers = registers.with_argument(index, *argument);
    }
    arch::next_call(thread, registers.0, number)
}

#[cfg(target_arch = "x86_64")]
mod arch {
    use std::io;

    pub type Registers = libc::user_regs_struct;

    /// Bytes of the instruction `syscall`.
    const INSTRUCTION_BYTES: u64 = 2;

    pub fn read(thread: u32) -> io::Result<Registers> {
        // SAFETY: an all-zero structure is valid, for it is made of integers.
        let mut registers: Registers = unsafe { std::mem::zeroed() };
        // SAFETY: the request fills in the structure, which is live and of the kernel's layout.
        let result = unsafe { libc::ptrace(libc::PTRACE_GETREGS, thread.cast_signed(), 0, &raw mut registers) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(registers) }
    }

    pub fn write(thread: u32, registers: &Registers) -> io::Result<()> {
        // SAFETY: the request reads the structure, which is live and of the kernel's layout.
        let result =
            unsafe { libc::ptrace(libc::PTRACE_SETREGS, thread.cast_signed(), 0, std::ptr::from_ref(registers)) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    pub fn call(registers: &Registers) -> i64 {
        registers.orig_rax.cast_signed()
    }

    pub fn argument(registers: &Registers, index: usize) -> u64 {
        match index {
            0 => registers.rdi,
            1 => registers.rsi,
            2 => registers.rdx,
            3 => registers.r10,
            4 => registers.r8,
            _ => registers.r9,
        }
    }

    pub fn set_argument(registers: &mut Registers, index: usize, value: u64) {
        match index {
            0 => registers.rdi = value,
            1 => registers.rsi = value,
            2 => registers.rdx = value,
            3 => registers.r10 = value,
            4 => registers.r8 = value,
            _ => registers.r9 = value,
        }
    }

    pub fn result(registers: &Registers) -> i64 {
        registers.rax.cast_signed()
    }

    pub fn set_result(registers: &mut Registers, result: i64) {
        registers.rax = result.cast_unsigned();
    }

    pub fn stack(registers: &Registers) -> u64 {
        registers.rsp
    }

    pub fn set_stack(registers: &mut Registers, stack: u64) {
        registers.rsp = stack;
    }

    pub fn replace_call(thread: u32, mut registers: Registers, number: i64) -> io::Result<()> {
        registers.orig_rax = number.cast_unsigned();
        write(thread, &registers)
    }

    pub fn skip_call(thread: u32, mut registers: Registers, result: i64) -> io::Result<()> {
        set_result(&mut registers, result);
        replace_call(thread, registers, -1)
    }

    pub fn next_call(thread: u32, mut registers: Registers, number: i64) -> io::Result<()> {
        registers.rip -= INSTRUCTION_BYTES;
        registers.rax = number.cast_unsigned();
        // No call to restart: the instruction is executed anew.
        registers.orig_rax = u64::MAX;
        write(thread, &registers)
    }
}

#[cfg(target_arch = "aarch64")]
mod arch {
    use std::io;

    pub type Registers = Saved;

    /// The general registers, and the number of the call, which is none of them.
    #[derive(Clone, Copy)]
    pub struct Saved {
        general: libc::user_regs_struct,
        call: i32,
    }

    /// Bytes of the instruction `svc`.
    const INSTRUCTION_BYTES: u64 = 4;
    /// The register with the number of a call.
    const NUMBER: usize = 8;
    const NT_PRSTATUS: usize = 1;
    const NT_ARM_SYSTEM_CALL: usize = 0x404;

    fn set_of<T>(request: libc::c_uint, thread: u32, kind: usize, value: &mut T) -> io::Result<()> {
        let mut place = libc::iovec { iov_base: std::ptr::from_mut(value).cast(), iov_len: size_of::<T>() };
        // SAFETY: both requests stay within the live value that the vector describes.
        let result = unsafe { libc::ptrace(request, thread.cast_signed(), kind, &raw mut place) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    pub fn read(thread: u32) -> io::Result<Registers> {
        // SAFETY: an all-zero structure is valid, for it is made of integers.
        let mut saved = Saved { general: unsafe { std::mem::zeroed() }, call: -1 };
        set_of(libc::PTRACE_GETREGSET, thread, NT_PRSTATUS, &mut saved.general)?;
        set_of(libc::PTRACE_GETREGSET, thread, NT_ARM_SYSTEM_CALL, &mut saved.call)?;
        Ok(saved)
    }

    pub fn write(thread: u32, registers: &Registers) -> io::Result<()> {
        set_of(libc::PTRACE_SETREGSET, thread, NT_PRSTATUS, &mut registers.general.clone())
    }

    pub fn call(registers: &Registers) -> i64 {
        registers.call.into()
    }

    pub fn argument(registers: &Registers, index: usize) -> u64 {
        registers.general.regs.get(index).copied().unwrap_or(0)
    }

    pub fn set_argument(registers: &mut Registers, index: usize, value: u64) {
        if let Some(register) = registers.general.regs.get_mut(index) {
            *register = value;
        }
    }

    pub fn result(registers: &Registers) -> i64 {
        registers.general.regs[0].cast_signed()
    }

    pub fn set_result(registers: &mut Registers, result: i64) {
        registers.general.regs[0] = result.cast_unsigned();
    }

    pub fn stack(registers: &Registers) -> u64 {
        registers.general.sp
    }

    pub fn set_stack(registers: &mut Registers, stack: u64) {
        registers.general.sp = stack;
    }

    pub fn replace_call(thread: u32, registers: Registers, number: i64) -> io::Result<()> {
        write(thread, &registers)?;
        let mut number = i32::try_from(number).map_err(io::Error::other)?;
        set_of(libc::PTRACE_SETREGSET, thread, NT_ARM_SYSTEM_CALL, &mut number)
    }

    pub fn skip_call(thread: u32, mut registers: Registers, result: i64) -> io::Result<()> {
        set_result(&mut registers, result);
        replace_call(thread, registers, -1)
    }

    pub fn next_call(thread: u32, mut registers: Registers, number: i64) -> io::Result<()> {
        registers.general.pc -= INSTRUCTION_BYTES;
        registers.general.regs[NUMBER] = number.cast_unsigned();
        write(thread, &registers)
    }
}
