//! Changes under load: no newcomer meets half of one. Needs root.
#![allow(clippy::unwrap_used, reason = "what can't be set up fails the test")]

mod node;
mod packets;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use gateway_agent_kernel::{Kernel, Options, Pins, Sizes, wait_for_programs};
use gateway_agent_tables::{L4Delta, L4Tables};
use node::{Node, device, ifindex};
use packets::{SYN, segment};
use tables::{endpoint, frontend, tables};

/// Endpoints 0-99 are those of port 80, 100-199 those of port 81; 64 places make their ids change owners all the time.
const PER_FRONTEND: u16 = 100;

/// Half of what the flow table promises.
const MOST: usize = 500_000;

#[test]
fn newcomers_reach_their_own_endpoints_while_everything_changes() {
    Node::run(|node| {
        node::routes_to("lan");
        let sizes = Sizes { flows: 1_000_000, endpoints: 64, ring_places: 1 << 16, ..node.options().sizes };
        let options = Options { sizes, ..node.options() };
        let mut kernel = Kernel::open(&options).unwrap();
        let mut random = Random(1);
        let mut last = some_tables(&mut random);
        assert_eq!(kernel.apply(&last).problems, []);
        kernel.attach(&device("lan")).unwrap();

        let stop = Arc::new(AtomicBool::new(false));
        let clients = thread::spawn({
            let stop = Arc::clone(&stop);
            move || connect_until(&stop)
        });
        for round in 0..60 {
            if round % 20 == 19 {
                drop(kernel);
                kernel = Kernel::open(&options).unwrap();
            }
            let next = some_tables(&mut random);
            let delta = difference(&last, &next);
            let waits = round % 3 == 0 && kernel.begin_release();
            assert_eq!(kernel.update(&next, &delta).problems, [], "round {round}");
            if waits {
                // What this update gave up is not free yet.
                release(&mut kernel);
            } else if round % 3 == 1 {
                if kernel.begin_release() {
                    release(&mut kernel);
                }
                let again = kernel.apply(&next);
                assert_eq!((again.changes, again.problems), (0, Vec::new()), "round {round}: {delta:?}");
            }
            last = next;
        }
        stop.store(true, Ordering::Relaxed);
        let sent = clients.join().unwrap();
        assert!(sent > 10_000, "only {sent} newcomers");

        let pins = Pins::open(&node.pin()).unwrap();
        let reasons = pins.stats().unwrap().reasons;
        let met: Vec<_> = reasons.iter().filter(|r| r.packets > 0).map(|r| (r.name, r.packets)).collect();
        assert_eq!(met, [], "of {sent} newcomers");
        let flows = pins.flows();
        assert_eq!(flows.len(), sent, "every newcomer has a flow");
        for flow in flows {
            let std::net::IpAddr::V4(address) = flow.endpoint.ip() else { panic!("{flow:?}") };
            let number = u16::from_be_bytes([address.octets()[2], address.octets()[3]]);
            assert_eq!(number / PER_FRONTEND, flow.frontend.port() - 80, "{flow:?}");
        }
    });
}

fn release(kernel: &mut Kernel) {
    wait_for_programs();
    assert_eq!(kernel.release().problems, []);
}

/// Both frontends with some endpoints each, in one or two backends, and now and then a third frontend.
fn some_tables(random: &mut Random) -> L4Tables {
    let mut frontends = Vec::new();
    for port in [80, 81] {
        let first = (port - 80) * PER_FRONTEND;
        let mut endpoints = |from| -> Vec<_> {
            (0..=random.below(8)).map(|i| endpoint(first + from + i * 6 + random.below(6), "here")).collect()
        };
        let (stable, canary) = (endpoints(0), endpoints(50));
        frontends.push(match random.below(2) {
            0 => frontend(port, &[("stable", 1, &stable)]),
            _ => frontend(port, &[("stable", 9, &stable), ("canary", 1, &canary)]),
        });
    }
    if random.below(2) == 0 {
        frontends.push(frontend(90, &[]));
    }
    tables(&frontends)
}

/// The keys under which two tables differ.
fn difference(before: &L4Tables, after: &L4Tables) -> L4Delta {
    fn keys<K: Ord + Clone, V: PartialEq>(one: &BTreeMap<K, V>, other: &BTreeMap<K, V>) -> BTreeSet<K> {
        let all = one.keys().chain(other.keys());
        all.filter(|key| one.get(*key) != other.get(*key)).cloned().collect()
    }
    L4Delta {
        frontends: keys(&before.frontends, &after.frontends),
        services: keys(&before.services, &after.services),
        alive: before.alive.symmetric_difference(&after.alive).copied().collect(),
        pool: before.pool.symmetric_difference(&after.pool).copied().collect(),
    }
}

/// Sends a SYN from a new address and port to both frontends in turn, real frames over the wire. How many.
fn connect_until(stop: &AtomicBool) -> usize {
    let socket = packet_socket();
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) && sent < MOST {
        let [a, b, c, d] = u32::try_from(sent).unwrap().to_be_bytes();
        let client = ([10, 1 + a, b, c], 1024 + u16::from(d));
        let port = 80 + u16::from(d % 2);
        send(&socket, &segment(client, ([192, 0, 2, 1], port), SYN));
        sent += 1;
    }
    sent
}

fn packet_socket() -> OwnedFd {
    // SAFETY: takes integers only.
    let socket = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    assert!(socket >= 0, "{}", io::Error::last_os_error());
    // SAFETY: a descriptor that was just opened and has no other owner.
    unsafe { OwnedFd::from_raw_fd(socket) }
}

fn send(socket: &OwnedFd, frame: &[u8]) {
    // SAFETY: made of integers, so zeroes are a valid value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).unwrap();
    address.sll_ifindex = i32::try_from(ifindex("pod")).unwrap();
    let length = u32::try_from(size_of_val(&address)).unwrap();
    // SAFETY: frame and address are valid for their lengths during the call.
    let sent = unsafe {
        let address = (&raw const address).cast();
        libc::sendto(socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0, address, length)
    };
    assert_eq!(sent, frame.len().cast_signed(), "{}", io::Error::last_os_error());
}

/// The same numbers in every run (Numerical Recipes' generator).
struct Random(u32);

impl Random {
    fn below(&mut self, limit: u16) -> u16 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        u16::try_from(self.0 >> 16).unwrap() % limit
    }
}
