//! What there is around the agent, looked at anew, and what is wrong with it.

use gateway_agent_api::Kind;

use super::{Agent, RECONCILE};
use crate::devices::DevicesError;
use crate::holders::Around;
use crate::node::forwarding_problems;
use crate::notices::{Notice, Origin};
use crate::source::WatchError;

/// Why the last look at files or devices failed; the next one is at most [`RECONCILE`] away.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) files: Option<WatchError>,
    pub(super) devices: Option<DevicesError>,
}

impl Agent {
    /// True if that changes any object.
    pub(super) fn look_at_objects(&mut self) -> bool {
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
    pub(super) async fn look_at_devices(&mut self) -> bool {
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
    pub(super) fn look_at_holders(&mut self, anew: bool) -> bool {
        let (snapshot, changed) = (self.compiler.snapshot(), self.compiler.changed());
        let around = Around { snapshot, changed, own_node: self.input.own_node() };
        match self.holders.look(around, anew) {
            Some(holders) => self.compiler.set_holders(holders),
            None => false,
        }
    }

    /// Gathers what is wrong now, and logs what is new of it.
    pub(super) fn note_problems(&mut self) {
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
}
