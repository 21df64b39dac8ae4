//! What a node that is given an address still has to ask the others: which connections to it their endpoints have. One
//! question to each node at a time, again until it is answered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::message::{Answer, Question};

/// A question or its answer is lost, or the kernel wasn't ready for it: a round trip takes less than a millisecond, and
/// longer on a busy machine.
pub const AGAIN: Duration = Duration::from_millis(50);

/// A node that hasn't answered so often, in three seconds, is one of a version that doesn't know the question.
const ENOUGH: u32 = 60;

#[derive(Debug, Default)]
pub struct Inquiry {
    /// By nodes: those of a node are asked one after the other.
    open: BTreeMap<String, VecDeque<Open>>,
}

#[derive(Debug)]
struct Open {
    question: Question,
    /// How often it was sent, and when it is to be sent again.
    sent: u32,
    again: Instant,
}

impl Inquiry {
    /// Asks a node about an address, from the first place on.
    pub fn begin(&mut self, node: &str, address: IpAddr, now: Instant) {
        let open = self.open.entry(node.to_owned()).or_default();
        open.retain(|open| open.question.address != address);
        open.push_back(Open { question: Question { address, from: 0 }, sent: 0, again: now });
    }

    /// Forgets the other nodes, and all other addresses.
    pub fn keep(&mut self, nodes: &BTreeSet<String>, has: impl Fn(&IpAddr) -> bool) {
        self.open.retain(|node, open| {
            open.retain(|open| has(&open.question.address));
            nodes.contains(node) && !open.is_empty()
        });
    }

    /// What is to be sent now, and to whom.
    pub fn due(&mut self, now: Instant) -> Vec<(String, Question)> {
        let mut due = Vec::new();
        for (node, open) in &mut self.open {
            if open.front().is_some_and(|first| first.sent == ENOUGH && first.again <= now) {
                open.clear();
            }
            if let Some(first) = open.front_mut().filter(|first| first.again <= now) {
                first.sent += 1;
                first.again = now + AGAIN;
                due.push((node.clone(), first.question.clone()));
            }
        }
        self.open.retain(|_, open| !open.is_empty());
        due
    }

    /// When something is.
    pub fn next(&self) -> Option<Instant> {
        self.open.values().filter_map(|open| Some(open.front()?.again)).min()
    }

    /// Whether a node was asked that.
    pub fn is_open(&self, node: &str, question: &Question) -> bool {
        self.open.get(node).and_then(VecDeque::front).is_some_and(|first| first.question == *question)
    }

    /// Takes its answer to account: what comes next is asked at once, unless the answer is on its way.
    pub fn answered(&mut self, node: &str, answer: &Answer, now: Instant) {
        let Some(open) = self.open.get_mut(node) else { return };
        if let (Some(from), Some(first)) = (answer.connections.next, open.front_mut()) {
            let again = if answer.is_followed { now + AGAIN } else { now };
            *first = Open { question: Question { from, ..first.question }, sent: 0, again };
        } else {
            open.pop_front();
        }
        self.open.retain(|_, open| !open.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use gateway_agent_kernel::Connections;

    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn question(address: IpAddr, from: u32) -> Question {
        Question { address, from }
    }

    fn answer(address: IpAddr, from: u32, next: Option<u32>) -> Answer {
        let connections = Connections { some: Vec::new(), next };
        Answer { question: question(address, from), connections, is_followed: false }
    }

    fn nodes(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn each_node_is_asked_page_by_page_and_address_by_address() {
        let (mut inquiry, now) = (Inquiry::default(), Instant::now());
        for node in ["n1", "n2"] {
            inquiry.begin(node, A, now);
        }
        inquiry.begin("n1", B, now);
        let both = [("n1".to_owned(), question(A, 0)), ("n2".to_owned(), question(A, 0))];
        assert_eq!(inquiry.due(now), both);
        assert_eq!(inquiry.due(now), []);
        assert!(inquiry.is_open("n1", &question(A, 0)));
        inquiry.answered("n1", &answer(A, 0, Some(100)), now);
        // What comes twice is no answer any more.
        assert!(!inquiry.is_open("n1", &question(A, 0)));
        assert_eq!(inquiry.next(), Some(now));
        assert_eq!(inquiry.due(now), [("n1".to_owned(), question(A, 100))]);
        inquiry.answered("n1", &Answer { is_followed: true, ..answer(A, 100, Some(200)) }, now);
        assert!(inquiry.due(now).is_empty() && inquiry.is_open("n1", &question(A, 200)));
        inquiry.answered("n1", &answer(A, 200, None), now);
        assert!(inquiry.is_open("n2", &question(A, 0)));
        inquiry.answered("n2", &answer(A, 0, None), now);
        assert_eq!(inquiry.due(now), [("n1".to_owned(), question(B, 0))]);
        inquiry.answered("n1", &answer(B, 0, None), now);
        assert_eq!(inquiry.next(), None);
    }

    #[test]
    fn what_is_lost_is_asked_again_but_not_for_ever() {
        let (mut inquiry, mut now) = (Inquiry::default(), Instant::now());
        inquiry.begin("n1", A, now);
        for _ in 0..ENOUGH {
            assert_eq!(inquiry.due(now).len(), 1);
            now += AGAIN;
        }
        assert_eq!(inquiry.due(now), []);
        assert_eq!(inquiry.next(), None);
    }

    #[test]
    fn the_dead_and_lost_addresses_are_no_concern() {
        let (mut inquiry, now) = (Inquiry::default(), Instant::now());
        inquiry.begin("n1", A, now);
        inquiry.begin("n2", B, now);
        inquiry.keep(&nodes(&["n2"]), |_| true);
        assert_eq!(inquiry.due(now), [("n2".to_owned(), question(B, 0))]);
        inquiry.keep(&nodes(&["n2"]), |address| *address == A);
        assert_eq!(inquiry.next(), None);
    }
}
