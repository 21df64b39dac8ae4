//! The flow table as it lies in memory, and what must hold of it whenever no program runs.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::MapData;
use gateway_common::flow::{GRACE, ReverseWord, State, Word};
use gateway_common::hash::Place;
use gateway_common::maps::{Bucket, FlowKey, Settings, Slot, TICK_SHIFT, WAYS};

/// The three maps, shared with the kernel.
#[derive(Debug)]
pub struct Table {
    forward: Words,
    reverse: Words,
    slots: Words,
}

/// One live flow's slot and keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Live {
    pub slot: u32,
    pub forward: FlowKey,
    pub reverse: FlowKey,
}

impl Table {
    pub(crate) fn open(pin: &Path) -> Self {
        let map = |name: &str, bytes| Words::of(&pin.join("maps").join(name), bytes);
        Self {
            forward: map("forward", size_of::<Bucket>()),
            reverse: map("reverse", size_of::<Bucket>()),
            slots: map("slots", size_of::<Slot>()),
        }
    }

    /// Places for flows.
    pub fn places(&self) -> usize {
        self.forward.0.len()
    }

    /// Empties the places of these flows, generations kept. Only while no program uses them.
    pub fn clear(&self, which: impl Fn(&Live) -> bool) {
        self.end(which, |word, _| word.with_state(State::Empty, 0));
    }

    /// Lets these flows' time be up, as a long silence would. Only while no program uses them.
    pub fn expire(&self, which: impl Fn(&Live) -> bool) {
        self.end(which, |word, now| word.with_state(word.state(), now));
    }

    fn end(&self, which: impl Fn(&Live) -> bool, how: impl Fn(Word, u32) -> Word) {
        let now = tick();
        for (slot, place) in (0..).zip(self.forward.0) {
            let word = Word(place.load(Ordering::SeqCst));
            if word.is_live(now) && which(&self.live(slot)) {
                place.store(how(word, now).0, Ordering::SeqCst);
            }
        }
    }

    /// Claims a place for the key, as a CPU does that is about to make its flow.
    pub fn claim(&self, key: &FlowKey, settings: &Settings) {
        let place = Place::forward(key, settings);
        let bucket = WAYS * usize::try_from(place.first).expect("a bucket's number");
        let free = self.forward.0[bucket..bucket + WAYS]
            .iter()
            .find(|word| Word(word.load(Ordering::SeqCst)).is_free(tick()));
        let claim = Word::new(place.tag, State::Busy, key.protocol, 0, tick() + GRACE);
        free.expect("a free place").store(claim.0, Ordering::SeqCst);
    }

    /// Fills the reverse table with references to one of the flows.
    pub fn crowd(&self) {
        let flow = self.audit().first().expect("a flow").slot;
        let word_of = |slot: u32| {
            let place = usize::try_from(slot).expect("a slot's number");
            Word(self.forward.0[place].load(Ordering::SeqCst))
        };
        let reference = ReverseWord::new(0, word_of(flow).generation(), flow);
        for place in self.reverse.0 {
            let entry = ReverseWord(place.load(Ordering::SeqCst));
            let flow = word_of(entry.slot());
            if !entry.is_used() || flow.generation() != entry.generation() || !flow.is_live(tick()) {
                place.store(reference.0, Ordering::SeqCst);
            }
        }
    }

    /// Whether anybody may take any place: all flows' time is up, and the grace has passed.
    pub fn is_free(&self) -> bool {
        let now = tick();
        self.forward.0.iter().all(|word| Word(word.load(Ordering::SeqCst)).is_free(now))
    }

