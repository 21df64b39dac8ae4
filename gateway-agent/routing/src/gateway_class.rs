//! Classes of Gateways: which are ours, and whether their Gateways get anything.

use gateway_agent_api::own::gateway_config::GatewayConfigSpec;
use gateway_agent_api::{GatewayClass, Kind, ObjectMeta, ObjectRef};
use serde_json::json;

use crate::status::{self, Condition};
use crate::{CONTROLLER_NAME, Outcome, Release, Snapshot, features, settings};

/// A class of ours.
#[derive(Debug)]
pub(crate) struct Class<'a> {
    metadata: &'a ObjectMeta,
    name: &'a str,
    /// What it sets for its Gateways, or why it is not accepted.
    pub(crate) settings: Result<GatewayConfigSpec, String>,
}

/// The class of this name, if it is ours.
pub(crate) fn find<'a>(name: &str, snapshot: &'a Snapshot) -> Option<Class<'a>> {
    snapshot.named::<GatewayClass>("", name).and_then(|class| Class::parse(class, snapshot))
}

/// Writes the statuses of our classes.
pub(crate) fn report(snapshot: &Snapshot, outcome: &mut Outcome) {
    for class in snapshot.all::<GatewayClass>().filter_map(|class| Class::parse(class, snapshot)) {
        let conditions = [
            accepted(class.name, class.settings.as_ref().err().map(String::as_str)),
            Condition::yes("SupportedVersion", "SupportedVersion", "Gateway API v1.7 and v1.6 are supported"),
        ];
        let object = ObjectRef::new(Kind::GatewayClass, "", class.name);
        outcome.problems.extend(status::problems(&object, None, &conditions));
        outcome.statuses.insert(
            object,
            json!({
                "conditions": status::conditions(&conditions, class.metadata),
                "supportedFeatures": features::status(&snapshot.served, Release::V1_7),
            }),
        );
    }
}

impl<'a> Class<'a> {
    fn parse(class: &'a GatewayClass, snapshot: &Snapshot) -> Option<Self> {
        let name =
            class.metadata.name.as_deref().filter(|_| class.spec.controller_name == CONTROLLER_NAME)?;
        Some(Self { metadata: &class.metadata, name, settings: settings::of_class(class, name, snapshot) })
    }
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
