//! Classes of Gateways: which are ours, and whether their Gateways get anything.

use std::collections::BTreeMap;

use gateway_agent_api::own::gateway_config::GatewayConfigSpec;
use gateway_agent_api::{GatewayClass, Kind, ObjectRef};
use serde_json::json;

use crate::status::{self, Condition};
use crate::{CONTROLLER_NAME, Outcome, Release, Snapshot, features, settings};

/// Our classes by name, with what they set for their Gateways; None: the class is not accepted.
pub(crate) type Classes<'a> = BTreeMap<&'a str, Option<GatewayConfigSpec>>;

/// Finds our classes and writes their statuses.
pub(crate) fn ours<'a>(snapshot: &'a Snapshot, outcome: &mut Outcome) -> Classes<'a> {
    snapshot
        .all::<GatewayClass>()
        .filter(|class| class.spec.controller_name == CONTROLLER_NAME)
        .filter_map(|class| {
            let name = class.metadata.name.as_deref()?;
            let settings = settings::of_class(class, name, snapshot);
            let conditions = [
                accepted(name, settings.as_ref().err().map(String::as_str)),
                Condition::yes(
                    "SupportedVersion",
                    "SupportedVersion",
                    "Gateway API v1.7 and v1.6 are supported",
                ),
            ];
            let object = ObjectRef::new(Kind::GatewayClass, "", name);
            outcome.problems.extend(status::problems(&object, None, &conditions));
            outcome.statuses.insert(
                object,
                json!({
                    "conditions": status::conditions(&conditions, &class.metadata),
                    "supportedFeatures": features::status(&snapshot.served, Release::V1_7),
                }),
            );
            Some((name, settings.ok()))
        })
        .collect()
}

fn accepted(name: &str, fault: Option<&str>) -> Condition {
    match fault {
        None => Condition::yes(
            "Accepted",
            "Accepted",
            format!("GatewayClass {name} is served by {CONTROLLER_NAME}"),
        ),
        Some(message) => Condition::no("Accepted", "InvalidParameters", message),
    }
}
