//! Local routes for pool addresses whose connections end in sockets of this node: without one, the kernel would not
//! look for a socket. Only the announcer has them, and only as long as its program answers for the address.

use std::collections::BTreeSet;
use std::net::IpAddr;

use futures_util::TryStreamExt;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::{Handle, RouteMessageBuilder, new_connection};

/// Tells our routes from others': a number that iproute2's `rt_protos` gives to nobody.
const PROTOCOL: RouteProtocol = RouteProtocol::Other(0xa7);
/// The table of local addresses (`RT_TABLE_LOCAL` of linux/rtnetlink.h).
const LOCAL_TABLE: u32 = 255;
/// The index of lo in every network namespace (`LOOPBACK_IFINDEX` of the kernel).
const LOOPBACK: u32 = 1;

/// Makes these addresses local, and no others of ours.
pub async fn set(handle: &Handle, wanted: &BTreeSet<IpAddr>) -> Result<(), rtnetlink::Error> {
    let present = ours(handle).await?;
    for (address, route) in &present {
        if !wanted.contains(address) {
            handle.route().del(route.clone()).execute().await?;
        }
    }
    for address in wanted.iter().filter(|address| !present.iter().any(|(a, _)| a == *address)) {
        handle.route().add(route(*address)).execute().await?;
    }
    Ok(())
}

/// Removes what an agent of this network namespace left.
pub async fn remove_all() -> Result<(), rtnetlink::Error> {
    let (connection, handle, _) = new_connection().map_err(|_| rtnetlink::Error::RequestFailed)?;
    let carrier = tokio::spawn(connection);
    let removed = set(&handle, &BTreeSet::new()).await;
    carrier.abort();
    removed
}

async fn ours(handle: &Handle) -> Result<Vec<(IpAddr, RouteMessage)>, rtnetlink::Error> {
    let mut found = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut all = RouteMessage::default();
        all.header.address_family = family;
        let routes: Vec<RouteMessage> = handle.route().get(all).execute().try_collect().await?;
        let ours = routes.into_iter().filter(|route| route.header.protocol == PROTOCOL);
        found.extend(ours.filter_map(|route| Some((destination(&route)?, route))));
    }
    Ok(found)
}

fn destination(route: &RouteMessage) -> Option<IpAddr> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(v4)) => Some((*v4).into()),
        RouteAttribute::Destination(RouteAddress::Inet6(v6)) => Some((*v6).into()),
        _ => None,
    })
}

/// `local ADDRESS dev lo table local`
fn route(address: IpAddr) -> RouteMessage {
    macro_rules! local {
        ($builder:expr) => {
            $builder
                .output_interface(LOOPBACK)
                .table_id(LOCAL_TABLE)
                .kind(RouteType::Local)
                .protocol(PROTOCOL)
                .scope(RouteScope::Host)
                .build()
        };
    }
    match address {
        IpAddr::V4(v4) => {
            local!(RouteMessageBuilder::<std::net::Ipv4Addr>::new().destination_prefix(v4, 32))
        }
        IpAddr::V6(v6) => {
            local!(RouteMessageBuilder::<std::net::Ipv6Addr>::new().destination_prefix(v6, 128))
        }
    }
}
