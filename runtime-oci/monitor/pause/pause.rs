//! pause: holds a pod's namespaces, and is PID 1 of its PID namespace if that is shared.
//!
//! No standard library, no C library, no heap: about a kilobyte, one page of text and one of stack. Compiled by the
//! monitor's `build.rs` and embedded there. It sleeps until a signal comes, reaps what was orphaned in its PID
//! namespace, and exits with 0 on SIGTERM or SIGINT. Three system calls are all that it leaves itself.
#![no_std]
#![no_main]

use core::arch::{asm, global_asm};

const SIGINT: u32 = 2;
const SIGTERM: u32 = 15;
const SIGCHLD: u32 = 17;
const SIG_BLOCK: usize = 0;
const PR_SET_NAME: usize = 15;
const PR_SET_SECCOMP: usize = 22;
const SECCOMP_MODE_FILTER: usize = 2;
const WNOHANG: usize = 1;
/// Bytes of the kernel's signal set.
const SET_BYTES: usize = 8;

#[cfg(target_arch = "x86_64")]
mod number {
    pub const RT_SIGPROCMASK: usize = 14;
    pub const RT_SIGTIMEDWAIT: usize = 128;
    pub const WAIT4: usize = 61;
    pub const PRCTL: usize = 157;
    pub const EXIT_GROUP: usize = 231;
    pub const AUDIT_ARCH: u32 = 0xc000_003e;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub const RT_SIGPROCMASK: usize = 135;
    pub const RT_SIGTIMEDWAIT: usize = 137;
    pub const WAIT4: usize = 260;
    pub const PRCTL: usize = 167;
    pub const EXIT_GROUP: usize = 94;
    pub const AUDIT_ARCH: u32 = 0xc000_00b7;
}

/// An instruction of the kernel's filter machine (`struct sock_filter` of `linux/filter.h`).
#[repr(C)]
struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    operand: u32,
}

/// `struct sock_fprog`.
#[repr(C)]
struct Program {
    length: u16,
    instructions: *const Instruction,
}

/// Loads a word of `struct seccomp_data`: the call's number is at 0, its architecture at 4.
const fn load(offset: u32) -> Instruction {
    Instruction { code: 0x20, if_true: 0, if_false: 0, operand: offset }
}

const fn jump_if_equal(operand: u32, if_true: u8, if_false: u8) -> Instruction {
    Instruction { code: 0x15, if_true, if_false, operand }
}

const fn answer(action: u32) -> Instruction {
    Instruction { code: 0x06, if_true: 0, if_false: 0, operand: action }
}

/// Anything but the three calls of the loop is answered EPERM, also to who makes them for us with a debugger.
static FILTER: [Instruction; 8] = [
    load(4),
    jump_if_equal(number::AUDIT_ARCH, 0, 4),
    load(0),
    jump_if_equal(number::RT_SIGTIMEDWAIT as u32, 3, 0),
    jump_if_equal(number::WAIT4 as u32, 2, 0),
    jump_if_equal(number::EXIT_GROUP as u32, 1, 0),
    answer(0x0005_0001),
    answer(0x7fff_0000),
];

// The kernel enters with an aligned stack and no return address: a call makes it what a function expects.
#[cfg(target_arch = "x86_64")]
global_asm!(".globl _start", "_start:", "xor ebp, ebp", "call {main}", "ud2", main = sym main);
#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x29, xzr", "bl {main}", "brk #1", main = sym main);

/// SAFETY: the caller passes what the system call of this number expects.
#[cfg(target_arch = "x86_64")]
unsafe fn syscall(number: usize, arguments: [usize; 4]) -> isize {
    let result;
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => result, in("rdi") arguments[0], in("rsi") arguments[1],
            in("rdx") arguments[2], in("r10") arguments[3], lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// SAFETY: the caller passes what the system call of this number expects.
#[cfg(target_arch = "aarch64")]
unsafe fn syscall(number: usize, arguments: [usize; 4]) -> isize {
    let result;
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") arguments[0] as isize => result, in("x1") arguments[1],
            in("x2") arguments[2], in("x3") arguments[3], options(nostack));
    }
    result
}

extern "C" fn main() -> ! {
    let set: u64 = bit(SIGINT) | bit(SIGTERM) | bit(SIGCHLD);
    let set = &raw const set as usize;
    // SAFETY: each call gets the arguments of its manual page, and pointers to memory that outlives it.
    unsafe {
        // Executed from a memfd, it would be called by the descriptor's number.
        syscall(number::PRCTL, [PR_SET_NAME, c"pause".as_ptr() as usize, 0, 0]);
        // A blocked signal waits for us even in PID 1, where an unblocked one without a handler is dropped.
        syscall(number::RT_SIGPROCMASK, [SIG_BLOCK, set, 0, SET_BYTES]);
        // A kernel without filters leaves it with no rights, which is how it was started.
        let filter = Program { length: FILTER.len() as u16, instructions: FILTER.as_ptr() };
        syscall(number::PRCTL, [PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &raw const filter as usize, 0]);
        loop {
            while syscall(number::WAIT4, [usize::MAX, 0, WNOHANG, 0]) > 0 {}
            let signal = syscall(number::RT_SIGTIMEDWAIT, [set, 0, 0, SET_BYTES]);
            if signal == SIGTERM as isize || signal == SIGINT as isize {
                syscall(number::EXIT_GROUP, [0, 0, 0, 0]);
            }
        }
    }
}

const fn bit(signal: u32) -> u64 {
    1 << (signal - 1)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
