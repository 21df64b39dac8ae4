//! Keys, and what becomes of each packet of theirs: judged to the byte, by whoever sends it.

use std::net::SocketAddr;
use std::thread;

use packets::connection::{CLIENT_ISN, ENDPOINT_ISN};
use packets::packet::{Packet, ends, reset_and_ack, tcp};
use packets::table::{Live, ends as key_ends};
use packets::{Node, Port};

use crate::ledger::Ledger;

/// Who connects to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) client: SocketAddr,
    pub(crate) frontend: SocketAddr,
}

/// What a newcomer was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Mapping {
    /// The client as the endpoint sees it.
    pub(crate) source: SocketAddr,
    pub(crate) endpoint: SocketAddr,
}

/// What a SYN came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Sent(Mapping),
    /// By RST.
    Refused,
    Dropped,
}

/// What an answer of the endpoint came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// To its client.
    Back,
    /// Nobody has the flow.
    Passed,
    /// To another client: the port is another flow's by now.
    Elsewhere,
}

/// Verdicts of `linux/pkt_cls.h`.
const UNSPEC: i32 = -1;
const SHOT: i32 = 2;
const REDIRECT: i32 = 7;

impl Key {
    /// One SYN, right whatever becomes of it.
    pub(crate) fn knocks(self, node: &Node, ledger: &mut Ledger) -> Fate {
        let syn = tcp(self.client, self.frontend).syn(CLIENT_ISN);
        let sent = syn.frame(Port::Wan.mac(), Port::Wan.peer_mac());
        match node.process(Port::Wan, &sent) {
            (SHOT, ..) => {
                ledger.of(self.frontend).dropped += 1;
                Fate::Dropped
            }
            (REDIRECT, frame, Some(Port::Wan)) => {
                let reset = reset_and_ack(self.frontend, self.client, CLIENT_ISN + 1);
                let reset = reset.frame(Port::Wan.peer_mac(), Port::Wan.mac());
                // The answer to a SYN that seems to leave its checksum to the device does so, too.
                assert!(
                    frame == reset || syn.looks_partial(),
                    "{self:?}: {frame:02x?} instead of {reset:02x?}"
                );
                ledger.of(self.frontend).refused += 1;
                Fate::Refused
            }
            (REDIRECT, frame, Some(port)) => {
                let (source, endpoint) = ends(&frame);
                let mapping = Mapping { source, endpoint };
                assert_eq!(port, mapping.port(self), "{self:?}");
                assert_eq!(frame, on(&syn.from(source).to(endpoint), Port::Wan), "{self:?}");
                ledger.of(self.frontend).packets_in += 1;
                Fate::Sent(mapping)
            }
            other => panic!("{self:?}: a SYN was neither sent on nor refused: {other:?}"),
        }
    }

    /// As a client does: a SYN that is dropped is sent again. None: it was refused.
    pub(crate) fn insists(self, node: &Node, ledger: &mut Ledger) -> Option<Mapping> {
        for _ in 0..1000 {
            match self.knocks(node, ledger) {
                Fate::Sent(mapping) => return Some(mapping),
                Fate::Refused => return None,
                Fate::Dropped => thread::yield_now(),
            }
        }
        panic!("{self:?} was dropped a thousand times");
    }

    /// The client's packet; true: it went on to the endpoint; false: nobody has the flow.
    pub(crate) fn asks(self, node: &Node, mapping: Mapping, ledger: &mut Ledger, packet: &Packet) -> bool {
        let sent = packet.frame(Port::Wan.mac(), Port::Wan.peer_mac());
        match node.process(Port::Wan, &sent) {
            (UNSPEC, frame, None) if frame == sent => false,
            (REDIRECT, frame, Some(port)) => {
                let expected = on(&packet.from(mapping.source).to(mapping.endpoint), Port::Wan);
                let has_moved = "the flow has another mapping";
                assert_eq!(
                    (port, ends(&frame)),
                    (mapping.port(self), ends(&expected)),
                    "{self:?}: {has_moved}"
                );
                assert_eq!(frame, expected, "{self:?}");
                ledger.of(self.frontend).packets_in += 1;
                true
            }
            other => panic!("{self:?}: {packet:?} came to {other:?}"),
        }
    }

    /// The endpoint's packet.
    pub(crate) fn is_answered(
        self,
        node: &Node,
        mapping: Mapping,
        ledger: &mut Ledger,
        packet: &Packet,
    ) -> Answer {
        let port = mapping.port(self);
        let sent = packet.frame(port.mac(), port.peer_mac());
        match node.process(port, &sent) {
            (UNSPEC, frame, None) if frame == sent => Answer::Passed,
            (REDIRECT, frame, Some(Port::Wan)) => {
                let (frontend, client) = ends(&frame);
                assert_eq!(frame, on(&packet.from(frontend).to(client), port), "{self:?}");
                ledger.of(frontend).packets_out += 1;
                if (Self { client, frontend }) == self { Answer::Back } else { Answer::Elsewhere }
            }
            other => panic!("{self:?}: {packet:?} came to {other:?}"),
        }
    }

    /// Segments from the client, and from its endpoint.
    pub(crate) fn request(self, flags: u8) -> Packet {
        tcp(self.client, self.frontend).segment(flags, CLIENT_ISN + 1, ENDPOINT_ISN + 1)
    }

    pub(crate) fn answer(mapping: Mapping, flags: u8) -> Packet {
        let begun = u32::from(flags & packets::packet::SYN == 0);
        tcp(mapping.endpoint, mapping.source).segment(flags, ENDPOINT_ISN + begun, CLIENT_ISN + 1)
    }
}

impl Mapping {
    /// The endpoint's device.
    fn port(self, key: Key) -> Port {
        if self.source.ip() == key.client.ip() { Port::Pods } else { Port::Lan }
    }
}

/// The flow as the table has it.
pub(crate) fn life_of(live: &Live) -> (Key, Mapping) {
    let ((client, frontend), (endpoint, source)) = (key_ends(&live.forward), key_ends(&live.reverse));
    (Key { client, frontend }, Mapping { source, endpoint })
}

/// The frame that came in by `port` on its way out.
fn on(packet: &Packet, port: Port) -> Vec<u8> {
    packet.hopped().frame(port.mac(), port.peer_mac())
}
