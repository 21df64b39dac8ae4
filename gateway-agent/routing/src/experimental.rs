//! The statuses of experimental kinds: XBackends, of which some can be served, and policies and meshes that nothing here
//! serves yet and that must say so, so that nobody waits for what they ask for.

use std::collections::BTreeMap;
use std::sync::Arc;

use gateway_agent_api::{
    Kind, Object, ObjectMeta, ObjectRef, XBackend, XBackendTrafficPolicy, XMesh, XTelemetryPolicy,
};
use gateway_agent_tables::{ObjectName, Protocol};
use serde_json::{Value, json};

use crate::backend::{Backends, Referrer};
use crate::bindings::Bindings;
use crate::facts::{Fact, Readers};
use crate::frame::Parent;
use crate::policy_status::{self, MAX_ANCESTORS};
use crate::precedence::Rank;
use crate::route::object_ref;
use crate::status::{self, Condition};
use crate::{CONTROLLER_NAME, Problem, infrastructure, stream, xbackend};

pub(crate) const KINDS: [Kind; 4] =
    [Kind::XBackend, Kind::XBackendTrafficPolicy, Kind::XMesh, Kind::XTelemetryPolicy];

/// What is needed to judge them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Experimental<'a> {
    pub(crate) backends: &'a Backends<'a>,
    pub(crate) bindings: &'a Bindings,
    /// What the contents of routes looked at.
    pub(crate) contents: &'a Readers,
}

/// What is to be said of an object.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) object: ObjectRef,
    /// None: nothing of it is ours to say.
    pub(crate) status: Option<Value>,
    pub(crate) problems: Vec<Problem>,
    /// What there shall be for it in a cluster, and its own place among all for whom there is something.
    pub(crate) behind: Option<(Rank, ObjectRef, Value)>,
}

/// Gateways of ours, in order of precedence.
type Gateways<'a> = BTreeMap<&'a Rank, &'a Parent>;

impl<'a> Experimental<'a> {
    /// All objects of these kinds.
    pub(crate) fn verdicts(&self) -> Vec<Verdict> {
        let objects = KINDS.iter().flat_map(|kind| self.backends.snapshot.of_kind(*kind));
        objects.filter_map(|object| self.verdict(object)).collect()
    }

    fn verdict(&self, object: &Object) -> Option<Verdict> {
        let name = object.object_ref();
        Some(match object {
            Object::XBackend(backend) => self.backend(name, backend),
            Object::XBackendTrafficPolicy(policy) => self.traffic_policy(&name, policy),
            Object::XTelemetryPolicy(policy) => self.telemetry_policy(name, policy),
            Object::XMesh(mesh) => self::mesh(name, mesh),
            _ => return None,
        })
    }

    fn backend(&self, object: ObjectRef, backend: &XBackend) -> Verdict {
        let gateways = self.gateways_that_use(&object);
        let selection = xbackend::parse(backend);
        let condition = match &selection {
            Ok(_) => Condition::yes(
                "Accepted",
                "Accepted",
                format!(
                    "{object} is valid; Service {} lists its endpoints",
                    xbackend::service_name(&backend.metadata).name
                ),
            ),
            Err(cause) => refused(&object, cause),
        };
        let behind = selection.ok().filter(|_| !gateways.is_empty());
        let behind = behind.and_then(|selection| infrastructure::behind(backend, &selection));
        let behind = behind
            .map(|(service, value)| (Rank::new(Arc::new(object.clone()), &backend.metadata), service, value));
        let ancestors = backend.status.iter().flat_map(|status| status.ancestors.iter().flatten());
        let foreign = ancestors.filter(|it| it.controller_name != CONTROLLER_NAME).count();
        Verdict { behind, ..told(object, &[condition], &backend.metadata, &gateways, foreign) }
    }

    fn traffic_policy(&self, object: &ObjectRef, policy: &XBackendTrafficPolicy) -> Verdict {
        let spec = &policy.spec;
        let namespace = object.namespace.as_deref().unwrap_or_default();
        let targets = spec.target_refs.iter().filter_map(|target| {
            let kind = Kind::find(&target.group, &target.kind)?;
            Some(ObjectRef::new(kind, namespace, &target.name))
        });
        let gateways = targets.flat_map(|target| self.gateways_that_use(&target)).collect();
        let fields = [
            ("retryConstraint", spec.retry_constraint.is_some()),
            ("sessionPersistence", spec.session_persistence.is_some()),
        ];
        let asked: Vec<_> = fields.iter().filter(|(_, is_set)| *is_set).map(|(name, _)| *name).collect();
        let cause = format!(
            "XBackendTrafficPolicies are not served, so nothing comes of its {}; remove it, and use retry and \
             sessionPersistence of the routes' rules",
            if asked.is_empty() { "targetRefs".to_owned() } else { asked.join(" and ") }
        );
        let foreign = policy.status.iter().flat_map(|status| &status.ancestors);
        let foreign = foreign.filter(|it| it.controller_name != CONTROLLER_NAME).count();
        told(object.clone(), &[refused(object, &cause)], &policy.metadata, &gateways, foreign)
    }

