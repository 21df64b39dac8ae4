//! The agent: follows objects and devices, and keeps the kernel as they say.

mod figures;
mod grace;
mod hooks;
pub mod node_status;
mod office;
mod pool;
mod report;
mod steering;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use gateway_agent_api::{Kind, ObjectRef};
use gateway_agent_kernel::{ApplyProblem, ApplyReport, Kernel, Options, wait_for_programs};
use gateway_agent_routing::{self as routing, Minutes, Node};
use gateway_agent_tables::{Delta, FrontendKey, Steered};
use glob::Pattern;
use kube::Client;
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tracing::{debug, info};

use crate::admin::{self, Wish};
use crate::clock::{self, rfc3339};
use crate::compile::Compiler;
use crate::devices::{self, Devices, DevicesError, Excluded};
use crate::failure::Failure;
use crate::holders::{Around, Holders};
use crate::input::Input;
use crate::metrics;
use crate::node::forwarding_problems;
use crate::notices::{Notice, Notices, Origin};
use crate::owner::{Owner, OwnerName};
use crate::proxy_link::{self, ProxyFigures};
use crate::source::WatchError;
use crate::statuses::{Statuses, summary};
use crate::trace::{Question, Trace};
use crate::unserved;
use grace::Grace;
use hooks::Hooks;
use office::Office;
use pool::Wanted;
pub use pool::{Peers, Pool, leave_no_routes};
use steering::Steering;

/// What an agent is told at its start.
pub struct Setup {
    pub node: Node,
    pub input: Input,
    /// Where this node's state is reported, if there is a cluster.
    pub cluster: Option<Client>,
    pub patterns: Vec<Pattern>,
    pub socket: PathBuf,
    pub kernel: Options,
    /// Where agents of the same pin folder ask each other to let go of it; None: it must be free.
    pub hand_over: Option<PathBuf>,
    /// What the agent is a pod of.
    pub daemon_set: Option<OwnerName>,
    pub metrics: Option<metrics::Place>,
    pub proxy: proxy_link::Source,
    /// Whether connections may be steered in this network namespace.
    pub may_steer: bool,
    pub pool: Pool,
}

pub struct Agent {
    input: Input,
    devices: Devices,
    patterns: Vec<Pattern>,
    compiler: Compiler,
    office: Office,
    /// None: another agent feeds the kernel, or is about to.
    kernel: Option<Kernel>,
    grace: Grace,
    hooks: Hooks,
    steering: Steering,
    pool: Pool,
    found: devices::Found,
    /// Devices whose packets the node doesn't forward, when they were last looked at.
    not_forwarding: Vec<String>,
    holders: Holders,
    statuses: Statuses,
    notices: Notices,
    object_problems: BTreeSet<Notice>,
    /// What the kernel was last given, and what of it didn't fit.
    applied: Applied,
    recheck_at: Option<Minutes>,
    /// Why the last look at files or devices failed; the next one is at most [`RECONCILE`] away.
    faults: Faults,
    requests: mpsc::Receiver<admin::Request>,
    figures_wanted: mpsc::Receiver<metrics::Request>,
    server: admin::Server,
    owner: Option<Owner>,
    stop: [Signal; 2],
}

#[derive(Debug, Default)]
struct Faults {
    files: Option<WatchError>,
    devices: Option<DevicesError>,
}

#[derive(Debug, Default)]
struct Applied {
    steered: BTreeMap<FrontendKey, Steered>,
    /// What is not in the kernel as the tables say.
    unforwarded: Vec<ApplyProblem>,
    unsteered: Vec<ApplyProblem>,
    /// Gateways whose statuses say so.
    unserved: BTreeSet<ObjectRef>,
    /// Number of times that tables were compiled and applied.
    generation: u64,
    at: jiff::Timestamp,
    took: Duration,
}

impl Applied {
    fn problems(&self) -> impl Iterator<Item = &ApplyProblem> {
        self.unforwarded.iter().chain(&self.unsteered)
    }
}

/// Links and files are looked at this often even if no event calls for it (DESIGN.md section 5).
const RECONCILE: Duration = Duration::from_secs(10);

