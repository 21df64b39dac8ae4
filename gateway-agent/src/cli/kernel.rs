//! What looks at, or ends, what is in the kernel.

use std::net::{IpAddr, SocketAddr};

use clap::{Args, ValueEnum};

use super::common::{Form, Pin};

#[derive(Args, Debug)]
pub struct Stats {
    #[command(flatten)]
    pub pin: Pin,

    #[arg(short, long, value_name = "FORM", default_value = "text")]
    pub output: Form,

    /// Show again every second, with the difference per second, until interrupted
    #[arg(short, long)]
    pub watch: bool,
}

#[derive(Args, Debug)]
pub struct Flows {
    #[command(flatten)]
    pub pin: Pin,

    #[arg(short, long, value_name = "FORM", default_value = "text")]
    pub output: Form,

    /// Only flows of this client, as ADDRESS or ADDRESS:PORT
    #[arg(long, value_name = "ADDRESS")]
    pub client: Option<Peer>,

    /// Only flows to this frontend, as ADDRESS or ADDRESS:PORT
    #[arg(long, value_name = "ADDRESS")]
    pub frontend: Option<Peer>,

    /// Only flows to this endpoint, as ADDRESS or ADDRESS:PORT
    #[arg(long, value_name = "ADDRESS")]
    pub endpoint: Option<Peer>,

    /// Only flows in this state
    #[arg(long, value_name = "STATE")]
    pub state: Option<FlowState>,

    /// Only flows of this protocol
    #[arg(long, value_name = "PROTOCOL")]
    pub protocol: Option<FlowProtocol>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FlowProtocol {
    Tcp,
    Udp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FlowState {
    /// The handshake is not complete; for UDP: no answer and further datagram yet
    Opening,
    Established,
    HalfClosedByClient,
    HalfClosedByEndpoint,
    /// Reset, or closed by both sides, by the client first
    Closed,
    /// Closed by both sides, by the endpoint first
    ClosedByEndpoint,
}

/// An address with or without a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    pub address: IpAddr,
    pub port: Option<u16>,
}

impl Peer {
    pub fn matches(self, other: SocketAddr) -> bool {
        self.address == other.ip() && self.port.is_none_or(|port| port == other.port())
    }
}

impl std::str::FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self { address: address.ip(), port: Some(address.port()) });
        }
        let address = text.parse().map_err(|_| {
            format!("`{text}` is no address; write 10.0.0.1, 10.0.0.1:80, fd00::1 or [fd00::1]:80")
        })?;
        Ok(Self { address, port: None })
    }
}

#[derive(Args, Debug)]
pub struct Detach {
    #[command(flatten)]
    pub pin: Pin,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_match_by_address_and_port() {
        let peer = |text: &str| text.parse::<Peer>().unwrap();
        let address: SocketAddr = "[fd00::1]:80".parse().unwrap();
        assert!(peer("fd00::1").matches(address) && peer("[fd00::1]:80").matches(address));
        assert!(!peer("[fd00::1]:81").matches(address) && !peer("fd00::2").matches(address));
    }
}
