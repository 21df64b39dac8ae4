//! Why a packet was refused or dropped: one append-only list for programs, metrics, `stats` and the docs.

/// Declares [`Reason`], the counters of the map `reasons` and their names and descriptions from one list.
macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident => $field:ident,)+) => {
        /// Why a packet did not go on. The order is part of the map layout: append only.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Reason {
            $($(#[doc = $doc])+ $variant,)+
        }

        /// One counter for each [`Reason`], named so that `bpftool map dump` says what it counts.
        #[derive(Clone, Copy, Debug, Default)]
        #[repr(C)]
        pub struct ReasonCounters {
            $($(#[doc = $doc])+ pub $field: u64,)+
        }

        impl Reason {
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The counter's name in maps, metrics and JSON.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($field),)+ }
            }

            /// What it means and what to do, for people.
            pub const fn description(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc,)+),)+ }
            }
        }

        impl ReasonCounters {
            pub fn of(&self, reason: Reason) -> u64 {
                match reason { $(Reason::$variant => self.$field,)+ }
            }

            /// The counter's place, for the program that counts.
            #[inline(always)]
            pub fn of_mut(&mut self, reason: Reason) -> &mut u64 {
                match reason { $(Reason::$variant => &mut self.$field,)+ }
            }
        }
    };
}

reasons! {
    /// No route is attached to the listener, or all its weights are 0: TCP is reset, UDP dropped.
    NoRoute => no_route,
    /// The newcomer fell into the share of an invalid backendRef: TCP is reset, UDP dropped. The route's ResolvedRefs condition says why.
    InvalidBackend => invalid_backend,
    /// The backend has no ready endpoint in the frontend's address family: TCP is reset, UDP dropped.
    NoEndpoint => no_endpoint,
    /// The flow's endpoint is no longer listed by any EndpointSlice: TCP is reset, UDP answered with port unreachable.
    EndpointGone => endpoint_gone,
    /// Both buckets of the forward table are full of confirmed flows: TCP is reset, UDP dropped. Raise the number of flows.
    FlowsFull => flows_full,
    /// Both buckets of the reverse table are full: TCP is reset, UDP dropped. Raise the number of flows.
    ReverseFull => reverse_full,
    /// No source port towards the endpoint was free within the probe limit: TCP is reset, UDP dropped. Widen the SNAT range or add endpoints.
    PortsExhausted => ports_exhausted,
    /// Two CPUs inserted the same place at once: dropped, the sender repeats it.
    Busy => busy,
    /// The node's routing table has no way to the next hop: dropped.
    NoNextHop => no_next_hop,
    /// The egress device has no preferred source address in the packet's family, or is not one that the agent attached to: dropped.
    NoSource => no_source,
    /// Time to live (hop limit) was used up: dropped.
    HopLimit => hop_limit,
    /// The kernel refused to make headers writable or to build an answer, for want of memory: dropped.
    SkbError => skb_error,
    /// A pipeline stage is missing from the program array: dropped. Restart the agent, which makes another.
    StageMissing => stage_missing,
    /// A frontend, split, ring or endpoint index points outside its map: dropped. The agent's fault; restart it.
    TableCorrupt => table_corrupt,
    /// The agent was just replacing the frontend's entry, or the ring of an endpoint that is gone; or another node handed on a packet by tables that this one doesn't have yet: dropped, the sender repeats it.
    TablesChanging => tables_changing,
    /// An HTTP, HTTPS or TLS listener's proxy has no socket: the SYN is answered with RST. See `gateway-agent status` for why it isn't running.
    NoProxy => no_proxy,
    /// An ARP request or neighbour solicitation for a pool address that another node announces: dropped, that node answers.
    PoolElsewhere => pool_elsewhere,
    /// Somebody else announced a pool address that this node announces: dropped. For moments while an address moves, it is another node; if it goes on, two nodes don't hear each other, or a stranger uses the address.
    PoolConflict => pool_conflict,
    /// The pool address has just come to this node, which is asking the others for the flows that they have, and doesn't know this packet's: dropped, the sender repeats it. That takes milliseconds, and at most half a second for UDP and three for TCP.
    PoolMoving => pool_moving,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter() {
        for (i, &reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(reason as usize, i);
            let mut counters = ReasonCounters::default();
            *counters.of_mut(reason) = 7;
            let hits: Vec<_> = Reason::ALL.iter().filter(|r| counters.of(**r) == 7).collect();
            assert_eq!(hits, [&reason]);
        }
    }
}
