//! Whether this agent feeds the kernel, and how that changes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gateway_agent_kernel::{Kernel, OpenError, Options, Pins, PinsError, Summary, one_line};
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::Agent;
use super::hooks::Hooks;
use crate::admin;
use crate::failure::Failure;
use crate::handover::{Place, Vacancy};
use crate::metrics;
use crate::node_writer::NodeWriter;
use crate::process;
use crate::proxy_link::ProxyFigures;

/// The right to feed the kernel, and what goes with it.
pub struct Office {
    terms: Terms,
    place: Place,
    /// While another agent is, or may be, in office.
    vacancy: Option<Vacancy>,
    /// While in office.
    duties: Option<Duties>,
}

/// What the office is held with.
pub struct Terms {
    pub options: Options,
    /// The socket for successors; None: they are not heard.
    pub socket: Option<PathBuf>,
    /// Where their requests go.
    pub requests: mpsc::Sender<admin::Request>,
    /// Where the node of this name is reported.
    pub cluster: Option<(Client, String)>,
    /// Where metrics are, and whom they come from.
    pub metrics: Option<(metrics::Place, mpsc::Sender<metrics::Request>)>,
    /// The proxy's part of them.
    pub proxy: ProxyFigures,
}

/// What only one agent of a node can do. They end with the value.
struct Duties {
    node_writer: Option<NodeWriter>,
    _successors: Option<admin::Server>,
    _metrics: Option<metrics::Server>,
}

impl Office {
    pub fn new(terms: Terms) -> Self {
        Self { terms, place: Place::Candidate, vacancy: None, duties: None }
    }

    /// Whether another agent may be in office, and would hand it over.
    pub fn may_be_taken(&self) -> bool {
        self.terms.socket.is_some()
    }

    pub fn place(&self) -> Place {
        self.place
    }

    pub fn pin(&self) -> &Path {
        &self.terms.options.pin
    }

    /// Everything is known that the kernel has to be told.
    pub fn apply_for(&mut self) {
        self.vacancy = self.terms.socket.clone().map(Vacancy::demand);
    }

    /// Waits until the office may be free; for ever if it is not wanted. Can be cancelled.
    pub async fn chance(&mut self) {
        match &mut self.vacancy {
            Some(vacancy) => vacancy.chance().await,
            None => std::future::pending().await,
        }
    }

    /// Who reports this node's state, if this agent is to.
    pub fn node_writer(&self) -> Option<&NodeWriter> {
        self.duties.as_ref()?.node_writer.as_ref()
    }

    /// Nobody comes after this agent: what the kernel has of it goes with it.
    pub fn abandon(self, kernel: Option<Kernel>) -> Result<(), Failure> {
        if kernel.is_none() {
            info!(event = "stopped", "stopped; another agent tidies up");
            return Ok(());
        }
        drop((self.duties, kernel));
        let detached = gateway_agent_kernel::detach(&self.terms.options.pin)?;
        detached.proxy.map(process::end);
        let devices = detached.links.len();
        info!(
            event = "detached-all",
            devices, "uninstalled: detached from {devices} devices, removed all tables"
        );
        Ok(())
    }
}

impl Terms {
    fn begin(&self) -> Result<Duties, Failure> {
        let successors = self.socket.as_ref().map(|path| admin::Server::start(path, self.requests.clone()));
        let node_writer = self.cluster.clone().map(|(client, node)| NodeWriter::start(client, node));
        let metrics = self.metrics.as_ref().map(|(place, asked)| {
            let node = metrics::NodeFigures { pin: self.options.pin.clone(), proxy: self.proxy.clone() };
            metrics::Server::start(*place, asked.clone(), Some(node))
        });
        Ok(Duties { node_writer, _successors: successors.transpose()?, _metrics: metrics })
    }
}

impl Agent {
    /// Opens the kernel; from here on this agent reports for the node and answers successors.
    pub(super) fn take_office(&mut self) -> Result<(), Failure> {
        let office = &mut self.office;
        let kernel = Kernel::open(&office.terms.options)?;
        tell_take_over(office.pin(), kernel.set_aside())?;
        self.kernel = Some(kernel);
        office.duties = Some(office.terms.begin()?);
        office.place = Place::Active;
        office.vacancy = None;
        Ok(())
    }

