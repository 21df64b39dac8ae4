//! What a cluster must have before the suite is worth starting: it would wait minutes, and then say less.

use std::time::Duration;

use cluster::Kubectl;
use serde_json::Value;

use crate::ConformanceError;
use crate::catalogue::Catalogue;

/// A controller that runs accepts its class within a second; one that was just installed must come up first.
const PATIENCE: Duration = Duration::from_secs(10);

/// Of the kind that all releases have.
const CRD: &str = "gateways.gateway.networking.k8s.io";

/// What is missing, and how to get it.
type Missing = (String, String);

pub(crate) fn has_crds(kubectl: &Kubectl) -> bool {
    get(kubectl, &["crd", CRD]).is_some()
}

/// An error unless the cluster has the CRDs of the suite's release and of `channel`.
pub(crate) fn check_crds(
    kubectl: &Kubectl,
    catalogue: &Catalogue,
    channel: &str,
) -> Result<(), ConformanceError> {
    let crd = get(kubectl, &["crd", CRD]);
    wrong_crds(crd.as_ref(), &catalogue.version, channel).map_or(Ok(()), not_ready)
}

/// Waits until `class` is accepted; an error if there is none, if nothing accepts it, or, where features are
/// `inferred` from it, if it claims none.
pub(crate) fn check_class(kubectl: &Kubectl, class: &str, inferred: bool) -> Result<(), ConformanceError> {
    let look = || get(kubectl, &["gatewayclass", class]);
    let is_settled = || look().is_none_or(|found| missing_class(Some(&found), class, inferred).is_none());
    // Only how long to wait; what is missing afterwards is said below.
    let _ = lab::wait_until("acceptance of the class", PATIENCE, is_settled);
    missing_class(look().as_ref(), class, inferred).map_or(Ok(()), not_ready)
}

fn get(kubectl: &Kubectl, object: &[&str]) -> Option<Value> {
    let words = [&["get", "--output=json", "--ignore-not-found"], object].concat();
    serde_json::from_str(&kubectl.run(&words).ok()?).ok()
}

fn not_ready((missing, fix): Missing) -> Result<(), ConformanceError> {
    Err(ConformanceError::NotReady { missing, fix })
}

fn wrong_crds(crd: Option<&Value>, version: &str, channel: &str) -> Option<Missing> {
    let again = "take it down (`cargo xtask cluster down`) and run this again";
    let Some(crd) = crd else {
        return Some(("the cluster has no CRDs of the Gateway API".into(), again.into()));
    };
    let annotation = |name: &str| {
        let key = format!("gateway.networking.k8s.io/{name}");
        crd["metadata"]["annotations"][key].as_str().unwrap_or("unknown")
    };
    let (found, found_channel) = (annotation("bundle-version"), annotation("channel"));
    if found != version {
        return Some((
            format!("the cluster's CRDs are those of {found}, the suite judges {version}"),
            again.into(),
        ));
    }
    (found_channel != channel).then(|| {
        let missing = format!("the cluster's CRDs are of the {found_channel} channel, not {channel}");
        (missing, format!("{again}; or name the channel by --channel {found_channel}"))
    })
}

fn missing_class(class: Option<&Value>, name: &str, inferred: bool) -> Option<Missing> {
    let Some(class) = class else {
        let missing = format!("there is no GatewayClass {name}, so no implementation is installed for it");
        return Some((missing, "install one, or name the class of another by --class".into()));
    };
    let controller = class["spec"]["controllerName"].as_str().unwrap_or("none");
    let look = "see whether it runs and what it logs (`cargo xtask kubectl get pods -A`)";
    let conditions = class["status"]["conditions"].as_array();
    let accepted = conditions.into_iter().flatten().find(|condition| condition["type"] == "Accepted");
    let (status, message) = accepted.map_or((None, ""), |condition| {
        (condition["status"].as_str(), condition["message"].as_str().unwrap_or_default())
    });
    let missing = match status {
        Some("True") => {
            let seen = accepted.and_then(|condition| condition["observedGeneration"].as_u64());
            let current = class["metadata"]["generation"].as_u64();
            (seen != current).then(|| {
                format!("controller {controller} accepted an older generation of GatewayClass {name}")
            })
        }
        Some("False") => {
            Some(format!("controller {controller} does not accept GatewayClass {name}: {message}"))
        }
        _ => Some(format!(
            "GatewayClass {name} is not Accepted: no controller called {controller} has answered for it"
        )),
    };
    if let Some(missing) = missing {
        return Some((missing, look.into()));
    }
    let features = class["status"]["supportedFeatures"].as_array().map_or(0, Vec::len);
    (inferred && features == 0).then(|| {
        let missing = format!("GatewayClass {name} claims no features in status.supportedFeatures");
        (missing, "let the controller write them, or name them by --features".into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_class_must_be_answered_for() {
        let class = |status: Value| {
            json!({
                "metadata": {"generation": 2},
                "spec": {"controllerName": "example.com/controller"},
                "status": status,
            })
        };
        let condition = |status: &str, generation: u64| {
            json!({
                "type": "Accepted", "status": status, "observedGeneration": generation, "message": "bad parameters",
            })
        };
        let accepted = json!({"conditions": [condition("True", 2)]});
        let claiming =
            json!({"conditions": [condition("True", 2)], "supportedFeatures": [{"name": "Gateway"}]});
        for (case, class, inferred, expected) in [
            ("no class", None, true, Some("there is no GatewayClass toy")),
            ("no status", Some(class(json!({}))), true, Some("no controller called example.com/controller")),
            (
                "the default condition",
                Some(class(json!({"conditions": [condition("Unknown", 0)]}))),
                true,
                Some("is not Accepted"),
            ),
            (
                "refused",
                Some(class(json!({"conditions": [condition("False", 2)]}))),
                true,
                Some("does not accept GatewayClass toy: bad parameters"),
            ),
            (
                "stale",
                Some(class(json!({"conditions": [condition("True", 1)]}))),
                true,
                Some("older generation"),
            ),
            ("no features", Some(class(accepted.clone())), true, Some("claims no features")),
            ("features named elsewhere", Some(class(accepted)), false, None),
            ("ready", Some(class(claiming)), true, None),
        ] {
            let missing = missing_class(class.as_ref(), "toy", inferred).map(|(missing, _)| missing);
            match expected {
                None => assert_eq!(missing, None, "{case}"),
                Some(text) => {
                    let missing = missing.unwrap_or_default();
                    assert!(missing.contains(text), "{case}: {missing}");
                }
            }
        }
    }

    #[test]
    fn crds_must_be_those_of_the_suite() {
        let crd = |version: &str, channel: &str| {
            json!({"metadata": {"annotations": {
                "gateway.networking.k8s.io/bundle-version": version,
                "gateway.networking.k8s.io/channel": channel,
            }}})
        };
        for (crd, expected) in [
            (None, Some("no CRDs")),
            (Some(crd("v1.5.0", "standard")), Some("those of v1.5.0")),
            (Some(crd("v1.6.3", "experimental")), Some("experimental channel, not standard")),
            (Some(crd("v1.6.3", "standard")), None),
        ] {
            let missing = wrong_crds(crd.as_ref(), "v1.6.3", "standard").map(|(missing, _)| missing);
            assert_eq!(missing.is_some(), expected.is_some(), "{missing:?}");
            assert!(missing.unwrap_or_default().contains(expected.unwrap_or_default()), "{expected:?}");
        }
    }
}
