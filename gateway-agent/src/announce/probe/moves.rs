//! An address moves: whoever gets it asks the others which connections to it their endpoints have, and has the packets of
//! these go on to them. Until all have told, or for half a second, its program drops packets of flows that it doesn't know;
//! who sent them sends them again.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use super::Probe;
use crate::announce::election::announcer;
use crate::announce::inquiry::AGAIN;
use crate::announce::liveness::DEAD;
use crate::announce::message::{Answer, Content, Key, LONGEST, MOST_CONNECTIONS, Message, Question};

/// How long others may take to tell. An address has to answer again two seconds after its node's death (issue D): it takes
/// this, what passes until the death is known, and a period of probes.
pub(super) const HOLD: Duration = Duration::from_millis(500);
const _: () = assert!(HOLD.as_millis() + DEAD.as_millis() < 1800);

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
        self.arriving.extend(arrived.iter().map(|address| (*address, 0)));
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
    pub(super) async fn answer(&self, to: &str, question: Question, key: &Key) -> bool {
        let connections = self.announcements.connections(question.address, question.from, MOST_CONNECTIONS);
        let is_last = connections.next.is_none();
        self.say(to, Content::Tell(Answer { question, connections }), key).await;
        is_last
    }

    /// Takes over what a node has told of. One that no link is shared with gets packets under this node's address, so that
    /// its connections can't go on.
    pub(super) async fn learn(&mut self, from: &str, answer: &Answer) {
        if !self.inquiry.is_open(from, &answer.question) {
            return;
        }
        let address = answer.question.address;
        if let Some(link) = self.news.links.get(from) {
            for connection in &answer.connections.some {
                match self.announcements.learn(address, connection, link) {
                    Ok(true) => (),
                    // It will when the link is written, which the agent does.
                    Ok(false) => return,
                    Err(error) => warn!("{error}"),
                }
            }
            if let Some(number) = self.arriving.get_mut(&address) {
                *number += answer.connections.some.len();
            }
        }
        self.inquiry.answered(from, answer, Instant::now());
        self.ask().await;
    }

    /// Lets packets go on to addresses that nobody is left to be asked about.
    fn settle(&mut self) {
        for (address, number) in self.arriving.extract_if(.., |address, _| !self.inquiry.concerns(*address)) {
            info!(
                event = "learnt",
                address = address.to_string(),
                connections = number,
                "others have told of {number} connections to {address}"
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
        let mut end = Instant::now() + HOLD;
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
