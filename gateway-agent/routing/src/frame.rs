//! What Gateways make, whatever routes there are: everything that routes attach to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gateway_agent_api::{Kind, ObjectRef};
use gateway_agent_tables::ObjectName;

use crate::bindings::PlaceId;
use crate::facts::{Fact, Facts};
use crate::gateway::Gateway;
use crate::grant::Grants;
use crate::place::Place;
use crate::precedence::Rank;
use crate::route::DefaultScope;
use crate::{Outcome, Snapshot, address, claims, copies, gateway, gateway_class, listener_set, tls};

/// All Gateways of ours, by name.
#[derive(Debug, Default)]
pub(crate) struct Frame {
    pub(crate) gateways: BTreeMap<ObjectName, Arc<Parent>>,
    sets: BTreeMap<ObjectName, Target>,
}

/// A Gateway as routes see it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parent {
    pub(crate) name: Arc<ObjectName>,
    pub(crate) rank: Rank,
    /// Routes that ask for default Gateways attach to it.
    pub(crate) is_default: bool,
    /// The Gateway's own listeners, then those of its ListenerSets.
    pub(crate) places: Vec<Place>,
    pub(crate) sets: Vec<Set>,
    /// What it shows to backends that ask for a certificate.
    pub(crate) client_certificate: Option<ObjectName>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Set {
    pub(crate) name: ObjectName,
    /// The Gateway takes it.
    pub(crate) allowed: bool,
}

/// Where a parentRef leads: a Gateway, or a ListenerSet of it by index.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) gateway: Arc<ObjectName>,
    pub(crate) set: Option<usize>,
}

/// Gateways that were compiled again.
#[derive(Debug)]
pub(crate) struct Framed {
    pub(crate) frame: Frame,
    /// Those that routes and tables see as others than before, or no longer.
    pub(crate) others: BTreeSet<ObjectName>,
    /// Statuses and problems of Gateways and of all that belongs to them, without any route; certificates, and
    /// what there is to copy; and when to look again.
    pub(crate) outcome: Outcome,
}

impl Framed {
    pub(crate) fn compile(snapshot: &Snapshot, before: &Frame) -> Self {
        let mut outcome = Outcome::default();
        let classes = gateway_class::ours(snapshot, &mut outcome);
        let mut gateways = gateway::ours(snapshot, &classes, &mut outcome);
        listener_set::attach(&mut gateways, snapshot, &mut outcome);
        claims::settle(&mut gateways, snapshot);
        let mut resolver = tls::Resolver::new(snapshot, Grants::of(snapshot));
        resolver.resolve(&mut gateways);
        for gateway in &gateways {
            gateway.report(&vec![0; gateway.listeners.len()], snapshot, &mut outcome);
        }
        outcome.problems.extend(resolver.problems);
        outcome.copies = copies::of_gateways(&gateways, snapshot);
        outcome.tables.l4.pool = address::of_pools(&gateways);
        let usable = || resolver.certificates.usable();
        outcome.recheck_at = usable().filter_map(|(_, loaded)| loaded.recheck_at).min();
        let certificates = usable().map(|(name, loaded)| (name.clone(), loaded.certificate.clone()));
        outcome.tables.tls.certificates = certificates.collect();
        let parents = gateways.iter().map(|gateway| Parent::new(gateway, snapshot));
        let frame = Frame::of(parents.map(|it| (ObjectName::clone(&it.name), Arc::new(it))).collect());
        Self { others: frame.differences(before), frame, outcome }
    }
}

impl Frame {
    fn of(gateways: BTreeMap<ObjectName, Arc<Parent>>) -> Self {
        let sets = gateways.values().flat_map(|parent| {
            parent.sets.iter().enumerate().map(|(index, set)| {
                (set.name.clone(), Target { gateway: Arc::clone(&parent.name), set: Some(index) })
            })
        });
        Self { sets: sets.collect(), gateways }
    }

    /// Where a parentRef leads that names an object of this kind; None: not to one of ours.
    pub(crate) fn target(&self, kind: Kind, name: &ObjectName) -> Option<Target> {
        match kind {
            Kind::Gateway => {
                let gateway = Arc::clone(&self.gateways.get(name)?.name);
                Some(Target { gateway, set: None })
            }
            Kind::ListenerSet => self.sets.get(name).cloned(),
            _ => None,
        }
    }

    pub(crate) fn place(&self, gateway: &ObjectName, listener: usize) -> Option<&Place> {
        self.gateways.get(gateway)?.places.get(listener)
    }

    /// The Gateways that are another than before, or are gone.
    pub(crate) fn differences(&self, before: &Self) -> BTreeSet<ObjectName> {
        let names = self.gateways.keys().chain(before.gateways.keys());
        names.filter(|name| self.gateways.get(*name) != before.gateways.get(*name)).cloned().collect()
    }

    /// What those have looked at who asked for a Gateway or its ListenerSets.
    pub(crate) fn facts(&self, gateway: &ObjectName) -> Facts {
        let Some(parent) = self.gateways.get(gateway) else { return Facts::new() };
        let object =
            |kind, name: &ObjectName| Fact::Object(ObjectRef::new(kind, &name.namespace, &name.name));
        let sets = parent.sets.iter().map(|set| object(Kind::ListenerSet, &set.name));
        let default = parent.is_default.then_some(Fact::Kind(Kind::Gateway, None));
        sets.chain([object(Kind::Gateway, gateway)]).chain(default).collect()
    }
}

impl Parent {
    fn new(gateway: &Gateway<'_>, snapshot: &Snapshot) -> Self {
        let mut names = BTreeSet::new();
        let places = gateway.listeners.iter().map(|listener| {
            let mut place = Place::new(listener, gateway, snapshot);
            // The schema keeps equal names out; of those that slipped past it the first is served.
            if !names.insert(&listener.name.listener) {
                place.frontends.clear();
            }
            place
        });
        Self {
            rank: Rank::new(Arc::new(gateway.object()), gateway.metadata),
            is_default: gateway.default_scope() == DefaultScope::All,
            places: places.collect(),
            sets: gateway.sets.iter().map(|it| Set { name: it.name.clone(), allowed: it.allowed }).collect(),
            client_certificate: gateway.client_certificate.clone().ok().flatten(),
            name: Arc::new(gateway.name.clone()),
        }
    }

    pub(crate) fn places(&self) -> impl Iterator<Item = (PlaceId, &Place)> {
        let id = |listener| PlaceId { gateway: Arc::clone(&self.name), listener };
        self.places.iter().enumerate().map(move |(index, place)| (id(index), place))
    }
}
