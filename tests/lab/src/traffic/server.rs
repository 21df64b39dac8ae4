//! The server that every pod runs: TCP and UDP on one port, both families.
//!
//! A TCP connection takes requests one after another, each a line:
//!
//! | request | answer |
//! |---|---|
//! | `who` | `NAME CLIENT-ADDRESS:PORT` as a line |
//! | `echo TEXT` | `TEXT` as a line |
//! | `download BYTES SEED` | that much of [`Pattern`] |
//! | `upload BYTES SEED`, then that much of [`Pattern`] | `intact`, or what was wrong, as a line |
//! | `GET PATH HTTP/1.1`, then fields and an empty line | what `who` is answered, by HTTP |
//!
//! Every UDP datagram is answered as `who` is, with the request behind it: `NAME CLIENT TEXT`.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::Pattern;
use crate::{LabError, Namespace, wait_until};

/// Threads of one server; the next connection waits until one ends.
const CONNECTIONS: usize = 2_000;

/// How often an idle server looks whether it should stop.
const TICK: Duration = Duration::from_millis(50);

/// A running server; dropping it stops it and closes what is still connected.
#[derive(Debug)]
pub struct Server {
    name: String,
    state: Arc<State>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    stop: AtomicBool,
    open: AtomicUsize,
    accepted: AtomicUsize,
}

impl Server {
    /// Listens on `port` in the namespace as `name`; takes requests when this returns.
    pub fn start(namespace: &Namespace, name: &str, port: u16) -> Result<Self, LabError> {
        namespace.run(|| Self::start_here(name, port))
    }

    /// As [`Self::start`], where this process is.
    pub fn start_here(name: &str, port: u16) -> Result<Self, LabError> {
        let (tcp, udp) = listen(port).map_err(LabError::system(format!("serve {name} on port {port}")))?;
        let state = Arc::new(State::default());
        let identity: Arc<str> = name.into();
        let threads = vec![
            thread::spawn({
                let (state, identity) = (Arc::clone(&state), Arc::clone(&identity));
                move || accept(&tcp, &identity, &state)
            }),
            thread::spawn({
                let state = Arc::clone(&state);
                move || answer_datagrams(&udp, &identity, &state)
            }),
        ];
        Ok(Self { name: name.to_owned(), state, threads })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// TCP connections accepted so far.
    pub fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::Relaxed)
    }

    /// TCP connections open now.
    pub fn open(&self) -> usize {
        self.state.open.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic in there was printed already.
            let _ = thread.join();
        }
        if let Err(error) = wait_closed(self, super::PATIENCE) {
            eprintln!("lab: {error}");
        }
    }
}

fn listen(port: u16) -> io::Result<(TcpListener, UdpSocket)> {
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let (tcp, udp) = (TcpListener::bind(any)?, UdpSocket::bind(any)?);
    tcp.set_nonblocking(true)?;
    udp.set_read_timeout(Some(TICK))?;
    Ok((tcp, udp))
}

fn accept(listener: &TcpListener, name: &Arc<str>, state: &Arc<State>) {
    while !state.stop.load(Ordering::Relaxed) {
        if state.open.load(Ordering::Relaxed) >= CONNECTIONS {
            thread::sleep(Duration::from_millis(1));
            continue;
        }
        match listener.accept() {
            Ok((stream, client)) => {
                state.accepted.fetch_add(1, Ordering::Relaxed);
                serve_on_thread(stream, client, name, state);
            }
            Err(_) => wait_readable(listener),
        }
    }
}

/// Until a connection waits, or a tick has passed.
fn wait_readable(listener: &TcpListener) {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    let timeout = PollTimeout::try_from(TICK).unwrap_or(PollTimeout::ZERO);
    // EINTR and the like: the caller looks again anyway.
    let _ = poll(&mut [PollFd::new(listener.as_fd(), PollFlags::POLLIN)], timeout);
}

