//! The schemas of the kinds that come with a CRD.

use std::borrow::Cow;
use std::sync::OnceLock;

use serde::Deserialize;

use super::schema::Schema;
use crate::{Kind, own};

/// The CRD of a kind as JSON, or None for kinds that the API server itself defines.
fn source(kind: Kind) -> Option<Cow<'static, str>> {
    macro_rules! crd {
        ($plural:literal) => {
            Some(Cow::Borrowed(include_str!(concat!("../../crds/", $plural, ".json"))))
        };
    }
    match kind {
        Kind::GatewayClass => crd!("gatewayclasses"),
        Kind::Gateway => crd!("gateways"),
        Kind::ListenerSet => crd!("listenersets"),
        Kind::HttpRoute => crd!("httproutes"),
        Kind::GrpcRoute => crd!("grpcroutes"),
        Kind::TlsRoute => crd!("tlsroutes"),
        Kind::TcpRoute => crd!("tcproutes"),
        Kind::UdpRoute => crd!("udproutes"),
        Kind::ReferenceGrant => crd!("referencegrants"),
        Kind::BackendTlsPolicy => crd!("backendtlspolicies"),
        Kind::XBackend => crd!("xbackends"),
        Kind::XBackendTrafficPolicy => crd!("xbackendtrafficpolicies"),
        Kind::XMesh => crd!("xmeshes"),
        Kind::XTelemetryPolicy => crd!("xtelemetrypolicies"),
        Kind::GatewayConfig | Kind::GatewayNode => own(kind),
        Kind::Service
        | Kind::EndpointSlice
        | Kind::Secret
        | Kind::ConfigMap
        | Kind::ClusterTrustBundle
        | Kind::Namespace
        | Kind::Node => None,
    }
}

fn own(kind: Kind) -> Option<Cow<'static, str>> {
    let crd = own::crds().into_iter().find(|crd| crd.spec.names.kind == kind.name())?;
    serde_json::to_string(&crd).ok().map(Cow::Owned)
}

/// The schema of a kind's version; None for kinds without a CRD. Parsed when first asked for, since most files hold
/// few kinds.
pub(super) fn schema(kind: Kind, version: &str) -> Option<&'static Schema> {
    static CRDS: [OnceLock<Crd>; Kind::ALL.len()] = [const { OnceLock::new() }; Kind::ALL.len()];
    let place = &CRDS[kind as usize];
    if place.get().is_none() {
        let crd = parse(&source(kind)?);
        place.get_or_init(|| crd);
    }
    let crd = place.get()?;
    let named = crd.spec.versions.iter().find(|listed| listed.name == version);
    // Versions with the first one's schema are left out of the file.
    named.or(crd.spec.versions.first()).map(|listed| &listed.schema.root)
}

fn parse(source: &str) -> Crd {
    serde_json::from_str(source).expect("every CRD is part of this crate, and a test parses all of them")
}

#[derive(Deserialize)]
struct Crd {
    spec: Spec,
}

#[derive(Deserialize)]
struct Spec {
    versions: Vec<Version>,
}

#[derive(Deserialize)]
struct Version {
    name: String,
    schema: VersionSchema,
}

#[derive(Deserialize)]
struct VersionSchema {
    #[serde(rename = "openAPIV3Schema")]
    root: Schema,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_of_a_kind_with_a_crd_has_a_schema() {
        for &kind in Kind::ALL {
            for version in kind.versions() {
                assert_eq!(schema(kind, version).is_some(), source(kind).is_some(), "{kind} {version}");
            }
        }
    }

    #[test]
    fn crds_and_kinds_agree() {
        for &kind in Kind::ALL {
            let Some(source) = source(kind) else { continue };
            let crd: serde_json::Value = serde_json::from_str(&source).expect("JSON");
            let spec = &crd["spec"];
            assert_eq!(spec["group"], kind.group());
            assert_eq!(spec["names"]["kind"], kind.name());
            assert_eq!(spec["names"]["plural"], kind.plural());
            assert_eq!(spec["scope"] == "Namespaced", kind.is_namespaced(), "{kind}");
        }
    }
}
