//! Floods of HTTP/2 frames that bring nothing: PING, SETTINGS, PRIORITY, `WINDOW_UPDATE`, `RST_STREAM` (CVE-2023-44487),
//! CONTINUATION (CVE-2024-27316) and DATA without data. Each costs the client nothing and the proxy a little.
//!
//! A client has credit. Such frames cost it, and it is earned by being served: whoever downloads needs many a
//! `WINDOW_UPDATE`, and may now and then cancel a request. A flood is served nothing, so it ends.

use std::cell::Cell;

/// Frames that a client may send before it is served anything: nginx ends a connection after 1,000 requests, whatever
/// they are, and Envoy judges by 500 resets.
const FIRST: u32 = 1000;

/// Given back in each tick of a worker (250 ms), up to [`FIRST`]: connections that live long ping, and cancel.
const EACH_TICK: u32 = 25;

/// Bytes of an answer that earn one more: clients send at most two `WINDOW_UPDATE` (stream and connection) for each
/// frame of 16 kB, and some one for every kilobyte.
const EARNING: usize = 512;

/// What each piece earns, however small: some receivers answer each frame by both kinds.
const UPDATES: usize = 2;

/// What a client may still send of frames that bring nothing.
#[derive(Debug)]
pub(super) struct Credit {
    left: Cell<u32>,
    /// The tick of the worker up to which it was given back.
    since: Cell<u32>,
    flooded: Cell<bool>,
}

/// More frames than there was credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a flood of frames that bring nothing")]
pub(super) struct Flood;

/// Finds the frames in what a client sends.
#[derive(Debug)]
pub(super) struct Frames {
    /// Bytes of the preface or of a payload that are still to come.
    skip: usize,
    head: [u8; HEAD],
    have: usize,
    /// What comes is a body's.
    in_data: bool,
}

/// What there was in some bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Found {
    /// Frames that bring nothing.
    idle: usize,
    /// Bytes of bodies.
    data: usize,
}

/// Bytes of a frame's header (RFC 9113, 4.1): length (3), type, flags, stream (4).
const HEAD: usize = 9;

/// Types of RFC 9113, 6.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;

impl Credit {
    pub(super) fn new(now: u32) -> Self {
        Self { left: Cell::new(FIRST), since: Cell::new(now), flooded: Cell::new(false) }
    }

    /// An answer has begun.
    pub(super) fn earn_answer(&self) {
        self.earn(1);
    }

    /// So many bytes of an answer are on their way.
    pub(super) fn earn_data(&self, bytes: usize) {
        self.earn(u32::try_from(UPDATES + bytes / EARNING).unwrap_or(u32::MAX));
    }

    fn earn(&self, more: u32) {
        self.left.set(self.left.get().saturating_add(more));
    }

    /// Whether the client was found to flood.
    pub(super) fn is_flooded(&self) -> bool {
        self.flooded.get()
    }

    /// Pays for the frames in `bytes`; returns how much of these is of bodies.
    pub(super) fn pay(&self, frames: &mut Frames, bytes: &[u8], now: u32) -> Result<usize, Flood> {
        let back = now.saturating_sub(self.since.replace(now)).saturating_mul(EACH_TICK);
        if self.left.get() < FIRST {
            self.left.set(self.left.get().saturating_add(back).min(FIRST));
        }
        let Found { idle, data } = frames.find(bytes);
        let idle = u32::try_from(idle).unwrap_or(u32::MAX);
        let left = self.left.get().checked_sub(idle);
        self.left.set(left.unwrap_or_default());
        self.flooded.set(left.is_none());
        if left.is_some() { Ok(data) } else { Err(Flood) }
    }
}

impl Frames {
    /// Of a client whose preface, of this length, comes first.
    pub(super) fn after(preface: usize) -> Self {
        Self { skip: preface, head: [0; HEAD], have: 0, in_data: false }
    }

    fn find(&mut self, mut bytes: &[u8]) -> Found {
        let mut found = Found::default();
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            found.data += if self.in_data { skipped } else { 0 };
            bytes = &bytes[skipped..];
            let taken = (HEAD - self.have).min(bytes.len());
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == HEAD {
                let [high, middle, low, kind, flags, ..] = self.head;
                let len = u32::from_be_bytes([0, high, middle, low]) as usize;
                (self.skip, self.have, self.in_data) = (len, 0, kind == DATA);
                found.idle += usize::from(!brings(kind, flags, len));
            }
        }
        found
    }
}

/// Whether a frame begins a request, or brings some of it or its end.
fn brings(kind: u8, flags: u8, len: usize) -> bool {
    match kind {
        HEADERS => true,
        DATA => len > 0 || flags & END_STREAM != 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let len = u32::try_from(payload.len()).expect("short").to_be_bytes();
        [&len[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    #[test]
    fn frames_are_found_wherever_reads_end() {
        let all: Vec<u8> = [
            b"PRI".to_vec(),
            frame(4, 0, &[0; 6]),
            frame(1, 5, &[0; 300]),
            frame(0, 0, b""),
            frame(0, 1, b""),
            frame(0, 0, &[6; 20]),
            frame(8, 0, &[0; 4]),
        ]
        .concat();
        for size in [1, 7, 64, all.len()] {
            let mut frames = Frames::after(3);
            let found: Vec<_> = all.chunks(size).map(|bytes| frames.find(bytes)).collect();
            let sum = |of: fn(&Found) -> usize| found.iter().map(of).sum::<usize>();
            assert_eq!((sum(|it| it.idle), sum(|it| it.data)), (3, 20), "{size}");
        }
    }

    #[test]
    fn who_is_served_may_go_on() {
        let (credit, mut frames) = (Credit::new(0), Frames::after(0));
        let update = frame(8, 0, &[0; 4]);
        for _ in 0..10 * FIRST {
            credit.earn_data(16 << 10);
            for _ in 0..2 {
                assert_eq!(credit.pay(&mut frames, &update, 0), Ok(0));
            }
        }
    }

    #[test]
    fn who_is_not_served_ends() {
        let (credit, mut frames) = (Credit::new(0), Frames::after(0));
        let ping = frame(6, 0, &[0; 8]);
        let mut send = |number: u32, now| {
            (0..number)
                .try_for_each(|_| credit.pay(&mut frames, &ping, now).map(drop))
                .map_err(|_| credit.is_flooded())
        };
        assert_eq!(send(FIRST, 0), Ok(()));
        // A second later.
        assert_eq!(send(4 * EACH_TICK, 4), Ok(()));
        assert_eq!(send(1, 4), Err(true));
    }
}
