//! Several threads want the same flows.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gateway_agent_kernel::{Options, PortRange, Sizes, Timeouts};
use packets::Node;
use packets::net::Net;
use packets::packet::{ACK, PSH, RST, SYN};
use packets::table::{Live, Table};
use packets::tables::{Plan, Tcp, here, share, there};

use crate::crew::{Meeting, THREADS, crew};
use crate::ledger::Ledger;
use crate::life::{Answer, Fate, Key, Mapping, life_of};

const FIRST_FRONTEND: u16 = 100;

/// All threads make the same flows at the same time and use them as soon as they have them. Whoever succeeds must be
/// given the same endpoint and port, every packet must be translated by these both ways, and the programs must have
/// made exactly one flow of each key in each round.
#[test]
fn rivals_make_one_flow_of_each_key() {
    const ROUNDS: u16 = 9;
    let roomy = |options: &mut Options| {
        everlasting(options);
        options.sizes.flows = 300;
    };
    Node::run_with(roomy, |node| {
        let routes = Net::BOTH.into_iter().fold(Plan::default(), |plan, net| routes(plan, net, 12, 12));
        node.apply(&routes);
        let keys = |n| Net::BOTH.into_iter().flat_map(move |net| keys(net, 24, n)).collect();
        let race = Race { node, table: &node.table(), rivals: THREADS, strangers: &[] };
        race.runs(ROUNDS, keys, &mut Ledger::default());
    });
}

/// The same where there is hardly any room, while strangers claim places and give them back: their endpoint has no
/// port left. Rivals then see different places free, and only their second look keeps them from taking one each.
#[test]
fn rivals_among_strangers_make_one_flow_of_each_key() {
    const ROUNDS: u16 = 189;
    const RIVALS: usize = THREADS / 2;
    /// 16 places less those of the crowd, and less one for each thread's claim.
    const KEYS: u16 = 4;
    const PORTS: u16 = 8;
    let cramped = |options: &mut Options| {
        everlasting(options);
        options.sizes.flows = 1;
        options.snat_ports = PortRange::new(4096, 4095 + PORTS).unwrap();
    };
    Node::run_with(cramped, |node| {
        let net = Net::V4;
        let crowded = |i| net.frontend(FIRST_FRONTEND - 1 - i);
        let shares = [share("crowded", 1, &[there(net.there(3))])];
        let plan = (0..4).fold(Plan::default(), |plan, i| plan.route(Tcp, crowded(i), &shares));
        node.apply(&routes(plan, net, KEYS, 0));
        let node = &*node;
        let mut ledger = Ledger::default();
        for port in 0..PORTS {
            let key = Key { client: net.client(50_000 + port), frontend: crowded(0) };
            let mapping = key.insists(node, &mut ledger).unwrap();
            ledger.of(key.frontend).flows += 1;
            talk(node, key, mapping, &mut ledger);
        }
        let strangers: Vec<_> =
            (1..4).map(|i| Key { client: net.client(60_000), frontend: crowded(i) }).collect();
        let race = Race { node, table: &node.table(), rivals: RIVALS, strangers: &strangers };
        race.runs(ROUNDS, |n| keys(net, KEYS, n).collect(), &mut ledger);
        assert!(ledger.total().refused > u64::from(ROUNDS), "the strangers hardly came");
    });
}

/// Nothing expires however slow the machine is.
fn everlasting(options: &mut Options) {
    options.sizes = Sizes { frontends: 128, backends: 128, ..options.sizes };
    for name in Timeouts::NAMES {
        options.timeouts.set(name, Duration::from_hours(1)).unwrap();
    }
}

/// Frontends for that many keys: the first share an endpoint on this node, so that one client port at two of them
/// collides in the reverse table; the others one on another node, so that all their clients draw from the same ports.
fn routes(mut plan: Plan, net: Net, near: u16, far: u16) -> Plan {
    for i in 0..near + far {
        let endpoint = if i < near { here(net.here(2)) } else { there(net.there(2)) };
        plan = plan.route(Tcp, net.frontend(FIRST_FRONTEND + i), &[share("web", 1, &[endpoint])]);
    }
    plan
}

/// The `n`-th set of keys, each with a frontend of its own. Neighbours have one client port.
fn keys(net: Net, count: u16, n: u16) -> impl Iterator<Item = Key> {
    (0..count).map(move |i| Key {
        client: net.client(1024 + n * count / 2 + i / 2),
        frontend: net.frontend(FIRST_FRONTEND + i),
    })
}

/// How often each key is wanted in a round.
const LIVES: usize = 8;

/// Who takes part.
struct Race<'a> {
    node: &'a Node,
    table: &'a Table,
    /// Threads that want the keys; the others play strangers.
    rivals: usize,
    /// Keys that are always refused.
    strangers: &'a [Key],
}

/// How the flows of a round end.
#[derive(Clone, Copy, Debug)]
enum End {
    /// By RST, so that the next round's SYNs find closed flows.
    Reset,
    /// By time, so that their ways are taken over within the grace.
    Expired,
    /// At once, and the next keys are new.
    Cleared,
}

/// In which order a round's threads want the keys.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// All the same one at the same time.
    Together,
    /// At the same time two that differ in their frontend alone: their reverse keys collide.
    Crossed,
    Scattered,
}