    /// Takes the office if nobody is in it.
    pub(super) fn replace_another(&mut self) -> Result<(), Failure> {
        match self.take_office() {
            Ok(()) => {}
            Err(error) if matches!(error.downcast_ref(), Some(OpenError::InUse { .. })) => return Ok(()),
            Err(error) => return Err(error),
        }
        self.apply();
        self.serve();
        self.note_problems();
        Ok(())
    }

    /// Programs are attached: what was set aside keeps its flows, for a while.
    pub(super) fn drain_former(&self) {
        let Some(kernel) = &self.kernel else { return };
        let Some(age) = kernel.former_age() else { return };
        let done = if age < DRAIN { kernel.take_newcomers() } else { kernel.give_up_former() };
        match done {
            Ok(()) if age >= DRAIN => {
                info!(
                    event = "drained",
                    "gave up the tables and flows of an earlier agent that were set aside"
                );
            }
            Ok(()) => {}
            Err(error) => warn!("what an earlier agent left: {}; it is tried again", one_line(&error)),
        }
    }

    /// Seconds for which flows of an earlier agent go on whose maps could not be taken over.
    pub(super) fn draining(&self) -> Option<u64> {
        let age = self.kernel.as_ref()?.former_age()?;
        Some(DRAIN.saturating_sub(age).as_secs())
    }

    /// Lets go of the kernel for a successor that asks for it. Its objects are followed on.
    pub(super) fn retire(&mut self) -> Value {
        if !self.office.may_be_taken() {
            return json!({ "error": "this agent was started without --hand-over" });
        }
        let office = &mut self.office;
        if office.place == Place::Active {
            // These go first: the successor begins its own as soon as the lock is free.
            office.duties = None;
            office.place = Place::Retired;
            office.vacancy = Some(Vacancy::await_death());
            self.steering.begin_again();
            self.pool.make_way();
            self.hooks = Hooks::default();
            self.kernel = None;
            info!(event = "handed-over", "handed over to another agent; stands by until it is told to end");
        }
        json!({ "place": self.office.place().name() })
    }

    /// Whether the tables are applied, by this agent or by one that it handed over to, and connections get to a proxy of
    /// its own: that of the agent before may end when this one is ready.
    pub(super) fn is_ready(&self) -> bool {
        let is_served = match self.office.place() {
            Place::Candidate => false,
            Place::Active => self.steering.is_settled(&self.applied.steered),
            Place::Retired => true,
        };
        self.applied.generation > 0 && is_served
    }
}

/// What the kernel holds from earlier agents, before the first tables are applied.
fn tell_take_over(pin: &Path, set_aside: Option<&str>) -> Result<(), PinsError> {
    if let Some(why) = set_aside {
        let pin = pin.display();
        let minutes = DRAIN.as_secs() / 60;
        warn!(
            event = "set-aside",
            "what an earlier agent left in {pin} can't be taken over, since {why}; its flows go on for {minutes} minutes, \
             newcomers meet new tables"
        );
        return Ok(());
    }
    let Summary { generation, flows, links, .. } = Pins::open(pin)?.summary()?;
    if generation == FIRST_GENERATION {
        info!(event = "started", "nothing to take over in {}: new tables", pin.display());
        return Ok(());
    }
    let devices = links.len();
    info!(
        event = "taken-over",
        generation,
        flows,
        devices,
        "took over {flows} flows and the attachments to {devices} devices; programs of this build, generation \
         {generation}, have replaced those that were there"
    );
    Ok(())
}

/// How long flows go on whose maps could not be taken over. Their programs don't hear of endpoints that are gone, and
/// their maps take memory; most connections are shorter.
const DRAIN: Duration = Duration::from_hours(1);

/// No agent before this one has loaded programs ([`Summary::generation`]).
const FIRST_GENERATION: u32 = 1;
