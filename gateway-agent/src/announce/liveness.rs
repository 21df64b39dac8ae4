//! Which other agents live: those that answered lately to what was sent to them lately.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::message::{Content, Message};

/// Between two probes to an agent (DESIGN.md section 8).
pub const PERIOD: Duration = Duration::from_millis(200);

/// An agent that hasn't answered for so long is dead: five probes. One or two may be lost, and a busy machine may
/// delay some.
pub const DEAD: Duration = Duration::from_secs(1);

/// How long the silence may be while one agent of a node hands over to another, which has programs to load. On a busy
/// machine that was seen to take two seconds; a retired agent goes on by itself after five.
pub const SUCCESSION: Duration = Duration::from_secs(5);

/// What is known of the other agents.
#[derive(Debug)]
pub struct Liveness {
    /// The nonce of the last probe; each period has one.
    nonce: u64,
    /// When the last probes were sent, the latest last.
    sent: Vec<(u64, Instant)>,
    peers: BTreeMap<String, Peer>,
}

/// More nonces than one start uses: 27 years of five in a second.
const A_START: i64 = 1 << 32;

/// What follows from a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    Nothing,
    /// The sender was not known to live, or has changed its mind about what it may do.
    Change,
    /// The sender can't prove that it lives, for want of something to answer to.
    Stranger,
}

#[derive(Clone, Debug, Default)]
struct Peer {
    /// The latest nonce that came from it.
    nonce: u64,
    /// When it was last proven to live, or will have been, and what it then said.
    proven: Option<(Instant, bool)>,
}

impl Liveness {
    /// `start` is drawn at random: a former start's nonces must not come again.
    pub fn new(start: u64) -> Self {
        Self { nonce: start, sent: Vec::new(), peers: BTreeMap::new() }
    }

