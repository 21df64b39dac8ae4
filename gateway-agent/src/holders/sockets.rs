//! Sockets of this network namespace that others may send to: what listens for TCP, and what is bound for UDP and not
//! connected (`sock_diag(7)`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use gateway_agent_tables::Protocol;
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP};
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags, nlas::Nla,
};
use rtnetlink::packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use rtnetlink::sys::protocols::NETLINK_SOCK_DIAG;
use rtnetlink::sys::{Socket, SocketAddr};

use super::{At, Held};

/// The sockets at the last look.
#[derive(Debug, Default)]
pub struct Sockets {
    /// Each with the time when it was seen first.
    found: BTreeMap<Found, Instant>,
    looked: Option<Instant>,
    /// Ports that the kernel gives to sockets that ask for none.
    ephemeral: Option<(u16, u16)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    protocol: Protocol,
    address: IpAddr,
    port: NonZeroU16,
    v6_only: bool,
    uid: u32,
}

/// Longer than an unanswered question to a name server is waited for (resolv.conf(5): 5 s).
const STAYS: Duration = Duration::from_secs(8);

/// A dump's answers come in pieces of at most this many bytes (`NLMSG_GOODSIZE` is a page, at most 8 KiB).
const PIECE: usize = 32 << 10;

impl Sockets {
    pub fn look(&mut self, now: Instant) -> io::Result<()> {
        let mut found = BTreeSet::new();
        for (protocol, number, states) in [
            (Protocol::Tcp, IPPROTO_TCP, StateFlags::LISTEN),
            // Of UDP, this is the state of a socket that is bound and not connected.
            (Protocol::Udp, IPPROTO_UDP, StateFlags::CLOSE),
        ] {
            for (family, socket_id) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
                let extensions = ExtensionFlags::empty();
                let states = states.clone();
                let request = InetRequest { family, protocol: number, extensions, states, socket_id };
                dump(request, |response| found.extend(Found::parse(protocol, response)))?;
            }
        }
        let before = std::mem::take(&mut self.found);
        let since = |socket: &Found| before.get(socket).copied().unwrap_or(now);
        self.found = found.into_iter().map(|socket| (socket, since(&socket))).collect();
        self.looked = Some(now);
        self.ephemeral = ephemeral_ports();
        Ok(())
    }

    /// A UDP socket whose port the kernel may have chosen counts when it stays: most of them ask a name server and are gone,
    /// and flows must not suffer from it.
    pub(super) fn held(&self) -> impl Iterator<Item = Held> {
        let is_ephemeral =
            |port: u16| self.ephemeral.is_some_and(|(first, last)| (first..=last).contains(&port));
        let counts = move |(socket, since): &(&Found, &Instant)| {
            socket.protocol == Protocol::Tcp
                || !is_ephemeral(socket.port.get())
                || self.looked.is_some_and(|looked| looked.duration_since(**since) >= STAYS)
        };
        self.found.iter().filter(counts).map(|(socket, _)| socket.held())
    }
}

impl Found {
    /// None: it has no port.
    fn parse(protocol: Protocol, response: &InetResponse) -> Option<Self> {
        let id = &response.header.socket_id;
        Some(Self {
            protocol,
            address: id.source_address,
            port: NonZeroU16::new(id.source_port)?,
            v6_only: response.nlas.iter().any(|nla| matches!(nla, Nla::SkV6Only(true))),
            uid: response.header.uid,
        })
    }

    fn held(&self) -> Held {
        let Self { protocol, address, port, v6_only, uid } = *self;
        let at = match address {
            IpAddr::V4(v4) if v4.is_unspecified() => At::AllV4,
            IpAddr::V6(v6) if v6.is_unspecified() && v6_only => At::AllV6,
            IpAddr::V6(v6) if v6.is_unspecified() => At::All,
            IpAddr::V6(v6) => At::One(v6.to_canonical()),
            IpAddr::V4(_) => At::One(address),
        };
        let place = std::net::SocketAddr::new(address, port.get());
        Held {
            at,
            port: (port, protocol),
            by: format!("a socket of user {uid} of the node ({place}/{protocol})"),
        }
    }
}

fn dump(request: InetRequest, mut take: impl FnMut(&InetResponse)) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let mut piece = Vec::with_capacity(PIECE);
    loop {
        piece.clear();
        socket.recv(&mut piece, 0)?;
        let mut rest = piece.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            match &message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => take(response),
                NetlinkPayload::Done(_) => return Ok(()),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                _ => {}
            }
            // Messages are aligned to four bytes (netlink(7)).
            let length = usize::try_from(message.header.length).unwrap_or(usize::MAX).next_multiple_of(4);
            rest = rest.get(length..).unwrap_or_default();
        }
    }
}

fn ephemeral_ports() -> Option<(u16, u16)> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut numbers = text.split_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    /// Of the sockets that this test binds, whatever else there is.
    #[test]
    fn sockets_of_this_namespace_are_found() {
        let listening = TcpListener::bind("127.0.0.1:0").unwrap();
        let bound = UdpSocket::bind("127.0.0.1:0").unwrap();
        let connected = UdpSocket::bind("127.0.0.1:0").unwrap();
        connected.connect("127.0.0.1:9").unwrap();
        let has = |sockets: &Sockets, address: std::net::SocketAddr, protocol| {
            sockets.held().any(|it| {
                it.at == At::One(address.ip()) && it.port.0.get() == address.port() && it.port.1 == protocol
            })
        };
        let mut sockets = Sockets::default();
        let begin = Instant::now();
        sockets.look(begin).unwrap();
        assert!(has(&sockets, listening.local_addr().unwrap(), Protocol::Tcp));
        assert!(!has(&sockets, bound.local_addr().unwrap(), Protocol::Udp), "it may be gone in a moment");
        sockets.look(begin + STAYS).unwrap();
        assert!(has(&sockets, bound.local_addr().unwrap(), Protocol::Udp));
        assert!(!has(&sockets, connected.local_addr().unwrap(), Protocol::Udp));
    }

    #[test]
    fn a_socket_for_all_addresses_may_be_for_one_family() {
        let found = |address: &str, v6_only| Found {
            protocol: Protocol::Tcp,
            address: address.parse().unwrap(),
            port: NonZeroU16::new(80).unwrap(),
            v6_only,
            uid: 0,
        };
        let cases = [
            ("0.0.0.0", false, At::AllV4),
            ("::", false, At::All),
            ("::", true, At::AllV6),
            ("10.0.0.1", false, At::One("10.0.0.1".parse().unwrap())),
            ("::ffff:10.0.0.1", false, At::One("10.0.0.1".parse().unwrap())),
        ];
        for (address, v6_only, at) in cases {
            assert_eq!(found(address, v6_only).held().at, at, "{address}");
        }
    }
}
