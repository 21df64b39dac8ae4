//! What became of a packet, and what should have.

use std::net::SocketAddr;

use gateway_common::reason::Reason;

use crate::node::Port;
use crate::packet::{ETHERNET, Packet, ends};

/// To be judged by one of its methods.
#[derive(Clone, Debug)]
#[must_use]
pub struct Outcome {
    pub(crate) arrived_at: Port,
    pub(crate) arrived: Vec<u8>,
    pub(crate) verdict: i32,
    pub(crate) left_by: Option<Port>,
    pub(crate) left: Vec<u8>,
    pub(crate) counted: Vec<(&'static str, u64)>,
}

/// Verdicts of `linux/pkt_cls.h`.
const UNSPEC: i32 = -1;
const SHOT: i32 = 2;
const REDIRECT: i32 = 7;

impl Outcome {
    /// Not ours: untouched, for the host.
    #[track_caller]
    pub fn passes(self) {
        assert_eq!(self.verdict, UNSPEC, "{self:?} should pass");
        self.assert_bytes(&self.arrived);
        self.assert_counted(None);
    }

    /// Goes on by that device as that packet. Its link header is the kernel's to write.
    #[track_caller]
    pub fn leaves_by(self, port: Port, packet: &Packet) {
        assert_eq!((self.verdict, self.left_by), (REDIRECT, Some(port)), "{self:#?} should be {packet:#?}");
        let [destination, source] = self.link_addresses();
        self.assert_bytes(&packet.frame(destination, source));
        self.assert_counted(None);
    }

    /// That frame leaves by that device.
    #[track_caller]
    pub fn leaves_as(self, port: Port, frame: &[u8]) {
        assert_eq!((self.verdict, self.left_by), (REDIRECT, Some(port)), "{self:#?}");
        self.assert_bytes(frame);
        self.assert_counted(None);
    }

    /// The sender gets that packet back, for that reason.
    #[track_caller]
    pub fn is_answered(self, reason: Reason, packet: &Packet) {
        let back = (REDIRECT, Some(self.arrived_at));
        assert_eq!((self.verdict, self.left_by), back, "{self:#?} should be answered by {packet:#?}");
        let [destination, source] = self.link_addresses();
        self.assert_bytes(&packet.frame(source, destination));
        self.assert_counted(Some(reason));
    }

    /// Dropped and counted.
    #[track_caller]
    pub fn is_dropped(self, reason: Reason) {
        assert_eq!(self.verdict, SHOT, "{self:?} should be dropped");
        self.assert_counted(Some(reason));
    }

    /// Something goes back to the sender.
    pub fn is_answer(&self) -> bool {
        self.verdict == REDIRECT && self.left_by == Some(self.arrived_at)
    }

    pub fn is_redirected(&self) -> bool {
        self.verdict == REDIRECT && self.left_by != Some(self.arrived_at)
    }

    /// Where the packet that left seems to come from.
    pub fn source(&self) -> SocketAddr {
        ends(&self.left).0
    }

    /// Where it goes.
    pub fn destination(&self) -> SocketAddr {
        ends(&self.left).1
    }

    /// Destination and source of the frame that arrived.
    fn link_addresses(&self) -> [[u8; 6]; 2] {
        [0, 6].map(|at| self.arrived[at..at + 6].try_into().expect("a link header"))
    }

    #[track_caller]
    fn assert_bytes(&self, expected: &[u8]) {
        assert!(
            self.left == expected,
            "another packet left\n arrived {}\n    left {}\nexpected {}",
            hex(&self.arrived),
            hex(&self.left),
            hex(expected)
        );
    }

    /// Exactly that reason was counted, once.
    #[track_caller]
    fn assert_counted(&self, reason: Option<Reason>) {
        let expected: Vec<_> = reason.iter().map(|reason| (reason.name(), 1)).collect();
        assert_eq!(self.counted, expected, "the reasons that were counted");
    }
}

/// Link header, then words of four bytes.
fn hex(frame: &[u8]) -> String {
    let (link, packet) = frame.split_at(ETHERNET.min(frame.len()));
    let text = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let words: Vec<_> = packet.chunks(4).map(text).collect();
    format!("{} | {}", text(link), words.join(" "))
}
