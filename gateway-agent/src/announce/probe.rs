//! The thread: sends and hears probes, decides, and writes to the kernel what follows.

mod moves;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use gateway_agent_kernel::{AnnounceError, Announcements, Role, Term};
use rtnetlink::Handle;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::{debug, info, warn};

use super::election::announcer;
use super::entry::Entry;
use super::inquiry::Inquiry;
use super::liveness::{DEAD, Heard, Liveness, PERIOD, SUCCESSION};
use super::message::{Content, Key, LONGEST, Message};
use super::{Farewell, News, Settings, Task, neighbours, routes};
use moves::Arrival;

/// What a node may announce for without its agent: shorter than it takes others to think it dead.
const LEASE: Duration = Duration::from_millis(800);
const _: () = assert!(LEASE.as_millis() < DEAD.as_millis());
/// As long as all others are dead, an agent's restart must not silence the address; and if they come back while it
/// restarts, two announce for no longer than this.
const LONELY_LEASE: Duration = Duration::from_secs(30);

/// What a node may announce for while one of its agents hands over to another.
const SUCCESSION_LEASE: Duration =
    SUCCESSION.checked_sub(DEAD).expect("longer").checked_add(LEASE).expect("short");
/// An agent whose work has stood still for so long is no announcer: three times its reconciliation's period.
const WEDGED: Duration = Duration::from_secs(30);

/// When a new announcer tells its neighbours, after its election: the frames may be lost (RFC 5227 section 2.3 has two
/// of them, two seconds apart; the first is what matters here).
const TELL_AFTER: [Duration; 3] = [Duration::ZERO, Duration::from_millis(200), Duration::from_secs(1)];

/// The neighbour table is read this often: its own events come with every confirmation of every neighbour.
const LOOK: Duration = Duration::from_secs(1);

/// They may be lost.
const FAREWELLS: usize = 3;
const BETWEEN_FAREWELLS: Duration = Duration::from_millis(10);

pub fn run(
    settings: &Settings,
    announcements: Announcements,
    tasks: watch::Receiver<(Task, Option<Farewell>)>,
    tell: &watch::Sender<News>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.and_then(|runtime| {
        runtime.block_on(async { Probe::new(settings, announcements, tasks, tell)?.run().await })
    });
    if let Err(error) = done {
        // As if the agent had died: others announce.
        tell.send_modify(|news| {
            news.problems =
                BTreeSet::from([format!("pool addresses are not announced by this node: {error}")]);
        });
    }
}

struct Probe<'a> {
    settings: &'a Settings,
    announcements: Announcements,
    tasks: watch::Receiver<(Task, Option<Farewell>)>,
    task: Task,
    tell: &'a watch::Sender<News>,
    news: News,
    socket: UdpSocket,
    netlink: Handle,
    liveness: Liveness,
    entry: Entry,
    looked: Option<Instant>,
    /// Who announces each address, as far as it is decided; an empty name: nobody.
    owners: BTreeMap<IpAddr, String>,
    /// What the agent before this one announced to the last.
    inherited: BTreeSet<IpAddr>,
    inquiry: Inquiry,
    arriving: BTreeMap<IpAddr, Arrival>,
    /// What neighbours are still to be told, and when.
    due: Vec<(Instant, IpAddr)>,
    /// Memberships of the groups that neighbours ask for IPv6 addresses.
    groups: BTreeSet<(Ipv6Addr, u32)>,
    routes: BTreeSet<IpAddr>,
}

