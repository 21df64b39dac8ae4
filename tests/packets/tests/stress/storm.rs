//! Opening, confirming, closing, resetting, reopening, expiring, evicting and reusing of ports, all at once, of more
//! flows than there are places and ports.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use gateway_agent_kernel::{Options, PortRange, Sizes, Timeouts};
use gateway_common::flow::GUARD;
use gateway_common::maps::TICK_SHIFT;
use lab::wait_until;
use packets::Node;
use packets::net::Net;
use packets::packet::{ACK, FIN, PSH, RST, SYN};
use packets::table::{Table, tick};
use packets::tables::{Plan, Tcp, here, share, there};

use crate::crew::{Dice, THREADS, crew};
use crate::ledger::Ledger;
use crate::life::{Answer, Key, Mapping, life_of};

/// Of every state.
const TIMEOUT: Duration = Duration::from_millis(200);
/// Rounded up, as programs count: a tick is 67 ms.
const TIMEOUT_TICKS: u32 = 3;
const _: () = assert!(TIMEOUT.as_nanos().div_ceil(1 << TICK_SHIFT) == TIMEOUT_TICKS as u128);

/// Frontends of each thread in each family: two with one endpoint on this node, two with one on another node.
const FRONTENDS: usize = 4;
const FIRST_FRONTEND: u16 = 100;

/// From two buckets to a table that the storm can't fill.
#[test]
fn every_life_in_a_storm_is_accounted_for() {
    const STORMS: usize = 3;
    for flows in [1, 56, 4000] {
        let options = |options: &mut Options| {
            options.sizes = Sizes { flows, ..options.sizes };
            options.snat_ports = PortRange::new(4096, 4159).unwrap();
            for name in Timeouts::NAMES {
                options.timeouts.set(name, TIMEOUT).unwrap();
            }
        };
        Node::run_with(options, |node| {
            node.apply(&routes());
            let (node, table) = (&*node, node.table());
            let mut owners: Vec<_> = (0..THREADS).map(Owner::new).collect();
            // So that much happens however slow the machine is: ends and evictions, too.
            let connections = table.places().min(1000) / (2 * FRONTENDS * THREADS * STORMS) + 1;
            for _ in 0..STORMS {
                owners = crew(node, |thread| owners[thread].clone().weathers(node, connections));
                assert_is_whole(node, &table, &owners);
            }
            let total = balance(node, &owners);
            println!("{} places: {total:?}", table.places());
            assert!(total.flows > table.places().min(1000) as u64, "hardly anything happened");
            wait_until("every place to be free", Duration::from_mins(1), || table.is_free()).unwrap();
        });
    }
}

fn routes() -> Plan {
    let mut plan = Plan::default();
    for net in Net::BOTH {
        let shares = [[share("near", 1, &[here(net.here(2))])], [share("far", 1, &[there(net.there(2))])]];
        for thread in 0..THREADS {
            for i in 0..FRONTENDS {
                plan = plan.route(Tcp, net.frontend(frontend(thread, i)), &shares[i % 2]);
            }
        }
    }
    plan
}

fn frontend(thread: usize, i: usize) -> u16 {
    FIRST_FRONTEND + u16::try_from(thread * FRONTENDS + i).unwrap()
}

/// What the table holds is what the owners know of, and the programs have counted what they saw.
fn assert_is_whole(node: &Node, table: &Table, owners: &[Owner]) {
    for live in table.audit() {
        let (key, mapping) = life_of(&live);
        let known = owners.iter().find_map(|owner| owner.given.get(&key));
        assert_eq!(known, Some(&mapping), "{key:?} is in the table");
    }
    assert!(table.claims().is_empty());
    balance(node, owners);
}

fn balance(node: &Node, owners: &[Owner]) -> crate::ledger::Account {
    let mut sum = Ledger::default();
    for owner in owners {
        sum.add(&owner.ledger);
    }
    sum.balances(node);
    sum.total()
}

/// A thread with frontends of its own: it knows all that may happen to their flows.
#[derive(Clone)]
struct Owner {
    thread: usize,
    storm: usize,
    /// Of the next connection. All threads use the same, so that their flows collide in the reverse table.
    client_port: u16,
    given: HashMap<Key, Mapping>,
    ledger: Ledger,
}

