//! The agent: follows objects and devices, and keeps the kernel as they say.

mod applied;
mod figures;
mod grace;
mod hooks;
mod look;
pub mod node_status;
mod office;
mod pool;
mod report;
mod steering;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use gateway_agent_kernel::{Kernel, Options, wait_for_programs};
use gateway_agent_routing::{Minutes, Node};
use glob::Pattern;
use kube::Client;
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tracing::{debug, info};

use crate::admin::{self, Wish};
use crate::clock;
use crate::compile::Compiler;
use crate::devices::{self, Devices};
use crate::failure::Failure;
use crate::holders::Holders;
use crate::input::Input;
use crate::metrics;
use crate::node::forwarding_problems;
use crate::notices::{Notice, Notices};
use crate::owner::{Owner, OwnerName};
use crate::proxy_link::{self, ProxyFigures};
use crate::statuses::Statuses;
use crate::trace::{Question, Trace};
use applied::Applied;
use grace::Grace;
use hooks::Hooks;
use look::Faults;
use office::Office;
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
    applied: Applied,
    recheck_at: Option<Minutes>,
    faults: Faults,
    requests: mpsc::Receiver<admin::Request>,
    figures_wanted: mpsc::Receiver<metrics::Request>,
    server: admin::Server,
    owner: Option<Owner>,
    stop: [Signal; 2],
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
