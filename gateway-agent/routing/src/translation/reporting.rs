//! Statuses and problems, object by object.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gateway_agent_api::{Kind, ObjectRef};
use gateway_agent_tables::ObjectName;
use serde_json::Value;

use super::{Changes, Translation};
use crate::backend::Backends;
use crate::backend_tls::PolicyChanges;
use crate::bindings::PlaceId;
use crate::experimental::{self, Experimental};
use crate::framing::Told;
use crate::grant::Grants;
use crate::name::name_of;
use crate::place::Place;
use crate::policy_status::{Encrypted, Verdict};
use crate::route::Route;
use crate::{Copies, Outcome, Problem, Snapshot, copies, route_status};

impl Translation {
    /// What we say of an object from now on; without a status: nothing is ours to say there.
    fn tell(
        &mut self,
        object: &ObjectRef,
        status: Option<Value>,
        problems: BTreeSet<Problem>,
        changes: &mut Changes,
    ) {
        if self.is_mute {
            return;
        }
        let Outcome { statuses, problems: all, .. } = &mut self.outcome;
        if statuses.get(object) != status.as_ref() {
            changes.statuses.insert(object.clone());
            match status {
                Some(status) => statuses.insert(object.clone(), status),
                None => statuses.remove(object),
            };
        }
        let first = Problem::first_of(object);
        let former = || all.range(&first..).take_while(|problem| problem.object == *object);
        if !former().eq(&problems) {
            let former: Vec<_> = former().cloned().collect();
            for problem in &former {
                all.remove(problem);
            }
            all.extend(problems);
            changes.problems.insert(object.clone());
        }
    }

    pub(super) fn report_routes(
        &mut self,
        routes: &BTreeSet<Arc<ObjectRef>>,
        snapshot: &Snapshot,
        changes: &mut Changes,
    ) {
        if self.is_mute {
            return;
        }
        for object in routes {
            let bound = self.bindings.routes.get(object);
            let route = snapshot.find(object).and_then(Route::parse);
            let verdict = bound.zip(route).map(|(bound, route)| {
                route_status::verdict(&route, bound, &self.bindings.frame, &self.winners)
            });
            let (status, problems) = verdict.map_or_else(Default::default, |(status, problems)| {
                (Some(status), problems.into_iter().collect())
            });
            self.tell(object, status, problems, changes);
        }
    }

    /// Policies, and how Gateways speak TLS to the Services that they rule.
    pub(super) fn report_policies(
        &mut self,
        policies: &PolicyChanges,
        services: &BTreeSet<ObjectName>,
        snapshot: &Snapshot,
        changes: &mut Changes,
    ) {
        for object in &policies.removed {
            self.copy(&Arc::new(object.clone()), Copies::new(), changes);
            self.tell(object, None, BTreeSet::new(), changes);
        }
        let encrypted = Encrypted {
            policies: &self.policies,
            bindings: &self.bindings,
            contents: &self.contents,
            snapshot,
        };
        let (table, delta) = (&mut self.outcome.tables.tls.backends, &mut changes.tables.tls.backends);
        for service in services {
            let mut backends = encrypted.backends(service);
            let first = (service.clone(), std::num::NonZeroU16::MIN);
            let former = table.range(first..).map(|(key, _)| key).take_while(|(name, _)| name == service);
            for key in former.cloned().collect::<Vec<_>>() {
                if backends.get(&key) == table.get(&key) {
                    backends.remove(&key);
                } else {
                    table.remove(&key);
                    delta.insert(key);
                }
            }
            delta.extend(backends.keys().cloned());
            table.extend(backends);
        }
        let about = services.iter().flat_map(|service| self.policies.about(service));
        let concerned = policies.policies.iter().chain(about).filter(|_| !self.is_mute);
        let concerned: BTreeSet<_> = concerned.cloned().collect();
        let verdicts: Vec<_> = concerned
            .into_iter()
            .filter_map(|object| {
                let verdict = encrypted.verdict(&object, self.policies.find(&object)?);
                Some((object, verdict))
            })
            .collect();
        for (object, Verdict { status, problems, is_followed }) in verdicts {
            self.tell(&object, Some(status), problems.into_iter().collect(), changes);
            let needs = self.policies.find(&object).filter(|_| is_followed).map(copies::of_policy);
            self.copy(&object, needs.unwrap_or_default(), changes);
        }
    }

