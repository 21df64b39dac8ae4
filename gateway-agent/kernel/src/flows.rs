use gateway_agent_tables::Protocol;
use std::net::SocketAddr;
use std::time::Duration;
/// One flow of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    pub protocol: Protocol,
    pub client: SocketAddr,
    pub frontend: SocketAddr,
    pub endpoint: SocketAddr,
    /// The client as the endpoint sees it: itself, or this node (SNAT).
    pub source: SocketAddr,
    pub state: gateway_common::flow::State,
    /// Until it ends without a further packet.
    pub expires_in: Duration,
    pub slot: u32,
    pub backend_id: u32,
    pub endpoint_id: u32,
}