fn serve_on_thread(stream: TcpStream, client: SocketAddr, name: &Arc<str>, state: &Arc<State>) {
    state.open.fetch_add(1, Ordering::Relaxed);
    let (name, shared) = (Arc::clone(name), Arc::clone(state));
    let spawned = thread::Builder::new().stack_size(128 * 1024).spawn(move || {
        // Whatever ends a connection is seen, and told, by its client.
        let _ = serve(stream, client, &name, &shared.stop);
        shared.open.fetch_sub(1, Ordering::Relaxed);
    });
    if spawned.is_err() {
        state.open.fetch_sub(1, Ordering::Relaxed);
    }
}

fn serve(stream: TcpStream, client: SocketAddr, name: &str, stop: &AtomicBool) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TICK))?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while !stop.load(Ordering::Relaxed) {
        match reader.read_line(&mut line) {
            Ok(0) => return Ok(()),
            Ok(_) => {
                answer(&mut reader, &line, client, name)?;
                line.clear();
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    reader.get_ref().shutdown(Shutdown::Both)
}

fn answer(reader: &mut BufReader<TcpStream>, line: &str, client: SocketAddr, name: &str) -> io::Result<()> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, format!("no such request: {line:?}"));
    let (verb, rest) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), ""));
    match verb {
        "who" => reader.get_mut().write_all(format!("{name} {}\n", unmapped(client)).as_bytes()),
        "GET" => {
            reader.get_ref().set_read_timeout(Some(super::PATIENCE))?;
            skip_fields(reader)?;
            reader.get_ref().set_read_timeout(Some(TICK))?;
            let body = format!("{name} {}\n", unmapped(client));
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            reader.get_mut().write_all(format!("{head}{body}").as_bytes())
        }
        "echo" => reader.get_mut().write_all(format!("{rest}\n").as_bytes()),
        "download" => {
            let (bytes, seed) = size_and_seed(rest).ok_or_else(invalid)?;
            Pattern::new(seed).write(bytes, reader.get_mut())
        }
        "upload" => {
            let (bytes, seed) = size_and_seed(rest).ok_or_else(invalid)?;
            reader.get_ref().set_read_timeout(Some(super::PATIENCE))?;
            let verdict = match Pattern::new(seed).read(bytes, reader, |_| ()) {
                Ok(()) => "intact".to_owned(),
                Err(error) => error.to_string(),
            };
            reader.get_ref().set_read_timeout(Some(TICK))?;
            reader.get_mut().write_all(format!("{verdict}\n").as_bytes())
        }
        _ => Err(invalid()),
    }
}

/// Up to the empty line, and with it.
fn skip_fields(reader: &mut impl BufRead) -> io::Result<()> {
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 && !line.trim_end().is_empty() {
        line.clear();
    }
    Ok(())
}

fn size_and_seed(text: &str) -> Option<(u64, u64)> {
    let (bytes, seed) = text.split_once(' ')?;
    Some((bytes.parse().ok()?, seed.parse().ok()?))
}

fn answer_datagrams(socket: &UdpSocket, name: &str, state: &State) {
    // The largest UDP payload over IPv4 (65,535 less 8 and 20 bytes of headers).
    let mut buffer = vec![0; 65_507];
    while !state.stop.load(Ordering::Relaxed) {
        let Ok((length, client)) = socket.recv_from(&mut buffer) else { continue };
        let mut reply = format!("{name} {} ", unmapped(client)).into_bytes();
        reply.extend_from_slice(&buffer[..length]);
        // A client that went away is its own affair.
        let _ = socket.send_to(&reply, client);
    }
}

/// A dual-stack socket shows IPv4 clients as `::ffff:a.b.c.d`.
fn unmapped(client: SocketAddr) -> SocketAddr {
    SocketAddr::new(client.ip().to_canonical(), client.port())
}

/// Waits until a server has no connection left.
pub fn wait_closed(server: &Server, within: Duration) -> Result<(), LabError> {
    wait_until(&format!("the last connection of {} closing", server.name()), within, || server.open() == 0)
}
