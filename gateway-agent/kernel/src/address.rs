//! Addresses and protocols as maps hold them.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use gateway_agent_tables::{FrontendKey, Protocol};
use gateway_common::maps::{self, Address};

/// IPv4 as IPv4-mapped IPv6.
pub(crate) fn mapped(address: IpAddr) -> Address {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

pub(crate) fn unmapped(address: Address) -> IpAddr {
    Ipv6Addr::from(address).to_canonical()
}

/// Without scope and flow label, which maps don't hold.
pub(crate) fn socket(address: Address, port: u16) -> SocketAddr {
    SocketAddr::new(unmapped(address), port)
}

pub(crate) fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => maps::TCP,
        Protocol::Udp => maps::UDP,
    }
}

pub(crate) fn protocol(number: u8) -> Option<Protocol> {
    match number {
        maps::TCP => Some(Protocol::Tcp),
        maps::UDP => Some(Protocol::Udp),
        _ => None,
    }
}

pub(crate) fn entry_key(key: &FrontendKey) -> maps::FrontendKey {
    maps::FrontendKey {
        address: mapped(key.address),
        port: key.port.get(),
        protocol: number(key.protocol),
        reserved: 0,
    }
}

pub(crate) fn parse_key(key: &maps::FrontendKey) -> Option<FrontendKey> {
    Some(FrontendKey {
        address: unmapped(key.address),
        port: key.port.try_into().ok()?,
        protocol: protocol(key.protocol)?,
    })
}
