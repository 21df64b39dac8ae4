//! The statuses of BackendTLSPolicies, for each Gateway whose routes lead to their targets.

use std::collections::{BTreeMap, BTreeSet};

use gateway_agent_api::{BackendTlsPolicy, Kind, Service};
use gateway_agent_tables::TlsTables;
use serde_json::json;

use crate::backend_tls::{Policies, Policy, port_names};
use crate::bindings::{Bindings, Bound};
use crate::content::ServiceUse;
use crate::listener::ListenerProtocol;
use crate::listener_spec::TlsMode;
use crate::status;
use crate::{CONTROLLER_NAME, Outcome, Problem, Snapshot, copies, tls};

/// maxItems of status.ancestors in the CRDs of policies.
const MAX_ANCESTORS: usize = 16;

/// Who connects to Services: for each use the Gateways, by index and so in order of precedence.
type Uses<'b> = BTreeMap<ServiceUse<'b>, BTreeSet<usize>>;

/// Writes a status for every policy (an empty one where no Gateway of ours is concerned, so that old entries go), and
/// puts those that are followed into the tables.
pub(crate) fn report(
    policies: &Policies<'_>,
    bindings: &Bindings<'_>,
    snapshot: &Snapshot,
    outcome: &mut Outcome,
) {
    if policies.all.is_empty() {
        return;
    }
    let uses = uses(bindings);
    encrypt(&uses, policies, &mut outcome.tables.tls);
    for policy in &policies.all {
        let gateways = concerned(policy, &uses, snapshot);
        if !gateways.is_empty() {
            copies::add(&policy.trust_sources, &[tls::BUNDLE], outcome);
        }
        let conditions = [policy.accepted.clone(), policy.refs.clone()];
        outcome.problems.extend(status::problems(&policy.object, None, &conditions));
        let room = MAX_ANCESTORS.saturating_sub(foreign_ancestors(policy, snapshot));
        outcome.problems.extend(gateways.iter().skip(room).map(|index| full(policy, *index, bindings)));
        let ancestors: Vec<_> = gateways
            .iter()
            .take(room)
            .map(|index| {
                let gateway = &bindings.gateways[*index].name;
                json!({
                    "ancestorRef": {
                        "group": Kind::Gateway.group(),
                        "kind": Kind::Gateway.name(),
                        "namespace": gateway.namespace,
                        "name": gateway.name,
                    },
                    "controllerName": CONTROLLER_NAME,
                    "conditions": status::conditions(&conditions, policy.metadata),
                })
            })
            .collect();
        outcome.statuses.insert(policy.object.clone(), json!({ "ancestors": ancestors }));
    }
}

fn uses<'b>(bindings: &'b Bindings<'_>) -> Uses<'b> {
    let mut uses = Uses::new();
    for bound in &bindings.routes {
        let Some((content, _)) = &bound.content else { continue };
        let gateways = connecting(bound, bindings);
        if !gateways.is_empty() {
            for service in content.encryptable_services() {
                uses.entry(service).or_default().extend(&gateways);
            }
        }
    }
    uses
}

/// The Gateways that connect to a route's backends themselves.
fn connecting(bound: &Bound<'_>, bindings: &Bindings<'_>) -> BTreeSet<usize> {
    let attached = bound.verdicts.iter().flat_map(|verdict| {
        verdict.attached.iter().flatten().map(|attachment| (verdict.gateway, attachment.listener))
    });
    let passthrough = Some(ListenerProtocol::Tls(TlsMode::Passthrough));
    attached
        .filter(|(gateway, place)| bindings.gateways[*gateway].listeners[*place].protocol != passthrough)
        .map(|(gateway, _)| gateway)
        .collect()
}

fn encrypt(uses: &Uses<'_>, policies: &Policies<'_>, tables: &mut TlsTables) {
    for ServiceUse { service, port, port_name } in uses.keys() {
        if let Some(settings) = policies.settings(&service.namespace, &service.name, port_name) {
            tables.backends.insert(((*service).clone(), *port), settings.clone());
        }
    }
}

fn concerned(policy: &Policy<'_>, uses: &Uses<'_>, snapshot: &Snapshot) -> BTreeSet<usize> {
    let mut gateways = BTreeSet::new();
    for (ServiceUse { service, port_name, .. }, users) in uses {
        if !policy.targets_service(&service.namespace, &service.name) {
            continue;
        }
        let object = snapshot.named::<Service>(&service.namespace, &service.name);
        let ports = object.map(port_names).unwrap_or_default();
        if policy.concerns(&service.name, port_name, &ports) {
            gateways.extend(users);
        }
    }
    gateways
}

/// Entries of other controllers, which stay.
fn foreign_ancestors(policy: &Policy<'_>, snapshot: &Snapshot) -> usize {
    let namespace = policy.object.namespace.as_deref().unwrap_or_default();
    let object = snapshot.named::<BackendTlsPolicy>(namespace, &policy.object.name);
    let ancestors = object.and_then(|object| object.status.as_ref()).map(|status| &status.ancestors);
    ancestors.into_iter().flatten().filter(|it| it.controller_name != CONTROLLER_NAME).count()
}

fn full(policy: &Policy<'_>, gateway: usize, bindings: &Bindings<'_>) -> Problem {
    let gateway = &bindings.gateways[gateway].name;
    Problem {
        object: policy.object.clone(),
        part: Some(format!("ancestor Gateway {gateway}")),
        condition: None,
        reason: "StatusListFull",
        message: format!(
            "status.ancestors has room for {MAX_ANCESTORS} entries and none for Gateway {gateway}; detach the policy's \
             Services from other Gateways"
        ),
    }
}
