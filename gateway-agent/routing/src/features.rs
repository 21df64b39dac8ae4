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

const OLD: &[Release] = &[Release::V1_6];
const NEW: &[Release] = &[Release::V1_7];
const BOTH: &[Release] = &[Release::V1_6, Release::V1_7];

/// A feature, the releases that have it, and the services that it takes, all of them.
struct Feature(&'static str, &'static [Release], &'static [Service]);

/// All that follows from what is served: a feature that also takes something else has no line here before that is built.
/// Features of meshes never do: no data plane here is one. HTTPRoute takes HTTPS too: routes attach to its listeners, and
/// the suite's tests of the core see whether they do.
const FEATURES: &[Feature] = &[
    Feature("GRPCRoute", BOTH, &[Http]),
    Feature("Gateway", BOTH, &[]),
    Feature("GatewayAddressEmpty", BOTH, &[]),
    Feature("GatewayHTTPListenerIsolation", BOTH, &[Http]),
    Feature("GatewayHTTPSListenerDetectMisdirectedRequests", BOTH, &[Https]),
    Feature("GatewayInfrastructure", BOTH, &[]),
    Feature("GatewayPort8080", BOTH, &[]),
    Feature("GatewayRouteHostnameIntersectionPrecedence", NEW, &[Http, TlsPassthrough]),
    Feature("GatewayStaticAddresses", BOTH, &[]),
    Feature("HTTPRoute", BOTH, &[Http, Https]),
    Feature("HTTPRoute303RedirectStatusCode", BOTH, &[Http, Https]),
    Feature("HTTPRoute307RedirectStatusCode", BOTH, &[Http, Https]),
    Feature("HTTPRoute308RedirectStatusCode", BOTH, &[Http, Https]),
    Feature("HTTPRouteBackendProtocolH2C", BOTH, &[Http, Https]),
    Feature("HTTPRouteBackendProtocolWebSocket", BOTH, &[Http, Https]),
    Feature("HTTPRouteBackendRequestHeaderModification", BOTH, &[Http, Https]),
    Feature("HTTPRouteBackendTimeout", BOTH, &[Http, Https]),
    Feature("HTTPRouteBackendURLRewrite", NEW, &[Http, Https]),
    Feature("HTTPRouteCORS", BOTH, &[Http, Https]),
    Feature("HTTPRouteDestinationPortMatching", BOTH, &[Http, Https]),
    Feature("HTTPRouteHostRewrite", BOTH, &[Http, Https]),
    Feature("HTTPRouteMethodMatching", BOTH, &[Http, Https]),
    Feature("HTTPRouteNamedRouteRule", BOTH, &[Http, Https]),
    Feature("HTTPRouteParentRefPort", BOTH, &[Http, Https]),
    Feature("HTTPRoutePathRedirect", BOTH, &[Http, Https]),
    Feature("HTTPRoutePathRewrite", BOTH, &[Http, Https]),
    Feature("HTTPRoutePortRedirect", BOTH, &[Http, Https]),
    Feature("HTTPRouteQueryParamMatching", BOTH, &[Http, Https]),
    Feature("HTTPRouteRequestMirror", BOTH, &[Http, Https]),
    Feature("HTTPRouteRequestMultipleMirrors", BOTH, &[Http, Https]),
    Feature("HTTPRouteRequestPercentageMirror", BOTH, &[Http, Https]),
    Feature("HTTPRouteRequestTimeout", BOTH, &[Http, Https]),
    Feature("HTTPRouteResponseHeaderModification", BOTH, &[Http, Https]),
    Feature("HTTPRouteRetry", OLD, &[Http, Https]),
    Feature("HTTPRouteRetryBackendTimeout", OLD, &[Http, Https]),
    Feature("HTTPRouteRetryCodes", NEW, &[Http, Https]),
    Feature("HTTPRouteRetryConnectionError", BOTH, &[Http, Https]),
    Feature("HTTPRouteSchemeRedirect", BOTH, &[Http, Https]),
    Feature("ListenerSet", BOTH, &[Http]),
    Feature("ReferenceGrant", BOTH, &[]),
    Feature("TCPRoute", BOTH, &[Tcp]),
    Feature("TLSRoute", BOTH, &[TlsPassthrough]),
    Feature("TLSRouteModeMixed", BOTH, &[TlsMixed]),
    Feature("TLSRouteModeTerminate", BOTH, &[TlsTerminate]),
    Feature("UDPRoute", BOTH, &[Udp]),
];

/// The names of all features that are served, sorted, as the API demands.
pub fn names(served: &BTreeSet<Service>, release: Release) -> impl Iterator<Item = &'static str> {
    let has = move |Feature(_, releases, needs): &&Feature| {
        releases.contains(&release) && needs.iter().all(|service| served.contains(service))
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
        let streams = claimed(&[Tcp, Udp], Release::V1_7);
        assert_eq!(streams, [&always[..], &["TCPRoute", "UDPRoute"]].concat());
        let claims_http = |served| claimed(served, Release::V1_6).contains(&"HTTPRoute");
        assert_eq!([&Service::SERVED[..], &Service::ALL].map(claims_http), [false, true]);
        for release in [Release::V1_6, Release::V1_7] {
            let all = claimed(&Service::ALL, release);
            assert!(all.is_sorted() && all.iter().all(|name| !name.starts_with("Mesh")), "{all:?}");
        }
    }

    #[test]
    fn a_release_has_names_of_its_own() {
        let all = Service::ALL.into();
        let [older, newer] =
            [Release::V1_6, Release::V1_7].map(|release| names(&all, release).collect::<BTreeSet<_>>());
        assert_eq!(
            older.difference(&newer).copied().collect::<Vec<_>>(),
            ["HTTPRouteRetry", "HTTPRouteRetryBackendTimeout"]
        );
        assert_eq!(
            newer.difference(&older).copied().collect::<Vec<_>>(),
            [
                "GatewayRouteHostnameIntersectionPrecedence",
                "HTTPRouteBackendURLRewrite",
                "HTTPRouteRetryCodes"
            ]
        );
    }
}
