//! Connections that are steered to the proxy's sockets, on addresses that nobody binds. Needs root.
#![allow(clippy::unwrap_used, reason = "what can't be set up fails the test")]

#[allow(dead_code, reason = "shared by tests that use more")]
mod node;
#[allow(dead_code, reason = "shared by tests that use more")]
mod packets;

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::{Duration, Instant};

use gateway_agent_kernel::{Kernel, Pins, Process, SteeredStats, detach};
use gateway_agent_tables::{FrontendKey, Protocol};
use node::{Node, ip};

/// Of the node, and of a pool: nothing but a local route says that they are here.
const ADDRESSES: [&str; 4] = ["192.0.2.1", "2001:db8::1", "198.51.100.7", "2001:db8:7::7"];

/// Everything is on one machine, which may be slow.
const PATIENCE: Duration = Duration::from_mins(1);

fn addresses() {
    ip("link set lo up");
    ip("addr add 192.0.2.1/32 dev lan");
    ip("addr add 2001:db8::1/128 dev lan nodad");
    ip("route add local 198.51.100.7/32 dev lo table local");
    ip("route add local 2001:db8:7::7/128 dev lo table local");
}

fn keys(port: u16) -> BTreeSet<FrontendKey> {
    ADDRESSES.map(|address| key(address, port)).into()
}

fn key(address: &str, port: u16) -> FrontendKey {
    let address: IpAddr = address.parse().unwrap();
    FrontendKey { address, port: port.try_into().unwrap(), protocol: Protocol::Tcp }
}

/// A socket as the agent opens it for the proxy: on no address that clients can reach.
fn socket() -> TcpListener {
    TcpListener::bind("[::ffff:127.0.0.1]:0").unwrap()
}

/// Connects, and says what the other side greets with.
fn greeting(to: SocketAddr) -> Result<String, ErrorKind> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE).map_err(|error| error.kind())?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(|error| error.kind())?;
    Ok(text)
}

/// Ends a listening socket, whoever else has a descriptor of it (shutdown(2)).
fn close(listener: &TcpListener) {
    // SAFETY: takes integers only.
    let closed = unsafe { libc::shutdown(listener.as_raw_fd(), libc::SHUT_RDWR) };
    assert_eq!(closed, 0, "{}", std::io::Error::last_os_error());
}

/// The next client, if one comes within [`PATIENCE`].
fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    listener.set_nonblocking(true).unwrap();
    let end = Instant::now() + PATIENCE;
    loop {
        match listener.accept() {
            Ok((stream, peer)) => {
                stream.set_nonblocking(false).unwrap();
                return (stream, peer);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < end => {
                std::thread::yield_now();
            }
            Err(error) => panic!("no client came: {error}"),
        }
    }
}

/// Greets one client with the address that it came to.
fn greet(listener: &TcpListener) -> SocketAddr {
    let (mut stream, _) = accept(listener);
    let local = stream.local_addr().unwrap();
    let local = SocketAddr::new(local.ip().to_canonical(), local.port());
    stream.write_all(local.to_string().as_bytes()).unwrap();
    local
}

fn targets(port: u16) -> impl Iterator<Item = SocketAddr> {
    ADDRESSES.into_iter().map(move |address| SocketAddr::new(address.parse().unwrap(), port))
}

fn stats(node: &Node) -> Vec<SteeredStats> {
    Pins::open(&node.pin()).unwrap().stats().unwrap().steered
}

fn refused_for_want_of_a_proxy(node: &Node) -> u64 {
    let reasons = Pins::open(&node.pin()).unwrap().stats().unwrap().reasons;
    reasons.iter().find(|reason| reason.name == "no_proxy").unwrap().packets
}

#[test]
fn all_addresses_lead_to_the_proxy() {
    Node::run(|node| {
        addresses();
        let mut kernel = Kernel::open(&node.options()).unwrap();
        let proxy = socket();
        kernel.switch_proxy(&[proxy.as_fd()], None).unwrap();
        assert_eq!(kernel.steer(&keys(80)).problems, []);
        assert_eq!(kernel.steer(&keys(80)).changes, 0, "all is in place");
        for target in targets(80) {
            let client = std::thread::spawn(move || greeting(target));
            assert_eq!(greet(&proxy), target, "the socket says which listener was meant");
            assert_eq!(client.join().unwrap(), Ok(target.to_string()));
        }
        for of in stats(node) {
            assert_eq!((of.connections, of.refused), (1, 0), "{of:?}");
        }
        assert_eq!(stats(node).len(), ADDRESSES.len());
        for target in targets(81) {
            assert_eq!(greeting(target), Err(ErrorKind::ConnectionRefused), "{target} is nobody's");
        }
    });
}

