//! The flow table under rivals: several threads on different CPUs send packets of the same few flows through the real
#![allow(clippy::unwrap_used, reason = "what can't be set up fails the test")]
//! programs, and the table is audited whenever they rest. Needs root.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use gateway_agent_kernel::{Options, PortRange, Sizes, Timeouts};
use gateway_common::maps::FlowKey;
use packets::net::Net;
use packets::packet::{ETHERNET, tcp};
use packets::tables::{Plan, Tcp, here, share, there};
use packets::{Node, Port};

const THREADS: usize = 4;

/// Verdicts of `linux/pkt_cls.h`.
const SHOT: i32 = 2;
const REDIRECT: i32 = 7;

/// A table of 96 places and 512 ports, in which nothing expires however slow the machine is.
fn small(options: &mut Options) {
    options.sizes = Sizes { flows: 56, ..options.sizes };
    options.snat_ports = PortRange::new(4096, 4607).unwrap();
    options.timeouts.tcp_opening = Duration::from_hours(1);
}

/// The same with few ports and short lives.
fn hectic(options: &mut Options) {
    small(options);
    options.snat_ports = PortRange::new(4096, 4159).unwrap();
    for name in Timeouts::NAMES {
        options.timeouts.set(name, Duration::from_millis(200)).unwrap();
    }
}

/// Frontends 80 and 81 share an endpoint on this node, so that one client port at both collides in the reverse table;
/// 82 and 83 share one on another node, so that all of their clients draw from the same ports.
fn routes() -> Plan {
    let net = Net::V4;
    let (near, far) = ([share("near", 1, &[here(net.here(2))])], [share("far", 1, &[there(net.there(2))])]);
    Plan::default()
        .route(Tcp, net.frontend(80), &near)
        .route(Tcp, net.frontend(81), &near)
        .route(Tcp, net.frontend(82), &far)
        .route(Tcp, net.frontend(83), &far)
}

/// 48 keys for each round, all new.
fn keys(round: u16) -> Vec<Key> {
    let ports = (0..12).map(|i| 1024 + round * 12 + i);
    ports.flat_map(|port| (80..84).map(move |to| (Net::V4.client(port), Net::V4.frontend(to)))).collect()
}

/// What a SYN came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Fate {
    /// The client as the endpoint sees it, and the endpoint.
    Sent(SocketAddr, SocketAddr),
    Dropped,
    Refused,
}

fn send_syn(node: &Node, client: SocketAddr, frontend: SocketAddr) -> Fate {
    let frame = tcp(client, frontend).syn(1).frame(Port::Wan.mac(), Port::Wan.peer_mac());
    match node.process(Port::Wan, &frame) {
        (SHOT, ..) => Fate::Dropped,
        (REDIRECT, _, Some(Port::Wan)) => Fate::Refused,
        (REDIRECT, frame, Some(_)) => Fate::Sent(end(&frame, 0), end(&frame, 1)),
        other => panic!("a SYN was neither sent on nor refused: {other:?}"),
    }
}

/// Source or destination of an IPv4 frame.
fn end(frame: &[u8], which: usize) -> SocketAddr {
    let address: [u8; 4] = frame[ETHERNET + 12 + 4 * which..][..4].try_into().unwrap();
    let port: [u8; 2] = frame[ETHERNET + 20 + 2 * which..][..2].try_into().unwrap();
    (address, u16::from_be_bytes(port)).into()
}

/// All threads send the SYNs of the same 48 flows at the same time, each beginning with another. Whoever succeeds must
/// have been given the same endpoint and the same port, and the table must hold exactly these flows.
#[test]
fn rivals_make_one_flow_of_each_key() {
    const ROUNDS: u16 = 200;
    Node::run_with(small, |node| {
        node.apply(&routes());
        let (node, table) = (&*node, node.table());
        let dropped = AtomicUsize::new(0);
        for round in 0..ROUNDS {
            table.clear();
            let mut flows = HashMap::new();
            for ((client, frontend), fate) in rivals(node, &keys(round), &dropped) {
                let before = *flows.entry((client, frontend)).or_insert(fate);
                assert_eq!(fate, before, "two flows of {client} to {frontend} in round {round}");
            }
            let live: HashMap<_, _> = table
                .audit()
                .iter()
                .map(|flow| {
                    let (endpoint, seen) = ends(&flow.reverse);
                    (ends(&flow.forward), Fate::Sent(seen, endpoint))
                })
                .collect();
            assert!(
                live == flows,
                "round {round}: in the table, but not sent: {:?}; sent, but not there: {:?}",
                live.iter().filter(|(key, fate)| flows.get(*key) != Some(*fate)).collect::<Vec<_>>(),
                flows.iter().filter(|(key, fate)| live.get(*key) != Some(*fate)).collect::<Vec<_>>()
            );
            assert!(table.claims().is_empty());
        }
        println!("{} SYNs were dropped before a rival and repeated", dropped.into_inner());
    });
}

