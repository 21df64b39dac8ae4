//! From objects to the kernel and the proxy, and what the statuses say of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gateway_agent_api::ObjectRef;
use gateway_agent_kernel::{ApplyProblem, ApplyReport};
use gateway_agent_routing as routing;
use gateway_agent_tables::{Delta, FrontendKey, Steered};
use tokio::time::Instant;
use tracing::info;

use super::Agent;
use super::pool::{self, Wanted};
use crate::clock::rfc3339;
use crate::devices::Excluded;
use crate::notices::{Notice, Origin};
use crate::proxy_link;
use crate::statuses::summary;
use crate::unserved;

/// What the kernel was last given, and what of it didn't fit.
#[derive(Debug, Default)]
pub(super) struct Applied {
    pub(super) steered: BTreeMap<FrontendKey, Steered>,
    /// What is not in the kernel as the tables say.
    pub(super) unforwarded: Vec<ApplyProblem>,
    pub(super) unsteered: Vec<ApplyProblem>,
    /// Gateways whose statuses say so.
    pub(super) unserved: BTreeSet<ObjectRef>,
    /// Number of times that tables were compiled and applied.
    pub(super) generation: u64,
    pub(super) at: jiff::Timestamp,
    pub(super) took: Duration,
}

impl Applied {
    pub(super) fn problems(&self) -> impl Iterator<Item = &ApplyProblem> {
        self.unforwarded.iter().chain(&self.unsteered)
    }
}

impl Agent {
    /// Compiles what changed and gives the kernel what follows from it.
    pub(super) fn compile(&mut self) {
        self.compiler.set_time();
        let has_other_peers =
            !self.input.judges_objects() && self.compiler.changed().iter().any(pool::concerns);
        if has_other_peers {
            self.pool.acquaint(pool::of_cluster(self.compiler.snapshot()));
        }
        let changes = self.compiler.compile();
        let outcome = self.compiler.outcome();
        self.recheck_at = outcome.recheck_at;
        if !changes.problems.is_empty() {
            let problems = outcome.problems.iter();
            let notice =
                |problem| Notice { origin: Origin::Object, message: self.compiler.describe(problem) };
            self.object_problems = problems.map(notice).collect();
        }
        self.applied.generation += 1;
        let begun = Instant::now();
        if let Some(kernel) = &mut self.kernel {
            let report = kernel.update(&outcome.tables.l4, &changes.tables.l4);
            self.grace.begin(kernel);
            self.note_applied(report, begun);
            let Delta { tls, http, .. } = &changes.tables;
            if !http.is_empty() {
                self.steering.tell_http(&self.compiler.outcome().tables.http, http);
            }
            let is_steered_otherwise = !tls.frontends.is_empty() || !http.frontends.is_empty();
            if is_steered_otherwise || self.applied.generation == 1 {
                self.steer();
            }
            if has_other_peers || is_steered_otherwise || !changes.tables.l4.pool.is_empty() {
                self.attend_pool();
            }
        }
        self.write_statuses(changes.statuses);
    }

    /// Gives the kernel all of the tables, perhaps once more since it couldn't take all of them.
    pub(super) fn apply(&mut self) {
        let Some(kernel) = &mut self.kernel else { return };
        let begun = Instant::now();
        let report = kernel.apply(&self.compiler.outcome().tables.l4);
        self.steer();
        self.note_applied(report, begun);
        let (compiled, told) = (self.compiler.outcome().statuses.keys(), self.statuses.all());
        let objects = compiled.chain(told.map(|(object, _)| object)).cloned().collect();
        self.write_statuses(objects);
    }

    /// What former tables had is free.
    pub(super) fn release(&mut self) {
        let Some(kernel) = &mut self.kernel else { return };
        let report = kernel.release();
        self.grace.begin(kernel);
        if !report.problems.is_empty() {
            self.applied.unforwarded.extend(report.problems);
            self.note_problems();
        }
    }

    fn steer(&mut self) {
        let Some(kernel) = &mut self.kernel else { return };
        let tables = &self.compiler.outcome().tables;
        self.applied.steered = tables.steered();
        self.applied.unsteered = self.steering.apply(kernel, &self.applied.steered);
    }

    fn note_applied(&mut self, report: ApplyReport, begun: Instant) {
        self.applied.unforwarded = report.problems;
        self.applied.at = jiff::Timestamp::now();
        self.applied.took = begun.elapsed();
        let (generation, changes) = (self.applied.generation, report.changes);
        // Most objects of a busy cluster change nothing here, a hundred times a second.
        if changes > 0 {
            info!(
                event = "applied",
                generation, changes, "applied tables {generation}: {changes} entries changed"
            );
        }
    }

    pub(super) fn wanted(&self) -> unserved::Wanted<'_> {
        unserved::Wanted { forwarded: &self.compiler.outcome().tables.l4, steered: &self.applied.steered }
    }

    /// Says what follows for these objects, and for the Gateways that are served in another way than they should.
    fn write_statuses(&mut self, mut objects: BTreeSet<ObjectRef>) {
        if !self.input.judges_objects() || self.kernel.is_none() {
            return;
        }
        let unserved = unserved::gateways(self.wanted(), self.applied.problems());
        objects.extend(std::mem::replace(&mut self.applied.unserved, unserved.clone()));
        objects.extend(unserved);
        let compiled = &self.compiler.outcome().statuses;
        let status = |object: &ObjectRef| Some((object.clone(), compiled.get(object)?.clone()));
        let mut statuses = objects.iter().filter_map(status).collect();
        unserved::tell(&mut statuses, self.wanted(), self.applied.problems());
        let told = objects.into_iter().map(|object| {
            let status = statuses.remove(&object);
            (object, status)
        });
        for object in self.statuses.update(told, &rfc3339(self.applied.at)) {
            let verdict = self.statuses.of(&object).map(summary).unwrap_or_default();
            info!(event = "status", object = object.to_string(), "{object}: {verdict}");
        }
    }

    pub(super) fn reconcile_hooks(&mut self) {
        if let Some(kernel) = &mut self.kernel {
            let excluded = Excluded::of(&routing::node_settings(self.compiler.snapshot()));
            self.hooks.reconcile(kernel, excluded.left(&self.found.attachable));
            self.drain_former();
        }
    }

    /// Says what there is to announce, at least as often as everything is looked at.
    pub(super) fn attend_pool(&mut self) {
        let wanted = Wanted {
            pool: &self.compiler.outcome().tables.l4.pool,
            sockets: self.applied.steered.keys().map(|key| key.address).collect(),
            ready: self.applied.generation > 0 && self.hooks.attached() > 0,
        };
        if let Some(kernel) = &self.kernel {
            self.pool.attend(kernel, wanted);
        }
    }

    /// A proxy has come or gone.
    pub(super) fn take_proxy(&mut self, event: proxy_link::Event) {
        let Some(kernel) = &mut self.kernel else { return };
        let tables = &self.compiler.outcome().tables.http;
        if self.steering.take(kernel, event, tables) && self.applied.generation > 0 {
            self.steer();
            self.write_statuses(BTreeSet::new());
            self.note_problems();
        }
    }
}
