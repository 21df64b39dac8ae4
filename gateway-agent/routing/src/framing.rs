//! Gateways and all that follows from them without any route, step by step: a change compiles the Gateways that looked at
//! what changed, and those that win or lose an address or a place by it.

mod draft;
mod surroundings;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use gateway_agent_api::{Kind, ObjectRef};
use gateway_agent_tables::{Certificate, Delta, ListenerName, ObjectName, Tables};
use serde_json::Value;

use crate::address::{self, Stakes};
use crate::claims::Claims;
use crate::counted::Counted;
use crate::facts::{Facts, Readers};
use crate::frame::{Frame, Parent};
use crate::listener_set::Sets;
use crate::name::name_of;
use crate::precedence::Rank;
use crate::tls::Certificates;
use crate::{Copies, Minutes, Outcome, Problem, Snapshot, gateway_class};
use draft::{Draft, Finished};

/// What is kept of Gateways beside what routes see of them.
#[derive(Debug, Default)]
pub(crate) struct Framing {
    /// Of the snapshot that was looked at last; None: there was none.
    former: Option<Snapshot>,
    /// Classes and settings: what was looked at, and the objects whose verdicts came of it.
    general: (Facts, BTreeSet<ObjectRef>),
    sets: Sets,
    stakes: Stakes,
    claims: Claims,
    /// What compiling each Gateway looked at.
    readers: Readers,
    parts: BTreeMap<ObjectName, Part>,
    rechecks: BTreeSet<(Minutes, ObjectName)>,
    certificates: Counted<ObjectName>,
    pool: Counted<IpAddr>,
}

/// What of the outcome follows from one Gateway, or from a name that ListenerSets take for that of one.
#[derive(Debug, Default)]
struct Part {
    rank: Option<Rank>,
    told: BTreeSet<ObjectRef>,
    held: BTreeSet<ListenerName>,
    pool: BTreeSet<IpAddr>,
    certificates: BTreeSet<ObjectName>,
    recheck_at: Option<Minutes>,
}

/// What came of Gateways that were compiled again.
#[derive(Debug, Default)]
pub(crate) struct Framed {
    /// All were, since something is another that all may depend on.
    pub(crate) is_anew: bool,
    /// Those that routes and tables see as others than before; None: gone.
    pub(crate) others: BTreeMap<ObjectName, Option<Arc<Parent>>>,
    /// All verdicts that were found anew, without any route.
    pub(crate) told: BTreeMap<ObjectRef, Told>,
    /// What there is to copy for Gateways.
    pub(crate) copies: Vec<(Arc<ObjectRef>, Copies)>,
    /// What there shall be for Gateways in a cluster.
    pub(crate) made: Vec<(Rank, BTreeMap<ObjectRef, Value>)>,
}

/// The status of an object, if it is ours to say, and what is wrong with it.
pub(crate) type Told = (Option<Value>, BTreeSet<Problem>);

impl Framing {
    /// There was no snapshot yet.
    pub(crate) fn is_new(&self) -> bool {
        self.former.is_none()
    }

    /// Follows a snapshot. What neither routes nor others have a part in goes right into the outcome.
    pub(crate) fn update(
        &mut self,
        snapshot: &Snapshot,
        (objects, facts): (&BTreeSet<ObjectRef>, &Facts),
        frame: &Frame,
        outcome: &mut Outcome,
        delta: &mut Delta,
    ) -> Framed {
        let mut named = BTreeSet::new();
        for object in objects {
            match object.kind {
                Kind::Gateway => drop(named.insert(name_of(object))),
                Kind::ListenerSet => named.extend(self.sets.update(object, snapshot).into_iter().flatten()),
                _ => {}
            }
        }
        let surrounding = self.surround(snapshot, outcome);
        let due = if surrounding.all {
            self.claims = Claims::default();
            let gateways = snapshot.of_kind(Kind::Gateway).map(|object| name_of(&object.object_ref()));
            let known = self.sets.parents().cloned().chain(self.parts.keys().cloned());
            gateways.chain(known).chain(named).collect()
        } else {
            let readers = facts.iter().flat_map(|fact| self.readers.of(fact)).map(|it| name_of(it));
            named.into_iter().chain(readers).chain(surrounding.gateways).collect()
        };
        let drafts = self.draft(due, facts, surrounding.addresses, snapshot);
        let mut framed = Framed { is_anew: surrounding.all, ..Framed::default() };
        if surrounding.addresses || facts.iter().any(|fact| self.general.0.contains(fact)) {
            self.report_general(snapshot, &mut framed.told);
        }
        // What is no longer told of an object by one may be told by another: all former ones go first.
        for object in drafts.keys().filter_map(|name| self.parts.get(name)).flat_map(|part| &part.told) {
            framed.told.entry(object.clone()).or_default();
        }
        let mut certificates = Certificates::new(snapshot);
        for (name, draft) in drafts {
            let finished = draft.finish(&name, &self.claims, &mut certificates, snapshot);
            let before = frame.gateways.get(&name);
            self.replace(name, finished, before, &mut framed, (outcome, delta));
        }
        outcome.recheck_at = self.rechecks.first().map(|(minutes, _)| *minutes);
        framed
    }

