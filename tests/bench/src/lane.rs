//! The road that every subject is measured on: client, gateway and backend, each in a namespace of its own, joined by
//! two veth pairs. Each subject has a lane of its own, so that conntrack or programs of one cost the others nothing.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::Result;

use crate::netns::Netns;

/// What clients connect to: the gateway's address on the client's link.
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
/// The gateway's address on the backend's link.
pub(crate) const GATEWAY_INSIDE: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 1);
/// Addresses of the client: with several, as many of the last minutes' connections are remembered as by a gateway with
/// many clients, and not just as many as one address has ports.
pub(crate) const CLIENTS: [Ipv4Addr; 4] = [
    Ipv4Addr::new(10, 1, 0, 2),
    Ipv4Addr::new(10, 1, 0, 3),
    Ipv4Addr::new(10, 1, 0, 4),
    Ipv4Addr::new(10, 1, 0, 5),
];
pub(crate) const BACKEND: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 2);

/// The gateway's devices.
pub(crate) const CLIENT_SIDE: &str = "gw-client";
pub(crate) const BACKEND_SIDE: &str = "gw-backend";
/// Their addresses: locally administered (IEEE 802).
pub(crate) const CLIENT_SIDE_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
pub(crate) const BACKEND_SIDE_MAC: [u8; 6] = [2, 0, 0, 0, 2, 1];

/// Ports of the backend's servers; frontends have the same.
pub(crate) const CRR_PORT: u16 = 8000;
pub(crate) const STREAM_PORT: u16 = 8001;
pub(crate) const UDP_PORT: u16 = 8002;

/// Ports that clients use: like Linux's own choice above the agent's SNAT ports, but a few more.
pub(crate) const FIRST_PORT: u16 = 30_000;
pub(crate) const LAST_PORT: u16 = 65_535;

#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) client: Netns,
    pub(crate) gateway: Netns,
    pub(crate) backend: Netns,
}

impl Lane {
    pub(crate) fn new() -> Result<Self> {
        let lane = Self { client: Netns::new()?, gateway: Netns::new()?, backend: Netns::new()? };
        lane.link(&lane.client, (CLIENT_SIDE, CLIENT_SIDE_MAC), &CLIENTS, GATEWAY)?;
        lane.link(&lane.backend, (BACKEND_SIDE, BACKEND_SIDE_MAC), &[BACKEND], GATEWAY_INSIDE)?;
        lane.gateway.sysctl("ipv4/ip_forward", "1")?;
        // Without these a closed loop runs out of ports within two seconds, whoever connects.
        for connects in [&lane.client, &lane.gateway] {
            connects.sysctl("ipv4/ip_local_port_range", &format!("{FIRST_PORT} {LAST_PORT}"))?;
            connects.sysctl("ipv4/tcp_tw_reuse", "1")?;
        }
        Ok(lane)
    }

    /// Joins an end to the gateway, which becomes its default route.
    fn link(
        &self,
        end: &Netns,
        (device, mac): (&str, [u8; 6]),
        addresses: &[Ipv4Addr],
        gateway: Ipv4Addr,
    ) -> Result<()> {
        let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
        let path = end.path();
        self.gateway.command(&format!(
            "ip link add {device} address {mac} type veth peer name eth0 netns {}",
            path.display()
        ))?;
        self.gateway.command(&format!("ip address add {gateway}/24 dev {device}"))?;
        self.gateway.command(&format!("ip link set {device} up"))?;
        for address in addresses {
            end.command(&format!("ip address add {address}/24 dev eth0"))?;
        }
        end.command("ip link set eth0 up")?;
        end.command(&format!("ip route add default via {gateway}"))
    }
}

/// Where the client sends to reach a server: the gateway's frontend, or the backend itself.
pub(crate) fn target(direct: bool, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(if direct { BACKEND } else { GATEWAY }, port)
}
