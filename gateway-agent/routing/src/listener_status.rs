//! The conditions of listeners, in Gateways and ListenerSets.

use serde_json::{Value, json};

use crate::Snapshot;
use crate::listener::{Conflict, Listener, ListenerProtocol};
use crate::listener_spec::TlsMode;
use crate::snapshot::Service;
use crate::status::Condition;
use crate::tls::Fault;

impl Listener<'_> {
    /// Accepted and Conflicted.
    pub(crate) fn own_conditions(&self, snapshot: &Snapshot) -> [Condition; 2] {
        if let Some(Conflict { reason, message }) = &self.conflict {
            let conflicted = if *reason == "PortUnavailable" {
                Condition::no("Conflicted", "NoConflicts", "no other listener of the Gateway wants the same")
            } else {
                Condition::yes("Conflicted", reason, message.as_str())
            };
            let accepted = Condition::no("Accepted", reason, message.as_str());
            return [if conflicted.status { accepted.derived() } else { accepted }, conflicted];
        }
        let accepted = match self.fault(snapshot) {
            Some((reason @ "NoValidCACertificate", message)) => {
                Condition::no("Accepted", reason, message).derived()
            }
            Some((reason, message)) => Condition::no("Accepted", reason, message),
            None => Condition::yes("Accepted", "Accepted", format!("listener {} is valid", self.spec.name)),
        };
        let no_conflict = format!("nothing else wants port {}", self.spec.port);
        [accepted, Condition::no("Conflicted", "NoConflicts", no_conflict)]
    }

    /// Accepted, so without conflict.
    pub(crate) fn is_accepted(&self, snapshot: &Snapshot) -> bool {
        self.conflict.is_none() && self.fault(snapshot).is_none()
    }

    /// Accepted, and nothing about it keeps it from carrying traffic.
    pub(crate) fn is_usable(&self, snapshot: &Snapshot) -> bool {
        let certified =
            self.tls.termination.is_some() || !self.protocol.is_some_and(ListenerProtocol::terminates_tls);
        self.is_accepted(snapshot) && certified && !self.kinds.is_empty()
    }

    /// Why the listener can't be accepted: reason and message.
    fn fault(&self, snapshot: &Snapshot) -> Option<(&'static str, String)> {
        let listener = self.spec.name;
        let Some(protocol) = self.protocol else {
            let message = format!(
                "listener {listener} has protocol {}, which is not supported; use HTTP, HTTPS, TLS, TCP or UDP",
                self.spec.protocol
            );
            return Some(("UnsupportedProtocol", message));
        };
        if self.port.is_none() {
            let message =
                format!("listener {listener} has port {}; use a number from 1 to 65535", self.spec.port);
            return Some(("PortUnavailable", message));
        }
        if self.hostname.is_none() {
            let message = format!(
                "listener {listener} has hostname {:?}, which is not a DNS name; correct it",
                self.spec.hostname
            );
            return Some(("UnsupportedValue", message));
        }
        if let Some((field, value)) = self.spec.unknown {
            let message = format!(
                "listener {listener} has {field} {value:?}, which this version doesn't know; use a value of Gateway API v1.7"
            );
            return Some(("UnsupportedValue", message));
        }
        if self.spec.has_filters {
            let message =
                format!("listener {listener} has filters, which no data plane serves yet; remove them");
            return Some(("UnsupportedValue", message));
        }
        if self.tls.trusts_nobody {
            let message = format!(
                "listener {listener} is to trust clients' certificates, but none of its caCertificateRefs can be used; \
                 see its ResolvedRefs condition"
            );
            return Some(("NoValidCACertificate", message));
        }
        let other_mode = match protocol {
            ListenerProtocol::Tls(TlsMode::Terminate) => {
                (Service::TlsPassthrough, "Terminate", "Passthrough")
            }
            ListenerProtocol::Tls(TlsMode::Passthrough) => {
                (Service::TlsTerminate, "Passthrough", "Terminate")
            }
            _ => return None,
        };
        let (other, mode, instead) = other_mode;
        (snapshot.serves(other) && !snapshot.serves(protocol.service())).then(|| {
            let message = format!(
                "listener {listener} has tls.mode {mode}, for which no data plane is running; use {instead}"
            );
            ("UnsupportedValue", message)
        })
    }

    /// The first fault gives the reason; the message has all of them.
    pub(crate) fn resolved_refs(&self) -> Condition {
        let kinds = (!self.invalid_kinds.is_empty()).then(|| Fault {
            reason: "InvalidRouteKinds",
            message: format!(
                "allowedRoutes.kinds of listener {} has {}, which can't attach to protocol {}; remove it",
                self.spec.name,
                self.invalid_kinds.join(", "),
                self.spec.protocol
            ),
        });
        let faults: Vec<_> = self.tls.faults.iter().chain(&self.tls.trust_faults).chain(&kinds).collect();
        let Some(first) = faults.first() else {
            return Condition::yes("ResolvedRefs", "ResolvedRefs", "all references are valid");
        };
        let messages: Vec<_> = faults.iter().map(|fault| fault.message.as_str()).collect();
        Condition::no("ResolvedRefs", first.reason, messages.join("; "))
    }

    /// Why the listener can't carry traffic although it has an address: Programmed's reason and message.
    pub(crate) fn obstacle(&self, snapshot: &Snapshot) -> Option<Condition> {
        let listener = self.spec.name;
        if let Some(Conflict { reason, message }) = &self.conflict {
            return Some(Condition::no("Programmed", reason, message.as_str()).derived());
        }
        if self.fault(snapshot).is_some() {
            let message = format!("listener {listener} is not accepted; see its Accepted condition");
            return Some(Condition::no("Programmed", "Invalid", message).derived());
        }
        let protocol = self.protocol?;
        if protocol.terminates_tls() && self.tls.termination.is_none() {
            let message =
                format!("listener {listener} has no usable certificate; see its ResolvedRefs condition");
            return Some(Condition::no("Programmed", "Invalid", message).derived());
        }
        let service = protocol.service();
        if !snapshot.accepts(service) {
            let message = format!(
                "no data plane for {service} is running, so listener {listener} carries no traffic; use another \
                 protocol until this one is served"
            );
            return Some(Condition::no("Programmed", "Pending", message));
        }
        self.kinds.is_empty().then(|| {
            let message = format!(
                "allowedRoutes.kinds of listener {listener} lets no route in; remove the invalid kinds"
            );
            Condition::no("Programmed", "Invalid", message).derived()
        })
    }

    /// Whether the listener does all that its protocol is for, once it is programmed.
    pub(crate) fn is_served(&self, snapshot: &Snapshot) -> bool {
        self.protocol.is_some_and(|protocol| snapshot.serves(protocol.service()))
    }

    /// What clients of a programmed listener meet.
    pub(crate) fn service_message(&self, snapshot: &Snapshot) -> String {
        let listener = self.spec.name;
        if self.is_served(snapshot) {
            format!("listener {listener} carries traffic")
        } else {
            format!(
                "listener {listener} accepts connections; TLS is not served yet: they are closed after the ClientHello"
            )
        }
    }

    pub(crate) fn supported_kinds(&self) -> Vec<Value> {
        self.kinds.iter().map(|kind| json!({ "group": kind.group(), "kind": kind.name() })).collect()
    }
}
