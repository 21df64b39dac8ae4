//! What the threads saw of each frontend, and what the programs counted: these must be the same.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use packets::Node;

#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger(BTreeMap<SocketAddr, Account>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// Newcomers that were given an endpoint: flows that began.
    pub(crate) flows: u64,
    /// SYNs answered by RST.
    pub(crate) refused: u64,
    /// SYNs that were to be repeated.
    pub(crate) dropped: u64,
    /// Client to endpoint.
    pub(crate) packets_in: u64,
    /// Endpoint to client.
    pub(crate) packets_out: u64,
}

impl Ledger {
    pub(crate) fn of(&mut self, frontend: SocketAddr) -> &mut Account {
        self.0.entry(frontend).or_default()
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (frontend, account) in &other.0 {
            let sum = self.of(*frontend);
            sum.flows += account.flows;
            sum.refused += account.refused;
            sum.dropped += account.dropped;
            sum.packets_in += account.packets_in;
            sum.packets_out += account.packets_out;
        }
    }

    pub(crate) fn total(&self) -> Account {
        let mut total = Self::default();
        let one = SocketAddr::from(([0; 4], 0));
        for account in self.0.values() {
            total.add(&Self([(one, *account)].into()));
        }
        *total.of(one)
    }

    /// The programs counted exactly this since the node began, frontend by frontend and reason by reason.
    #[track_caller]
    pub(crate) fn balances(&self, node: &Node) {
        let stats = node.stats();
        for frontend in &stats.frontends {
            let address = SocketAddr::new(frontend.address, frontend.port);
            let backends = stats.backends.iter().filter(|backend| backend.frontend == frontend.id);
            let traffic: Vec<_> = backends.map(|backend| backend.traffic).collect();
            let seen = self.0.get(&address).copied().unwrap_or_default();
            let counted = (
                frontend.flows,
                frontend.refused,
                traffic.iter().map(|t| t.packets_in).sum(),
                traffic.iter().map(|t| t.packets_out).sum(),
            );
            assert_eq!(
                counted,
                (seen.flows, seen.refused + seen.dropped, seen.packets_in, seen.packets_out),
                "flows, refusals and packets both ways of {address}: what was counted, and what was seen"
            );
        }
        let counted = |names: &[&str]| -> u64 {
            stats.reasons.iter().filter(|r| names.contains(&r.name)).map(|r| r.packets).sum()
        };
        let total = self.total();
        assert_eq!(counted(&["flows_full", "reverse_full", "ports_exhausted"]), total.refused, "refused");
        assert_eq!(counted(&["busy"]), total.dropped, "dropped before a rival");
        let all: u64 = stats.reasons.iter().map(|reason| reason.packets).sum();
        assert_eq!(all, total.refused + total.dropped, "for any reason: {:?}", stats.reasons);
    }
}
