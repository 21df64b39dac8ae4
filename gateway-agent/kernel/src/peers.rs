//! The maps `peers` and `peer_macs`: other nodes of the links that this one is on.

use std::collections::{BTreeMap, HashMap};
use std::io;

use aya::maps::{self as aya_maps, Array, MapData, MapError};
use gateway_common::maps::{LabelKind, Peer, PeerMac};
use serde::{Deserialize, Serialize};

use crate::endpoints::Endpoints;
use crate::ids::Ids;
use crate::labels::{self, Labels};
use crate::store::Store;

/// How another node is reached without a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerLink {
    /// The device that leads to it.
    pub ifindex: u32,
    /// Its address on the link, and the device's own.
    pub mac: [u8; 6],
    pub own_mac: [u8; 6],
}

pub(crate) type PeerMap = Array<MapData, Peer>;
pub(crate) type PeerMacs = aya_maps::HashMap<MapData, PeerMac, u32>;

/// In place of an id: this node, or one that nothing is handed on to.
pub(crate) const NO_PEER: u32 = 0;

#[derive(Debug)]
pub(crate) struct Peers {
    ids: Ids,
    /// Ids by the nodes' names.
    known: HashMap<String, u32>,
    written: HashMap<u32, Peer>,
}

/// Of a peer's id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PeerLabel {
    node: String,
}

impl Peers {
    /// What an earlier agent left, as far as something may still name it.
    pub(crate) fn recover(store: &mut Store, endpoints: &Endpoints) -> Result<Self, MapError> {
        let mut written = HashMap::new();
        for (id, peer) in (0u32..).zip(store.peers.iter()) {
            let peer = peer?;
            if peer != Peer::default() {
                written.insert(id, peer);
            }
        }
        let mut known = HashMap::new();
        for (id, label) in labels::read::<PeerLabel>(&store.labels, LabelKind::Peer)? {
            // Flows name those that are on a link.
            match label.filter(|_| written.contains_key(&id) || endpoints.has_peer(id)) {
                Some(label) => {
                    known.insert(label.node, id);
                }
                None => labels::remove(&mut store.labels, LabelKind::Peer, id)?,
            }
        }
        let ids = Ids::recover(store.peers.len(), known.values().copied().chain([NO_PEER]));
        Ok(Self { ids, known, written })
    }

    /// The id of a node; given to it if it has none. Without room for one more, the node's endpoints get their packets
    /// as from nodes of other links.
    pub(crate) fn id(&mut self, labels: &mut Labels, node: &str) -> Result<u32, MapError> {
        if let Some(id) = self.known.get(node) {
            return Ok(*id);
        }
        let Some(id) = self.ids.allocate() else { return Ok(NO_PEER) };
        let label = PeerLabel { node: node.to_owned() };
        if let Err(error) = labels::write(labels, LabelKind::Peer, id, &label) {
            self.ids.free(id);
            return Err(error);
        }
        self.known.insert(node.to_owned(), id);
        Ok(id)
    }

    /// Writes how nodes are reached. Those that are not named are on no link of this node.
    pub(crate) fn set(
        &mut self,
        store: &mut Store,
        links: &BTreeMap<String, PeerLink>,
    ) -> Result<(), MapError> {
        let mut wanted = HashMap::new();
        for (node, link) in links {
            let id = self.id(&mut store.labels, node)?;
            if id != NO_PEER {
                wanted.insert(id, peer(link));
            }
        }
        let stale: Vec<u32> = self.written.keys().filter(|id| !wanted.contains_key(id)).copied().collect();
        for id in stale {
            self.write(store, id, Peer::default())?;
        }
        for (id, peer) in wanted {
            self.write(store, id, peer)?;
        }
        self.forget_macs(store)
    }

    fn write(&mut self, store: &mut Store, id: u32, peer: Peer) -> Result<(), MapError> {
        if self.written.get(&id).copied().unwrap_or_default() == peer {
            return Ok(());
        }
        if peer.ifindex != 0 {
            // First: what it hands on must not be handed back.
            store.peer_macs.insert(mac(&peer), id, 0)?;
        }
        store.peers.set(id, peer, 0)?;
        if peer == Peer::default() {
            self.written.remove(&id);
        } else {
            self.written.insert(id, peer);
        }
        Ok(())
    }

    /// Link addresses that no peer has any more.
    fn forget_macs(&self, store: &mut Store) -> Result<(), MapError> {
        let used: Vec<PeerMac> = self.written.values().map(mac).collect();
        let known: Vec<PeerMac> = store.peer_macs.keys().collect::<Result<_, _>>()?;
        for mac in known.into_iter().filter(|mac| !used.contains(mac)) {
            match store.peer_macs.remove(&mac) {
                Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => (),
                result => result?,
            }
        }
        Ok(())
    }
}

fn peer(link: &PeerLink) -> Peer {
    Peer { ifindex: link.ifindex, mac: link.mac, own_mac: link.own_mac }
}

fn mac(peer: &Peer) -> PeerMac {
    PeerMac { mac: peer.mac, ..PeerMac::default() }
}
