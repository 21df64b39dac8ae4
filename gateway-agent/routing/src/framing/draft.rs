//! One Gateway on its way from its objects to what follows from it.

use gateway_agent_tables::ObjectName;

use crate::address::{Addresses, Asking};
use crate::claims::{self, Claimant, Claims};
use crate::facts::Facts;
use crate::frame::Parent;
use crate::gateway::{self, Gateway};
use crate::listener_set::Sets;
use crate::precedence::Rank;
use crate::tls::{Certificates, Resolver};
use crate::{Outcome, Snapshot, copies, held};

/// What is known of the Gateway of a name so far.
#[derive(Debug)]
pub(super) struct Draft<'s> {
    /// None: there is none of ours.
    gateway: Option<Gateway<'s>>,
    outcome: Outcome,
    facts: Facts,
}

/// All that follows from it, without any route and but for what others have a part in.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) parent: Option<Parent>,
    pub(super) outcome: Outcome,
    pub(super) facts: Facts,
}

impl<'s> Draft<'s> {
    /// The Gateway with its ListenerSets, and its listeners settled among each other.
    pub(super) fn new(name: &ObjectName, sets: &Sets, snapshot: &'s Snapshot) -> Self {
        let mut outcome = Outcome::default();
        let (gateway, mut facts) = snapshot.watch(|| {
            let mut gateway = match gateway::find(name, snapshot) {
                Ok(gateway) => gateway,
                Err(problems) => {
                    outcome.problems.extend(problems);
                    outcome.problems.extend(sets.orphans(name, snapshot));
                    return None;
                }
            };
            sets.attach(&mut gateway, snapshot);
            claims::settle_within(&mut gateway.listeners, snapshot);
            Some(gateway)
        });
        if gateway.is_none() && outcome.problems.is_empty() && !gateway::exists(name, snapshot) {
            // Whoever comes under this name will be a change.
            facts.clear();
        }
        Self { gateway, outcome, facts }
    }

    /// What decides about its addresses; None: it gets none.
    pub(super) fn asking(&self) -> Option<(Rank, &Asking)> {
        let gateway = self.gateway.as_ref().filter(|gateway| gateway.fault.is_none())?;
        Some((gateway.rank(), &gateway.asking))
    }

    /// Gives it its addresses: those that were found among all who want such, or those that it gets anyway.
    pub(super) fn settle(&mut self, given: Option<&Addresses>, snapshot: &Snapshot) {
        let Some(gateway) = self.gateway.as_mut().filter(|gateway| gateway.fault.is_none()) else { return };
        gateway.addresses = given.cloned().unwrap_or_else(|| {
            let (addresses, facts) = snapshot.watch(|| gateway.asking.settle(snapshot));
            self.facts.extend(facts);
            addresses
        });
    }

    /// What it wants that others may want, too.
    pub(super) fn claimant(&self) -> Option<(Rank, Claimant)> {
        self.gateway.as_ref().map(|gateway| (gateway.rank(), Claimant::of(gateway)))
    }

    /// The rest, once it is known which places others have.
    pub(super) fn finish(
        self,
        name: &ObjectName,
        claims: &Claims,
        certificates: &mut Certificates<'s>,
        snapshot: &'s Snapshot,
    ) -> Finished {
        let Self { gateway, mut outcome, mut facts } = self;
        let Some(mut gateway) = gateway else { return Finished { parent: None, outcome, facts } };
        for (index, conflict) in claims.conflicts(name) {
            gateway.listeners[index].conflict = Some(conflict.clone());
        }
        let (parent, further) = snapshot.watch(|| {
            held::settle(&mut gateway, snapshot);
            Resolver::new(snapshot, certificates).resolve(&mut gateway, &mut outcome);
            gateway.report(&vec![0; gateway.listeners.len()], snapshot, &mut outcome);
            outcome.copies = copies::of_gateway(&gateway, snapshot);
            outcome.tables.l4.pool = gateway.addresses.of_pools();
            if !gateway.addresses.assigned.is_empty() {
                outcome.assignments.insert(name.clone(), gateway.addresses.all().cloned().collect());
            }
            Parent::new(&gateway, snapshot)
        });
        facts.extend(further);
        Finished { parent: Some(parent), outcome, facts }
    }
}
