//! What our statuses should be: what follows from objects, and for some of them from what nodes and CRDs are besides.

use std::collections::{BTreeMap, BTreeSet};

use gateway_agent_api::{GatewayNode, Kind, Node as ClusterNode, ObjectRef};
use gateway_agent_routing::{self as routing, Address, Assignments, OfferingNode};
use gateway_agent_tables::ObjectName;
use serde_json::Value;
use tokio::time::Instant;
use tracing::debug;

use super::programmed::Report;
use super::{Controller, nodes, version};
use crate::source::cluster::has_our_status;

/// The kinds whose statuses say more than objects do.
const MENDED: [Kind; 2] = [Kind::GatewayClass, Kind::Gateway];

impl Controller {
    /// Finds out what our statuses should be, and which of them have to be looked at. What nodes report changes those
    /// of Gateways only.
    pub(super) fn compile(&mut self) {
        self.compile_at = None;
        let at = Instant::now();
        let (reports, offering) = self.nodes(at);
        if let Some(next) = self.life.next(at) {
            self.compile_by(next);
        }
        let first = self.mended.is_none();
        if first {
            self.compiler.set_assignments(self.assigned());
        }
        let mut due = BTreeSet::new();
        if self.compiler.set_nodes(offering) | self.stale | first {
            due = self.translate(first);
        }
        due.retain(|name| !MENDED.contains(&name.kind));
        let said = self.mended.take().unwrap_or_else(|| self.said());
        let mut wanted = self.of_kinds_that_are_mended();
        version::tell(&mut wanted, &self.cluster.crds(), &self.compiler.snapshot().served);
        let seen: BTreeMap<_, _> =
            wanted.keys().filter_map(|name| Some((name.clone(), self.seen(name)?))).collect();
        if let Some(next) = self.progress.tell(&mut wanted, &said, &seen, &reports, at) {
            self.compile_by(next);
        }
        due.extend(said.keys().filter(|name| !wanted.contains_key(*name)).cloned());
        let changed = wanted.iter().filter(|(name, status)| said.get(*name) != Some(*status));
        due.extend(changed.map(|(name, _)| name.clone()));
        if first {
            // What an earlier leader left where nothing of ours belongs any more.
            due.extend(self.cluster.objects().records().map(|(name, _)| name.clone()));
        }
        self.mended = Some(wanted);
        debug!(due = due.len(), "compiled");
        due.into_iter().filter(|name| has_our_status(name.kind)).for_each(|name| self.pace.touch(name, at));
    }

    /// What follows from objects alone. Gives the objects whose statuses may be others than before, or all.
    fn translate(&mut self, all: bool) -> BTreeSet<ObjectRef> {
        self.stale = false;
        self.compiler.set_time();
        let before = &self.compiler.outcome().copies;
        let are_copies_others = self.compiler.changed().iter().any(|object| before.contains_key(object));
        let changes = self.compiler.compile();
        let outcome = self.compiler.outcome();
        self.recheck_at = outcome.recheck_at;
        if all || are_copies_others || !changes.copies.is_empty() {
            let snapshot = self.compiler.snapshot();
            let copies = outcome.copies.iter();
            self.mirror.tell(
                copies.filter_map(|(name, entries)| {
                    routing::copy(snapshot.find(name)?, entries.iter().copied())
                }),
            );
        }
        self.look_at_infrastructure();
        if all { self.compiler.outcome().statuses.keys().cloned().collect() } else { changes.statuses }
    }

    /// What our status of an object should be; None: we have nothing to say of it, or don't know.
    pub(super) fn desired(&self, name: &ObjectRef) -> Option<&Value> {
        let mended = self.mended.as_ref()?;
        if MENDED.contains(&name.kind) {
            mended.get(name)
        } else {
            self.compiler.outcome().statuses.get(name)
        }
    }

    /// All that [`Self::desired`] knows.
    pub(super) fn all_desired(&self) -> impl Iterator<Item = (&ObjectRef, &Value)> {
        let compiled = self.mended.iter().flat_map(|_| &self.compiler.outcome().statuses);
        let others = compiled.filter(|(name, _)| !MENDED.contains(&name.kind));
        self.mended.iter().flatten().chain(others)
    }

    fn of_kinds_that_are_mended(&self) -> BTreeMap<ObjectRef, Value> {
        let statuses = self.compiler.outcome().statuses.iter();
        let mended = statuses.filter(|(name, _)| MENDED.contains(&name.kind));
        mended.map(|(name, status)| (name.clone(), status.clone())).collect()
    }

    /// What the nodes report that serve, and the addresses that all have.
    fn nodes(&self, now: Instant) -> (Vec<Report>, Vec<OfferingNode>) {
        let snapshot = self.compiler.snapshot();
        let serves = |name: &str| snapshot.named::<ClusterNode>("", name).is_some_and(nodes::may_serve);
        let forwarding = snapshot
            .all::<GatewayNode>()
            .filter(|node| nodes::forwards(node) && node.metadata.name.as_deref().is_some_and(serves));
        let silence = |node: &GatewayNode| self.life.silence(node.metadata.name.as_deref()?, now);
        let reports: Vec<_> = forwarding.map(|node| Report::of(node, silence(node))).collect();
        let is_heard = |name: &str| reports.iter().any(|it| it.node == name && it.silent.is_none());
        let is_published = |name: &str| self.addresses.is_empty() && is_heard(name);
        let mut offering: Vec<_> = snapshot
            .all::<ClusterNode>()
            .map(|node| {
                nodes::offering(node, snapshot.named("", node.metadata.name.as_deref().unwrap_or_default()))
            })
            .map(|node| OfferingNode { published: is_published(&node.name), ..node })
            .collect();
        if !self.addresses.is_empty() {
            let addresses = self.addresses.clone();
            offering.push(OfferingNode { addresses, published: true, ..OfferingNode::default() });
        }
        (reports, offering)
    }

    /// What statuses say that Gateways have.
    fn assigned(&self) -> Assignments {
        let said = self.said().into_iter();
        said.map(|(gateway, status)| {
            let name = ObjectName { namespace: gateway.namespace.unwrap_or_default(), name: gateway.name };
            let addresses = status["addresses"].as_array().into_iter().flatten();
            let addresses =
                addresses.filter_map(|it| Address::parse(it["type"].as_str()?, it["value"].as_str()?));
            (name, addresses.collect())
        })
        .collect()
    }

    /// Generation and resourceVersion of an object.
    fn seen(&self, name: &ObjectRef) -> Option<(i64, u64)> {
        let generation = self.compiler.snapshot().find(name)?.metadata().generation?;
        let version = self.cluster.objects().record(name)?.resource_version.parse().ok()?;
        Some((generation, version))
    }

    /// What statuses of Gateways say, as an earlier leader left them.
    fn said(&self) -> BTreeMap<ObjectRef, Value> {
        let gateways = self.cluster.objects().records().filter(|(name, _)| name.kind == Kind::Gateway);
        gateways.filter_map(|(name, record)| Some((name.clone(), record.status.clone()?))).collect()
    }
}