impl<'a> Probe<'a> {
    fn new(
        settings: &'a Settings,
        announcements: Announcements,
        mut tasks: watch::Receiver<(Task, Option<Farewell>)>,
        tell: &'a watch::Sender<News>,
    ) -> io::Result<Self> {
        let socket = std::net::UdpSocket::bind(settings.listen).map_err(|error| {
            io::Error::new(error.kind(), format!("can't receive probes at {}: {error}", settings.listen))
        })?;
        socket.set_nonblocking(true)?;
        let (connection, netlink, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        let start = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
        let task = tasks.borrow_and_update().0.clone();
        let is_successor = announcements.is_leased().map_err(io::Error::other)?;
        let inherited = announcements.inherited().map_err(io::Error::other)?;
        Ok(Self {
            settings,
            announcements,
            tasks,
            task,
            tell,
            news: News::default(),
            socket: UdpSocket::from_std(socket)?,
            netlink,
            liveness: Liveness::new(start),
            entry: Entry::new(Instant::now(), is_successor, settings.others_appear),
            looked: None,
            owners: BTreeMap::new(),
            inherited,
            inquiry: Inquiry::default(),
            arriving: BTreeMap::new(),
            due: Vec::new(),
            groups: BTreeSet::new(),
            routes: BTreeSet::new(),
        })
    }

    async fn run(mut self) -> io::Result<()> {
        let mut period = interval(PERIOD);
        period.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut buffer = [0; LONGEST + 1];
        loop {
            let next = self.due.iter().map(|(at, _)| *at).chain(self.inquiry.next()).min();
            tokio::select! {
                _ = period.tick() => self.period().await,
                received = self.socket.recv_from(&mut buffer) => {
                    // An error tells that an earlier probe didn't arrive.
                    let Ok((length, _)) = received else { continue };
                    self.hear(&buffer[..length]).await;
                }
                changed = self.tasks.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    let (task, farewell) = self.tasks.borrow_and_update().clone();
                    self.task = task;
                    match farewell {
                        Some(Farewell::HandOver) => return self.say_goodbye().await,
                        Some(Farewell::Succeeded) => return self.announce_successor().await,
                        None => self.decide().await,
                    }
                }
                () = at(next) => {
                    self.tell_neighbours();
                    self.ask().await;
                }
            }
        }
    }

    async fn period(&mut self) {
        self.send_probes(self.is_willing()).await;
        self.decide().await;
        if self.looked.is_none_or(|at| at.elapsed() >= LOOK) {
            self.look_for_links().await;
            self.looked = Some(Instant::now());
        }
    }

    async fn send_probes(&mut self, willing: bool) {
        self.liveness.keep(self.task.peers.keys());
        let Some(key) = self.task.key.clone() else { return };
        for (name, message) in self.liveness.probes(&self.settings.node, willing, Instant::now()) {
            self.send(&name, &message, &key).await;
        }
    }

    async fn send(&self, to: &str, message: &Message, key: &Key) {
        let Some(address) = self.task.peers.get(to) else { return };
        let target = self.target(*address);
        // No route, or a full queue: the next one follows soon.
        if let Err(error) = self.socket.send_to(&message.encode(key), target).await {
            debug!("no probe to {to} ({target}): {error}");
        }
    }

    /// As the socket's family has it.
    fn target(&self, address: IpAddr) -> SocketAddr {
        let address = match address {
            IpAddr::V4(v4) if self.settings.listen.is_ipv6() => v4.to_ipv6_mapped().into(),
            address => address,
        };
        SocketAddr::new(address, self.settings.listen.port())
    }

    async fn hear(&mut self, datagram: &[u8]) {
        let Some(key) = self.task.key.clone() else { return };
        let Some(message) = Message::decode(datagram, &key) else { return };
        match self.liveness.heard(&message, Instant::now()) {
            Heard::Nothing => (),
            Heard::Change => self.decide().await,
            Heard::Stranger => {
                let answer = self.liveness.answer(&self.settings.node, self.is_willing(), &message);
                self.send(&message.from, &answer, &key).await;
            }
        }
        if !self.liveness.is_answer(&message, Instant::now()) {
            return;
        }
        match message.content {
            Content::Life => (),
            Content::Ask(question) => drop(self.answer(&message.from, question, &key).await),
            Content::Tell(answer) => self.learn(&message.from, &answer).await,
        }
    }

    fn is_willing(&self) -> bool {
        self.task.ready && self.task.seen.elapsed() < WEDGED && self.entry.may_ask()
    }

