//! Listeners: what each one serves, which of them exclude each other, and which routes they let in.

use std::num::NonZeroU16;

use gateway_agent_api::Kind;
use gateway_agent_tables::{FrontendKey, HostPattern, ListenerName, ObjectName, Protocol};

use crate::Snapshot;
use crate::listener_spec::{ListenerSpec, TlsMode};
use crate::snapshot::Service;
use crate::tls::ListenerTls;

/// A listener of one of our Gateways, or of a ListenerSet attached to it.
#[derive(Debug)]
pub(crate) struct Listener<'a> {
    pub(crate) name: ListenerName,
    pub(crate) owner: Owner<'a>,
    pub(crate) spec: ListenerSpec<'a>,
    /// None: no port, which the schema keeps out.
    pub(crate) port: Option<NonZeroU16>,
    /// None: a protocol that isn't known.
    pub(crate) protocol: Option<ListenerProtocol>,
    /// Host names that it is for; None: not a hostname, which the schema keeps out.
    pub(crate) hostname: Option<HostPattern>,
    /// Kinds of routes that may attach.
    pub(crate) kinds: Vec<Kind>,
    /// Kinds in allowedRoutes that can't attach to this listener.
    pub(crate) invalid_kinds: Vec<&'a str>,
    pub(crate) tls: ListenerTls,
    /// Set when another listener wants the same traffic.
    pub(crate) conflict: Option<Conflict>,
    /// Places of this node that somebody else has, and who.
    pub(crate) held: Vec<(FrontendKey, String)>,
}

/// The object that a listener is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner<'a> {
    pub(crate) namespace: &'a str,
    /// Index in the Gateway's ListenerSets; None: the Gateway itself.
    pub(crate) set: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListenerProtocol {
    Tcp,
    Udp,
    Http,
    Https,
    Tls(TlsMode),
}

/// What listeners of one port are told apart by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traffic<'a> {
    pub(crate) protocol: ListenerProtocol,
    pub(crate) hostname: Option<&'a HostPattern>,
    /// The listener is written in a ListenerSet.
    pub(crate) is_of_set: bool,
}

/// Why a listener can't have its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conflict {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl ListenerProtocol {
    fn parse(spec: &ListenerSpec<'_>) -> Option<Self> {
        Some(match spec.protocol {
            "TCP" => Self::Tcp,
            "UDP" => Self::Udp,
            "HTTP" => Self::Http,
            "HTTPS" => Self::Https,
            "TLS" => Self::Tls(spec.tls.as_ref().map_or(TlsMode::Terminate, |tls| tls.mode)),
            _ => return None,
        })
    }

    pub(crate) fn transport(self) -> Protocol {
        if self == Self::Udp { Protocol::Udp } else { Protocol::Tcp }
    }

    /// Kinds of routes that fit the protocol.
    fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Tcp => &[Kind::TcpRoute],
            Self::Udp => &[Kind::UdpRoute],
            Self::Http | Self::Https => &[Kind::HttpRoute, Kind::GrpcRoute],
            Self::Tls(_) => &[Kind::TlsRoute],
        }
    }

    /// What a data plane must be able to do for it.
    pub(crate) fn service(self) -> Service {
        match self {
            Self::Tcp => Service::Tcp,
            Self::Udp => Service::Udp,
            Self::Http => Service::Http,
            Self::Https => Service::Https,
            Self::Tls(TlsMode::Passthrough) => Service::TlsPassthrough,
            Self::Tls(TlsMode::Terminate) => Service::TlsTerminate,
        }
    }

    /// Whether clients of the protocol say which host name they want.
    pub(crate) fn has_hostnames(self) -> bool {
        matches!(self, Self::Http | Self::Https | Self::Tls(_))
    }

    /// Whether the gateway needs a certificate for it.
    pub(crate) fn terminates_tls(self) -> bool {
        matches!(self, Self::Https | Self::Tls(TlsMode::Terminate))
    }

    /// Whether listeners of both protocols may share a port, told apart by what clients say after connecting.
    fn shares_port(self, other: Self, snapshot: &Snapshot) -> bool {
        match (self, other) {
            (Self::Tls(mine), Self::Tls(others)) if mine != others => {
                // A data plane that serves one of the two modes only serves what it can; the rest says so itself.
                snapshot.serves(Service::TlsMixed)
                    || !(snapshot.serves(self.service()) && snapshot.serves(other.service()))
            }
            (Self::Http, Self::Http) | (Self::Https | Self::Tls(_), Self::Https | Self::Tls(_)) => true,
            _ => false,
        }
    }
}

impl Traffic<'_> {
    /// The reason why two listeners of one port and address can't both be served.
    pub(crate) fn excludes(self, other: Traffic<'_>, snapshot: &Snapshot) -> Option<&'static str> {
        let (mine, others) = (self.protocol, other.protocol);
        if mine.transport() != others.transport() {
            None
        } else if !mine.shares_port(others, snapshot) {
            // The API knows this reason for listeners of ListenerSets only.
            Some(if mine == others && self.is_of_set { "ListenerConflict" } else { "ProtocolConflict" })
        } else {
            (self.hostname == other.hostname).then_some("HostnameConflict")
        }
    }
}

impl<'a> Listener<'a> {
    pub(crate) fn parse(spec: ListenerSpec<'a>, gateway: &ObjectName, owner: Owner<'a>) -> Self {
        let protocol = ListenerProtocol::parse(&spec);
        let (kinds, invalid_kinds) = kinds(&spec, protocol.map_or(&[], ListenerProtocol::kinds));
        let hostname = match protocol {
            Some(protocol) if protocol.has_hostnames() => HostPattern::parse(spec.hostname),
            _ => Some(HostPattern::Any),
        };
        Self {
            name: ListenerName { gateway: gateway.clone(), listener: spec.name.to_owned() },
            owner,
            port: u16::try_from(spec.port).ok().and_then(NonZeroU16::new),
            protocol,
            hostname,
            kinds,
            invalid_kinds,
            tls: ListenerTls::default(),
            conflict: None,
            held: Vec::new(),
            spec,
        }
    }

    /// None: a protocol that isn't known.
    pub(crate) fn traffic(&self) -> Option<Traffic<'_>> {
        let hostname = self.hostname.as_ref();
        Some(Traffic { protocol: self.protocol?, hostname, is_of_set: self.owner.set.is_some() })
    }

    /// What the listener takes of each address; None if it may not have it.
    pub(crate) fn socket(&self) -> Option<(NonZeroU16, Protocol)> {
        let (port, protocol) = self.port.zip(self.protocol).filter(|_| self.conflict.is_none())?;
        self.hostname.as_ref()?;
        Some((port, protocol.transport()))
    }
}

/// The kinds that a listener takes, of those that fit its protocol, and the names of those that don't fit.
fn kinds<'a>(spec: &ListenerSpec<'a>, fitting: &[Kind]) -> (Vec<Kind>, Vec<&'a str>) {
    if spec.kinds.is_empty() {
        return (fitting.to_vec(), Vec::new());
    }
    let (mut kinds, mut invalid) = (Vec::new(), Vec::new());
    for &(group, name) in &spec.kinds {
        match Kind::find(group, name).filter(|kind| fitting.contains(kind)) {
            Some(kind) if kinds.contains(&kind) => {}
            Some(kind) => kinds.push(kind),
            None => invalid.push(name),
        }
    }
    (kinds, invalid)
}
