//! Listening sockets that no client can reach by itself: the kernel's program gives them connections.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};

/// A set, one for each of a proxy's workers.
#[derive(Debug)]
pub struct Sockets(Vec<OwnedFd>);

/// Connections that wait to be accepted, as many as net.core.somaxconn allows: a proxy may be away for a moment.
const BACKLOG: i32 = i32::MAX;

impl Sockets {
    pub fn open(number: usize) -> io::Result<Self> {
        (0..number).map(|_| open()).collect::<io::Result<_>>().map(Self)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(OwnedFd::as_fd)
    }
}

/// On the loopback address in its IPv4-mapped form, and a port of the kernel's choice: such a socket may be given
/// connections of both families, and one that is bound to `::1` may not. Where there is no IPv6 at all, one for IPv4.
fn open() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let loopback = Ipv4Addr::LOCALHOST;
    let v6 = socket_with(AddressFamily::INET6, SocketType::STREAM, flags, None);
    let (socket, address) = match v6 {
        Ok(socket) => (socket, SocketAddr::new(loopback.to_ipv6_mapped().into(), 0)),
        Err(rustix::io::Errno::AFNOSUPPORT) => {
            let v4 = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
            (v4, SocketAddr::new(loopback.into(), 0))
        }
        Err(error) => return Err(error.into()),
    };
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}
