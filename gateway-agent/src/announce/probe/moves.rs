//! An address moves: whoever gets it asks the others which connections to it their endpoints have, and has the packets of
//! these go on to them. Until all have told, but not for long, its program drops packets of flows that it doesn't know; who
//! sent them sends them again.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use gateway_agent_kernel::Role;

use super::Probe;
use crate::announce::election::announcer;
use crate::announce::inquiry::AGAIN;
use crate::announce::liveness::DEAD;
use crate::announce::message::{Answer, Content, Key, LONGEST, MOST_CONNECTIONS, Message, Question};

/// How long packets of unknown flows wait at most. A datagram may be a newcomer's, and an address has to answer those again
/// two seconds after its node's death (issue D): it takes this, what passes until the death is known, and a period of probes.
/// Segments are of connections that live on if others have the time to tell: agents of a busy machine took two seconds. A
/// node that dies meanwhile makes those wait in vain that nobody has told of, so only those that are lost with it.
pub(super) const ARRIVING: Role = Role::Arriving { segments: SEGMENTS_WAIT, datagrams: DATAGRAMS_WAIT };
const SEGMENTS_WAIT: Duration = Duration::from_secs(3);
const DATAGRAMS_WAIT: Duration = Duration::from_millis(500);
const _: () = assert!(DATAGRAMS_WAIT.as_millis() + DEAD.as_millis() < 1800);

/// How long an agent that ends stays to be asked: as long as its connections' segments wait for it. Whoever gets its
/// addresses has heard its goodbye.
const LINGER: Duration = SEGMENTS_WAIT;

/// Datagrams that answer a question, each with some connections: few enough for a socket's buffer.
const BURST: usize = 8;

/// An address that has just come here.
#[derive(Debug)]
pub(super) struct Arrival {
    since: Instant,
    /// Nodes that have still to tell.
    waits_for: BTreeSet<String>,
    /// How many connections others have told of.
    connections: usize,
}

impl Probe<'_> {
    /// Asks all who live about addresses that have come here, and those who have just appeared about all of them.
    pub(super) async fn inquire(&mut self, arrived: &BTreeSet<IpAddr>, appeared: &BTreeSet<String>) {
        let now = Instant::now();
        let is_new = |address: &IpAddr, node: &String| arrived.contains(address) || appeared.contains(node);
        let mut has_begun = false;
        for address in &self.news.announced {
            for node in self.news.live.iter().filter(|node| is_new(address, node)) {
                self.inquiry.begin(node, *address, now);
                has_begun = true;
            }
        }
        let arrival = || Arrival { since: now, waits_for: self.news.live.clone(), connections: 0 };
        self.arriving.extend(arrived.iter().map(|address| (*address, arrival())));
        self.inquiry.keep(&self.news.live, |address| self.news.announced.contains(address));
        self.arriving.retain(|address, _| self.news.announced.contains(address));
        if has_begun {
            // Connections are learnt of those that share a link.
            self.look_for_links().await;
        }
        self.ask().await;
    }

    /// Sends the questions that are due.
    pub(super) async fn ask(&mut self) {
        let Some(key) = self.task.key.clone() else { return };
        for (node, question) in self.inquiry.due(Instant::now()) {
            self.say(&node, Content::Ask(question), &key).await;
        }
        self.settle();
    }

    async fn say(&self, to: &str, content: Content, key: &Key) {
        let message = self.liveness.message_to(to, &self.settings.node, self.is_willing(), content);
        if let Some(message) = message {
            self.send(to, &message, key).await;
        }
    }

    /// Tells of some of this node's connections. True: of the last ones.
    pub(super) async fn answer(&self, to: &str, mut question: Question, key: &Key) -> bool {
        for left in (0..BURST).rev() {
            let connections =
                self.announcements.connections(question.address, question.from, MOST_CONNECTIONS);
            let next = connections.next.map(|from| Question { from, ..question });
            let is_followed = next.is_some() && left > 0;
            self.say(to, Content::Tell(Answer { question, connections, is_followed }), key).await;
            let Some(next) = next else { return true };
            question = next;
        }
        false
    }

    /// Takes over what a node has told of. One that no link is shared with gets packets under this node's address, so that
    /// its connections can't go on.
    pub(super) async fn learn(&mut self, from: &str, answer: &Answer) {
        if !self.inquiry.is_open(from, &answer.question) {
            return;
        }
        let address = answer.question.address;
        if let Some(link) = self.news.links.get(from) {
            match self.announcements.learn(address, &answer.connections.some, link) {
                Ok(true) => (),
                // It will when the link is written, which the agent does.
                Ok(false) => return,
                Err(error) => warn!("{error}"),
            }
        }
        if let Some(arrival) = self.arriving.get_mut(&address) {
            arrival.connections += answer.connections.some.len();
            if answer.connections.next.is_none() {
                arrival.waits_for.remove(from);
            }
        }
        self.inquiry.answered(from, answer, Instant::now());
        self.ask().await;
    }

    /// Lets packets go on to addresses that all have told of.
    fn settle(&mut self) {
        let is_over =
            |arrival: &Arrival| arrival.waits_for.is_empty() || arrival.since.elapsed() >= SEGMENTS_WAIT;
        for (address, arrival) in self.arriving.extract_if(.., |_, arrival| is_over(arrival)) {
            let Arrival { connections, since, waits_for } = arrival;
            let took = since.elapsed();
            info!(
                event = "learnt",
                address = address.to_string(),
                connections,
                took_ms = took.as_millis(),
                untold = ?waits_for,
                "others have told of {connections} connections to {address}"
            );
            if let Err(error) = self.announcements.settle(address) {
                warn!("{error}");
            }
        }
    }

    /// This node's addresses go to others: they ask what it has, and then it is done.
    pub(super) async fn hand_over(&mut self, others: &BTreeSet<String>) {
        let Some(key) = self.task.key.clone() else { return };
        let own = self.owners.iter().filter(|(_, owner)| **owner == self.settings.node);
        let mut left: BTreeSet<(String, IpAddr)> = own
            .filter_map(|(address, _)| {
                let successor = announcer(*address, others.iter().map(String::as_str))?;
                Some((successor.to_owned(), *address))
            })
            .collect();
        if left.is_empty() {
            return;
        }
        let mut end = Instant::now() + LINGER;
        let mut buffer = [0; LONGEST + 1];
        while let Ok(received) = timeout_at(end, self.socket.recv_from(&mut buffer)).await {
            let Some(message) = received.ok().and_then(|(n, _)| Message::decode(&buffer[..n], &key)) else {
                continue;
            };
            let now = Instant::now();
            self.liveness.heard(&message, now);
            if !self.liveness.is_answer(&message, now) {
                continue;
            }
            if let Content::Ask(question) = message.content {
                let address = question.address;
                let is_last = self.answer(&message.from, question, &key).await;
                if is_last && left.remove(&(message.from, address)) && left.is_empty() {
                    // The last answer may be lost.
                    end = now + 2 * AGAIN;
                }
            }
        }
    }
}