impl Owner {
    fn new(thread: usize) -> Self {
        Self { thread, storm: 0, client_port: 1024, given: HashMap::new(), ledger: Ledger::default() }
    }

    /// For some time, and until each of its frontends has had so many connections.
    fn weathers(mut self, node: &Node, connections: usize) -> Self {
        const STORM: Duration = Duration::from_millis(300);
        self.storm += 1;
        let mut dice = Dice::new(self.storm * THREADS + self.thread);
        let (begin, until) = (Instant::now(), usize::from(self.client_port) + connections);
        while begin.elapsed() < STORM || usize::from(self.client_port) < until {
            self.client_port = self.client_port.checked_add(1).expect("fewer connections than ports");
            for net in Net::BOTH {
                for i in 0..FRONTENDS {
                    let client = net.client(self.client_port);
                    let frontend = net.frontend(frontend(self.thread, i));
                    self.plays(node, Key { client, frontend }, &mut dice);
                }
            }
        }
        self
    }

    /// A connection, or the beginning of one.
    fn plays(&mut self, node: &Node, key: Key, dice: &mut Dice) {
        let Some(mut life) = self.begins(node, key) else { return };
        if dice.below(4) == 0 {
            return;
        }
        life.answers(SYN | ACK);
        life.asks(ACK);
        match dice.below(8) {
            0 => (),
            1..3 => life.asks(RST),
            3..5 => {
                life.asks(FIN | ACK);
                life.answers(FIN | ACK);
            }
            5 => {
                life.answers(FIN | ACK);
                life.asks(FIN | ACK);
            }
            _ => {
                life.answers(PSH | ACK);
                life.asks(PSH | ACK);
                life.asks(RST);
                // Whether the flow was closed or had ended before: the next SYN begins another.
                let Some(mut life) = self.begins(node, key) else { return };
                life.answers(SYN | ACK);
                life.asks(ACK);
                life.asks(RST);
            }
        }
    }

    fn begins<'a>(&'a mut self, node: &'a Node, key: Key) -> Option<Life<'a>> {
        let before = tick();
        let mapping = key.insists(node, &mut self.ledger)?;
        self.ledger.of(key.frontend).flows += 1;
        self.given.insert(key, mapping);
        let ledger = &mut self.ledger;
        Some(Life { node, ledger, key, mapping, is_over: false, is_cut: false, safe_until: before + GUARD })
    }
}

/// A flow from its SYN on. Others may end it, but not before its time, not half of it, and not for a while.
struct Life<'a> {
    node: &'a Node,
    ledger: &'a mut Ledger,
    key: Key,
    mapping: Mapping,
    /// A request of it found no flow.
    is_over: bool,
    /// An answer of it found no way back.
    is_cut: bool,
    /// Tick before which nobody may end it.
    safe_until: u32,
}

impl Life<'_> {
    fn asks(&mut self, flags: u8) {
        let (key, before) = (self.key, tick());
        if !key.asks(self.node, self.mapping, self.ledger, &key.request(flags)) {
            assert!(self.is_over || tick() >= self.safe_until, "{key:?} ended too early");
            self.is_over = true;
            return;
        }
        assert!(!self.is_over, "{key:?} came back from the dead");
        assert!(!self.is_cut, "{key:?} to {:?} had half a flow", self.mapping);
        // The last word of a connection lays it open to eviction once idle; the others keep it for their time-out.
        self.safe_until = before + if flags & RST == 0 { TIMEOUT_TICKS } else { GUARD };
    }

    fn answers(&mut self, flags: u8) {
        let (key, before) = (self.key, tick());
        match key.is_answered(self.node, self.mapping, self.ledger, &Key::answer(self.mapping, flags)) {
            Answer::Back => {
                assert!(!self.is_over, "{key:?} to {:?} still has half a flow", self.mapping);
                assert!(!self.is_cut, "{key:?} came back from the dead");
                if flags & FIN != 0 {
                    self.safe_until = before + GUARD;
                }
            }
            Answer::Passed | Answer::Elsewhere => {
                assert!(self.is_over || self.is_cut || tick() >= self.safe_until, "{key:?} ended too early");
                self.is_cut = true;
            }
        }
    }
}
