//! Which release of the Gateway API a cluster has, by its CRDs, and whether we know it.

use std::collections::{BTreeMap, BTreeSet};

use gateway_agent_api::{Kind, ObjectRef};
use gateway_agent_routing::{Release, Service, features};
use semver::Version;
use serde_json::{Value, json};

use crate::source::cluster::Bundle;

/// Minor releases of v1 that the conformance suite is run with.
const SUPPORTED: [u64; 2] = [6, 7];

/// Says in the status of each GatewayClass whether the installed CRDs are of a release that we know, and names what is
/// `served` as that release does.
pub fn tell(
    statuses: &mut BTreeMap<ObjectRef, Value>,
    crds: &BTreeMap<String, Bundle>,
    served: &BTreeSet<Service>,
) {
    let (is_supported, message) = judge(crds);
    let features = features::status(served, release(crds));
    let classes = statuses.iter_mut().filter(|(name, _)| name.kind == Kind::GatewayClass);
    for (_, status) in classes {
        status["supportedFeatures"] = features.clone();
        let conditions = status.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten();
        for condition in conditions.filter(|condition| condition["type"] == "SupportedVersion") {
            condition["status"] = if is_supported { "True" } else { "False" }.into();
            condition["reason"] = if is_supported { "SupportedVersion" } else { "UnsupportedVersion" }.into();
            condition["message"] = message.as_str().into();
        }
    }
}

/// A status as the installed CRDs spell it: v1.6 calls the ancestors of XBackends parents.
pub fn spelled(kind: Kind, mut status: Value, crds: &BTreeMap<String, Bundle>) -> Value {
    if kind != Kind::XBackend || release(crds) != Release::V1_6 {
        return status;
    }
    let mut entries = status["ancestors"].take();
    for entry in entries.as_array_mut().into_iter().flatten() {
        let about = entry.as_object_mut().and_then(|entry| entry.remove("ancestorRef"));
        entry["parentRef"] = about.unwrap_or_default();
    }
    json!({ "parents": entries })
}

fn judge(crds: &BTreeMap<String, Bundle>) -> (bool, String) {
    // Not this project's own.
    let is_of_gateway_api = |name: &str| name.contains(".gateway.networking.");
    let crds: BTreeMap<_, _> = crds.iter().filter(|(name, _)| is_of_gateway_api(name)).collect();
    let versions: BTreeSet<&str> =
        crds.values().map(|crd| crd.version.as_deref().unwrap_or("no version")).collect();
    let found = versions.iter().copied().collect::<Vec<_>>().join(", ");
    let ours = SUPPORTED.map(|minor| format!("v1.{minor}")).join(" and ");
    let unknown: Vec<_> = crds.iter().filter(|(_, crd)| !is_supported(crd)).collect();
    let Some((first, bundle)) = unknown.first() else {
        return (true, format!("the installed CRDs are of Gateway API {found}; {ours} are supported"));
    };
    let version = bundle.version.as_deref().unwrap_or("no version");
    let others = match unknown.len() - 1 {
        0 => String::new(),
        others => format!(" (and {others} others)"),
    };
    let message = format!(
        "CRD {first}{others} is of Gateway API {version}, of which nothing is known; install the CRDs of {ours}; until \
         then, what is the same goes on working"
    );
    (false, message)
}

fn is_supported(crd: &Bundle) -> bool {
    version(crd).is_some_and(|version| version.major == 1 && SUPPORTED.contains(&version.minor))
}

/// The oldest that any CRD is of, as far as it is known.
fn release(crds: &BTreeMap<String, Bundle>) -> Release {
    let is_old = |version: Version| version.major == 1 && version.minor <= 6;
    if crds.values().filter_map(version).any(is_old) { Release::V1_6 } else { Release::V1_7 }
}

fn version(crd: &Bundle) -> Option<Version> {
    let text = crd.version.as_deref()?;
    Version::parse(text.strip_prefix('v').unwrap_or(text)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ancestors_of_backends_were_parents_once() {
        let crds = |version: &str| {
            let bundle = Bundle { version: Some(version.to_owned()), channel: None };
            BTreeMap::from([("xbackends.gateway.networking.x-k8s.io".to_owned(), bundle)])
        };
        let new = json!({ "ancestors": [{ "ancestorRef": { "name": "edge" }, "controllerName": "c" }] });
        let old = json!({ "parents": [{ "parentRef": { "name": "edge" }, "controllerName": "c" }] });
        assert_eq!(spelled(Kind::XBackend, new.clone(), &crds("v1.6.3")), old);
        assert_eq!(spelled(Kind::XBackend, new.clone(), &crds("v1.7.0")), new);
        assert_eq!(spelled(Kind::BackendTlsPolicy, new.clone(), &crds("v1.6.3")), new);
    }

    #[test]
    fn features_are_named_as_in_the_oldest_release() {
        let crds = |versions: &[&str]| -> BTreeMap<_, _> {
            let bundle = |version: &str| Bundle { version: Some(version.to_owned()), channel: None };
            versions
                .iter()
                .map(|version| (format!("{version}.gateway.networking.k8s.io"), bundle(version)))
                .collect()
        };
        for (versions, expected) in [
            (&["v1.7.0"][..], Release::V1_7),
            (&["v1.6.3", "v1.7.0"], Release::V1_6),
            (&["v1.8.0"], Release::V1_7),
            (&[], Release::V1_7),
        ] {
            assert_eq!(release(&crds(versions)), expected, "{versions:?}");
        }
    }

    #[test]
    fn releases_are_known_or_not() {
        let cases = [
            (vec![Some("v1.6.3")], true, "v1.6.3"),
            (vec![Some("v1.7.0"), Some("v1.6.1")], true, "v1.6.1, v1.7.0"),
            (vec![Some("v1.7.0-rc.1")], true, "v1.7.0-rc.1"),
            (vec![Some("v1.5.0")], false, "CRD a0.gateway.networking.k8s.io is of Gateway API v1.5.0"),
            (
                vec![Some("v1.7.0"), Some("v1.8.0")],
                false,
                "CRD a1.gateway.networking.k8s.io is of Gateway API v1.8.0",
            ),
            (vec![Some("v2.6.0"), Some("v2.6.0")], false, "CRD a0.gateway.networking.k8s.io (and 1 others)"),
            (vec![None], false, "no version"),
            (vec![Some("latest")], false, "latest"),
        ];
        for (versions, supported, expected) in cases {
            let bundle =
                |version: Option<&str>| Bundle { version: version.map(str::to_owned), channel: None };
            let crds = versions
                .iter()
                .enumerate()
                .map(|(n, version)| (format!("a{n}.gateway.networking.k8s.io"), bundle(*version)))
                .collect();
            let class = ObjectRef::new(Kind::GatewayClass, "", "c");
            let status =
                json!({"conditions": [{"type": "Accepted", "status": "True"}, {"type": "SupportedVersion"}]});
            let mut statuses = BTreeMap::from([(class.clone(), status)]);
            tell(&mut statuses, &crds, &Service::ALL.into());
            let condition = &statuses[&class]["conditions"][1];
            assert_eq!(condition["status"], if supported { "True" } else { "False" }, "{versions:?}");
            let message = condition["message"].as_str().unwrap();
            assert!(message.contains(expected), "{versions:?}: {message}");
            assert_eq!(statuses[&class]["conditions"][0], json!({"type": "Accepted", "status": "True"}));
        }
    }
}
