//! Follows the node's network devices and addresses.
//!
//! Events of the kernel only say that a look is due; each look lists all links and addresses and compares.

mod excluded;
mod network;
mod select;

use std::net::IpAddr;

use futures_util::{FutureExt, StreamExt, TryStreamExt};
use glob::Pattern;
use rtnetlink::packet_core::NetlinkMessage;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::{Handle, MulticastGroup, new_multicast_connection};
use tokio::time::timeout_at;

use crate::burst::Burst;

pub use excluded::Excluded;
pub use network::Network;
pub use select::Attachable;

/// A netlink connection of this network namespace.
#[derive(Debug)]
pub struct Devices {
    handle: Handle,
    events: Events,
    /// Something happened since the last look.
    due: bool,
    burst: Burst,
}

type Events = futures_channel::mpsc::UnboundedReceiver<(
    NetlinkMessage<RouteNetlinkMessage>,
    rtnetlink::sys::SocketAddr,
)>;

/// What the node looks like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Devices that the patterns name.
    pub attachable: Vec<Attachable>,
    /// Every address of the node that clients could be sent to.
    pub addresses: Vec<IpAddr>,
    pub network: Network,
}

#[derive(Debug, thiserror::Error)]
pub enum DevicesError {
    #[error(
        "can't open a netlink socket: {0}; the agent needs a kernel with CONFIG_NET and no seccomp filter on AF_NETLINK"
    )]
    Open(std::io::Error),
    #[error("can't list {what}: {source}; it is tried again")]
    List { what: &'static str, source: rtnetlink::Error },
    #[error("the netlink connection ended")]
    Ended,
}

impl Devices {
    /// Must be called on a tokio runtime, which then carries the connection.
    pub fn open() -> Result<Self, DevicesError> {
        let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
        let (connection, handle, events) = new_multicast_connection(&groups).map_err(DevicesError::Open)?;
        tokio::spawn(connection);
        Ok(Self { handle, events, due: true, burst: Burst::default() })
    }

    /// Waits for the end of a burst of events. Can be cancelled: the next call knows of what this one has seen.
    pub async fn changed(&mut self) -> Result<(), DevicesError> {
        if !self.due {
            self.next_event().await?;
        }
        while let Some(end) = self.burst.end()
            && let Ok(event) = timeout_at(end, self.next_event()).await
        {
            event?;
        }
        Ok(())
    }

    async fn next_event(&mut self) -> Result<(), DevicesError> {
        self.events.next().await.ok_or(DevicesError::Ended)?;
        self.due = true;
        self.burst.event();
        Ok(())
    }

    /// Lists links and addresses, and takes those devices that match a pattern.
    pub async fn look(&mut self, patterns: &[Pattern]) -> Result<Found, DevicesError> {
        while self.events.next().now_or_never().flatten().is_some() {}
        self.due = false;
        self.burst.clear();
        let links: Vec<_> = self
            .handle
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(|source| DevicesError::List { what: "devices", source })?;
        let addresses: Vec<_> = self
            .handle
            .address()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(|source| DevicesError::List { what: "addresses", source })?;
        let links: Vec<_> = links.into_iter().map(select::Link::from).collect();
        let addresses: Vec<_> = addresses.into_iter().filter_map(select::Address::parse).collect();
        Ok(Found {
            attachable: select::attachable(&links, &addresses, patterns),
            addresses: select::node_addresses(&addresses),
            network: Network::of(&links, &addresses),
        })
    }
}