/// Counts a rival that is done, also if it fails.
struct Finish<'a>(&'a AtomicUsize);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Race<'_> {
    /// Each set of keys has three rounds, and several lives in each.
    fn runs(&self, rounds: u16, keys: impl Fn(u16) -> Vec<Key>, ledger: &mut Ledger) {
        let before = ledger.total();
        let kept: BTreeMap<_, _> = self.table.audit().iter().map(life_of).collect();
        for round in 0..rounds {
            let end = [End::Reset, End::Expired, End::Cleared][usize::from(round % 3)];
            let order = [Order::Together, Order::Crossed, Order::Scattered][usize::from(round / 3 % 3)];
            let lives = self.round(&keys(round / 3), order, ledger);
            self.assert_holds(&kept.iter().chain(&lives).map(|(key, mapping)| (*key, *mapping)).collect());
            ledger.balances(self.node);
            self.conclude(&lives, end, ledger);
        }
        let total = ledger.total();
        println!("{total:?}");
        assert_eq!(total.flows - before.flows, u64::from(rounds) * (LIVES * keys(0).len()) as u64);
    }

    /// What each key was given for the last of its lives, which is not over yet.
    fn round(&self, keys: &[Key], order: Order, ledger: &mut Ledger) -> BTreeMap<Key, Mapping> {
        let given: [Vec<OnceLock<Mapping>>; LIVES] =
            std::array::from_fn(|_| keys.iter().map(|_| OnceLock::new()).collect());
        let (meeting, finished) = (Meeting::of(self.rivals), AtomicUsize::new(0));
        let ledgers = crew(self.node, |thread| {
            let mut ledger = Ledger::default();
            if thread >= self.rivals {
                self.knocks_in_vain(&mut ledger, || finished.load(Ordering::SeqCst) < self.rivals);
                return ledger;
            }
            let _at_its_end = Finish(&finished);
            for (life, given) in given.iter().enumerate() {
                for step in 0..keys.len() {
                    let i = match order {
                        Order::Together => step,
                        Order::Crossed => step ^ thread & 1,
                        Order::Scattered => (step + thread * keys.len() / self.rivals) % keys.len(),
                    };
                    if !matches!(order, Order::Scattered) {
                        meeting.attend();
                    }
                    self.wants(keys[i], &given[i], &mut ledger);
                }
                meeting.attend();
                if thread == 0 && life < LIVES - 1 {
                    self.ends(keys, given, life % 2 == 0, &mut ledger);
                }
                meeting.attend();
            }
            ledger
        });
        for other in &ledgers {
            ledger.add(other);
        }
        for key in keys {
            ledger.of(key.frontend).flows += LIVES as u64;
        }
        let [.., last] = &given;
        keys.iter().zip(last).map(|(key, given)| (*key, *given.get().unwrap())).collect()
    }

    fn wants(&self, key: Key, given: &OnceLock<Mapping>, ledger: &mut Ledger) {
        let mapping = key.insists(self.node, ledger).unwrap_or_else(|| panic!("{key:?} was refused"));
        let first = *given.get_or_init(|| mapping);
        assert_eq!(mapping, first, "two flows of {key:?}");
        talk(self.node, key, mapping, ledger);
    }

    /// The next lives find no trace of these flows, or closed ones. Strangers touch neither.
    fn ends(&self, keys: &[Key], given: &[OnceLock<Mapping>], without_trace: bool, ledger: &mut Ledger) {
        if without_trace {
            self.table.clear(|live| keys.contains(&life_of(live).0));
            return;
        }
        for (key, given) in keys.iter().zip(given) {
            let mapping = *given.get().expect("all rivals have been served");
            assert!(key.asks(self.node, mapping, ledger, &key.request(RST)), "{key:?} lost its flow");
        }
    }

    fn knocks_in_vain(&self, ledger: &mut Ledger, goes_on: impl Fn() -> bool) {
        for key in self.strangers.iter().cycle().take_while(|_| goes_on()) {
            let fate = key.knocks(self.node, ledger);
            assert!(matches!(fate, Fate::Refused | Fate::Dropped), "{key:?}: {fate:?}");
        }
    }

    /// The table holds exactly these flows, each once and in both directions.
    fn assert_holds(&self, lives: &BTreeMap<Key, Mapping>) {
        let found: Vec<_> = self.table.audit().iter().map(life_of).collect();
        for (key, mapping) in &found {
            assert_eq!(lives.get(key), Some(mapping), "{key:?} is in the table");
        }
        for key in lives.keys() {
            assert_eq!(found.iter().filter(|(other, _)| other == key).count(), 1, "flows of {key:?}");
        }
        assert!(self.table.claims().is_empty());
    }

    fn conclude(&self, lives: &BTreeMap<Key, Mapping>, end: End, ledger: &mut Ledger) {
        let is_one = |live: &Live| lives.contains_key(&life_of(live).0);
        match end {
            End::Reset => {
                for (key, mapping) in lives {
                    assert!(key.asks(self.node, *mapping, ledger, &key.request(RST)), "{key:?}");
                }
            }
            End::Expired => self.table.expire(is_one),
            End::Cleared => self.table.clear(is_one),
        }
    }
}

/// Both sides' part, while other threads still knock.
fn talk(node: &Node, key: Key, mapping: Mapping, ledger: &mut Ledger) {
    let asked = |ledger: &mut Ledger, flags| {
        assert!(key.asks(node, mapping, ledger, &key.request(flags)), "{key:?} lost its flow");
    };
    let answered = |ledger: &mut Ledger, flags| {
        let answer = key.is_answered(node, mapping, ledger, &Key::answer(mapping, flags));
        assert_eq!(answer, Answer::Back, "{key:?} to {mapping:?} has half a flow");
    };
    answered(ledger, SYN | ACK);
    asked(ledger, ACK);
    asked(ledger, PSH | ACK);
    answered(ledger, PSH | ACK);
}