    /// The Gateways that have to be compiled, as far as they are settled among each other.
    fn draft<'s>(
        &mut self,
        due: BTreeSet<ObjectName>,
        facts: &Facts,
        are_addresses_others: bool,
        snapshot: &'s Snapshot,
    ) -> BTreeMap<ObjectName, Draft<'s>> {
        let sets = &self.sets;
        let begin = |name: ObjectName| {
            let draft = Draft::new(&name, sets, snapshot);
            (name, draft)
        };
        let mut drafts: BTreeMap<_, _> = due.into_iter().map(begin).collect();
        let asking = drafts.iter().map(|(name, draft)| (name, draft.asking()));
        let are_due =
            |looked_at: &Facts| are_addresses_others || facts.iter().any(|fact| looked_at.contains(fact));
        for name in self.stakes.update(asking, are_due, snapshot) {
            drafts.entry(name).or_insert_with_key(|name| Draft::new(name, sets, snapshot));
        }
        for (name, draft) in &mut drafts {
            draft.settle(self.stakes.given(name), snapshot);
        }
        let wanted = drafts.iter().map(|(name, draft)| (name, draft.claimant())).collect();
        for name in self.claims.update(wanted, snapshot) {
            drafts.entry(name).or_insert_with_key(|name| {
                let mut draft = Draft::new(name, sets, snapshot);
                draft.settle(self.stakes.given(name), snapshot);
                draft
            });
        }
        drafts
    }

    /// Puts what follows from a Gateway in place of what followed from its former self.
    fn replace(
        &mut self,
        name: ObjectName,
        Finished { parent, mut outcome, facts }: Finished,
        before: Option<&Arc<Parent>>,
        framed: &mut Framed,
        (all, delta): (&mut Outcome, &mut Delta),
    ) {
        let object = Arc::new(ObjectRef::new(Kind::Gateway, &name.namespace, &name.name));
        let rank = parent.as_ref().map(|parent| parent.rank.clone());
        framed.copies.push((Arc::clone(&object), std::mem::take(&mut outcome.copies)));
        framed.made.extend(rank.clone().map(|rank| (rank, std::mem::take(&mut outcome.infrastructure))));
        if before.map(|it| &**it) != parent.as_ref() {
            framed.others.insert(name.clone(), parent.map(Arc::new));
        }
        let part = Part {
            told: tell(&mut outcome, &mut framed.told),
            held: outcome.held.keys().cloned().collect(),
            pool: outcome.tables.l4.pool.clone(),
            certificates: outcome.tables.tls.certificates.keys().cloned().collect(),
            recheck_at: outcome.recheck_at,
            rank,
        };
        self.readers.set(&object, facts);
        let former = self.parts.remove(&name).unwrap_or_default();
        let moved = former.rank.iter().filter(|rank| part.rank.as_ref() != Some(*rank));
        framed.made.extend(moved.map(|rank| (rank.clone(), BTreeMap::new())));
        self.rechecks.extend(part.recheck_at.map(|at| (at, name.clone())));
        if let Some(at) = former.recheck_at.filter(|at| part.recheck_at != Some(*at)) {
            self.rechecks.remove(&(at, name.clone()));
        }
        match outcome.assignments.remove(&name) {
            Some(addresses) => drop(all.assignments.insert(name.clone(), addresses)),
            None => drop(all.assignments.remove(&name)),
        }
        former.held.iter().for_each(|listener| drop(all.held.remove(listener)));
        all.held.append(&mut outcome.held);
        self.share(&part, &former, outcome.tables.tls.certificates, &mut all.tables, delta);
        if part.rank.is_some() || !part.told.is_empty() {
            self.parts.insert(name, part);
        }
    }

    /// Addresses of pools and certificates, which several Gateways may have.
    fn share(
        &mut self,
        part: &Part,
        former: &Part,
        certificates: BTreeMap<ObjectName, Certificate>,
        tables: &mut Tables,
        delta: &mut Delta,
    ) {
        for address in part.pool.iter().filter(|address| self.pool.add(address)) {
            tables.l4.pool.insert(*address);
            delta.l4.pool.insert(*address);
        }
        for address in former.pool.iter().filter(|address| self.pool.remove(address)) {
            tables.l4.pool.remove(address);
            delta.l4.pool.insert(*address);
        }
        for name in &part.certificates {
            self.certificates.add(name);
        }
        for (name, certificate) in certificates {
            if tables.tls.certificates.get(&name) != Some(&certificate) {
                tables.tls.certificates.insert(name.clone(), certificate);
                delta.tls.certificates.insert(name);
            }
        }
        for name in former.certificates.iter().filter(|name| self.certificates.remove(name)) {
            tables.tls.certificates.remove(name);
            delta.tls.certificates.insert(name.clone());
        }
    }

    /// Classes, and pools whoever uses them: there are few.
    fn report_general(&mut self, snapshot: &Snapshot, all: &mut BTreeMap<ObjectRef, Told>) {
        let mut outcome = Outcome::default();
        let ((), facts) = snapshot.watch(|| {
            gateway_class::report(snapshot, &mut outcome);
            outcome.problems.extend(address::problems(snapshot));
        });
        for object in &self.general.1 {
            all.entry(object.clone()).or_default();
        }
        self.general = (facts, tell(&mut outcome, all));
    }
}

