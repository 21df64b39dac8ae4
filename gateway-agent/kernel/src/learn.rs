//! When a pool address moves, the node that gets it learns from the others which flows they have: packets of these go on to
//! them, whatever the ring has become since the flow began. Only the node of a flow's endpoint has all that it takes to
//! serve it, so only that node tells of it, and it alone serves it afterwards as before.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{array, iter, mem};

use aya::programs::{TestRun as _, TestRunOptions};
use gateway_agent_tables::Protocol;
use gateway_common::flow::State;
use gateway_common::headers::ETHERNET;
use gateway_common::maps::{Endpoint, EndpointState, FlowKey, OF_PEER, PeerMac, Slot, Told, slot_flags};
use serde::{Deserialize, Serialize};

use crate::address::{mapped, number, protocol, socket};
use crate::announce::{AnnounceError, Announcements, ticks};
use crate::endpoints::EndpointKey;
use crate::flows::{self, LiveSlot};
use crate::peers::NO_PEER;
use crate::{PeerLink, sys};

/// The program that makes a flow of what was told.
pub(crate) const LEARN: &str = "learn";

/// A flow of a pool address whose endpoint is on the node that tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    pub protocol: Protocol,
    pub client: SocketAddr,
    /// Of the pool address.
    pub port: u16,
    pub endpoint: SocketAddr,
    /// How long it may be silent from now on.
    pub seconds: u32,
}

/// Some of a node's connections, in the order of its flow table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    pub some: Vec<Connection>,
    /// The place from which on there may be more.
    pub next: Option<u32>,
}

/// Flows that are looked at in one go: half a millisecond of an announcer that has probes to answer.
const LOOKS: usize = 512;

impl Announcements {
    /// Connections to an address that endpoints of this node have, at most so many, from a place of the flow table on.
    /// Those that only open are left out: they have begun just now, so that the ring tells where they are.
    pub fn connections(&self, address: IpAddr, from: u32, most: usize) -> Connections {
        let (address, now) = (mapped(address), sys::tick());
        let mut found = Connections::default();
        for (looks, live) in iter::zip(1.., flows::live_slots(&self.forward, &self.slots, from, now)) {
            if live.slot.forward.destination == address && is_served_here(&live) && self.is_listed(&live.slot)
            {
                found.some.extend(connection(&live, now));
            }
            if found.some.len() == most || looks == LOOKS {
                found.next = Some(live.number + 1);
                break;
            }
        }
        found
    }

    /// Has packets of connections go to the node that told of them, for as long as their endpoints are listed, if they are
    /// known here. False: the kernel doesn't know yet how to reach the node. What fails for one is told after all others.
    pub fn learn(
        &self,
        address: IpAddr,
        connections: &[Connection],
        link: &PeerLink,
    ) -> Result<bool, AnnounceError> {
        let Ok(peer) = self.peer_macs.get(&PeerMac { mac: link.mac, ..PeerMac::default() }, 0) else {
            return Ok(false);
        };
        let (program, endpoints) = (self.program(LEARN)?, self.endpoints_of(peer));
        let learnt = connections.iter().map(|connection| {
            let endpoint = (connection.protocol, connection.endpoint);
            let target = endpoints.get(&endpoint).copied().unwrap_or((peer, OF_PEER));
            let frame = frame(&told(address, connection, target));
            let options = TestRunOptions { data_in: Some(&frame), ..TestRunOptions::default() };
            let run = program.test_run(options);
            run.map(drop).map_err(|cause| AnnounceError::Learn { client: connection.client, cause })
        });
        learnt.fold(Ok(()), Result::and).map(|()| true)
    }

    /// Of endpoints that are gone, connections have ended, whatever their packets have said.
    fn is_listed(&self, slot: &Slot) -> bool {
        let words = self.endpoints.chunks_exact(ENDPOINT_WORDS).nth(slot.endpoint as usize);
        let own = words.and_then(|words| endpoint(slot.endpoint, words, NO_PEER));
        own.is_some_and(|(_, (_, generation))| generation == slot.endpoint_generation)
    }

    /// Ids and generations of a node's endpoints.
    fn endpoints_of(&self, peer: u32) -> HashMap<EndpointKey, (u32, u32)> {
        let entries = (0u32..).zip(self.endpoints.chunks_exact(ENDPOINT_WORDS));
        entries.filter_map(|(id, words)| endpoint(id, words, peer)).collect()
    }
}

/// Words of an entry of the map `endpoints`.
pub(crate) const ENDPOINT_WORDS: usize = size_of::<Endpoint>() / size_of::<u64>();

/// An endpoint of a node. One that is being written may be left out: its state and generation are one word, which is the
/// last to say that it is not gone.
fn endpoint(id: u32, words: &[AtomicU64], peer: u32) -> Option<(EndpointKey, (u32, u32))> {
    let before = words[STATE_WORD].load(Ordering::Acquire);
    let words: [u64; ENDPOINT_WORDS] = array::from_fn(|n| words[n].load(Ordering::Acquire));
    // SAFETY: as long, and valid for every bit pattern.
    let entry: Endpoint = unsafe { mem::transmute(words) };
    if entry.peer != peer || entry.state == EndpointState::Gone as u8 || words[STATE_WORD] != before {
        return None;
    }
    let key = (protocol(entry.protocol)?, socket(entry.address, entry.port));
    Some((key, (id, entry.generation)))
}

/// Where an endpoint's state stands.
const STATE_WORD: usize = mem::offset_of!(Endpoint, state) / size_of::<u64>();

fn is_served_here(live: &LiveSlot) -> bool {
    let is_open = matches!(
        live.word.state(),
        State::Established | State::HalfClosedByClient | State::HalfClosedByEndpoint
    );
    is_open && live.slot.flags & (slot_flags::HANDED_ON | slot_flags::SNAT) == 0
}

fn connection(live: &LiveSlot, now: u32) -> Option<Connection> {
    let FlowKey { source, source_port, destination_port, protocol: number, .. } = live.slot.forward;
    let endpoint = &live.slot.reverse;
    Some(Connection {
        protocol: protocol(number)?,
        client: socket(source, source_port),
        port: destination_port,
        endpoint: socket(endpoint.source, endpoint.source_port),
        seconds: u32::try_from(flows::expires_in(live.word, now).as_secs()).unwrap_or(u32::MAX),
    })
}

fn told(address: IpAddr, connection: &Connection, (target, target_generation): (u32, u32)) -> Told {
    let Connection { protocol, client, port, endpoint, seconds } = connection;
    Told {
        key: FlowKey {
            source: mapped(client.ip()),
            destination: mapped(address),
            source_port: client.port(),
            destination_port: *port,
            protocol: number(*protocol),
            reserved: [0; 3],
        },
        endpoint: mapped(endpoint.ip()),
        endpoint_port: endpoint.port(),
        reserved: 0,
        ticks: ticks(Duration::from_secs((*seconds).into())),
        target,
        target_generation,
    }
}

/// As the program reads it: behind a link header of a protocol that is for experiments (0x88b5, IEEE 802), and so no packet's.
fn frame(told: &Told) -> [u8; ETHERNET + size_of::<Told>()] {
    let mut frame = [0; ETHERNET + size_of::<Told>()];
    frame[ETHERNET - 2..ETHERNET].copy_from_slice(&[0x88, 0xb5]);
    frame[ETHERNET..].copy_from_slice(told.bytes());
    frame
}