    /// Who announces what, from now on.
    async fn decide(&mut self) {
        let now = Instant::now();
        let is_alone = self.task.peers.is_empty();
        let live = self.liveness.live(now);
        self.entry.advance(now, live.len(), self.task.peers.len());
        if !self.entry.is_done() {
            return self.go_on();
        }
        let own = self.settings.node.as_str();
        let mut candidates = self.liveness.willing(now);
        // If nobody is fit, a node that isn't is better than none.
        if self.is_willing() || candidates.is_empty() {
            candidates.insert(own.to_owned());
        }
        // Every node would be alone, and announce.
        if !is_alone && self.task.key.is_none() {
            candidates.clear();
        }
        let owner = |address: &IpAddr| announcer(*address, candidates.iter().map(String::as_str));
        let owners: BTreeMap<IpAddr, String> =
            self.task.pool.iter().map(|a| (*a, owner(a).unwrap_or_default().to_owned())).collect();
        let term = match (is_alone, live.is_empty()) {
            (true, _) => Term::Endless,
            (false, true) => Term::For(LONELY_LEASE),
            (false, false) => Term::For(LEASE),
        };
        let (arrived, written) = match self.write(&owners, term, !live.is_empty()) {
            Ok(arrived) => (arrived, Ok(())),
            Err(error) => (BTreeSet::new(), Err(error)),
        };
        let appeared = live.difference(&self.news.live).cloned().collect();
        self.note(live, written);
        self.inquire(&arrived, &appeared).await;
        self.make_local().await;
        self.publish();
    }

    /// As the agent before: what it announced, this node announces, and others rely on it.
    fn go_on(&mut self) {
        if self.entry.is_successor()
            && let Err(error) = self.announcements.set_term(Term::For(LEASE))
        {
            warn!("{error}");
        }
    }

    /// Gives the addresses that have come here.
    fn write(
        &mut self,
        owners: &BTreeMap<IpAddr, String>,
        term: Term,
        has_others: bool,
    ) -> Result<BTreeSet<IpAddr>, AnnounceError> {
        let own = self.settings.node.as_str();
        let had =
            |address| self.inherited.contains(address) || self.owners.get(address).is_some_and(|o| o == own);
        let arrived: BTreeSet<IpAddr> = owners
            .iter()
            .filter(|(address, owner)| *owner == own && !had(address))
            .map(|(a, _)| *a)
            .collect();
        if *owners != self.owners {
            let role = |address, owner: &String| match (owner == own, arrived.contains(address)) {
                (false, _) => Role::Elsewhere,
                (true, true) if has_others => moves::ARRIVING,
                (true, _) => Role::Here,
            };
            let roles = owners.iter().map(|(address, owner)| (*address, role(address, owner))).collect();
            self.announcements.set(&roles)?;
        }
        self.announcements.set_term(term)?;
        self.inherited.clear();
        let now = Instant::now();
        for (address, owner) in owners {
            if self.owners.get(address) == Some(owner) {
                continue;
            }
            if owner == own {
                info!(event = "announced", address = address.to_string(), "announcing {address}");
                self.due.extend(TELL_AFTER.map(|after| (now + after, *address)));
            } else if !owner.is_empty() {
                info!(
                    event = "elsewhere",
                    address = address.to_string(),
                    node = owner,
                    "{address} is announced by {owner}"
                );
            }
        }
        self.due.retain(|(_, address)| owners.get(address).is_some_and(|owner| owner == own));
        self.owners.clone_from(owners);
        self.tell_neighbours();
        self.join_groups();
        Ok(arrived)
    }

    fn note(&mut self, live: BTreeSet<String>, written: Result<(), AnnounceError>) {
        for (names, what) in
            [(live.difference(&self.news.live), "answers"), (self.news.live.difference(&live), "is dead")]
        {
            for name in names {
                info!(event = "peer", node = name, "the agent of {name} {what}");
            }
        }
        self.news.live = live;
        let own = &self.settings.node;
        self.news.announced =
            self.owners.iter().filter(|(_, owner)| *owner == own).map(|(a, _)| *a).collect();
        self.news.problems =
            written.err().iter().map(|error| format!("pool addresses: {error}; it is tried again")).collect();
        if self.task.key.is_none() && !self.task.peers.is_empty() {
            self.news.problems.insert(
                "pool addresses: there is no key yet that agents know each other by, so this node announces none of them; see whether a controller runs, which makes the Secret gateway-agent-peers"
                    .to_owned(),
            );
        }
    }