    /// The live flows, after a strict look at each, while no program runs: one place for each forward key, one for each
    /// reverse key, one reverse word for each flow, and no place claimed without end.
    ///
    /// One word in the whole table may be too many, if it is another key's: generations wrap after 4,096 uses of a slot,
    /// so that an old word looks current once in as many times. Programs compare keys and aren't misled.
    pub fn audit(&self) -> Vec<Live> {
        let now = tick();
        let mut references = BTreeMap::<(u32, u16), Vec<u16>>::new();
        for word in self.reverse.0 {
            let entry = ReverseWord(word.load(Ordering::SeqCst));
            if entry.is_used() {
                references.entry((entry.slot(), entry.generation())).or_default().push(entry.tag());
            }
        }
        let mut live = Vec::new();
        let mut surplus = 0;
        for (slot, word) in (0..).zip(self.forward.0) {
            let word = Word(word.load(Ordering::SeqCst));
            let left = word.left(now);
            assert!(
                word.state() != State::Busy || left <= GRACE.cast_signed(),
                "slot {slot} is claimed for {left} ticks more: {word:?}"
            );
            if word.is_live(now) {
                let tags = references.remove(&(slot, word.generation())).unwrap_or_default();
                let keys: BTreeSet<_> = tags.iter().collect();
                let told =
                    || format!("slot {slot}: {word:?} {:?}, reverse words' tags {tags:x?}", self.live(slot));
                assert!(!tags.is_empty(), "no reverse word: {}", told());
                assert_eq!(keys.len(), tags.len(), "two reverse words of one key: {}", told());
                surplus += tags.len() - 1;
                assert!(surplus < 2, "reverse words beyond one old one: {}", told());
                live.push(self.live(slot));
            }
        }
        for (name, key) in
            [("forward", (|live| live.forward) as fn(&Live) -> FlowKey), ("reverse", |live| live.reverse)]
        {
            let mut seen = HashSet::new();
            for flow in &live {
                assert!(seen.insert(key(flow)), "two flows with one {name} key: {flow:?}");
            }
        }
        live
    }

    /// Claims that nobody has published or given back. While no program runs there are none.
    pub fn claims(&self) -> BTreeSet<u32> {
        let words = (0..).zip(self.forward.0);
        let state = |word: &AtomicU64| Word(word.load(Ordering::SeqCst)).state();
        words.filter(|(_, word)| state(word) == State::Busy).map(|(slot, _)| slot).collect()
    }

    fn live(&self, slot: u32) -> Live {
        const WORDS: usize = size_of::<Slot>() / 8;
        let start = WORDS * usize::try_from(slot).expect("a slot's number");
        let key = |at: usize| {
            let words = std::array::from_fn(|i| self.slots.0[start + at / 8 + i].load(Ordering::SeqCst));
            *FlowKey::from_words(&words)
        };
        Live {
            slot,
            forward: key(std::mem::offset_of!(Slot, forward)),
            reverse: key(std::mem::offset_of!(Slot, reverse)),
        }
    }
}

const _: () = assert!(size_of::<Bucket>() == 8 * WAYS);

/// A mapping for the rest of the process: the memory lives as long as any mapping of the map does.
#[derive(Debug)]
struct Words(&'static [AtomicU64]);

impl Words {
    fn of(pin: &Path, value_bytes: usize) -> Self {
        let map = MapData::from_pin(pin).expect("the map is pinned");
        let entries = map.info().expect("the map's size").max_entries();
        let bytes = value_bytes * usize::try_from(entries).expect("a size");
        // SAFETY: a new shared mapping, never unmapped; the kernel refuses more bytes than the map has. It is aligned
        // to a page, every bit pattern is valid, and all access is atomic.
        let words = unsafe {
            let start = libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.fd().as_fd().as_raw_fd(),
                0,
            );
            assert_ne!(start, libc::MAP_FAILED, "{}: {}", pin.display(), std::io::Error::last_os_error());
            std::slice::from_raw_parts(start.cast_const().cast(), bytes / 8)
        };
        Self(words)
    }
}

/// Source and destination of a key.
pub fn ends(key: &FlowKey) -> (SocketAddr, SocketAddr) {
    let end = |address, port| SocketAddr::new(Ipv6Addr::from(address).to_canonical(), port);
    (end(key.source, key.source_port), end(key.destination, key.destination_port))
}

/// The present tick of the clock that the programs read.
pub fn tick() -> u32 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut time) };
    let nanoseconds = time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned();
    u32::try_from(nanoseconds >> TICK_SHIFT).expect("less than nine years of uptime")
}
