//! The schemas of the kinds that come with a CRD.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use super::schema::Schema;
use crate::Kind;

/// The trimmed CRD of a kind, or None for kinds that the API server itself defines.
const fn source(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::GatewayClass => Some(include_str!("../../crds/gatewayclasses.json")),
        Kind::Gateway => Some(include_str!("../../crds/gateways.json")),
        Kind::TcpRoute => Some(include_str!("../../crds/tcproutes.json")),
        Kind::UdpRoute => Some(include_str!("../../crds/udproutes.json")),
        Kind::ReferenceGrant => Some(include_str!("../../crds/referencegrants.json")),
        Kind::Service | Kind::EndpointSlice | Kind::Namespace => None,
    }
}

/// The schema of a kind's version; None for kinds without a CRD.
pub(super) fn schema(kind: Kind, version: &str) -> Option<&'static Schema> {
    static SCHEMAS: LazyLock<BTreeMap<(Kind, String), Schema>> = LazyLock::new(|| {
        let crds = Kind::ALL.iter().filter_map(|kind| Some((*kind, parse(source(*kind)?))));
        crds.flat_map(|(kind, crd)| {
            crd.spec.versions.into_iter().map(move |version| ((kind, version.name), version.schema.root))
        })
        .collect()
    });
    source(kind)?;
    SCHEMAS.get(&(kind, version.to_owned()))
}

fn parse(source: &str) -> Crd {
    serde_json::from_str(source).expect("crds/ is part of this crate, and a test parses all of it")
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
}
