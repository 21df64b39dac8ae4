//! What agents tell each other: a datagram that proves who sent it, and that it is no recording.
//!
//! ```text
//! "GAP1"  flags 1  length of name 1  zero 2  nonce 8  echo 8  name  HMAC-SHA-256 32
//! ```
//!
//! `nonce` grows with each period, from a random number on that is drawn when the agent starts. `echo` is the last
//! nonce that came from the receiver: a datagram with a recent one was made after that, so no clocks are compared
//! and nothing is kept over a restart.

use std::fmt;

use aws_lc_rs::hmac;

/// The first bytes: gateway-agent's probes, version 1.
const MAGIC: [u8; 4] = *b"GAP1";
const HEADER: usize = 24;
const TAG: usize = 32;
/// The longest name of an object in Kubernetes.
const LONGEST_NAME: usize = 253;
/// Longer datagrams are none of ours.
pub const LONGEST: usize = HEADER + LONGEST_NAME + TAG;

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
        bytes.extend([0; 2]);
        bytes.extend(self.nonce.to_be_bytes());
        bytes.extend(self.echo.to_be_bytes());
        bytes.extend(name);
        let tag = hmac::sign(&key.hmac, &bytes);
        bytes.extend(tag.as_ref());
        bytes
    }

    /// None: it was made without the key.
    pub fn decode(bytes: &[u8], key: &Key) -> Option<Self> {
        let (content, tag) = bytes.split_at_checked(bytes.len().checked_sub(TAG)?)?;
        let (header, name) = content.split_at_checked(HEADER)?;
        if header[..4] != MAGIC || usize::from(header[5]) != name.len() {
            return None;
        }
        hmac::verify(&key.hmac, content, tag).ok()?;
        Some(Self {
            from: std::str::from_utf8(name).ok()?.to_owned(),
            willing: header[4] & WILLING != 0,
            succeeded: header[4] & SUCCEEDED != 0,
            nonce: u64::from_be_bytes(header[8..16].try_into().ok()?),
            echo: u64::from_be_bytes(header[16..24].try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Key {
        Key::new(&[byte; 32]).expect("long enough")
    }

    #[test]
    fn what_was_said_is_heard_by_those_with_the_key() {
        for from in ["node1", &"n".repeat(253)] {
            for (willing, succeeded) in [(true, false), (false, true), (true, true)] {
                let message = Message { from: from.to_owned(), willing, succeeded, nonce: u64::MAX, echo: 7 };
                let bytes = message.encode(&key(1));
                assert!(bytes.len() <= LONGEST);
                assert_eq!(Message::decode(&bytes, &key(1)), Some(message));
                assert_eq!(Message::decode(&bytes, &key(2)), None);
            }
        }
    }

    #[test]
    fn no_byte_can_be_changed_or_left_out() {
        let message =
            Message { from: "node1".to_owned(), willing: false, succeeded: false, nonce: 1, echo: 2 };
        let bytes = message.encode(&key(1));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(Message::decode(&changed, &key(1)), None, "byte {at}");
            assert_eq!(Message::decode(&bytes[..at], &key(1)), None, "{at} bytes");
        }
        assert_eq!(Message::decode(&[&bytes[..], &[0]].concat(), &key(1)), None);
    }

    #[test]
    fn short_keys_are_refused() {
        assert_eq!(Key::new(&[1; 15]), Err(ShortKey(15)));
    }
}
