//! What data planes serve, as the conformance suite names it: `supportedFeatures` of a GatewayClass.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::Service::{self, Http, Https, Tcp, TlsMixed, TlsPassthrough, TlsTerminate, Udp};

/// A release of the Gateway API; each names features in its own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Release {
    V1_6,
    V1_7,
}

/// A feature, the first release that has it, and the services that it takes, all of them.
struct Feature(&'static str, Release, &'static [Service]);

/// All that follows from what is served: a feature that also takes something else has no line here before that is built.
/// Features of meshes never do: no data plane here is one.
const FEATURES: &[Feature] = &[
    Feature("Gateway", Release::V1_6, &[]),
    Feature("GatewayAddressEmpty", Release::V1_6, &[]),
    Feature("GatewayHTTPListenerIsolation", Release::V1_6, &[Http]),
    Feature("GatewayHTTPSListenerDetectMisdirectedRequests", Release::V1_6, &[Https]),
    Feature("GatewayInfrastructure", Release::V1_6, &[]),
    Feature("GatewayPort8080", Release::V1_6, &[]),
    Feature("GatewayRouteHostnameIntersectionPrecedence", Release::V1_7, &[Http, TlsPassthrough]),
    Feature("GatewayStaticAddresses", Release::V1_6, &[]),
    Feature("HTTPRoute", Release::V1_6, &[Http]),
    Feature("HTTPRouteDestinationPortMatching", Release::V1_6, &[Http]),
    Feature("HTTPRouteMethodMatching", Release::V1_6, &[Http]),
    Feature("HTTPRouteNamedRouteRule", Release::V1_6, &[Http]),
    Feature("HTTPRouteParentRefPort", Release::V1_6, &[Http]),
    Feature("HTTPRouteQueryParamMatching", Release::V1_6, &[Http]),
    // The suite's tests of it send HTTP.
    Feature("ListenerSet", Release::V1_6, &[Http]),
    Feature("ReferenceGrant", Release::V1_6, &[]),
    Feature("TCPRoute", Release::V1_6, &[Tcp]),
    Feature("TLSRoute", Release::V1_6, &[TlsPassthrough]),
    Feature("TLSRouteModeMixed", Release::V1_6, &[TlsMixed]),
    Feature("TLSRouteModeTerminate", Release::V1_6, &[TlsTerminate]),
    Feature("UDPRoute", Release::V1_6, &[Udp]),
];

/// The names of all features that are served, sorted, as the API demands.
pub fn names(served: &BTreeSet<Service>, release: Release) -> impl Iterator<Item = &'static str> {
    let has = move |Feature(_, since, needs): &&Feature| {
        release >= *since && needs.iter().all(|service| served.contains(service))
    };
    FEATURES.iter().filter(has).map(|Feature(name, ..)| *name)
}

/// `status.supportedFeatures`.
pub fn status(served: &BTreeSet<Service>, release: Release) -> Value {
    names(served, release).map(|name| json!({ "name": name })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_served_is_claimed() {
        let claimed = |served: &[Service], release| -> Vec<_> {
            names(&served.iter().copied().collect(), release).collect()
        };
        let always = [
            "Gateway",
            "GatewayAddressEmpty",
            "GatewayInfrastructure",
            "GatewayPort8080",
            "GatewayStaticAddresses",
            "ReferenceGrant",
        ];
        assert_eq!(claimed(&[], Release::V1_7), always);
        assert_eq!(
            claimed(&Service::KERNEL, Release::V1_7),
            [&always[..], &["TCPRoute", "UDPRoute"]].concat()
        );
        let all = claimed(&Service::ALL, Release::V1_7);
        assert_eq!(all.len(), FEATURES.len());
        assert!(all.is_sorted() && all.iter().all(|name| !name.starts_with("Mesh")), "{all:?}");
        let newer: Vec<_> = {
            let older = claimed(&Service::ALL, Release::V1_6);
            all.into_iter().filter(|name| !older.contains(name)).collect()
        };
        assert_eq!(newer, ["GatewayRouteHostnameIntersectionPrecedence"]);
    }
}