    fn telemetry_policy(&self, object: ObjectRef, policy: &XTelemetryPolicy) -> Verdict {
        let namespace = object.namespace.as_deref().unwrap_or_default();
        let targets = policy.spec.target_refs.iter();
        let targets = targets.filter(|it| Kind::find(&it.group, &it.kind) == Some(Kind::Gateway));
        let gateways: Gateways<'_> = targets
            .filter_map(|target| {
                let name = ObjectName { namespace: namespace.to_owned(), name: target.name.clone() };
                let parent = self.bindings.frame.gateways.get(&name)?;
                Some((&parent.rank, &**parent))
            })
            .collect();
        let cause = "XTelemetryPolicies are not served, so no spans are exported; remove the policy (the access log has \
                     each request's trace id)";
        let conditions = [refused(&object, cause), self.provider(policy, namespace)];
        let foreign = policy.status.iter().flat_map(|status| &status.ancestors);
        let foreign = foreign.filter(|it| it.controller_name != CONTROLLER_NAME).count();
        told(object, &conditions, &policy.metadata, &gateways, foreign)
    }

    /// Whether what would take the spans can be found.
    fn provider(&self, policy: &XTelemetryPolicy, namespace: &str) -> Condition {
        let provider = policy.spec.tracing.as_ref().and_then(|tracing| tracing.provider.as_ref());
        let unresolved = provider.and_then(|provider| {
            let reference = object_ref!(&provider.backend_ref, namespace);
            let from = Referrer { kind: Kind::XTelemetryPolicy, namespace };
            self.backends.resolve(from, &reference, Protocol::Tcp).err()
        });
        stream::resolved_refs(unresolved.iter())
    }

    /// The Gateways of routes that have looked at an object to see whether they lead to it.
    fn gateways_that_use(&self, object: &ObjectRef) -> Gateways<'a> {
        let fact = Fact::Object(object.clone());
        let routes = self.contents.of(&fact);
        let places = routes.filter_map(|route| self.bindings.routes.get(route)).flat_map(|it| it.places());
        let parents = places.filter_map(|(id, _)| self.bindings.frame.gateways.get(&*id.gateway));
        parents.map(|parent| (&parent.rank, &**parent)).collect()
    }
}

/// A mesh of another controller is none of our business.
fn mesh(object: ObjectRef, mesh: &XMesh) -> Verdict {
    if mesh.spec.controller_name != CONTROLLER_NAME {
        return Verdict { object, status: None, problems: Vec::new(), behind: None };
    }
    let cause = format!("{CONTROLLER_NAME} serves no mesh; remove it, or name the controller of one");
    let conditions = [refused(&object, &cause)];
    let problems = status::problems(&object, None, &conditions).collect();
    let status = json!({ "conditions": status::conditions(&conditions, &mesh.metadata) });
    Verdict { object, status: Some(status), problems, behind: None }
}

fn refused(object: &ObjectRef, cause: &str) -> Condition {
    Condition::no("Accepted", "UnsupportedValue", format!("{object}: {cause}"))
}

/// The conditions for each Gateway that is concerned; an empty list, where none is, lets old entries go.
fn told(
    object: ObjectRef,
    conditions: &[Condition],
    metadata: &ObjectMeta,
    gateways: &Gateways<'_>,
    foreign: usize,
) -> Verdict {
    let mut problems = Vec::new();
    if !gateways.is_empty() {
        problems.extend(status::problems(&object, None, conditions));
    }
    let room = MAX_ANCESTORS.saturating_sub(foreign);
    problems.extend(gateways.values().skip(room).map(|it| policy_status::full(&object, &it.name)));
    let ancestors = gateways.values().take(room);
    let ancestors: Vec<_> =
        ancestors.map(|it| policy_status::ancestor(&it.name, conditions, metadata.generation)).collect();
    Verdict { object, status: Some(json!({ "ancestors": ancestors })), problems, behind: None }
}
