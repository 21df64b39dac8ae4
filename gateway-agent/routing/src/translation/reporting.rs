//! Statuses and problems, object by object.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gateway_agent_api::ObjectRef;
use gateway_agent_tables::ObjectName;
use serde_json::Value;

use super::{Changes, Translation};
use crate::backend::Backends;
use crate::backend_tls::PolicyChanges;
use crate::bindings::PlaceId;
use crate::experimental::{self, Experimental};
use crate::grant::Grants;
use crate::place::Place;
use crate::policy_status::{Encrypted, Verdict};
use crate::route::Route;
use crate::{Outcome, Problem, Snapshot, copies, route_status};

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

    /// Policies, and how Gateways speak TLS to the Services that they rule; true: some policy may have other followers or
    /// references.
    pub(super) fn report_policies(
        &mut self,
        policies: &PolicyChanges,
        services: &BTreeSet<ObjectName>,
        snapshot: &Snapshot,
        changes: &mut Changes,
    ) -> bool {
        for object in &policies.removed {
            self.followed.remove(object);
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
        let any = !verdicts.is_empty() || !policies.removed.is_empty();
        for (object, Verdict { status, problems, is_followed }) in verdicts {
            self.tell(&object, Some(status), problems.into_iter().collect(), changes);
            if is_followed {
                self.followed.insert(object);
            } else {
                self.followed.remove(&object);
            }
        }
        any
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
        let mut behind = BTreeMap::new();
        for verdict in verdicts {
            behind.extend(verdict.behind.filter(|_| snapshot.nodes.is_some()));
            self.tell(&verdict.object, verdict.status, verdict.problems.into_iter().collect(), changes);
        }
        for object in self.experimental.1.keys() {
            self.outcome.infrastructure.remove(object);
        }
        self.outcome.infrastructure.extend(behind.clone());
        self.experimental = (facts, behind);
    }

    /// Gateways and what belongs to them, which were compiled without routes.
    pub(super) fn report_gateways(&mut self, framed: Outcome, changes: &mut Changes) {
        let Outcome { tables, mut statuses, copies, problems, held, infrastructure, assignments, recheck_at } =
            framed;
        for parent in self.bindings.frame.gateways.values() {
            for (id, place) in parent.places() {
                if let Some(status) = statuses.get_mut(&place.owner) {
                    set_count(status, place, &parent.places, self.bindings.count(&id));
                }
            }
        }
        let mut told: BTreeSet<_> = statuses.keys().cloned().collect();
        told.extend(problems.iter().map(|problem| problem.object.clone()));
        let former = std::mem::replace(&mut self.framed, told.clone());
        for object in told.union(&former) {
            let first = Problem::first_of(object);
            let own = problems.range(&first..).take_while(|problem| problem.object == *object);
            self.tell(object, statuses.remove(object), own.cloned().collect(), changes);
        }
        self.outcome.recheck_at = recheck_at;
        self.outcome.held = held;
        self.outcome.infrastructure = infrastructure;
        self.outcome.assignments = assignments;
        self.copies_of_gateways = copies;
        let pool = std::mem::replace(&mut self.outcome.tables.l4.pool, tables.l4.pool);
        let others = pool.symmetric_difference(&self.outcome.tables.l4.pool);
        changes.tables.l4.pool.extend(others);
        let certificates =
            std::mem::replace(&mut self.outcome.tables.tls.certificates, tables.tls.certificates);
        let present = &self.outcome.tables.tls.certificates;
        let names = certificates.keys().chain(present.keys());
        let others = names.filter(|name| certificates.get(*name) != present.get(*name));
        changes.tables.tls.certificates.extend(others.cloned());
    }

    /// What Gateways need of Secrets and the like, and policies that they follow.
    pub(super) fn copy(&mut self, changes: &mut Changes) {
        let mut copies = self.copies_of_gateways.clone();
        for policy in self.followed.iter().filter_map(|object| self.policies.find(object)) {
            copies::of_policy(policy, &mut copies);
        }
        let former = std::mem::replace(&mut self.outcome.copies, copies);
        let objects = former.keys().chain(self.outcome.copies.keys());
        let others = objects.filter(|object| former.get(*object) != self.outcome.copies.get(*object));
        changes.copies.extend(others.cloned());
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
