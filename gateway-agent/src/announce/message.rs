//! What agents tell each other: a datagram that proves who sent it, and that it is no recording.
//!
//! ```text
//! "GAP1"  flags 1  length of name 1  kind 1  zero 1  nonce 8  echo 8  name  content  HMAC-SHA-256 32
//! ```
//!
//! Most only say that the sender lives (kind 0), which takes no content. A node that is given an address asks the others
//! which connections they have (1), and they tell (2); both in postcard's form.
//!
//! `nonce` grows with each period, from a random number on that is drawn when the agent starts. `echo` is the last
//! nonce that came from the receiver: a datagram with a recent one was made after that, so no clocks are compared
//! and nothing is kept over a restart.

use std::fmt;
use std::net::IpAddr;

use aws_lc_rs::hmac;
use gateway_agent_kernel::Connections;
use serde::{Deserialize, Serialize};

/// The first bytes: gateway-agent's probes, version 1.
const MAGIC: [u8; 4] = *b"GAP1";
const HEADER: usize = 24;
const TAG: usize = 32;
/// The longest name of an object in Kubernetes.
const LONGEST_NAME: usize = 253;
/// Longer datagrams are none of ours: they would not go over an Ethernet link in one piece.
pub const LONGEST: usize = 1432;
/// Connections that one datagram tells of: each takes 49 bytes at most, two addresses, three ports and a time, and what
/// stands beside them 30.
pub const MOST_CONNECTIONS: usize = (LONGEST - HEADER - LONGEST_NAME - TAG - 30) / 49;

/// In flags: the sender may announce addresses.
const WILLING: u8 = 1;
/// In flags: another agent of the node goes on after a while of silence.
const SUCCEEDED: u8 = 2;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The sending node.
    pub from: String,
    /// It may announce addresses; false also when it is about to stop.
    pub willing: bool,
    /// Its successor is about to start, and takes its time.
    pub succeeded: bool,
    pub nonce: u64,
    /// 0: nothing was heard yet.
    pub echo: u64,
    pub content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The sender lives.
    Life,
    Ask(Question),
    Tell(Answer),
}

/// Which connections to an address endpoints of the receiving node have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    pub address: IpAddr,
    /// The first place of its flow table that hasn't been told of yet.
    pub from: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub question: Question,
    pub connections: Connections,
    /// An answer to the question that comes next is on its way, too.
    pub is_followed: bool,
}

/// What agents of one cluster share.
#[derive(Clone)]
pub struct Key {
    bytes: Vec<u8>,
    hmac: hmac::Key,
}

/// A key that gives no protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key has {0} bytes; it needs at least {SHORTEST_KEY}, drawn at random")]
pub struct ShortKey(usize);

/// 128 bits can't be guessed.
const SHORTEST_KEY: usize = 16;

