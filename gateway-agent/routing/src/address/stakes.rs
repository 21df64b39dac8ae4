//! Gateways that ask for addresses which only one of them may have. Who gets which is settled among them all.

use std::collections::{BTreeMap, BTreeSet};

use gateway_agent_tables::ObjectName;

use super::{Addresses, Asking, assign};
use crate::Snapshot;
use crate::facts::Facts;
use crate::precedence::Rank;
use crate::snapshot::Assigner;

#[derive(Debug, Default)]
pub(crate) struct Stakes {
    asking: BTreeMap<ObjectName, (Rank, Asking)>,
    given: BTreeMap<ObjectName, Addresses>,
    /// What was looked at to settle it.
    facts: Facts,
}

impl Stakes {
    /// Takes over what Gateways ask for now; None: nothing. Gives those that get other addresses than before.
    pub(crate) fn update<'g>(
        &mut self,
        gateways: impl Iterator<Item = (&'g ObjectName, Option<(Rank, &'g Asking)>)>,
        are_due: impl FnOnce(&Facts) -> bool,
        snapshot: &Snapshot,
    ) -> BTreeSet<ObjectName> {
        let mut any = false;
        for (name, asking) in gateways {
            let here = snapshot.assigner == Assigner::Here;
            match asking.filter(|(_, asking)| here && asking.has_rivals()) {
                Some((rank, asking)) => {
                    let is_as_before =
                        self.asking.get(name).is_some_and(|(was, had)| *was == rank && had == asking);
                    if !is_as_before {
                        self.asking.insert(name.clone(), (rank, asking.clone()));
                        any = true;
                    }
                }
                None => any |= self.asking.remove(name).is_some(),
            }
        }
        if !any && (self.asking.is_empty() || !are_due(&self.facts)) {
            return BTreeSet::new();
        }
        let mut in_order: Vec<_> = self.asking.values().collect();
        in_order.sort_by(|(a, _), (b, _)| a.cmp(b));
        let in_order: Vec<_> = in_order.into_iter().map(|(_, asking)| asking).collect();
        let (given, facts) = snapshot.watch(|| assign::assign(&in_order, snapshot));
        let names = in_order.iter().map(|asking| asking.gateway.clone());
        let given: BTreeMap<_, _> = names.zip(given).collect();
        self.facts = facts;
        let former = std::mem::replace(&mut self.given, given);
        let others = self.given.iter().filter(|(name, addresses)| former.get(*name) != Some(addresses));
        others.map(|(name, _)| name.clone()).collect()
    }

    /// What a Gateway gets of what others may want, too; None: it asks for nothing of the kind.
    pub(crate) fn given(&self, gateway: &ObjectName) -> Option<&Addresses> {
        self.given.get(gateway)
    }
}