    fn publish(&self) {
        self.tell.send_if_modified(|told| {
            let changed = *told != self.news;
            told.clone_from(&self.news);
            changed
        });
    }

    fn tell_neighbours(&mut self) {
        let now = Instant::now();
        for (_, address) in self.due.extract_if(.., |(at, _)| *at <= now) {
            if let Err(error) = self.announcements.send(address) {
                warn!("{error}");
            }
        }
    }

    /// Devices pass up what is sent to a group only if somebody is a member.
    fn join_groups(&mut self) {
        let Ok(uplinks) = self.announcements.uplinks() else { return };
        let announced = self.owners.iter().filter(|(_, owner)| **owner == self.settings.node);
        let addresses = announced.filter_map(|(address, _)| match address {
            IpAddr::V6(v6) => Some(solicited_node(*v6)),
            IpAddr::V4(_) => None,
        });
        let wanted: BTreeSet<(Ipv6Addr, u32)> =
            addresses.flat_map(|group| uplinks.iter().map(move |(ifindex, _)| (group, *ifindex))).collect();
        for (group, ifindex) in self.groups.difference(&wanted) {
            // Fails if the device is gone.
            let _ = self.socket.leave_multicast_v6(group, *ifindex);
        }
        self.groups = wanted
            .into_iter()
            .filter(|(group, ifindex)| {
                self.groups.contains(&(*group, *ifindex))
                    || self.socket.join_multicast_v6(group, *ifindex).is_ok()
            })
            .collect();
    }

    async fn make_local(&mut self) {
        let wanted: BTreeSet<IpAddr> =
            self.news.announced.intersection(&self.task.sockets).copied().collect();
        if wanted == self.routes {
            return;
        }
        match routes::set(&self.netlink, &wanted).await {
            Ok(()) => self.routes = wanted,
            Err(error) => {
                self.news
                    .problems
                    .insert(format!("local routes of pool addresses: {error}; it is tried again"));
            }
        }
    }

    async fn look_for_links(&mut self) {
        let uplinks = self.announcements.uplinks().unwrap_or_default();
        match neighbours::links(&self.netlink, &self.task.peers, &uplinks, &self.news.links).await {
            Ok(links) => self.news.links = links,
            Err(error) => {
                self.news
                    .problems
                    .insert(format!("the neighbour table can't be read: {error}; it is tried again"));
            }
        }
        self.publish();
    }

    /// The others take over before the next request is lost, and learn what this node has. Packets that still come here go
    /// on.
    async fn say_goodbye(mut self) -> io::Result<()> {
        self.task.ready = false;
        for _ in 0..FAREWELLS {
            self.send_probes(false).await;
            sleep(BETWEEN_FAREWELLS).await;
        }
        let others = self.liveness.willing(Instant::now());
        // Nobody to take over: the addresses stay.
        if others.is_empty() {
            return Ok(());
        }
        if let Err(error) = routes::set(&self.netlink, &BTreeSet::new()).await {
            warn!("local routes of pool addresses stay: {error}");
        }
        self.announcements.set_term(Term::Over).map_err(io::Error::other)?;
        self.hand_over(&others).await;
        Ok(())
    }

    /// The others wait for it, and so does the address.
    async fn announce_successor(mut self) -> io::Result<()> {
        let Some(key) = self.task.key.clone() else { return Ok(()) };
        for _ in 0..FAREWELLS {
            let willing = self.is_willing();
            for (name, message) in self.liveness.probes(&self.settings.node, willing, Instant::now()) {
                self.send(&name, &Message { succeeded: true, ..message }, &key).await;
            }
            sleep(BETWEEN_FAREWELLS).await;
        }
        // With nobody there, it has longer.
        if !self.entry.is_done() || self.liveness.live(Instant::now()).is_empty() {
            return Ok(());
        }
        self.announcements.set_term(Term::For(SUCCESSION_LEASE)).map_err(io::Error::other)
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// The group that is asked for an address (RFC 4291 section 2.7.1).
fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., high, low] = address.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | high & 0xff, low)
}
