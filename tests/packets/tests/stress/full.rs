//! More flows are wanted than there is room for.

use std::collections::BTreeSet;
use std::time::Duration;

use gateway_agent_kernel::{Options, PortRange, Sizes, Timeouts};
use lab::wait_until;
use packets::Node;
use packets::net::Net;
use packets::packet::{ACK, SYN};
use packets::table::tick;
use packets::tables::{Endpoint, Plan, Tcp, here, share, there};

use crate::crew::{THREADS, crew};
use crate::ledger::Ledger;
use crate::life::{Answer, Key, Mapping, life_of};

/// Keys of each thread in a race, each with a frontend of its own; and of the stragglers after it.
const KEYS: u16 = 24;
const FIRST_FRONTEND: u16 = 100;
const FRONTENDS: u16 = KEYS * 5;
const _: () = assert!(THREADS + 1 == 5);

fn frontend(thread: usize, i: u16) -> u16 {
    FIRST_FRONTEND + KEYS * u16::try_from(thread).unwrap() + i
}

fn long_lived(options: &mut Options) {
    options.sizes = Sizes { frontends: 256, backends: 256, ..options.sizes };
    // Nothing ends during a race, however long that takes; the test says when.
    for name in Timeouts::NAMES {
        options.timeouts.set(name, Duration::from_hours(1)).unwrap();
    }
}

/// Two buckets of eight, so that each flow may stand anywhere: a full table is full to the last place.
#[test]
fn places_are_given_out_to_the_last_and_come_back() {
    const PLACES: usize = 16;
    let tiny = |options: &mut Options| {
        long_lived(options);
        options.sizes.flows = 1;
    };
    let all = fills(tiny, Net::V4, here(Net::V4.here(2)), PLACES, |slot, _| slot);
    assert_eq!(all, (0..16).collect());
}

/// One group of ports towards one endpoint.
#[test]
fn ports_are_given_out_to_the_last_and_come_back() {
    const FIRST: u16 = 4096;
    let few_ports = |options: &mut Options| {
        long_lived(options);
        options.snat_ports = PortRange::new(FIRST, FIRST + 7).unwrap();
    };
    let all = fills(few_ports, Net::V6, there(Net::V6.there(2)), 8, |_, mapping| mapping.source.port());
    assert_eq!(all, (FIRST..FIRST + 8).collect());
}

/// Threads race for all there is, again and again after it expired. What the flows of a round have got of the scarce
/// thing; the same in each round.
fn fills<T: Ord + Copy + std::fmt::Debug + Send>(
    options: impl FnOnce(&mut Options) + Send,
    net: Net,
    endpoint: Endpoint,
    room: usize,
    got: impl Fn(u32, Mapping) -> T + Send + Sync,
) -> BTreeSet<T> {
    const ROUNDS: u16 = 2;
    let mut given = Vec::new();
    Node::run_with(options, |node| {
        let shares = [share("web", 1, &[endpoint])];
        let all = (0..FRONTENDS).map(|i| net.frontend(FIRST_FRONTEND + i));
        node.apply(&all.fold(Plan::default(), |plan, frontend| plan.route(Tcp, frontend, &shares)));
        let (node, table) = (&*node, node.table());
        let mut ledger = Ledger::default();
        let mut evicted = 0;
        for round in 0..ROUNDS {
            let wanted = |thread: usize| {
                (0..KEYS).map(move |i| Key {
                    client: net.client(10_000 + 1000 * round + i),
                    frontend: net.frontend(frontend(thread, i)),
                })
            };
            let mut settled = crew(node, |thread| settle(node, wanted(thread)));
            // Whoever was refused for the sake of a rival that withdrew has left room.
            settled.push(settle(node, wanted(THREADS)));
            let mut lives = Vec::new();
            for settlers in settled {
                lives.extend(settlers.placed);
                ledger.add(&settlers.ledger);
                evicted += settlers.evicted;
            }

            ledger.balances(node);
            let mut found: Vec<_> = table.audit().iter().map(life_of).collect();
            found.sort_unstable();
            lives.sort_unstable();
            for (key, mapping) in &lives {
                assert!(found.contains(&(*key, *mapping)), "{key:?} was placed and is not in the table");
            }
            assert_eq!(found, lives, "what is in the table, and what was placed");
            assert_eq!(lives.len(), room, "flows for all the room there is in round {round}");
            given.push(table.audit().iter().map(|live| got(live.slot, life_of(live).1)).collect());
            table.expire(|_| true);
            wait_until("every place to be free", Duration::from_mins(1), || table.is_free()).unwrap();
        }
        let total = ledger.total();
        let offered = u64::from(ROUNDS * FRONTENDS) + evicted;
        assert_eq!(total.flows + total.refused, offered, "placed and refused");
    });
    for set in &given[1..] {
        assert_eq!(*set, given[0]);
    }
    given.remove(0)
}

#[derive(Default)]
struct Settlers {
    /// The flows that the keys came to have, confirmed ones.
    placed: Vec<(Key, Mapping)>,
    /// How often a key lost a flow before it was confirmed, and began another: on busy machines.
    evicted: u64,
    ledger: Ledger,
}

fn settle(node: &Node, keys: impl Iterator<Item = Key>) -> Settlers {
    let mut settlers = Settlers::default();
    for key in keys {
        loop {
            let before = tick();
            let ledger = &mut settlers.ledger;
            let Some(mapping) = begin(node, key, ledger) else { break };
            let answer = key.is_answered(node, mapping, ledger, &Key::answer(mapping, SYN | ACK));
            if key.asks(node, mapping, ledger, &key.request(ACK)) {
                assert_eq!(answer, Answer::Back, "{key:?} had half a flow");
                settlers.placed.push((key, mapping));
                break;
            }
            // Whoever is not confirmed may be evicted once idle, and begins again.
            assert_ne!(tick(), before, "{key:?} was evicted before it was idle");
            settlers.evicted += 1;
        }
    }
    settlers
}

/// None: it is refused.
fn begin(node: &Node, key: Key, ledger: &mut Ledger) -> Option<Mapping> {
    let mapping = key.insists(node, ledger)?;
    ledger.of(key.frontend).flows += 1;
    Some(mapping)
}