/// Takes the statuses and problems of an outcome. Gives the objects that they are about.
fn tell(outcome: &mut Outcome, all: &mut BTreeMap<ObjectRef, Told>) -> BTreeSet<ObjectRef> {
    let mut told = BTreeMap::<ObjectRef, Told>::new();
    for (object, status) in std::mem::take(&mut outcome.statuses) {
        told.entry(object).or_default().0 = Some(status);
    }
    for problem in std::mem::take(&mut outcome.problems) {
        told.entry(problem.object.clone()).or_default().1.insert(problem);
    }
    let objects = told.keys().cloned().collect();
    all.extend(told);
    objects
}

#[cfg(test)]
mod tests {
    use gateway_agent_api::Object;
    use serde_json::json;

    use super::*;
    use crate::Node;
    use crate::facts::Fact;

    /// Its listener wants a port of the node's only address.
    fn gateway(name: &str, port: u16, label: &str) -> Object {
        let listener = json!({ "name": "l", "protocol": "TCP", "port": port });
        let spec = json!({
            "gatewayClassName": "c",
            "listeners": [listener],
            "infrastructure": { "labels": { "l": label } },
        });
        object(Kind::Gateway, name, &spec)
    }

    fn set(name: &str, gateway: &str) -> Object {
        let listener = json!({ "name": "l", "protocol": "TCP", "port": 99 });
        let spec = json!({ "parentRef": { "name": gateway }, "listeners": [listener] });
        object(Kind::ListenerSet, name, &spec)
    }

    fn object(kind: Kind, name: &str, spec: &Value) -> Object {
        let json = json!({ "metadata": { "namespace": "n", "name": name }, "spec": spec });
        Object::decode(kind, json, &mut |_| ()).expect("an object of its kind")
    }

    #[test]
    fn a_change_compiles_those_alone_that_win_or_lose_something() {
        let address = "192.0.2.1".parse().expect("an address");
        let mut snapshot = Snapshot::new(Node { gateway_addresses: vec![address], ..Node::default() });
        let class = json!({ "controllerName": crate::CONTROLLER_NAME });
        let beginning = [
            object(Kind::GatewayClass, "c", &class),
            gateway("a", 1, ""),
            gateway("b", 2, ""),
            gateway("c", 2, ""),
            gateway("d", 4, ""),
        ];
        let (mut framing, mut frame) = (Framing::default(), Frame::default());
        let mut follow = |objects: Vec<Object>| {
            let names: BTreeSet<_> = objects.iter().map(Object::object_ref).collect();
            for object in objects {
                snapshot.insert(object);
            }
            let facts = names.iter().flat_map(Fact::about).collect();
            let (mut outcome, mut delta) = (Outcome::default(), Delta::default());
            let framed = framing.update(&snapshot, (&names, &facts), &frame, &mut outcome, &mut delta);
            frame.replace(framed.others);
            let gateways = framed.copies.iter().map(|(object, _)| object.name.clone());
            gateways.collect::<Vec<_>>().concat()
        };
        assert_eq!(follow(beginning.into()), "abcd");
        let steps = [
            ("another label", vec![gateway("b", 2, "x")], "b"),
            ("a place of its own", vec![gateway("d", 5, "")], "d"),
            (
                "the first takes a place from the second, for which the third waits",
                vec![gateway("a", 2, "")],
                "abc",
            ),
            ("the first leaves it", vec![gateway("a", 1, "")], "abc"),
            ("the second leaves it to the third", vec![gateway("b", 3, "")], "bc"),
            ("the last wants what another has", vec![gateway("d", 1, "")], "d"),
            ("a ListenerSet", vec![set("s", "a")], "a"),
            ("it goes to another", vec![set("s", "b")], "ab"),
            ("what none looks at", vec![object(Kind::Namespace, "n", &json!({}))], ""),
        ];
        for (step, objects, compiled) in steps {
            assert_eq!(follow(objects), compiled, "{step}");
        }
    }
}
