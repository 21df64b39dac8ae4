//! The controller: one of several, it writes what follows from the cluster's objects into their statuses.
//!
//! `leader` decides who writes and `campaign` does what it decides; `merge` joins what we say with what others say,
//! `pace` makes many changes few writes, `write` sends them, `events` tells what changed.
//! `verdicts` knows what statuses should be: for it `programmed` asks `nodes` what they have done, and `version` judges
//! the CRDs. `mirror` gives agents copies of Secrets, `census` looks after `GatewayNode`s, `infrastructure` makes the
//! Services that stand for Gateways.

mod campaign;
mod census;
mod events;
mod figures;
mod infrastructure;
mod leader;
mod life;
mod merge;
mod mirror;
mod nodes;
mod pace;
mod programmed;
mod verdicts;
mod version;
mod write;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gateway_agent_api::{Kind, ObjectRef};
use gateway_agent_routing::{Minutes, Node};
use kube::Client;
use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, info, warn};

use crate::clock::{self, at, rfc3339};
use crate::compile::Compiler;
use crate::failure::Failure;
use crate::metrics;
use crate::notices::{Notice, Notices, Origin};
use crate::source::Change;
use crate::source::cluster::{Cluster, Role, cause, has_our_status, receive};
use crate::statuses::summary;
use campaign::Campaign;
use census::Census;
use infrastructure::Infrastructure;
use life::Life;
use merge::Merged;
use mirror::Mirror;
use pace::Pace;
use programmed::Progress;
use write::{Answer, Write};

pub use leader::Candidate;

/// What a controller is told at its start.
pub struct Setup {
    pub client: Client,
    /// Of the Lease and of what agents may read.
    pub namespace: String,
    pub me: Candidate,
    /// What Gateways get that ask for no address; none: the addresses that nodes report.
    pub addresses: Vec<IpAddr>,
    pub metrics: Option<metrics::Place>,
}

pub struct Controller {
    client: Client,
    namespace: String,
    identity: String,
    cluster: Cluster,
    mirror: Mirror,
    compiler: Compiler,
    /// As in [`Setup::addresses`].
    addresses: Vec<IpAddr>,
    progress: Progress,
    life: Life,
    census: Census,
    infrastructure: Infrastructure,
    /// Until when we may write; None: another one leads.
    lead: watch::Receiver<Option<Instant>>,
    /// The same, as it was told before.
    led: Option<Instant>,
    /// Objects have come since they were compiled.
    stale: bool,
    /// What our statuses should be of kinds for which the compiler's word is not the last; None: nothing is known, since
    /// it was not compiled while we lead.
    mended: Option<BTreeMap<ObjectRef, Value>>,
    /// When objects that changed are compiled.
    compile_at: Option<Instant>,
    recheck_at: Option<Minutes>,
    pace: Pace,
    writes: JoinSet<(Write, Answer)>,
    /// Why statuses could not be written.
    failures: BTreeMap<ObjectRef, String>,
    /// Why the latest Event could not be published.
    event_failure: Arc<Mutex<Option<String>>>,
    notices: Notices,
    figures_wanted: mpsc::Receiver<metrics::Request>,
    /// Statuses that were written.
    written: u64,
    stop: [Signal; 2],
}

/// Objects that arrive together are compiled together.
const BURST: Duration = Duration::from_millis(10);

/// Writes under way at once: as many as the bench's bare client has.
const MOST_WRITES: usize = 32;

/// Problems are gathered, and certificates looked at, this often.
const TICK: Duration = Duration::from_secs(5);

impl Controller {
    /// Follows the cluster until SIGTERM or SIGINT, and writes while it leads.
    pub async fn run(setup: Setup) -> Result<(), Failure> {
        let Setup { client, namespace, me, addresses, metrics } = setup;
        let (asked, figures_wanted) = mpsc::channel(1);
        let server = metrics.map(|place| metrics::Server::start(place, asked, None));
        let (told, lead) = watch::channel(None);
        let identity = me.identity.clone();
        info!(event = "started", "candidate {identity} of version {} in namespace {namespace}", me.version);
        let campaign = tokio::spawn(Campaign::new(client.clone(), &namespace, me).run(told));
        let mut controller = Self {
            cluster: Cluster::follow(client.clone(), Role::Controller, &namespace),
            mirror: Mirror::start(client.clone(), &namespace, lead.clone()),
            compiler: Compiler::new(Node::default()),
            addresses,
            progress: Progress::default(),
            life: Life::default(),
            census: Census::default(),
            infrastructure: Infrastructure::default(),
            lead,
            led: None,
            stale: true,
            mended: None,
            compile_at: None,
            recheck_at: None,
            pace: Pace::default(),
            writes: JoinSet::new(),
            failures: BTreeMap::new(),
            event_failure: Arc::default(),
            notices: Notices::default(),
            figures_wanted,
            written: 0,
            stop: [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?],
            client,
            namespace,
            identity,
        };
        controller.follow().await;
        drop(server);
        campaign.abort();
        controller.stop().await;
        Ok(())
    }

