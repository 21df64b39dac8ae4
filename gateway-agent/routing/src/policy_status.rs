//! The statuses of BackendTLSPolicies, for each Gateway whose routes lead to their targets, and what those Gateways need
//! to know of them.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::sync::Arc;

use gateway_agent_api::{Kind, ObjectRef, Service};
use gateway_agent_tables::{BackendTls, ObjectName};
use serde_json::{Value, json};

use crate::backend_tls::{Policies, Policy, port_names};
use crate::bindings::{Bindings, Bound};
use crate::facts::{Fact, Readers};
use crate::frame::Parent;
use crate::listener::ListenerProtocol;
use crate::listener_spec::TlsMode;
use crate::precedence::Rank;
use crate::status::{self, Condition};
use crate::{CONTROLLER_NAME, Problem, Snapshot};

/// maxItems of status.ancestors in the CRDs of policies. XBackends might have twice as many, which nobody reads.
pub(crate) const MAX_ANCESTORS: usize = 16;

/// Who connects to the ports of one Service: for each port and its name in slices the Gateways, in order of precedence.
type Uses<'b> = BTreeMap<(NonZeroU16, &'b str), BTreeMap<&'b Rank, &'b Parent>>;

/// Where policies meet routes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encrypted<'a> {
    pub(crate) policies: &'a Policies,
    pub(crate) bindings: &'a Bindings,
    /// What the contents of routes looked at.
    pub(crate) contents: &'a Readers,
    pub(crate) snapshot: &'a Snapshot,
}

/// What is to be said of a policy.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) status: Value,
    pub(crate) problems: Vec<Problem>,
    /// A Gateway of ours connects as it says.
    pub(crate) is_followed: bool,
}

impl<'a> Encrypted<'a> {
    /// How to speak TLS to each port of a Service to which a Gateway connects itself.
    pub(crate) fn backends(&self, service: &ObjectName) -> BTreeMap<(ObjectName, NonZeroU16), BackendTls> {
        let uses = self.uses(service);
        let settings = uses.keys().filter_map(|(port, port_name)| {
            let settings = self.policies.settings(&service.namespace, &service.name, port_name)?;
            Some(((service.clone(), *port), settings.clone()))
        });
        settings.collect()
    }

    /// Without ancestors where no Gateway of ours is concerned, so that old entries go.
    pub(crate) fn verdict(&self, object: &ObjectRef, policy: &Policy) -> Verdict {
        let gateways = self.concerned(policy);
        let conditions = self.policies.conditions(policy);
        let mut problems: Vec<_> = status::problems(object, None, &conditions).collect();
        let room = MAX_ANCESTORS.saturating_sub(policy.foreign_ancestors);
        problems.extend(gateways.values().skip(room).map(|parent| full(object, &parent.name)));
        let ancestors: Vec<_> = gateways
            .values()
            .take(room)
            .map(|parent| ancestor(&parent.name, &conditions, policy.generation))
            .collect();
        Verdict { is_followed: !gateways.is_empty(), status: json!({ "ancestors": ancestors }), problems }
    }

    /// The Gateways whose connections the policy is about, in order of precedence.
    fn concerned(&self, policy: &Policy) -> BTreeMap<&'a Rank, &'a Parent> {
        let mut gateways = BTreeMap::new();
        for service in policy.services().collect::<BTreeSet<_>>() {
            let object = self.snapshot.named::<Service>(&service.namespace, &service.name);
            let ports = object.map(port_names).unwrap_or_default();
            for ((_, port_name), users) in self.uses(&service) {
                if policy.concerns(&service.name, port_name, &ports) {
                    gateways.extend(users);
                }
            }
        }
        gateways
    }

    fn uses(&self, service: &ObjectName) -> Uses<'a> {
        let mut uses = Uses::new();
        for route in self.contents.of(&Fact::service(service)) {
            let Some(bound) = self.bindings.routes.get(route) else { continue };
            let Some((content, _)) = &bound.content else { continue };
            let gateways = self.connecting(bound);
            if !gateways.is_empty() {
                for used in content.encryptable_services().into_iter().filter(|it| it.service == service) {
                    uses.entry((used.port, used.port_name)).or_default().extend(gateways.clone());
                }
            }
        }
        uses
    }

    /// The Gateways that connect to a route's backends themselves.
    fn connecting(&self, bound: &Bound) -> BTreeMap<&'a Rank, &'a Parent> {
        let passthrough = Some(ListenerProtocol::Tls(TlsMode::Passthrough));
        let places = bound.places().map(|(id, _)| id);
        let gateways = places.filter_map(|id| {
            let parent: &Arc<Parent> = self.bindings.frame.gateways.get(&*id.gateway)?;
            let place = parent.places.get(id.listener)?;
            (place.protocol != passthrough).then_some((&parent.rank, &**parent))
        });
        gateways.collect()
    }
}

/// What a status says of an object for one Gateway.
pub(crate) fn ancestor(gateway: &ObjectName, conditions: &[Condition], generation: Option<i64>) -> Value {
    json!({
        "ancestorRef": {
            "group": Kind::Gateway.group(),
            "kind": Kind::Gateway.name(),
            "namespace": gateway.namespace,
            "name": gateway.name,
        },
        "controllerName": CONTROLLER_NAME,
        "conditions": status::conditions_of(conditions, generation),
    })
}

pub(crate) fn full(object: &ObjectRef, gateway: &ObjectName) -> Problem {
    Problem {
        object: object.clone(),
        part: Some(format!("ancestor Gateway {gateway}")),
        condition: None,
        reason: "StatusListFull",
        message: format!(
            "status.ancestors has room for {MAX_ANCESTORS} entries and none for Gateway {gateway}; let fewer Gateways \
             lead to what it is about"
        ),
    }
}