#[test]
fn who_listens_keeps_what_is_not_steered() {
    Node::run(|node| {
        addresses();
        let mut kernel = Kernel::open(&node.options()).unwrap();
        let proxy = socket();
        kernel.switch_proxy(&[proxy.as_fd()], None).unwrap();
        let holder = TcpListener::bind("192.0.2.1:80").unwrap();
        assert_eq!(kernel.steer(&[key("198.51.100.7", 80), key("192.0.2.1", 81)].into()).problems, []);
        let target = "192.0.2.1:80".parse().unwrap();
        let client = std::thread::spawn(move || greeting(target));
        greet(&holder);
        assert_eq!(client.join().unwrap(), Ok("192.0.2.1:80".to_owned()));
        assert_eq!(stats(node).iter().map(|of| of.connections).sum::<u64>(), 0);

        // What is no longer steered is the node's again.
        assert_eq!(kernel.steer(&BTreeSet::new()).problems, []);
        assert_eq!(stats(node), []);
        assert!(!node.pin().join("steer").exists());
        assert_eq!(greeting("198.51.100.7:80".parse().unwrap()), Err(ErrorKind::ConnectionRefused));
    });
}

#[test]
fn without_a_proxy_clients_are_refused_and_counted() {
    Node::run(|node| {
        addresses();
        let mut kernel = Kernel::open(&node.options()).unwrap();
        assert_eq!(kernel.steer(&keys(80)).problems, []);
        for target in targets(80) {
            assert_eq!(greeting(target), Err(ErrorKind::ConnectionRefused));
        }
        let proxy = socket();
        kernel.switch_proxy(&[proxy.as_fd()], None).unwrap();
        let target: SocketAddr = "192.0.2.1:80".parse().unwrap();
        let _waiting = TcpStream::connect_timeout(&target, PATIENCE).unwrap();
        // A closed socket leaves the map by itself. Dropping it would close a copy: a child that another test is about to
        // start has one until it executes its program.
        close(&proxy);
        assert_eq!(greeting(target), Err(ErrorKind::ConnectionRefused));
        let refused: Vec<_> = stats(node).iter().map(|of| of.refused).collect();
        assert_eq!(refused.iter().sum::<u64>(), 5, "{refused:?}");
        assert_eq!(refused_for_want_of_a_proxy(node), 5);
    });
}

#[test]
fn sockets_are_replaced_and_each_gets_its_share() {
    Node::run(|node| {
        addresses();
        let mut kernel = Kernel::open(&node.options()).unwrap();
        let target: SocketAddr = "192.0.2.1:80".parse().unwrap();
        assert_eq!(kernel.steer(&keys(80)).problems, []);
        // More, fewer, and as many as there is room for.
        for number in [4, 2, gateway_agent_kernel::MOST_SOCKETS, 1] {
            let sockets: Vec<_> = (0..number).map(|_| socket()).collect();
            let borrowed: Vec<_> = sockets.iter().map(std::os::fd::AsFd::as_fd).collect();
            kernel.switch_proxy(&borrowed, None).unwrap();
            let clients: Vec<_> =
                (0..64).map(|_| TcpStream::connect_timeout(&target, PATIENCE).unwrap()).collect();
            for socket in &sockets {
                socket.set_nonblocking(true).unwrap();
            }
            let mut shares = vec![0; number];
            let end = Instant::now() + PATIENCE;
            while shares.iter().sum::<usize>() < clients.len() {
                assert!(Instant::now() < end, "of {} clients there came {shares:?}", clients.len());
                for (share, socket) in shares.iter_mut().zip(&sockets) {
                    *share += std::iter::from_fn(|| socket.accept().ok()).count();
                }
            }
            if number <= 4 {
                assert!(shares.iter().all(|share| *share > 0), "{shares:?}");
            }
        }
        assert_eq!(refused_for_want_of_a_proxy(node), 0);
    });
}

#[test]
fn a_new_agent_takes_over_and_detach_leaves_nothing() {
    Node::run(|node| {
        addresses();
        let mut first = Kernel::open(&node.options()).unwrap();
        let proxy = socket();
        let process = Process { pid: std::process::id(), started: 1 };
        first.switch_proxy(&[proxy.as_fd()], Some(process)).unwrap();
        assert_eq!(first.steer(&keys(80)).problems, []);
        drop(first);
        let target: SocketAddr = "[2001:db8:7::7]:80".parse().unwrap();
        let accepted = |socket: &TcpListener| {
            let _client = TcpStream::connect_timeout(&target, PATIENCE).unwrap();
            accept(socket);
        };
        accepted(&proxy);

        let mut second = Kernel::open(&node.options()).unwrap();
        accepted(&proxy);
        assert_eq!(second.proxy_process().unwrap(), Some(process));
        assert_eq!(second.steer(&keys(80)).changes, 0);
        let successor = socket();
        second.switch_proxy(&[successor.as_fd()], None).unwrap();
        accepted(&successor);
        second.switch_proxy(&[successor.as_fd()], Some(process)).unwrap();
        drop(second);

        let detached = detach(&node.pin()).unwrap();
        assert!(detached.steering);
        assert_eq!(detached.proxy, Some(process));
        assert!(!node.pin().exists());
        assert_eq!(greeting(target), Err(ErrorKind::ConnectionRefused));
    });
}
