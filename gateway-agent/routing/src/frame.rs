//! What Gateways make, whatever routes there are: everything that routes attach to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gateway_agent_api::{Kind, ObjectRef};
use gateway_agent_tables::ObjectName;

use crate::Snapshot;
use crate::bindings::PlaceId;
use crate::facts::{Fact, Facts};
use crate::gateway::Gateway;
use crate::place::Place;
use crate::precedence::Rank;
use crate::route::DefaultScope;

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

impl Frame {
    /// Takes over Gateways that are others than before; None: gone. Gives the former ones.
    pub(crate) fn replace(&mut self, others: BTreeMap<ObjectName, Option<Arc<Parent>>>) -> Vec<Arc<Parent>> {
        let former: Vec<_> = others.keys().filter_map(|name| self.gateways.remove(name)).collect();
        for set in former.iter().flat_map(|parent| &parent.sets) {
            self.sets.remove(&set.name);
        }
        for (name, parent) in others {
            let Some(parent) = parent else { continue };
            for (index, set) in parent.sets.iter().enumerate() {
                let target = Target { gateway: Arc::clone(&parent.name), set: Some(index) };
                self.sets.insert(set.name.clone(), target);
            }
            self.gateways.insert(name, parent);
        }
        former
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
}

impl Parent {
    pub(crate) fn new(gateway: &Gateway<'_>, snapshot: &Snapshot) -> Self {
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
            rank: gateway.rank(),
            is_default: gateway.default_scope() == DefaultScope::All,
            places: places.collect(),
            sets: gateway.sets.iter().map(|it| Set { name: it.name.clone(), allowed: it.allowed }).collect(),
            client_certificate: gateway.client_certificate.clone().ok().flatten(),
            name: Arc::new(gateway.name.clone()),
        }
    }

    /// What those have looked at who asked for the Gateway or its ListenerSets.
    pub(crate) fn facts(&self) -> Facts {
        let object =
            |kind, name: &ObjectName| Fact::Object(ObjectRef::new(kind, &name.namespace, &name.name));
        let sets = self.sets.iter().map(|set| object(Kind::ListenerSet, &set.name));
        let default = self.is_default.then_some(Fact::Kind(Kind::Gateway, None));
        sets.chain([object(Kind::Gateway, &self.name)]).chain(default).collect()
    }

    pub(crate) fn places(&self) -> impl Iterator<Item = (PlaceId, &Place)> {
        let id = |listener| PlaceId { gateway: Arc::clone(&self.name), listener };
        self.places.iter().enumerate().map(move |(index, place)| (id(index), place))
    }
}
