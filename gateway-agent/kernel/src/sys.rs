//! The few system calls that aya doesn't offer.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use aya::maps::MapInfo;
use gateway_common::maps::TICK_SHIFT;

/// Whether `path`, which exists, is on a bpffs.
pub(crate) fn is_bpffs(path: &Path) -> io::Result<bool> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: statfs is made of integers, so zeroes are a valid value.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends with a zero byte, and `stat` is as large as the kernel writes.
    if unsafe { libc::statfs(path.as_ptr(), &raw mut stat) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(stat.f_type == libc::BPF_FS_MAGIC)
}

/// The device's present name in this network namespace.
pub(crate) fn device_name(ifindex: u32) -> Option<String> {
    let mut name = [0u8; libc::IF_NAMESIZE];
    // SAFETY: the buffer has the size that if_indextoname(3) asks for.
    let found = unsafe { libc::if_indextoname(ifindex, name.as_mut_ptr().cast()) };
    if found.is_null() {
        return None;
    }
    CStr::from_bytes_until_nul(&name).ok()?.to_str().ok().map(str::to_owned)
}

/// The present tick of the clock that the programs read.
pub(crate) fn tick() -> u32 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec. It can't fail: the clock exists since Linux 2.6.32.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut now) };
    let nanoseconds = now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned();
    // Ticks wrap after nine years, in the programs too.
    #[expect(clippy::cast_possible_truncation)]
    let tick = (nanoseconds >> TICK_SHIFT) as u32;
    tick
}

/// Returns once every program that was running has finished, so that nothing read from a map before is still used.
pub fn wait_for_programs() {
    // SAFETY: takes three integers and touches no memory. MEMBARRIER_CMD_GLOBAL is synchronize_rcu().
    let done = unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if done != 0 {
        // Kernels with nohz_full CPUs refuse it. Programs run for microseconds, at most milliseconds when preempted.
        thread::sleep(Duration::from_secs(1));
    }
}

/// Opens an object that is pinned on a bpffs.
pub(crate) fn open_pinned(path: &Path) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        path: u64,
        fd: u32,
        flags: u32,
    }
    let path = CString::new(path.as_os_str().as_bytes())?;
    let attributes = Attributes { path: path.as_ptr() as u64, fd: 0, flags: 0 };
    let fd = bpf(BPF_OBJ_GET, &attributes)?;
    // SAFETY: the kernel has just made it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Puts another program into a link; packets meet the one or the other.
pub(crate) fn replace_program(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    #[repr(C)]
    struct Attributes {
        link: u32,
        new_program: u32,
        flags: u32,
        old_program: u32,
    }
    let number = |fd: BorrowedFd<'_>| fd.as_raw_fd().cast_unsigned();
    let attributes =
        Attributes { link: number(link), new_program: number(program), flags: 0, old_program: 0 };
    bpf(BPF_LINK_UPDATE, &attributes).map(drop)
}

/// Ends a link's attachment, whoever has it open or pinned.
pub(crate) fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    bpf(BPF_LINK_DETACH, &link.as_raw_fd()).map(drop)
}

/// Removes every entry of a hash that is pinned, whatever its keys and values are.
pub(crate) fn empty_hash(path: &Path) -> io::Result<()> {
    #[repr(C)]
    struct Attributes {
        map: u32,
        key: u64,
        next_key: u64,
    }
    let map = open_pinned(path)?;
    let key_bytes = MapInfo::from_pin(path).map_err(io::Error::other)?.key_size();
    let mut key = vec![0u8; usize::try_from(key_bytes).map_err(io::Error::other)?];
    loop {
        // Of no key the next one is the first; the kernel writes as many bytes as the map's keys have.
        let first =
            Attributes { map: map.as_raw_fd().cast_unsigned(), key: 0, next_key: key.as_mut_ptr() as u64 };
        match bpf(BPF_MAP_GET_NEXT_KEY, &first) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            result => result?,
        };
        bpf(BPF_MAP_DELETE_ELEM, &Attributes { key: key.as_ptr() as u64, next_key: 0, ..first })?;
    }
}

/// Commands of bpf(2) in linux/bpf.h.
const BPF_MAP_DELETE_ELEM: libc::c_long = 3;
const BPF_MAP_GET_NEXT_KEY: libc::c_long = 4;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_LINK_UPDATE: libc::c_long = 29;
const BPF_LINK_DETACH: libc::c_long = 34;

/// `attributes` are what linux/bpf.h has for the command, or the beginning of it.
fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<i32> {
    // SAFETY: the kernel reads as many bytes as it is told, and takes what isn't there for zeroes.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // Descriptors and 0.
    i32::try_from(result).map_err(io::Error::other)
}