    /// Forgets all but these.
    pub fn keep<'a>(&mut self, names: impl Iterator<Item = &'a String>) {
        let mut former = std::mem::take(&mut self.peers);
        self.peers = names.map(|name| (name.clone(), former.remove(name).unwrap_or_default())).collect();
    }

    /// A period begins: the messages for all peers, by their names.
    pub fn probes(&mut self, from: &str, willing: bool, now: Instant) -> Vec<(String, Message)> {
        // 0 means that nothing was heard.
        self.nonce = self.nonce.wrapping_add(1).max(1);
        self.sent.retain(|(_, at)| now.duration_since(*at) < DEAD);
        self.sent.push((self.nonce, now));
        let to = |(name, peer): (&String, &Peer)| {
            (name.clone(), self.message(from, willing, peer.nonce, Content::Life))
        };
        self.peers.iter().map(to).collect()
    }

    /// Something to say to a peer, between two periods.
    pub fn message_to(&self, peer: &str, from: &str, willing: bool, content: Content) -> Option<Message> {
        Some(self.message(from, willing, self.peers.get(peer)?.nonce, content))
    }

    fn message(&self, from: &str, willing: bool, echo: u64, content: Content) -> Message {
        Message { from: from.to_owned(), willing, succeeded: false, nonce: self.nonce, echo, content }
    }

    /// Takes an authentic message to account.
    pub fn heard(&mut self, message: &Message, now: Instant) -> Heard {
        let was_live = self.is_live(&message.from, now);
        let answers = self.is_answer(message, now);
        let Some(peer) = self.peers.get_mut(&message.from) else { return Heard::Nothing };
        if !answers {
            // It hasn't heard from us yet; or somebody has recorded this. Who is known to live has said it better, unless
            // it has just started anew: an answer to this one finds out.
            if !was_live {
                peer.nonce = message.nonce;
            }
            return Heard::Stranger;
        }
        // An older one was overtaken, or is repeated by somebody. A new start has numbers of its own.
        let progress = message.nonce.wrapping_sub(peer.nonce).cast_signed();
        if was_live && (-A_START..0).contains(&progress) {
            return Heard::Nothing;
        }
        let before = peer.proven.filter(|_| was_live).map(|(_, willing)| willing);
        peer.nonce = message.nonce;
        let silence = if message.succeeded { SUCCESSION.saturating_sub(DEAD) } else { Duration::ZERO };
        peer.proven = Some((now + silence, message.willing));
        if before == Some(message.willing) { Heard::Nothing } else { Heard::Change }
    }

    /// It was made after something that was sent lately, so nobody has recorded it.
    pub fn is_answer(&self, message: &Message, now: Instant) -> bool {
        self.sent.iter().any(|(nonce, at)| *nonce == message.echo && now.duration_since(*at) < DEAD)
    }

    /// The answer to a message of a stranger.
    pub fn answer(&self, from: &str, willing: bool, to: &Message) -> Message {
        self.message(from, willing, to.nonce, Content::Life)
    }

    /// Those that live.
    pub fn live(&self, now: Instant) -> BTreeSet<String> {
        self.peers.keys().filter(|name| self.is_live(name, now)).cloned().collect()
    }

    /// Those that live and may announce addresses.
    pub fn willing(&self, now: Instant) -> BTreeSet<String> {
        let is_willing = |peer: &Peer| peer.proven.is_some_and(|(_, willing)| willing);
        self.live(now).into_iter().filter(|name| self.peers.get(name).is_some_and(is_willing)).collect()
    }

    fn is_live(&self, name: &str, now: Instant) -> bool {
        let proven = self.peers.get(name).and_then(|peer| peer.proven);
        proven.is_some_and(|(at, _)| now.duration_since(at) < DEAD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two agents that hear each other's messages, or not.
    struct Pair {
        ends: [Liveness; 2],
        now: Instant,
    }

    const NAMES: [&str; 2] = ["a", "b"];

    impl Pair {
        fn new() -> Self {
            let end = |start: u64, other: &str| {
                let mut end = Liveness::new(start);
                end.keep([other.to_owned()].iter());
                end
            };
            Self { ends: [end(1 << 60, "b"), end(u64::MAX, "a")], now: Instant::now() }
        }

        /// A period, with what was said in it.
        fn period(&mut self, delivered: [bool; 2]) -> [Message; 2] {
            self.now += PERIOD;
            let said = [0, 1].map(|i| self.ends[i].probes(NAMES[i], true, self.now).remove(0).1);
            for from in 0..2 {
                if delivered[from] {
                    self.ends[1 - from].heard(&said[from], self.now);
                }
            }
            said
        }

        fn live(&self) -> [bool; 2] {
            [0, 1].map(|i| !self.ends[i].live(self.now).is_empty())
        }
    }

    #[test]
    fn agents_that_hear_each_other_live() {
        let mut pair = Pair::new();
        let periods = (0..5).position(|_| {
            pair.period([true; 2]);
            pair.live() == [true; 2]
        });
        assert!(periods.is_some_and(|n| n <= 2), "{periods:?}");
        // One or two may be lost.
        for delivered in [[false, true], [false; 2], [true, false], [false; 2], [true; 2]] {
            pair.period(delivered);
            assert_eq!(pair.live(), [true; 2]);
        }
    }

    #[test]
    fn who_is_not_heard_is_dead_after_five_periods_for_both() {
        let mut pair = Pair::new();
        (0..3).for_each(|_| drop(pair.period([true; 2])));
        // Only one direction is cut: what comes the other way answers nothing new.
        let periods = (1..20).find(|_| {
            pair.period([true, false]);
            pair.live() == [false; 2]
        });
        assert!(periods.is_some_and(|n| n <= 10), "{periods:?}");
        (0..3).for_each(|_| drop(pair.period([true; 2])));
        assert_eq!(pair.live(), [true; 2], "the cut is healed");
    }

    #[test]
    fn recordings_prove_nothing() {
        let mut pair = Pair::new();
        let mut recorded: Vec<Message> = (0..4).flat_map(|_| pair.period([true; 2])).collect();
        recorded.retain(|message| message.from == "b");
        // b dies, and somebody repeats what it said, while a goes on.
        for _ in 0..5 {
            pair.period([false; 2]);
            for message in &recorded {
                pair.ends[0].heard(message, pair.now);
            }
        }
        pair.now += DEAD;
        for message in &recorded {
            pair.ends[0].heard(message, pair.now);
        }
        assert!(!pair.live()[0]);
    }

    #[test]
    fn a_goodbye_counts_at_once_and_is_not_taken_back_by_a_recording() {
        let mut pair = Pair::new();
        (0..3).for_each(|_| drop(pair.period([true; 2])));
        let [_, before] = pair.period([true; 2]);
        let (_, goodbye) = pair.ends[1].probes("b", false, pair.now).remove(0);
        assert_eq!(pair.ends[0].heard(&goodbye, pair.now), Heard::Change);
        assert_eq!(pair.ends[0].heard(&before, pair.now), Heard::Nothing);
        assert!(pair.ends[0].willing(pair.now).is_empty());
        assert!(pair.live()[0]);
    }

    #[test]
    fn a_successor_is_known_at_once() {
        // Numbers drawn at random are far apart.
        for start in [1 << 40, 1 << 62, u64::MAX - (1 << 40)] {
            let mut pair = Pair::new();
            (0..3).for_each(|_| drop(pair.period([true; 2])));
            pair.ends[1] = Liveness::new(start);
            pair.ends[1].keep(["a".to_owned()].iter());
            let (_, first) = pair.ends[1].probes("b", true, pair.now).remove(0);
            assert_eq!(pair.ends[0].heard(&first, pair.now), Heard::Stranger);
            let answer = pair.ends[0].answer("a", true, &first);
            assert_eq!(pair.ends[1].heard(&answer, pair.now), Heard::Change);
            for _ in 0..10 {
                pair.period([true; 2]);
                assert_eq!(pair.live(), [true; 2]);
            }
        }
    }

    #[test]
    fn a_successor_may_take_its_time() {
        let mut pair = Pair::new();
        (0..3).for_each(|_| drop(pair.period([true; 2])));
        let (_, last) = pair.ends[1].probes("b", true, pair.now).remove(0);
        pair.ends[0].heard(&Message { succeeded: true, ..last }, pair.now);
        let told = pair.now;
        let silent = |pair: &mut Pair| drop(pair.period([false; 2]));
        while pair.now + PERIOD < told + SUCCESSION {
            silent(&mut pair);
            assert!(pair.live()[0], "{:?}", pair.now - told);
        }
        silent(&mut pair);
        assert!(!pair.live()[0], "it has died");

        let mut pair = Pair::new();
        (0..3).for_each(|_| drop(pair.period([true; 2])));
        let (_, last) = pair.ends[1].probes("b", true, pair.now).remove(0);
        pair.ends[0].heard(&Message { succeeded: true, ..last }, pair.now);
        (0..3).for_each(|_| drop(pair.period([true; 2])));
        // The successor is as mortal as others.
        (0..5).for_each(|_| silent(&mut pair));
        assert!(!pair.live()[0]);
    }

    #[test]
    fn strangers_are_not_counted() {
        let mut pair = Pair::new();
        let (from, content) = ("c".to_owned(), Content::Life);
        let message = Message { from, willing: true, succeeded: false, nonce: 1, echo: 1 << 60, content };
        assert_eq!(pair.ends[0].heard(&message, pair.now), Heard::Nothing);
        assert_eq!(pair.live(), [false; 2]);
    }
}
