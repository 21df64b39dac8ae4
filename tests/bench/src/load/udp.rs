//! Small datagrams that the backend sends back: a closed loop, so that nothing is measured by how much is lost.

use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt};

use super::Progress;
use crate::batch::Batch;

/// Bytes of payload.
pub(crate) const MESSAGE: usize = 64;
/// Flows per client thread.
const SOCKETS: usize = 16;
/// Datagrams in flight per flow.
const IN_FLIGHT: usize = 8;
/// After this long without an answer a flow's datagrams count as lost.
const LOST: Duration = Duration::from_millis(200);

/// Binds with `SO_REUSEPORT`, so that each processor has a server of its own.
pub(crate) fn socket_at(address: SocketAddrV4) -> Result<UdpSocket> {
    let fd = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::ReusePort, &true)?;
    bind(fd.as_raw_fd(), &SockaddrIn::from(address))?;
    Ok(fd.into())
}

/// Sends everything back, until the process ends.
pub(crate) fn serve(socket: &UdpSocket) -> Result<()> {
    let mut batch = Batch::new(32, MESSAGE);
    loop {
        let received = batch.receive(socket)?;
        // What a full queue doesn't take is lost, as datagrams may be.
        let _ = batch.send(socket, received);
    }
}

/// Keeps [`IN_FLIGHT`] datagrams on their way in each of [`SOCKETS`] flows until told to stop.
pub(crate) fn run(target: SocketAddrV4, progress: &Progress) -> Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut flows = Vec::new();
    for id in 0..SOCKETS {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(target)?;
        socket.set_nonblocking(true)?;
        epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, id as u64))?;
        flows.push(Flow { socket, heard: Instant::now() });
    }
    let mut batch = Batch::connected(IN_FLIGHT, MESSAGE);
    for flow in &flows {
        batch.send(&flow.socket, IN_FLIGHT)?;
    }
    let mut events = [EpollEvent::empty(); SOCKETS];
    let mut checked = Instant::now();
    while !progress.stop.load(Ordering::Relaxed) {
        let ready = epoll.wait(&mut events, EpollTimeout::from(50u8)).unwrap_or(0);
        let now = Instant::now();
        for event in &events[..ready] {
            let flow = &mut flows[usize::try_from(event.data())?];
            let answers = batch.receive(&flow.socket).unwrap_or(0);
            flow.heard = now;
            progress.done.fetch_add(answers as u64, Ordering::Relaxed);
            let _ = batch.send(&flow.socket, answers);
        }
        if now - checked > LOST {
            checked = now;
            for flow in flows.iter_mut().filter(|flow| now - flow.heard > LOST) {
                progress.failed.fetch_add(IN_FLIGHT as u64, Ordering::Relaxed);
                flow.heard = now;
                let _ = batch.send(&flow.socket, IN_FLIGHT);
            }
        }
    }
    Ok(())
}

struct Flow {
    socket: UdpSocket,
    heard: Instant,
}
