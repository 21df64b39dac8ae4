//! Settings: which hold for a Gateway, of those that it and its class name.

use std::collections::BTreeSet;

use gateway_agent_api::own::gateway_config::{Addresses, Devices, GatewayConfigSpec};
use gateway_agent_api::own::http::Http;
use gateway_agent_api::{Gateway, GatewayClass, GatewayConfig, Kind, ObjectRef};
use gateway_agent_tables::ObjectName;
use gateway_agent_tables::http::HttpSettings;

use crate::{CONTROLLER_NAME, Snapshot, http};

/// The settings in effect on every node, with all defaults: those of our class, of several the first by name. Devices that
/// any of them excludes are excluded.
#[must_use]
pub fn of_node(snapshot: &Snapshot) -> GatewayConfigSpec {
    let mut classes: Vec<_> = snapshot
        .all::<GatewayClass>()
        .filter(|class| class.spec.controller_name == CONTROLLER_NAME)
        .filter_map(|class| {
            let name = class.metadata.name.as_deref()?;
            Some((name, of_class(class, name, snapshot).ok()?))
        })
        .collect();
    classes.sort_by_key(|(name, _)| *name);
    let excluded = classes.iter().filter_map(|(_, settings)| settings.devices.as_ref());
    let excluded: BTreeSet<_> =
        excluded.flat_map(|devices| devices.exclude.iter().flatten()).cloned().collect();
    let settings = classes.into_iter().next().map(|(_, settings)| settings).unwrap_or_default();
    GatewayConfigSpec {
        addresses: Some(Addresses {
            mode: Some(settings.address_mode()),
            sharing: Some(settings.address_sharing()),
            ..settings.addresses.unwrap_or_default()
        }),
        http: Some(http::settings::in_full(&http::settings::effective(settings.http.as_ref()))),
        devices: Some(Devices { exclude: Some(excluded.into_iter().collect()) }),
        telemetry: Some(settings.telemetry.unwrap_or_default().in_full()),
    }
}

/// HTTP settings that are in effect, as a GatewayConfig writes them.
#[must_use]
pub fn http_in_full(settings: &HttpSettings) -> Http {
    http::settings::in_full(settings)
}

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
