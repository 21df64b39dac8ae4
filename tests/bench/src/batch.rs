//! Several datagrams per system call (recvmmsg(2), sendmmsg(2)), so that a generator costs less than what it measures.

use std::io::{Error, Result};
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;
use std::{mem, ptr};

/// Buffers for some datagrams, each with the address it came from.
pub(crate) struct Batch {
    buffers: Vec<u8>,
    addresses: Vec<libc::sockaddr_in>,
    message: usize,
    connected: bool,
}

/// The most that a batch holds: what fits on the stack easily.
const MOST: usize = 32;
#[allow(clippy::cast_possible_truncation, reason = "16")]
const ADDRESS_BYTES: libc::socklen_t = size_of::<libc::sockaddr_in>() as libc::socklen_t;

impl Batch {
    /// For a server's socket: room for `count` datagrams (at most 32) of `message` bytes and for their senders.
    pub(crate) fn new(count: usize, message: usize) -> Self {
        assert!(count <= MOST);
        // SAFETY: sockaddr_in is made of integers, for which zero is a value.
        let unset: libc::sockaddr_in = unsafe { mem::zeroed() };
        Self { buffers: vec![0; count * message], addresses: vec![unset; count], message, connected: false }
    }

    /// The same for a connected socket.
    pub(crate) fn connected(count: usize, message: usize) -> Self {
        Self { connected: true, ..Self::new(count, message) }
    }

    /// Receives at least one datagram, unless the socket doesn't block; returns how many.
    pub(crate) fn receive(&mut self, socket: &UdpSocket) -> Result<usize> {
        let count = self.addresses.len();
        self.call(count, |headers, n| {
            // SAFETY: the first n headers point into this batch, which outlives the call; no time-out is given.
            unsafe { libc::recvmmsg(socket.as_raw_fd(), headers, n, libc::MSG_WAITFORONE, ptr::null_mut()) }
        })
    }

    /// Sends the first `count` datagrams to where they came from, or to where the socket is connected.
    pub(crate) fn send(&mut self, socket: &UdpSocket, count: usize) -> Result<usize> {
        self.call(count, |headers, n| {
            // SAFETY: the first n headers point into this batch, which outlives the call.
            unsafe { libc::sendmmsg(socket.as_raw_fd(), headers, n, 0) }
        })
    }

    fn call(&mut self, count: usize, action: impl FnOnce(*mut libc::mmsghdr, u32) -> i32) -> Result<usize> {
        // SAFETY: both are made of integers and pointers, for which zero is a value.
        let (mut vectors, mut headers): ([libc::iovec; MOST], [libc::mmsghdr; MOST]) =
            unsafe { (mem::zeroed(), mem::zeroed()) };
        let chunks = self.buffers.chunks_exact_mut(self.message).zip(&mut self.addresses);
        for ((buffer, address), (vector, header)) in
            chunks.zip(vectors.iter_mut().zip(&mut headers)).take(count)
        {
            *vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            if !self.connected {
                header.msg_hdr.msg_name = ptr::from_mut(address).cast();
                header.msg_hdr.msg_namelen = ADDRESS_BYTES;
            }
        }
        let count = libc::c_uint::try_from(count).map_err(Error::other)?;
        usize::try_from(action(headers.as_mut_ptr(), count)).map_err(|_| Error::last_os_error())
    }
}