    async fn follow(&mut self) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let leads = self.leads();
            let compile_at = self.compile_at.filter(|_| leads && self.cluster.is_complete());
            let has_room = leads && self.mended.is_some() && self.writes.len() < MOST_WRITES;
            let write_at = self.pace.next().filter(|_| has_room);
            let [terminate, interrupt] = &mut self.stop;
            tokio::select! {
                _ = terminate.recv() => return,
                _ = interrupt.recv() => return,
                () = self.cluster.changed() => self.look(),
                Ok(()) = self.lead.changed() => self.take_office(),
                () = at(compile_at), if compile_at.is_some() => self.compile(),
                () = at(write_at), if write_at.is_some() => self.write(),
                Some(landed) = self.writes.join_next(), if !self.writes.is_empty() => match landed {
                    Ok((write, answer)) => self.land(write, answer),
                    Err(error) => warn!("a write of a status ended early: {error}"),
                },
                Some(reply) = self.figures_wanted.recv() => {
                    // Fails if the client has gone away.
                    let _ = reply.send(self.figures());
                }
                _ = tick.tick() => self.tick(),
            }
        }
    }

    /// Lets writes that are under way end, and others lead.
    async fn stop(mut self) {
        while self.writes.join_next().await.is_some() {}
        if let Err(error) = campaign::release(self.client, &self.namespace, &self.identity).await {
            warn!("the Lease could not be released: {}; it runs out by itself", cause(&error));
        }
        info!(event = "stopped", "stopped");
    }

    fn leads(&self) -> bool {
        self.lead.borrow().is_some_and(|until| Instant::now() < until)
    }

    fn take_office(&mut self) {
        let now = Instant::now();
        let lead = *self.lead.borrow_and_update();
        if std::mem::replace(&mut self.led, lead).is_none_or(|until| until < now) {
            // What kept us from the Lease kept us from hearing nodes too.
            self.life.excuse(now);
        }
        if lead.is_none() {
            self.mended = None;
            self.mirror.forget();
            self.pace.clear();
        } else if self.mended.is_none() {
            self.compile_by(now);
        }
    }

    fn look(&mut self) {
        let changes = self.cluster.changes();
        let now = Instant::now();
        let of_nodes = |change: &Change| match change {
            Change::Put(object) => object.kind() == Kind::GatewayNode,
            Change::Remove(name) => name.kind == Kind::GatewayNode,
        };
        let only_nodes = changes.iter().all(of_nodes);
        let has_other_kinds = self.cluster.has_other_kinds();
        let any = self.compiler.apply(changes) || has_other_kinds;
        if any {
            self.stale |= !only_nodes || has_other_kinds;
            self.compile_by(now + BURST);
        }
        for name in self.cluster.touched() {
            if name.kind == Kind::GatewayNode {
                self.hear(&name, now);
            }
            if self.mended.is_some() && has_our_status(name.kind) {
                self.pace.touch(name, now);
            }
        }
    }

    fn hear(&mut self, name: &ObjectRef, now: Instant) {
        match self.cluster.objects().record(name) {
            Some(record) => {
                if self.life.hear(&name.name, &record.resource_version, now) {
                    self.compile_by(now);
                }
            }
            None => self.life.forget(&name.name),
        }
    }

    /// Makes the objects that stand for Gateways what they shall be, as far as they are known to be otherwise.
    fn look_at_infrastructure(&mut self) {
        let cluster = &self.cluster;
        let path = |name: &ObjectRef| cluster.path(name);
        let wanted = &self.compiler.outcome().infrastructure;
        self.infrastructure.look(&self.client, wanted, self.compiler.snapshot(), path);
    }

    fn compile_by(&mut self, at: Instant) {
        self.compile_at = Some(self.compile_at.map_or(at, |already| already.min(at)));
    }

    /// Sends what is due.
    fn write(&mut self) {
        for name in self.pace.take(Instant::now(), MOST_WRITES - self.writes.len()) {
            if let Some(write) = self.prepare(&name) {
                let client = self.client.clone();
                self.writes.spawn(async move {
                    let answer = write.send(&client).await;
                    (write, answer)
                });
            } else {
                self.failures.remove(&name);
                self.pace.skipped(&name);
            }
        }
    }

    /// None: there is nothing to be written.
    fn prepare(&mut self, name: &ObjectRef) -> Option<Write> {
        let record = self.cluster.objects().record(name)?;
        self.mended.as_ref()?;
        let desired = match self.desired(name) {
            Some(desired) => version::spelled(name.kind, desired.clone(), &self.cluster.crds()),
            // Nothing follows from what can't be read.
            None => merge::farewell(record.status.as_ref()?).filter(|_| record.is_readable())?,
        };
        match merge::merge(record.status.as_ref(), &desired, &rfc3339(jiff::Timestamp::now())) {
            Merged::Same => None,
            Merged::Newer => {
                debug!("{name}: its status is of a newer generation than we have seen");
                None
            }
            Merged::Write { status, left_out } => {
                if left_out > 0 {
                    warn!(
                        "{name}: its status is full: {left_out} entries of ours have no room beside those of other \
                         controllers; use fewer parents"
                    );
                }
                Some(Write {
                    name: name.clone(),
                    path: self.cluster.path(name)?,
                    resource_version: record.resource_version.clone(),
                    before: record.status.clone(),
                    status: merge::difference(record.status.as_ref(), &status),
                })
            }
        }
    }

    fn land(&mut self, write: Write, answer: Answer) {
        let name = write.name;
        let now = Instant::now();
        match answer {
            Answer::Written(object) => {
                self.written += 1;
                let received = receive(name.kind, object, Role::Controller);
                if let Some(status) = &received.status {
                    info!(event = "status", object = name.to_string(), "{name}: {}", summary(status));
                    self.publish(&name, &received.uid, write.before.as_ref(), status);
                }
                self.cluster.note_status(&name, &received.resource_version, received.status);
                self.failures.remove(&name);
                self.pace.written(&name, now);
            }
            Answer::Conflict => {
                debug!("{name}: somebody else wrote it; its status is merged again");
                self.pace.failed(&name, now);
            }
            Answer::Gone => {
                self.failures.remove(&name);
                self.pace.skipped(&name);
            }
            Answer::Failed(cause) => {
                self.failures.insert(name.clone(), cause);
                self.pace.failed(&name, now);
            }
        }
    }

    fn publish(&self, name: &ObjectRef, uid: &str, before: Option<&Value>, status: &Value) {
        let Some(told) = events::compare(before, status) else { return };
        let (client, name, uid, instance) =
            (self.client.clone(), name.clone(), uid.to_owned(), self.identity.clone());
        let failure = Arc::clone(&self.event_failure);
        tokio::spawn(async move {
            // What it says stands in the status too: it is not tried again.
            let result = events::publish(client, &name, &uid, &told, &instance).await;
            if let Ok(mut failure) = failure.lock() {
                *failure = result.err().map(|error| cause(&error));
            }
        });
    }

    fn tick(&mut self) {
        if self.recheck_at.is_some_and(|at| clock::minutes() >= at) {
            self.stale = true;
            self.compile_by(Instant::now());
        }
        if self.leads() && self.cluster.is_complete() {
            self.census.look(&self.client, self.compiler.snapshot());
            self.look_at_infrastructure();
        }
        let failed = self
            .failures
            .iter()
            .map(|(name, cause)| format!("{name}: its status can't be written: {cause}; it is tried again"));
        let event_failure = self.event_failure.lock().ok().and_then(|failure| failure.clone());
        let unpublished = event_failure.map(|cause| format!("Events can't be published: {cause}"));
        let problems = self.cluster.problems().into_iter().chain(self.mirror.problems());
        let problems = problems.chain(failed).chain(unpublished).chain(self.infrastructure.problems());
        self.notices.update(problems.map(|message| Notice { origin: Origin::Cluster, message }).collect());
    }
}
