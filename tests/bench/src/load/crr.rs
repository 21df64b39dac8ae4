//! Connect, request, response, close: what a gateway pays per connection. The client closes first.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, connect, listen, setsockopt, socket,
    sockopt,
};

use super::Progress;

/// Bytes of request and of response.
const MESSAGE: usize = 64;
/// Connections in flight per client thread: enough that a processor never waits, few enough that none queues long.
pub(crate) const IN_FLIGHT: usize = 16;
/// A SYN is repeated after 1 s and then 2 s (RFC 6298); who isn't served by then counts as failed.
const GIVE_UP: Duration = Duration::from_secs(4);
/// Longer than a burst of connects waits for its server on a busy machine.
const BACKLOG: i32 = 4096;
const LISTENER: u64 = u64::MAX;

/// Listens with `SO_REUSEPORT`, so that each processor has a server of its own.
pub(crate) fn listener(address: SocketAddrV4) -> Result<TcpListener> {
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::ReusePort, &true)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    bind(fd.as_raw_fd(), &SockaddrIn::from(address))?;
    listen(&fd, Backlog::new(BACKLOG)?)?;
    Ok(fd.into())
}

/// Answers every request, until the process ends.
pub(crate) fn serve(listener: &TcpListener) -> Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    let mut connections: HashMap<u64, TcpStream> = HashMap::new();
    let mut events = [EpollEvent::empty(); 64];
    loop {
        let ready = match epoll.wait(&mut events, EpollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            ready => ready?,
        };
        for event in &events[..ready] {
            if event.data() == LISTENER {
                let (stream, _) = listener.accept()?;
                let id = u64::try_from(stream.as_raw_fd())?;
                epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, id))?;
                connections.insert(id, stream);
            } else if connections.get_mut(&event.data()).is_some_and(|stream| !respond(stream)) {
                connections.remove(&event.data());
            }
        }
    }
}

/// False when the connection is over.
fn respond(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; MESSAGE];
    match stream.read(&mut buffer) {
        Ok(0) | Err(_) => false,
        Ok(n) => stream.write_all(&buffer[..n]).is_ok(),
    }
}

/// Opens connections one after the other in [`IN_FLIGHT`] places until told to stop; returns how long each took from
/// connect to close, in microseconds.
pub(crate) fn run(sources: &[Ipv4Addr], target: SocketAddrV4, progress: &Progress) -> Result<Vec<u32>> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut places: Vec<Option<Connection>> = (0..IN_FLIGHT).map(|_| None).collect();
    let mut latencies = Vec::new();
    let mut turn = 0_usize;
    let mut events = [EpollEvent::empty(); IN_FLIGHT];
    while !progress.stop.load(Ordering::Relaxed) {
        for (place, slot) in (0..).zip(&mut places) {
            if slot.as_ref().is_some_and(|c| c.begun.elapsed() > GIVE_UP) {
                progress.failed.fetch_add(1, Ordering::Relaxed);
                *slot = None;
            }
            if slot.is_none() {
                turn += 1;
                *slot = Connection::open(sources[turn % sources.len()], target, &epoll, place).ok();
                if slot.is_none() {
                    progress.failed.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        // Whatever comes wakes it; the limit is for noticing the end, and failures to open.
        let ready = epoll.wait(&mut events, EpollTimeout::from(50u8)).unwrap_or(0);
        for event in &events[..ready] {
            let slot = &mut places[usize::try_from(event.data())?];
            let Some(connection) = slot else { continue };
            match connection.advance(event.events()) {
                Step::Wait => {}
                Step::Done => {
                    progress.done.fetch_add(1, Ordering::Relaxed);
                    let begun = connection.begun;
                    *slot = None;
                    if progress.recording.load(Ordering::Relaxed) {
                        latencies.push(u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX));
                    }
                }
                Step::Failed => {
                    progress.failed.fetch_add(1, Ordering::Relaxed);
                    *slot = None;
                }
            }
        }
    }
    Ok(latencies)
}

struct Connection {
    stream: TcpStream,
    begun: Instant,
    asked: bool,
    received: usize,
}

enum Step {
    Wait,
    Done,
    Failed,
}

impl Connection {
    fn open(source: Ipv4Addr, target: SocketAddrV4, epoll: &Epoll, place: u64) -> Result<Self> {
        let begun = Instant::now();
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
        // As from several clients; connect chooses the port, when it knows the whole tuple.
        setsockopt(&fd, sockopt::IpBindAddressNoPort, &true)?;
        bind(fd.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(source, 0)))?;
        match connect(fd.as_raw_fd(), &SockaddrIn::from(target)) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let stream = TcpStream::from(fd);
        let wanted = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        epoll.add(&stream, EpollEvent::new(wanted, place))?;
        Ok(Self { stream, begun, asked: false, received: 0 })
    }

    fn advance(&mut self, events: EpollFlags) -> Step {
        if !self.asked && events.contains(EpollFlags::EPOLLOUT) {
            self.asked = true;
            if self.stream.write_all(&[b'?'; MESSAGE]).is_err() {
                return Step::Failed;
            }
        }
        if events.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP) {
            match self.stream.read(&mut [0; MESSAGE]) {
                Ok(0) => return Step::Failed,
                Ok(n) => self.received += n,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return Step::Failed,
            }
        }
        if self.received == MESSAGE { Step::Done } else { Step::Wait }
    }
}
