//! The addresses of the stage, the same plan in both families.
//!
//! ```text
//! client  198.51.100.50 ── wan 198.51.100.1   node   pods 10.1.0.1 ── endpoints on this node 10.1.0.n
//!         2001:db8:1::50       2001:db8:1::1    │         fd00:1::1                           fd00:1::n
//!                                            lan 192.0.2.1 ── other nodes ── their endpoints 10.2.0.n
//!                                                2001:db8:2::1                               fd00:2::n
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// One family's part of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Net {
    V4,
    V6,
}

impl Net {
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// What clients connect to.
    pub fn frontend(self, port: u16) -> SocketAddr {
        self.socket([198, 51, 100, 1], [0x2001, 0xdb8, 1], 1, port)
    }

    pub fn client(self, port: u16) -> SocketAddr {
        self.socket([198, 51, 100, 50], [0x2001, 0xdb8, 1], 50, port)
    }

    /// The node's own address towards other nodes: the source of what is sent there.
    pub fn node(self, port: u16) -> SocketAddr {
        self.socket([192, 0, 2, 1], [0x2001, 0xdb8, 2], 1, port)
    }

    /// The `n`-th endpoint on this node.
    pub fn here(self, n: u8) -> SocketAddr {
        self.socket([10, 1, 0, n], [0xfd00, 1, 0], n, Self::ENDPOINT_PORT)
    }

    /// The `n`-th endpoint on another node.
    pub fn there(self, n: u8) -> SocketAddr {
        self.socket([10, 2, 0, n], [0xfd00, 2, 0], n, Self::ENDPOINT_PORT)
    }

    /// An address that no route leads to.
    pub fn nowhere(self) -> SocketAddr {
        self.socket([10, 9, 0, 9], [0xfd00, 9, 0], 9, Self::ENDPOINT_PORT)
    }

    /// An address of a pool, on the clients' link.
    pub fn pool(self, port: u16) -> SocketAddr {
        self.socket([198, 51, 100, 200], [0x2001, 0xdb8, 1], 200, port)
    }

    pub const ENDPOINT_PORT: u16 = 8080;

    fn socket(self, v4: [u8; 4], v6: [u16; 3], host: u8, port: u16) -> SocketAddr {
        let [a, b, c] = v6;
        let address = match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::from(v4)),
            Self::V6 => IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, host.into())),
        };
        SocketAddr::new(address, port)
    }
}