impl Key {
    pub fn new(bytes: &[u8]) -> Result<Self, ShortKey> {
        if bytes.len() < SHORTEST_KEY {
            return Err(ShortKey(bytes.len()));
        }
        Ok(Self { bytes: bytes.to_vec(), hmac: hmac::Key::new(hmac::HMAC_SHA256, bytes) })
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl Message {
    pub fn encode(&self, key: &Key) -> Vec<u8> {
        let name = &self.from.as_bytes()[..self.from.len().min(LONGEST_NAME)];
        let mut bytes = Vec::with_capacity(LONGEST);
        bytes.extend(MAGIC);
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        bytes.push(flag(self.willing, WILLING) | flag(self.succeeded, SUCCEEDED));
        bytes.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        bytes.extend([self.content.kind(), 0]);
        bytes.extend(self.nonce.to_be_bytes());
        bytes.extend(self.echo.to_be_bytes());
        bytes.extend(name);
        bytes = self.content.append_to(bytes);
        let tag = hmac::sign(&key.hmac, &bytes);
        bytes.extend(tag.as_ref());
        bytes
    }

    /// None: it was made without the key.
    pub fn decode(bytes: &[u8], key: &Key) -> Option<Self> {
        let (content, tag) = bytes.split_at_checked(bytes.len().checked_sub(TAG)?)?;
        let (header, rest) = content.split_at_checked(HEADER)?;
        if header[..4] != MAGIC {
            return None;
        }
        let (name, said) = rest.split_at_checked(header[5].into())?;
        hmac::verify(&key.hmac, content, tag).ok()?;
        Some(Self {
            from: std::str::from_utf8(name).ok()?.to_owned(),
            willing: header[4] & WILLING != 0,
            succeeded: header[4] & SUCCEEDED != 0,
            nonce: u64::from_be_bytes(header[8..16].try_into().ok()?),
            echo: u64::from_be_bytes(header[16..24].try_into().ok()?),
            content: Content::parse(header[6], said)?,
        })
    }
}

impl Content {
    fn kind(&self) -> u8 {
        match self {
            Self::Life => 0,
            Self::Ask(_) => 1,
            Self::Tell(_) => 2,
        }
    }

    fn append_to(&self, bytes: Vec<u8>) -> Vec<u8> {
        let appended = match self {
            Self::Life => return bytes,
            Self::Ask(question) => postcard::to_extend(question, bytes),
            Self::Tell(answer) => postcard::to_extend(answer, bytes),
        };
        appended.expect("a vector takes all")
    }

    fn parse(kind: u8, bytes: &[u8]) -> Option<Self> {
        match kind {
            0 => bytes.is_empty().then_some(Self::Life),
            1 => postcard::from_bytes(bytes).ok().map(Self::Ask),
            2 => postcard::from_bytes(bytes).ok().map(Self::Tell),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use gateway_agent_kernel::Connection;
    use gateway_agent_tables::Protocol;

    use super::*;

    fn key(byte: u8) -> Key {
        Key::new(&[byte; 32]).expect("long enough")
    }

    #[test]
    fn what_was_said_is_heard_by_those_with_the_key() {
        for from in ["node1", &"n".repeat(253)] {
            for (willing, succeeded) in [(true, false), (false, true), (true, true)] {
                let (nonce, content) = (u64::MAX, Content::Life);
                let message = Message { from: from.to_owned(), willing, succeeded, nonce, echo: 7, content };
                let bytes = message.encode(&key(1));
                assert!(bytes.len() <= LONGEST);
                assert_eq!(Message::decode(&bytes, &key(1)), Some(message));
                assert_eq!(Message::decode(&bytes, &key(2)), None);
            }
        }
    }

    #[test]
    fn no_byte_can_be_changed_or_left_out() {
        let question = Question { address: "192.0.2.1".parse().expect("an address"), from: 7 };
        let bytes = message(Content::Ask(question)).encode(&key(1));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(Message::decode(&changed, &key(1)), None, "byte {at}");
            assert_eq!(Message::decode(&bytes[..at], &key(1)), None, "{at} bytes");
        }
        assert_eq!(Message::decode(&[&bytes[..], &[0]].concat(), &key(1)), None);
    }

    fn message(content: Content) -> Message {
        Message { from: "n".repeat(253), willing: false, succeeded: false, nonce: 1, echo: 2, content }
    }

    #[test]
    fn what_is_told_fits_into_a_datagram() {
        let address = "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff".parse().expect("an address");
        let most = Connection {
            protocol: Protocol::Udp,
            client: SocketAddr::new(address, u16::MAX),
            port: u16::MAX,
            endpoint: SocketAddr::new(address, u16::MAX),
            seconds: u32::MAX,
        };
        let some = vec![most; MOST_CONNECTIONS];
        let question = Question { address, from: u32::MAX };
        let connections = Connections { some, next: Some(u32::MAX) };
        let told = message(Content::Tell(Answer { question, connections, is_followed: true }));
        let bytes = told.encode(&key(1));
        assert!((LONGEST - 49..=LONGEST).contains(&bytes.len()), "{}", bytes.len());
        assert_eq!(Message::decode(&bytes, &key(1)), Some(told));
    }

    #[test]
    fn short_keys_are_refused() {
        assert_eq!(Key::new(&[1; 15]), Err(ShortKey(15)));
    }
}
