//! `BPF_PROG_TEST_RUN` and the smallest program there is (bpf(2)). The wrappers at hand load whole ELF objects only.

use std::io::{Error, Result};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

/// What a run returned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) verdict: u32,
    /// Mean time of one repetition in nanoseconds, without entering and leaving the kernel.
    pub(crate) nanoseconds: u32,
}

/// Commands and constants of `linux/bpf.h`.
const BPF_PROG_LOAD: u32 = 5;
const BPF_PROG_TEST_RUN: u32 = 10;
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
/// `TC_ACT_UNSPEC` of `linux/pkt_cls.h`.
const PASS: i32 = -1;
const SK_BUFF_WORDS: usize = 48;
/// Indices of 32-bit fields in `struct __sk_buff`.
const INGRESS_IFINDEX: usize = 9;
const IFINDEX: usize = 10;

/// The beginning of `union bpf_attr` for `BPF_PROG_LOAD`; the kernel takes the rest as zero.
#[repr(C)]
struct Load {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
}

/// The same for `BPF_PROG_TEST_RUN`.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: u32,
    verdict: u32,
    frame_bytes: u32,
    output_bytes: u32,
    frame: u64,
    output: u64,
    repeat: u32,
    nanoseconds: u32,
    context_bytes: u32,
    context_output_bytes: u32,
    context: u64,
    context_output: u64,
}

/// Loads a classifier that passes every packet: what no program can cost less than.
pub(crate) fn trivial() -> Result<OwnedFd> {
    /// `BPF_ALU64 | BPF_MOV | BPF_K` to register 0, then `BPF_JMP | BPF_EXIT`.
    const MOVE: u64 = 0xb7;
    const EXIT: u64 = 0x95;
    let code = [MOVE | u64::from(PASS.cast_unsigned()) << 32, EXIT];
    let mut attributes = Load {
        kind: BPF_PROG_TYPE_SCHED_CLS,
        instructions: 2,
        code: address(&code),
        license: address(c"GPL".to_bytes_with_nul()),
    };
    let fd = bpf(BPF_PROG_LOAD, &mut attributes)?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Runs a classifier `repeat` times on one frame, which each repetition finds as the one before left it. The frame
/// comes from a device of this thread's network namespace, and is what the last repetition made of it afterwards.
pub(crate) fn test_run(program: BorrowedFd, frame: &mut [u8], ifindex: u32, repeat: u32) -> Result<Run> {
    let mut context = [0_u32; SK_BUFF_WORDS];
    context[INGRESS_IFINDEX] = ifindex;
    context[IFINDEX] = ifindex;
    let input = frame.to_vec();
    let mut attributes = TestRun {
        program: program.as_raw_fd().cast_unsigned(),
        frame_bytes: length(&input),
        output_bytes: length(frame),
        frame: address(&input),
        output: address(frame),
        repeat,
        context_bytes: 4 * length(&context),
        context: address(&context),
        ..TestRun::default()
    };
    bpf(BPF_PROG_TEST_RUN, &mut attributes)?;
    Ok(Run { verdict: attributes.verdict, nanoseconds: attributes.nanoseconds })
}

fn length<T>(slice: &[T]) -> u32 {
    u32::try_from(slice.len()).unwrap_or(u32::MAX)
}

fn address<T>(slice: &[T]) -> u64 {
    slice.as_ptr() as u64
}

fn bpf<T>(command: u32, attributes: &mut T) -> Result<RawFd> {
    let size = size_of::<T>();
    // SAFETY: the attributes are the beginning of the command's `union bpf_attr`; what they point to is alive in the
    // caller, which passes the true lengths.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size) };
    if result < 0 { Err(Error::last_os_error()) } else { RawFd::try_from(result).map_err(Error::other) }
}
