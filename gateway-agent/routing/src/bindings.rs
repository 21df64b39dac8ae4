//! Routes bound to listeners: what the tables of all data planes are made of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gateway_agent_api::ObjectRef;
use gateway_agent_tables::ObjectName;

use crate::Problem;
use crate::attachment::{RouteHost, Verdict};
use crate::content::{self, Content};
use crate::fill::fill;
use crate::frame::Frame;
use crate::name::name_of;
use crate::place::Place;
use crate::precedence::Rank;

/// Gateways and routes, and who is attached to whom.
#[derive(Debug, Default)]
pub(crate) struct Bindings {
    pub(crate) frame: Frame,
    pub(crate) routes: BTreeMap<Arc<ObjectRef>, Box<Bound>>,
    /// Those that have routes.
    places: BTreeMap<PlaceId, Attachments>,
}

/// A route, what became of its parentRefs, and its rules.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) rank: Rank,
    pub(crate) verdicts: Box<[Verdict]>,
    /// About parents that don't exist.
    pub(crate) problems: Vec<Problem>,
    /// None: no parent is ours.
    pub(crate) content: Option<(Content, content::Verdict)>,
}

/// A listener of a Gateway, by index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PlaceId {
    pub(crate) gateway: Arc<ObjectName>,
    pub(crate) listener: usize,
}

/// The routes of a listener, in order of precedence.
#[derive(Debug, Default)]
pub(crate) struct Attachments {
    routes: BTreeMap<Rank, Attached>,
    accepted: usize,
}

/// A route at a listener.
#[derive(Clone, Debug)]
pub(crate) struct Attached {
    pub(crate) hosts: Arc<[RouteHost]>,
    /// It counts as attached in the listener's status.
    accepted: bool,
}

impl Bindings {
    pub(crate) fn place(&self, id: &PlaceId) -> Option<&Place> {
        self.frame.place(&id.gateway, id.listener)
    }

    /// The routes of a listener, in order of precedence.
    pub(crate) fn attached(&self, place: &PlaceId) -> impl Iterator<Item = (&Arc<ObjectRef>, &Attached)> {
        let attachments = self.places.get(place).into_iter();
        attachments.flat_map(|it| &it.routes).map(|(rank, attached)| (&rank.object, attached))
    }

    pub(crate) fn fill(&mut self) {
        fill(&mut self.routes);
        self.places.values_mut().for_each(|it| fill(&mut it.routes));
    }

    /// How many accepted routes a listener has.
    pub(crate) fn count(&self, place: &PlaceId) -> usize {
        self.places.get(place).map_or(0, |attachments| attachments.accepted)
    }

    /// Puts a route at its listeners, and tells where that is.
    pub(crate) fn attach(&mut self, bound: Bound) -> Vec<(PlaceId, Attached)> {
        let refused = bound.content.as_ref().is_some_and(|(_, verdict)| verdict.refusal.is_some());
        let mut made = Vec::new();
        for (id, hosts) in bound.places() {
            let attachments = self.places.entry(id.clone()).or_default();
            // Several parentRefs of one route may name the same listener.
            if !attachments.routes.contains_key(&bound.rank) {
                let attached = Attached { hosts: Arc::clone(hosts), accepted: !refused };
                attachments.accepted += usize::from(attached.accepted);
                attachments.routes.insert(bound.rank.clone(), attached.clone());
                made.push((id, attached));
            }
        }
        self.routes.insert(Arc::clone(&bound.rank.object), Box::new(bound));
        made
    }

    /// Takes a route away from its listeners, and tells where it was.
    pub(crate) fn detach(&mut self, route: &ObjectRef) -> Option<(Bound, Vec<(PlaceId, Attached)>)> {
        let bound = self.routes.remove(route)?;
        let mut left = Vec::new();
        for id in bound.places().map(|(id, _)| id).collect::<BTreeSet<_>>() {
            let Some(attachments) = self.places.get_mut(&id) else { continue };
            if let Some(attached) = attachments.routes.remove(&bound.rank) {
                attachments.accepted -= usize::from(attached.accepted);
                if attachments.routes.is_empty() {
                    self.places.remove(&id);
                }
                left.push((id, attached));
            }
        }
        Some((*bound, left))
    }
}

impl Bound {
    /// The listeners at which the route is, some perhaps more than once.
    pub(crate) fn places(&self) -> impl Iterator<Item = (PlaceId, &Arc<[RouteHost]>)> {
        self.verdicts.iter().flat_map(|verdict| {
            verdict.attached.iter().flatten().map(|attachment| {
                let id = PlaceId { gateway: Arc::clone(&verdict.gateway), listener: attachment.listener };
                (id, &attachment.hosts)
            })
        })
    }

    pub(crate) fn name(&self) -> ObjectName {
        name_of(&self.rank.object)
    }
}