    /// All objects of experimental kinds: there are few, and little is to be found out of each.
    pub(super) fn report_experimental(
        &mut self,
        objects: &BTreeSet<ObjectRef>,
        snapshot: &Snapshot,
        changes: &mut Changes,
    ) {
        if self.is_mute {
            return;
        }
        let backends = Backends { snapshot, grants: Grants::of(snapshot), policies: &self.policies };
        let experimental =
            Experimental { backends: &backends, bindings: &self.bindings, contents: &self.contents };
        let (verdicts, facts) = snapshot.watch(|| experimental.verdicts());
        let gone = objects.iter().filter(|it| experimental::KINDS.contains(&it.kind));
        for object in gone.filter(|it| snapshot.find(it).is_none()) {
            self.tell(object, None, BTreeSet::new(), changes);
        }
        let mut owners = BTreeSet::new();
        for verdict in verdicts {
            if let Some((owner, object, value)) = verdict.behind.filter(|_| snapshot.nodes.is_some()) {
                let objects = BTreeMap::from([(object, value)]);
                self.made.set(&owner, objects, &mut self.outcome.infrastructure);
                owners.insert(owner);
            }
            self.tell(&verdict.object, verdict.status, verdict.problems.into_iter().collect(), changes);
        }
        let (_, former) = std::mem::replace(&mut self.experimental, (facts, owners));
        for owner in former.difference(&self.experimental.1) {
            self.made.set(owner, BTreeMap::new(), &mut self.outcome.infrastructure);
        }
    }

    /// Gateways and what belongs to them, whose verdicts were found without routes.
    pub(super) fn report_gateways(&mut self, mut told: BTreeMap<ObjectRef, Told>, changes: &mut Changes) {
        let gateways: Vec<_> = told.keys().filter(|object| object.kind == Kind::Gateway).cloned().collect();
        for gateway in gateways {
            let Some(parent) = self.bindings.frame.gateways.get(&name_of(&gateway)) else { continue };
            for (id, place) in parent.places() {
                if let Some((Some(status), _)) = told.get_mut(&place.owner) {
                    set_count(status, place, &parent.places, self.bindings.count(&id));
                }
            }
        }
        for (object, (status, problems)) in told {
            self.tell(&object, status, problems, changes);
        }
    }

    /// What an object needs of Secrets and the like from now on.
    pub(super) fn copy(&mut self, object: &Arc<ObjectRef>, needs: Copies, changes: &mut Changes) {
        if !self.is_mute {
            self.copied.set(object, needs, &mut self.outcome.copies, &mut changes.copies);
        }
    }

    /// Statuses of Gateways and ListenerSets count the routes of their listeners.
    pub(super) fn count_routes(&mut self, places: &BTreeSet<PlaceId>, changes: &mut Changes) {
        for id in places {
            let Some(parent) = self.bindings.frame.gateways.get(&*id.gateway) else { continue };
            let Some(place) = parent.places.get(id.listener) else { continue };
            let Some(status) = self.outcome.statuses.get_mut(&place.owner) else { continue };
            if set_count(status, place, &parent.places, self.bindings.count(id)) {
                changes.statuses.insert(place.owner.clone());
            }
        }
    }
}

/// Says in a status how many routes a listener has; true: it said something else.
fn set_count(status: &mut Value, place: &Place, places: &[Place], count: usize) -> bool {
    let own = places.iter().filter(|it| it.set == place.set);
    let index = own.take_while(|it| !std::ptr::eq(*it, place)).count();
    let Some(said) = status.pointer_mut(&format!("/listeners/{index}/attachedRoutes")) else { return false };
    let count = Value::from(count);
    let differs = *said != count;
    *said = count;
    differs
}
