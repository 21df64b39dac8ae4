//! Translation step by step: what a change of objects affects is compiled anew, everything else stays.
//!
//! Each computation (each Gateway, each policy, each route's attachment, each route's content) notes what it
//! looks at in the snapshot, see [`crate::facts`]. A change calls for those that looked at what changed. Their results
//! are taken out of the tables and put back in the order of the steps of [`Translation::update`].

mod making;
mod reporting;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gateway_agent_api::{Kind, ObjectRef};
use gateway_agent_tables::{Delta, HostPattern, ObjectName, Tables};

use crate::attachment;
use crate::backend::Backends;
use crate::backend_tls::Policies;
use crate::bindings::{Bindings, Bound, PlaceId};
use crate::content::Content;
use crate::copies::Copied;
use crate::endpoints::Slices;
use crate::facts::{Fact, Facts, Readers};
use crate::fill::fill;
use crate::frame::Parent;
use crate::framing::{Framed, Framing};
use crate::grant::Grants;
use crate::infrastructure::Made;
use crate::name::name_of;
use crate::precedence::Rank;
use crate::route::{self, Route};
use crate::sni::Winners;
use crate::{Outcome, Snapshot, http, sni};
use making::{Listener, Making};

/// An [`Outcome`] that follows a [`Snapshot`].
#[derive(Debug, Default)]
pub struct Translation {
    /// Only tables are wanted.
    is_mute: bool,
    framing: Framing,
    bindings: Bindings,
    /// What attaching each route looked at.
    attachments: Readers,
    /// What compiling each route's content looked at.
    contents: Readers,
    policies: Policies,
    slices: Slices,
    making: Making,
    /// Of listeners whose routes can't share host names.
    winners: BTreeMap<PlaceId, Winners>,
    /// What the verdicts on experimental kinds looked at, and what there shall be for those objects.
    experimental: (Facts, BTreeSet<Rank>),
    copied: Copied,
    made: Made,
    outcome: Outcome,
}

/// What may differ between the former outcome and the present one; all else is as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub tables: Delta,
    /// The objects that have another status, or none any more.
    pub statuses: BTreeSet<ObjectRef>,
    /// The objects that have other problems.
    pub problems: BTreeSet<ObjectRef>,
    /// The objects of which something else is copied.
    pub copies: BTreeSet<ObjectRef>,
}

/// Why a route is looked at again.
#[derive(Clone, Copy, Debug, Default)]
struct Due {
    attachment: bool,
    content: bool,
}

/// Routes that are looked at again.
type DueRoutes = BTreeMap<Arc<ObjectRef>, Due>;

impl Translation {
    /// One that makes tables, and neither statuses, problems nor copies: somebody else tells those.
    pub fn of_tables() -> Self {
        Self { is_mute: true, ..Self::default() }
    }

    /// [`Self::update`] was never called.
    pub fn is_new(&self) -> bool {
        self.framing.is_new()
    }