impl Agent {
    /// Applies the first tables and attaches to the devices that are there, if no other agent has to let go first.
    pub async fn start(setup: Setup) -> Result<Self, Failure> {
        let (sender, requests) = mpsc::channel(1);
        let server = admin::Server::start(&setup.socket, sender.clone())?;
        let (asked, figures_wanted) = mpsc::channel(1);
        let owner = match (&setup.cluster, &setup.daemon_set) {
            (Some(client), Some(name)) => Some(Owner::watch(client, name)),
            _ => None,
        };
        let figures = ProxyFigures::default();
        let office = Office::new(office::Terms {
            options: setup.kernel,
            socket: setup.hand_over,
            requests: sender,
            cluster: setup.cluster.map(|client| (client, setup.node.name.clone())),
            metrics: setup.metrics.map(|place| (place, asked)),
            proxy: figures.clone(),
        });
        let compiler = if setup.input.judges_objects() {
            Compiler::new(setup.node)
        } else {
            Compiler::following(setup.node)
        };
        let mut agent = Self {
            input: setup.input,
            devices: Devices::open()?,
            patterns: setup.patterns,
            compiler,
            office,
            kernel: None,
            grace: Grace::default(),
            hooks: Hooks::default(),
            steering: Steering::start(&setup.proxy, setup.may_steer, figures)?,
            pool: setup.pool,
            found: devices::Found::default(),
            not_forwarding: Vec::new(),
            holders: Holders::default(),
            statuses: Statuses::default(),
            notices: Notices::default(),
            object_problems: BTreeSet::new(),
            applied: Applied::default(),
            recheck_at: None,
            faults: Faults::default(),
            requests,
            figures_wanted,
            server,
            owner,
            stop: [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?],
        };
        if !agent.office.may_be_taken() {
            agent.take_office()?;
        }
        agent.found = agent.devices.look(&agent.patterns).await?;
        agent.not_forwarding = forwarding_problems(&agent.found.attachable);
        agent.compiler.set_node_addresses(agent.found.addresses.clone());
        agent.input.look(&mut agent.compiler)?;
        agent.look_at_holders(true);
        if agent.input.is_complete() {
            agent.begin();
        }
        agent.note_problems();
        Ok(agent)
    }

    /// Compiles the first tables, and applies them if the kernel is ours. Until then what an earlier agent left goes on.
    fn begin(&mut self) {
        self.compile();
        if self.kernel.is_some() {
            self.serve();
        } else {
            self.office.apply_for();
        }
    }

    /// The first tables are applied.
    fn serve(&mut self) {
        self.reconcile_hooks();
        self.attend_pool();
        info!(
            event = "ready",
            generation = self.applied.generation,
            devices = self.hooks.attached(),
            frontends = self.compiler.outcome().tables.l4.frontends.len(),
            "ready: the first tables are applied"
        );
    }

