//! The values of an array map as memory.

use std::io;
use std::ops::Deref;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

/// The values of a `BPF_F_MMAPABLE` array as 64-bit words. The kernel rounds each value up to 8 bytes.
///
/// Programs change the words at any time, so they are atomics: one word is never torn, several may be.
#[derive(Debug)]
pub(crate) struct Words {
    start: NonNull<AtomicU64>,
    len: usize,
}

impl Words {
    pub(crate) fn read_only(map: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        Self::map(map, len, libc::PROT_READ)
    }

    pub(crate) fn writable(map: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        Self::map(map, len, libc::PROT_READ | libc::PROT_WRITE)
    }

    fn map(map: BorrowedFd<'_>, len: usize, protection: libc::c_int) -> io::Result<Self> {
        let bytes = len * size_of::<AtomicU64>();
        // SAFETY: a new mapping at an address that the kernel picks; it refuses more bytes than the array has.
        let start = unsafe {
            libc::mmap(std::ptr::null_mut(), bytes, protection, libc::MAP_SHARED, map.as_raw_fd(), 0)
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { start, len })
    }
}

impl Deref for Words {
    type Target = [AtomicU64];

    /// Words of a read-only mapping must only be loaded.
    fn deref(&self) -> &Self::Target {
        // SAFETY: the mapping is page-aligned, has `len` words, lives as long as self, and every bit pattern is valid.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        // SAFETY: our own mapping, and nothing borrows from it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len * size_of::<AtomicU64>()) };
    }
}

// SAFETY: plain shared memory of atomics, tied to no thread.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}