type Key = (SocketAddr, SocketAddr);

/// What each thread's SYN of each key came to.
fn rivals(node: &Node, keys: &[Key], dropped: &AtomicUsize) -> Vec<(Key, Fate)> {
    let start = Barrier::new(THREADS);
    thread::scope(|scope| {
        let rival = |number: usize| {
            let start = &start;
            move || {
                pin_to_cpu(number);
                let mut keys = keys.to_vec();
                let begin = 7 * number % keys.len();
                keys.rotate_left(begin);
                start.wait();
                keys.into_iter().map(|key| (key, insist(node, key, dropped))).collect::<Vec<_>>()
            }
        };
        let rivals: Vec<_> = (0..THREADS)
            .map(|number| {
                let run = rival(number);
                scope.spawn(move || node.inside(run))
            })
            .collect();
        rivals.into_iter().flat_map(|rival| rival.join().expect("the rival was served")).collect()
    })
}

/// As a client does: a SYN that is dropped is sent again.
fn insist(node: &Node, (client, frontend): Key, dropped: &AtomicUsize) -> Fate {
    for _ in 0..100 {
        match send_syn(node, client, frontend) {
            Fate::Dropped => dropped.fetch_add(1, Ordering::Relaxed),
            fate => return fate,
        };
        thread::yield_now();
    }
    panic!("{client} never reached {frontend}");
}

fn ends(key: &FlowKey) -> (SocketAddr, SocketAddr) {
    let end =
        |address: [u8; 16], port| SocketAddr::new(std::net::Ipv6Addr::from(address).to_canonical(), port);
    (end(key.source, key.source_port), end(key.destination, key.destination_port))
}

/// Opening, confirming, closing, resetting, expiring and eviction all at once, of more flows than there are places and
/// ports. Whenever all rest, the table is whole; and afterwards it is as good as new.
#[test]
fn nothing_is_left_of_a_storm() {
    const STORMS: usize = 8;
    let storm = Duration::from_millis(300);
    Node::run_with(hectic, |node| {
        node.apply(&routes());
        let (node, table) = (&*node, node.table());
        let keys: Vec<_> = (0..3).flat_map(keys).collect();
        let sent = AtomicUsize::new(0);
        for number in 0..STORMS {
            thread::scope(|scope| {
                for rival in 0..THREADS {
                    let (keys, sent) = (&keys, &sent);
                    scope.spawn(move || {
                        node.inside(|| {
                            pin_to_cpu(rival);
                            let mut dice = Dice(1 + (number * THREADS + rival) as u64);
                            let begin = Instant::now();
                            while begin.elapsed() < storm {
                                act(node, keys[dice.below(keys.len())], &mut dice);
                                sent.fetch_add(1, Ordering::Relaxed);
                            }
                        });
                    });
                }
            });
            table.audit();
            assert!(table.claims().is_empty());
        }
        println!("{sent:?} connections were tried");
        // Whatever the storm left expires and its grace passes: the table takes a full load again.
        let load = &keys[..48];
        let takes_all = || load.iter().all(|key| matches!(send_syn(node, key.0, key.1), Fate::Sent(..)));
        let begin = Instant::now();
        while !takes_all() {
            assert!(begin.elapsed() < Duration::from_secs(10), "places were lost for good");
        }
        table.audit();
    });
}

/// A piece of a connection's life.
fn act(node: &Node, (client, frontend): Key, dice: &mut Dice) {
    let Fate::Sent(source, endpoint) = send_syn(node, client, frontend) else { return };
    let port = if source.ip() == client.ip() { Port::Pods } else { Port::Lan };
    let asks = |packet: packets::packet::Packet| {
        node.process(Port::Wan, &packet.frame(Port::Wan.mac(), Port::Wan.peer_mac()));
    };
    let answers = |packet: packets::packet::Packet| {
        node.process(port, &packet.frame(port.mac(), port.peer_mac()));
    };
    let (request, answer) = (tcp(client, frontend), tcp(endpoint, source));
    if dice.below(4) == 0 {
        return;
    }
    answers(answer.syn_ack(100, 2));
    asks(request.ack(2, 101));
    match dice.below(4) {
        0 => (),
        1 => asks(request.rst(2)),
        2 => {
            asks(request.fin(2, 101));
            answers(answer.fin(101, 3));
        }
        _ => {
            answers(answer.fin(101, 2));
            asks(request.fin(2, 102));
        }
    }
}

/// xorshift64 (Marsaglia 2003): the same storm each time, as far as the threads allow.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % n
    }
}

/// Rivals on one CPU would wait for each other.
fn pin_to_cpu(rival: usize) {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    // SAFETY: the set is on the stack and as large as it is said to be.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(rival % cpus, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &raw const set);
    }
}