    /// Until SIGTERM or SIGINT; forwarding then goes on without the agent.
    pub async fn run(mut self) -> Result<(), Failure> {
        let mut reconcile = interval_at(Instant::now() + RECONCILE, RECONCILE);
        reconcile.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let [terminate, interrupt] = &mut self.stop;
            let step = tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                event = self.input.changed() => event.map(|()| Step::Objects)?,
                event = self.devices.changed() => event.map_or(Step::Reconnect, |()| Step::Devices),
                () = self.pool.changed() => Step::Pool,
                _ = reconcile.tick() => Step::Reconcile,
                event = self.steering.changed(), if self.kernel.is_some() => {
                    self.take_proxy(event);
                    continue;
                }
                () = self.grace.over() => {
                    self.release();
                    continue;
                }
                () = self.office.chance() => Step::Chance,
                Some(reply) = self.figures_wanted.recv() => {
                    // Fails if the client has gone away.
                    let _ = reply.send(self.figures());
                    continue;
                }
                Some(request) = self.requests.recv() => {
                    self.answer(request);
                    continue;
                }
            };
            self.take(step).await?;
        }
        self.pool.stop();
        if let Some(kernel) = &mut self.kernel
            && kernel.begin_release()
        {
            wait_for_programs();
            self.release();
        }
        drop(self.server);
        if self.owner.is_some_and(|owner| owner.is_gone()) {
            leave_no_routes().await;
            return self.office.abandon(self.kernel);
        }
        info!(event = "stopped", "stopped; forwarding goes on with the tables as they are");
        Ok(())
    }

    async fn take(&mut self, step: Step) -> Result<(), Failure> {
        debug!(?step);
        let mut compile = self.time_to_recheck();
        if step == Step::Chance {
            return self.replace_another();
        }
        if step == Step::Pool
            && let Some(kernel) = &mut self.kernel
        {
            self.pool.look(kernel);
        }
        if step == Step::Reconnect {
            self.devices = Devices::open()?;
        }
        if matches!(step, Step::Objects | Step::Reconcile) {
            compile |= self.look_at_objects();
        }
        let is_quiet = matches!(step, Step::Objects | Step::Pool);
        if !is_quiet {
            compile |= self.look_at_devices().await;
        }
        compile |= self.look_at_holders(!is_quiet);
        if self.applied.generation == 0 {
            if self.input.is_complete() {
                self.begin();
            }
            self.note_problems();
            return Ok(());
        }
        if compile {
            self.compile();
        } else if step == Step::Reconcile && self.applied.problems().next().is_some() {
            self.apply();
        }
        if !is_quiet {
            self.reconcile_hooks();
            self.attend_pool();
        }
        self.note_problems();
        Ok(())
    }

    /// A proxy has come or gone.
    fn take_proxy(&mut self, event: proxy_link::Event) {
        let Some(kernel) = &mut self.kernel else { return };
        let tables = &self.compiler.outcome().tables.http;
        if self.steering.take(kernel, event, tables) && self.applied.generation > 0 {
            self.steer();
            self.write_statuses(BTreeSet::new());
            self.note_problems();
        }
    }

    fn answer(&mut self, request: admin::Request) {
        let answer = match request.wish {
            Wish::Status => self.as_report(),
            Wish::HandOver => self.retire(),
            Wish::Trace(question) => self.trace(&question),
        };
        // Fails if the client has gone away.
        let _ = request.reply.send(answer);
    }

    fn trace(&self, question: &Question) -> Value {
        match Trace::of(&self.compiler.outcome().tables.http, question) {
            Ok(trace) => json!(trace),
            Err(error) => json!({ "error": error.to_string() }),
        }
    }

    fn reconcile_hooks(&mut self) {
        if let Some(kernel) = &mut self.kernel {
            let excluded = Excluded::of(&routing::node_settings(self.compiler.snapshot()));
            self.hooks.reconcile(kernel, excluded.left(&self.found.attachable));
            self.drain_former();
        }
    }

    /// Says what there is to announce, at least as often as everything is looked at.
    fn attend_pool(&mut self) {
        let wanted = Wanted {
            pool: &self.compiler.outcome().tables.l4.pool,
            sockets: self.applied.steered.keys().map(|key| key.address).collect(),
            ready: self.applied.generation > 0 && self.hooks.attached() > 0,
        };
        if let Some(kernel) = &self.kernel {
            self.pool.attend(kernel, wanted);
        }
    }

    /// True if that changes any object.
    fn look_at_objects(&mut self) -> bool {
        match self.input.look(&mut self.compiler) {
            Ok(changed) => {
                self.faults.files = None;
                changed
            }
            Err(error) => {
                self.faults.files = Some(error);
                false
            }
        }
    }

    /// True if the node has other addresses now.
    async fn look_at_devices(&mut self) -> bool {
        match self.devices.look(&self.patterns).await {
            Ok(found) => {
                self.faults.devices = None;
                self.found = found;
                self.not_forwarding = forwarding_problems(&self.found.attachable);
                self.compiler.set_node_addresses(self.found.addresses.clone())
            }
            Err(error) => {
                self.faults.devices = Some(error);
                false
            }
        }
    }

    /// True if others have other ports of the node now. The node's sockets are looked at `anew`, or when a listener wants
    /// a port that none wanted before.
    fn look_at_holders(&mut self, anew: bool) -> bool {
        let (snapshot, changed) = (self.compiler.snapshot(), self.compiler.changed());
        let around = Around { snapshot, changed, own_node: self.input.own_node() };
        match self.holders.look(around, anew) {
            Some(holders) => self.compiler.set_holders(holders),
            None => false,
        }
    }

    /// Compiles what changed and gives the kernel what follows from it.
    fn compile(&mut self) {
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
    fn apply(&mut self) {
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
    fn release(&mut self) {
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

    fn wanted(&self) -> unserved::Wanted<'_> {
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

    /// Gathers what is wrong now, and logs what is new of it.
    fn note_problems(&mut self) {
        let mut now = self.object_problems.clone();
        let mut add = |origin, message| {
            now.insert(Notice { origin, message });
        };
        self.compiler.problems().iter().for_each(|problem| add(Origin::File, problem.to_string()));
        self.input.problems(RECONCILE).into_iter().for_each(|(origin, problem)| add(origin, problem));
        self.faults.files.iter().for_each(|fault| add(Origin::File, fault.to_string()));
        self.applied.problems().for_each(|problem| add(Origin::Kernel, problem.to_string()));
        self.pool.problems().for_each(|problem| add(Origin::Node, problem));
        self.hooks.problems().for_each(|problem| add(Origin::Device, problem));
        self.holders.fault.iter().for_each(|fault| {
            add(
                Origin::Node,
                format!("can't list the node's sockets, whose ports come first: {fault}; it is tried again"),
            );
        });
        self.faults.devices.iter().for_each(|fault| add(Origin::Device, fault.to_string()));
        self.not_forwarding.iter().for_each(|problem| add(Origin::Node, problem.clone()));
        self.notices.update(now);
        if let Some(writer) = self.office.node_writer() {
            let nodes = self.compiler.snapshot().of_kind(Kind::GatewayNode).count();
            writer.tell(self.node_status(), nodes);
        }
    }

    fn time_to_recheck(&self) -> bool {
        self.recheck_at.is_some_and(|at| clock::minutes() >= at)
    }
}

/// What made the agent act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Objects,
    Devices,
    /// Who announces pool addresses, or how other nodes are reached, has changed.
    Pool,
    /// The netlink connection broke.
    Reconnect,
    /// Another agent may have let go of the kernel.
    Chance,
    Reconcile,
}
