//! Settings: which hold for a Gateway, of those that it and its class name.

use gateway_agent_api::own::gateway_config::GatewayConfigSpec;
use gateway_agent_api::{Gateway, GatewayClass, GatewayConfig, Kind, ObjectRef};
use gateway_agent_tables::ObjectName;

use crate::Snapshot;

/// What a class sets for its Gateways, or why its parameters are invalid.
pub(crate) fn of_class(
    class: &GatewayClass,
    name: &str,
    snapshot: &Snapshot,
) -> Result<GatewayConfigSpec, String> {
    let Some(parameters) = &class.spec.parameters_ref else { return Ok(GatewayConfigSpec::default()) };
    let reference = Reference {
        field: "spec.parametersRef",
        owner: ObjectRef::new(Kind::GatewayClass, "", name),
        group: &parameters.group,
        kind: &parameters.kind,
        namespace: parameters.namespace.as_deref().filter(|namespace| !namespace.is_empty()),
        name: &parameters.name,
    };
    reference.resolve(snapshot)
}

/// What holds for a Gateway under the settings of its class, or why its own parameters are invalid.
pub(crate) fn of_gateway(
    gateway: &Gateway,
    name: &ObjectName,
    class: &GatewayConfigSpec,
    snapshot: &Snapshot,
) -> Result<GatewayConfigSpec, String> {
    let infrastructure = gateway.spec.infrastructure.as_ref();
    let Some(parameters) = infrastructure.and_then(|it| it.parameters_ref.as_ref()) else {
        return Ok(class.clone());
    };
    let reference = Reference {
        field: "spec.infrastructure.parametersRef",
        owner: ObjectRef::new(Kind::Gateway, &name.namespace, &name.name),
        group: &parameters.group,
        kind: &parameters.kind,
        namespace: Some(&name.namespace),
        name: &parameters.name,
    };
    Ok(reference.resolve(snapshot)?.over(class.clone()))
}

/// A parametersRef. It needs no ReferenceGrant: who writes a GatewayClass may configure the whole cluster, and a Gateway
/// names what is in its own namespace.
struct Reference<'a> {
    field: &'static str,
    owner: ObjectRef,
    group: &'a str,
    kind: &'a str,
    /// None: a GatewayClass names no namespace.
    namespace: Option<&'a str>,
    name: &'a str,
}

impl Reference<'_> {
    fn resolve(&self, snapshot: &Snapshot) -> Result<GatewayConfigSpec, String> {
        let Self { field, owner, group, kind, namespace, name } = self;
        if Kind::find(group, kind) != Some(Kind::GatewayConfig) {
            return Err(format!(
                "{field} of {owner} names {kind} {name} of group {group:?}, a kind that holds no settings for this \
                 controller; name a GatewayConfig of group {}, or remove parametersRef",
                Kind::GatewayConfig.group()
            ));
        }
        let Some(namespace) = namespace else {
            return Err(format!(
                "{field} of {owner} names GatewayConfig {name} without a namespace; add {field}.namespace"
            ));
        };
        let config = snapshot.named::<GatewayConfig>(namespace, name).ok_or_else(|| {
            format!(
                "{field} of {owner} names GatewayConfig {namespace}/{name}, which does not exist; create it, or remove \
                 parametersRef"
            )
        })?;
        Ok(config.spec.clone())
    }
}
