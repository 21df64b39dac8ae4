//! Who gets a port: conflicts between listeners of one Gateway and its ListenerSets, and with those of other Gateways
//! (`between`).

mod between;

use crate::Snapshot;
use crate::listener::{Conflict, Listener};

pub(crate) use between::{Claimant, Claims};

/// Marks all listeners of a Gateway that may not have their port beside its others. Object after object: the Gateway
/// itself, then its ListenerSets. What lost against an earlier object takes nothing from listeners of its own.
pub(crate) fn settle_within(listeners: &mut [Listener<'_>], snapshot: &Snapshot) {
    let mut settled = 0;
    while settled < listeners.len() {
        let (before, rest) = listeners.split_at_mut(settled);
        let count = rest.iter().take_while(|listener| listener.owner == rest[0].owner).count();
        let owned = &mut rest[..count];
        settle_after(owned, before, snapshot);
        settle_own(owned, snapshot);
        settled += count;
    }
}

/// A listener of a ListenerSet loses against the Gateway's own and against those of ListenerSets that come first. The
/// messages don't name the others: they may belong to people who share nothing but the Gateway.
fn settle_after(listeners: &mut [Listener<'_>], before: &[Listener<'_>], snapshot: &Snapshot) {
    for listener in listeners {
        let reason = before
            .iter()
            .filter(|holder| holder.conflict.is_none())
            .filter(|holder| holder.port.is_some() && holder.spec.port == listener.spec.port)
            .find_map(|holder| listener.traffic()?.excludes(holder.traffic()?, snapshot));
        listener.conflict = reason.map(|reason| Conflict {
            reason,
            message: format!(
                "port {} of Gateway {}{} is taken by a listener of the Gateway or of an older ListenerSet; give \
                 listener {} another port{}",
                listener.spec.port,
                listener.name.gateway,
                if reason == "HostnameConflict" { " with this hostname" } else { "" },
                listener.spec.name,
                or_hostname(reason),
            ),
        });
    }
}

/// All listeners of one object that exclude each other lose: the API forbids to pick one.
fn settle_own(listeners: &mut [Listener<'_>], snapshot: &Snapshot) {
    let conflicts: Vec<_> =
        listeners.iter().map(|listener| conflict_within(listener, listeners, snapshot)).collect();
    for (listener, conflict) in listeners.iter_mut().zip(conflicts) {
        listener.conflict = listener.conflict.take().or(conflict);
    }
}

fn conflict_within(
    listener: &Listener<'_>,
    listeners: &[Listener<'_>],
    snapshot: &Snapshot,
) -> Option<Conflict> {
    let rival = listeners
        .iter()
        .filter(|other| !std::ptr::eq(*other, listener) && other.conflict.is_none())
        .filter(|other| other.spec.port == listener.spec.port)
        .find_map(|other| Some((other, listener.traffic()?.excludes(other.traffic()?, snapshot)?)));
    rival.map(|(other, reason)| Conflict {
        reason,
        message: format!(
            "listeners {} ({}) and {} ({}) of Gateway {} both want port {}; give one of them another port{}",
            listener.spec.name,
            listener.spec.protocol,
            other.spec.name,
            other.spec.protocol,
            listener.name.gateway,
            listener.spec.port,
            or_hostname(reason),
        ),
    })
}

fn or_hostname(reason: &str) -> &'static str {
    if reason == "HostnameConflict" { " or hostname" } else { "" }
}
