//! /metrics, /healthz and /readyz.
//!
//! A role answers with [`Figures`] whenever somebody asks; `server` is HTTP, `page` the text and the cap on series,
//! `traffic` what the kernel counts, `requests` what the proxy does.

mod page;
mod requests;
mod server;
mod traffic;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use tokio::sync::oneshot;

pub use page::{Family, Labels, conditions};
pub use requests::requests;
pub use server::{NodeFigures, Server};
pub use traffic::traffic;

/// What a role says of itself when it is asked.
#[derive(Debug, Default)]
pub struct Figures {
    pub ready: bool,
    pub families: Vec<Family>,
}

/// Somebody asks.
pub type Request = oneshot::Sender<Figures>;

/// Where they are: an address and a port, or `:PORT` for all addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// None: all.
    pub address: Option<IpAddr>,
    pub port: u16,
}

/// As Prometheus holds all values: exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "counters of that size are compared by their rate")]
fn float(value: u64) -> f64 {
    value as f64
}

impl Place {
    /// To listen on, in order of preference: one socket for both families, or for IPv4 where there is no IPv6.
    fn addresses(self) -> Vec<SocketAddr> {
        let all = [IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)];
        let addresses = self.address.map_or_else(|| all.to_vec(), |address| vec![address]);
        addresses.into_iter().map(|address| SocketAddr::new(address, self.port)).collect()
    }
}

impl std::str::FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong =
            || format!("`{text}` is no place to listen; write :9890, 10.0.0.1:9890 or [fd00::1]:9890");
        if let Some(port) = text.strip_prefix(':') {
            return Ok(Self { address: None, port: port.parse().map_err(|_| wrong())? });
        }
        let address: SocketAddr = text.parse().map_err(|_| wrong())?;
        Ok(Self { address: Some(address.ip()), port: address.port() })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.address {
            Some(address) => SocketAddr::new(address, self.port).fmt(f),
            None => write!(f, ":{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_written_as_they_are_read() {
        for text in [":9890", "10.0.0.1:1", "[fd00::1]:9890"] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        for wrong in ["", "9890", "fd00::1", "host:1", ":70000"] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }
}
