//! Listeners whose TLS settings overlap: clients that reuse a connection may reach one by way of the other.

use gateway_agent_tables::HostPattern;

use crate::listener::{Listener, ListenerProtocol};
use crate::status::Condition;

/// The condition `OverlappingTLSConfig` for a listener among those of its Gateway; the API wants it absent if nothing
/// overlaps.
pub(crate) fn condition(listener: &Listener<'_>, listeners: &[Listener<'_>]) -> Option<Condition> {
    let rivals: Vec<_> = listeners.iter().filter(|other| shares_port(listener, other)).collect();
    let names = |overlaps: fn(&Listener<'_>, &Listener<'_>) -> bool| {
        let names = rivals.iter().filter(|other| overlaps(listener, other)).map(|other| other.spec.name);
        names.collect::<Vec<_>>().join(", ")
    };
    let (certificates, hostnames) = (names(certificates_overlap), names(hostnames_overlap));
    let (reason, what, others) = if !certificates.is_empty() {
        ("OverlappingCertificates", "certificates", certificates)
    } else if !hostnames.is_empty() {
        ("OverlappingHostnames", "host names", hostnames)
    } else {
        return None;
    };
    let message = format!(
        "the {what} of listener {} and of {others} on port {} overlap, so clients that reuse a connection may get the TLS \
         settings of the other; requests for it are refused with 421",
        listener.spec.name, listener.spec.port
    );
    // It is a remark: such listeners are common and right.
    Some(Condition::yes("OverlappingTLSConfig", reason, message))
}

fn shares_port(listener: &Listener<'_>, other: &Listener<'_>) -> bool {
    let has_tls = |it: &Listener<'_>| {
        matches!(it.protocol, Some(ListenerProtocol::Https | ListenerProtocol::Tls(_)))
            && it.conflict.is_none()
    };
    !std::ptr::eq(listener, other)
        && listener.spec.port == other.spec.port
        && has_tls(listener)
        && has_tls(other)
}

fn hostnames_overlap(one: &Listener<'_>, other: &Listener<'_>) -> bool {
    let (Some(one), Some(other)) = (&one.hostname, &other.hostname) else { return false };
    one.intersection(other).is_some()
}

/// Whether a certificate of one is also for what a certificate of the other is for.
fn certificates_overlap(one: &Listener<'_>, other: &Listener<'_>) -> bool {
    let common = |name: &HostPattern| other.tls.names.iter().any(|it| it.intersection(name).is_some());
    one.tls.names.iter().any(common)
}
