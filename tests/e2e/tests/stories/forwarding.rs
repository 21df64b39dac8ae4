//! A client reaches endpoints on both nodes through one node's address.

use std::net::IpAddr;

use anyhow::Result;
use e2e::{Observed as _, Stage};
use lab::traffic::{Tally, Volley, tcp, udp};

const EVERY_POD: &[&str] = &["pod1", "pod2", "pod3", "pod4"];

#[test]
fn both_protocols_and_families_reach_endpoints_on_both_nodes() -> Result<()> {
    let stage = Stage::set("forwarding", &[("all", 1, EVERY_POD)])?;
    for (family, (tcp_target, udp_target)) in stage.tcp().into_iter().zip(stage.udp()).enumerate() {
        let client = stage.lab.clients[0].host_address(family);
        let node = stage.gateway()[family];
        for offload in [true, false] {
            stage.lab.offload(offload)?;
            for (protocol, tally) in [
                ("TCP", tcp(stage.client(), tcp_target, Volley::of(200))),
                ("UDP", udp(stage.client(), udp_target, Volley::of(200))),
            ] {
                let story = format!("{protocol} to {node}, offloads {offload}: {tally:?}");
                assert_eq!((tally.answered(), tally.failed()), (200, 0), "{story}");
                assert_clients(&tally, client, node, &story);
            }
        }
    }
    let reasons = stage.agents[0].counters()?.reasons();
    assert!(reasons.is_empty(), "something was refused or dropped: {reasons:?}");
    Ok(())
}

/// Endpoints on the node see the client itself; those on the other node see the node, which must get the answers.
fn assert_clients(tally: &Tally, client: IpAddr, node: IpAddr, story: &str) {
    for (pod, seen) in [("pod1", client), ("pod2", client), ("pod3", node), ("pod4", node)] {
        let clients: Vec<_> = tally.clients.get(pod).into_iter().flatten().copied().collect();
        assert_eq!(clients, [seen], "{pod} of {story}");
    }
}

trait Addresses {
    fn host_address(&self, family: usize) -> IpAddr;
}

impl Addresses for lab::topology::Host {
    fn host_address(&self, family: usize) -> IpAddr {
        self.addresses()[family]
    }
}