    /// What follows from the snapshot that [`Self::update`] saw last.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    pub fn into_outcome(self) -> Outcome {
        self.outcome
    }

    /// Follows a snapshot. `objects` must name all of its objects that were added, replaced or removed since the last
    /// call; the first time these are all that there are.
    pub fn update(&mut self, snapshot: &Snapshot, objects: &BTreeSet<ObjectRef>) -> Changes {
        let is_first = self.is_new();
        let mut changes = Changes::default();
        let mut facts: Facts = objects.iter().flat_map(Fact::about).collect();
        let framed = self.frame(snapshot, objects, &mut facts, &mut changes.tables);
        let policies = self.policies.update(objects.iter(), &facts, snapshot);
        facts.extend(policies.services.iter().map(Fact::service));
        let l4 = &mut self.outcome.tables.l4;
        let delta = &mut changes.tables.l4;
        let services = self.slices.update(objects.iter(), snapshot, &mut l4.alive, delta);
        self.making.touch(&services);

        let due = self.due(objects, &facts);
        let is_experimental = !due.is_empty()
            || framed.is_anew
            || !framed.others.is_empty()
            || facts.iter().any(|fact| self.experimental.0.contains(fact));
        let mut touched = BTreeSet::new();
        let mut encrypted = policies.services.clone();
        let mut former = Vec::new();
        for route in due.keys() {
            encrypted.extend(self.services_of(route));
            former.push(self.detach(route, &mut touched, &mut changes));
        }
        let Framed { is_anew: _, others, told, copies, made } = framed;
        self.replace_frame(others, &mut touched, &mut changes);
        for ((route, due), former) in due.iter().zip(former) {
            self.attach(route, *due, former, snapshot, &mut touched, &mut changes);
            encrypted.extend(self.services_of(route));
        }
        let mut reported = due.into_keys().collect();
        self.make_places(&touched, &mut reported, &mut changes);
        self.making.make_services(&self.slices, snapshot, &mut self.outcome.tables, &mut changes.tables);

        self.report_policies(&policies, &encrypted, snapshot, &mut changes);
        self.report_routes(&reported, snapshot, &mut changes);
        self.report_gateways(told, &mut changes);
        self.count_routes(&touched, &mut changes);
        for (owner, objects) in made {
            self.made.set(&owner, objects, &mut self.outcome.infrastructure);
        }
        for (object, needs) in copies {
            self.copy(&object, needs, &mut changes);
        }
        if is_experimental {
            self.report_experimental(objects, snapshot, &mut changes);
        }
        if is_first {
            self.fill();
        }
        changes
    }

    /// Gives back what trees have no use for, once nearly all came at the same time.
    fn fill(&mut self) {
        self.bindings.fill();
        let Tables { l4, http, .. } = &mut self.outcome.tables;
        l4.alive = std::mem::take(&mut l4.alive).into_iter().collect();
        fill(&mut http.http_routes);
        fill(&mut http.grpc_routes);
        fill(&mut http.services);
        http.listeners.values_mut().for_each(|listener| fill(&mut listener.hosts));
    }

    /// The Gateways that have to be compiled again, with what is no longer as it was.
    fn frame(
        &mut self,
        snapshot: &Snapshot,
        objects: &BTreeSet<ObjectRef>,
        facts: &mut Facts,
        delta: &mut Delta,
    ) -> Framed {
        let frame = &self.bindings.frame;
        let framed = self.framing.update(snapshot, (objects, facts), frame, &mut self.outcome, delta);
        for (name, parent) in &framed.others {
            let parents = [parent.as_ref(), frame.gateways.get(name)];
            facts.extend(parents.into_iter().flatten().flat_map(|parent| parent.facts()));
        }
        framed
    }

    fn due(&self, objects: &BTreeSet<ObjectRef>, facts: &Facts) -> DueRoutes {
        let mut due = DueRoutes::new();
        for route in objects.iter().filter(|object| route::KINDS.contains(&object.kind)) {
            due.insert(Arc::new(route.clone()), Due { attachment: true, content: true });
        }
        for fact in facts {
            for route in self.attachments.of(fact) {
                due.entry(Arc::clone(route)).or_default().attachment = true;
            }
            for route in self.contents.of(fact) {
                due.entry(Arc::clone(route)).or_default().content = true;
            }
        }
        due
    }

    /// The Services that a route's content looked at, if policies are about them.
    fn services_of(&self, route: &ObjectRef) -> Vec<ObjectName> {
        if self.policies.is_empty() {
            return Vec::new();
        }
        let services = self.contents.facts(route).filter_map(|fact| match fact {
            Fact::Object(object) if object.kind == Kind::Service => Some(name_of(object)),
            _ => None,
        });
        services.collect()
    }

    fn detach(
        &mut self,
        route: &ObjectRef,
        touched: &mut BTreeSet<PlaceId>,
        changes: &mut Changes,
    ) -> Option<Bound> {
        let (bound, left) = self.bindings.detach(route)?;
        self.making.detach(&bound, &left, &self.bindings, &mut self.outcome.tables, &mut changes.tables);
        touched.extend(left.into_iter().map(|(place, _)| place));
        Some(bound)
    }

    /// Attaches a route that is detached, if it still exists, with what stays of its former self.
    fn attach(
        &mut self,
        object: &Arc<ObjectRef>,
        due: Due,
        former: Option<Bound>,
        snapshot: &Snapshot,
        touched: &mut BTreeSet<PlaceId>,
        changes: &mut Changes,
    ) {
        let Some(route) = snapshot.find(object).and_then(Route::parse) else {
            self.attachments.forget(object);
            self.contents.forget(object);
            return;
        };
        let (former_content, former_attachment) = match former {
            Some(Bound { content, verdicts, problems, .. }) => (content, Some((verdicts, problems))),
            None => (None, None),
        };
        let stays = former_attachment.filter(|_| !due.attachment);
        let (verdicts, problems) = stays.unwrap_or_else(|| {
            let frame = &self.bindings.frame;
            let (judged, facts) = snapshot.watch(|| attachment::judge(&route, frame, snapshot));
            self.attachments.set(object, facts);
            judged
        });
        let content = match former_content {
            _ if verdicts.is_empty() => {
                self.contents.forget(object);
                None
            }
            Some(content) if !due.content => Some(content),
            _ => {
                let backends = Backends { snapshot, grants: Grants::of(snapshot), policies: &self.policies };
                let (content, facts) = snapshot.watch(|| Content::compile(&route, &backends));
                self.contents.set(object, facts);
                content
            }
        };
        let rank = Rank::new(Arc::clone(object), route.metadata);
        let made = self.bindings.attach(Bound { rank, verdicts, problems, content });
        let bound = &self.bindings.routes[object];
        self.making.attach(bound, &made, &self.bindings, &mut self.outcome.tables, &mut changes.tables);
        touched.extend(made.into_iter().map(|(place, _)| place));
    }

    /// Goes over to other Gateways, once the routes at those that are others are detached.
    fn replace_frame(
        &mut self,
        others: BTreeMap<ObjectName, Option<Arc<Parent>>>,
        touched: &mut BTreeSet<PlaceId>,
        changes: &mut Changes,
    ) {
        let (tables, delta) = (&mut self.outcome.tables, &mut changes.tables);
        let names: Vec<_> = others.keys().cloned().collect();
        for parent in self.bindings.frame.replace(others) {
            for (id, place) in parent.places() {
                self.making.remove_place(place, tables, delta);
                self.winners.remove(&id);
            }
        }
        for parent in names.iter().filter_map(|name| self.bindings.frame.gateways.get(name)) {
            for (id, place) in parent.places() {
                http::tables::add_listener(place, &mut tables.http, &mut delta.http);
                touched.insert(id);
            }
        }
    }

    /// Makes what follows from the routes of listeners, and finds the routes whose statuses say who wins a host name.
    fn make_places(
        &mut self,
        touched: &BTreeSet<PlaceId>,
        reported: &mut BTreeSet<Arc<ObjectRef>>,
        changes: &mut Changes,
    ) {
        for id in touched {
            let Some(parent) = self.bindings.frame.gateways.get(&*id.gateway) else { continue };
            let Some(place) = parent.places.get(id.listener) else { continue };
            let mut winners = Winners::new();
            if !place.is_http() {
                winners = sni::winners(id, &self.bindings);
                let former = self.winners.insert(id.clone(), winners.clone()).unwrap_or_default();
                let news = |host: &HostPattern| winners.get(host) != former.get(host);
                let concerned = self
                    .bindings
                    .attached(id)
                    .filter(|(_, it)| it.hosts.iter().any(|it| news(&it.effective)));
                reported.extend(concerned.map(|(route, _)| Arc::clone(route)));
            }
            let certificate = parent.client_certificate.as_ref();
            let listener = Listener { id, place, client_certificate: certificate, winners: &winners };
            self.making.make_place(&listener, &self.bindings, &mut self.outcome.tables, &mut changes.tables);
        }
    }
}
