//! Who gets a port: conflicts between listeners of one Gateway, its ListenerSets, and other Gateways.

use std::collections::BTreeMap;

use gateway_agent_api::own::gateway_config::AddressSharing;
use gateway_agent_tables::FrontendKey;

use crate::gateway::Gateway;
use crate::listener::{Conflict, Listener};
use crate::{Snapshot, held};

/// Marks all listeners that may not have their port. Gateways are in order of precedence, and so are the listeners
/// of each: its own, then those of its ListenerSets.
pub(crate) fn settle(gateways: &mut [Gateway<'_>], snapshot: &Snapshot) {
    for gateway in &mut *gateways {
        settle_within(&mut gateway.listeners, snapshot);
    }
    settle_between(gateways, snapshot);
    held::settle(gateways, snapshot);
}

/// Object after object: the Gateway itself, then its ListenerSets. What lost against an earlier object takes nothing from
/// listeners of its own.
fn settle_within(listeners: &mut [Listener<'_>], snapshot: &Snapshot) {
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
            .find_map(|holder| listener.excludes(holder, snapshot));
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
        .find_map(|other| Some((other, listener.excludes(other, snapshot)?)));
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

/// Gives each (address, port, protocol) to the oldest Gateway that wants it; a listener that loses one of them loses
/// all, since a listener must be available on every address of its Gateway.
fn settle_between(gateways: &mut [Gateway<'_>], snapshot: &Snapshot) {
    // Who has each place so far, by index of Gateway and listener; several may share one.
    let mut claims = BTreeMap::<FrontendKey, Vec<(usize, usize)>>::new();
    for index in 0..gateways.len() {
        for place in 0..gateways[index].listeners.len() {
            let keys = gateways[index].claimed_by(&gateways[index].listeners[place]);
            let listener = &gateways[index].listeners[place];
            let conflict = keys.iter().find_map(|key| {
                let mut holders = claims.get(key)?.iter().filter(|(holder, _)| *holder != index);
                holders.find_map(|&(holder, held)| {
                    let (other, holder) = (&gateways[holder], &gateways[holder].listeners[held]);
                    lost(listener, holder, key, snapshot)
                        .or_else(|| stranger((&gateways[index], listener), (other, holder), key))
                })
            });
            if conflict.is_some() {
                gateways[index].listeners[place].conflict = conflict;
            } else {
                for key in keys {
                    claims.entry(key).or_default().push((index, place));
                }
            }
        }
    }
}

fn lost(
    listener: &Listener<'_>,
    holder: &Listener<'_>,
    key: &FrontendKey,
    snapshot: &Snapshot,
) -> Option<Conflict> {
    let reason = listener.excludes(holder, snapshot)?;
    let message = format!(
        "port {} of {} belongs to listener {} of Gateway {}, which comes first by age and name; give listener {} another \
         port, or its Gateway another address",
        key.port, key.address, holder.name.listener, holder.name.gateway, listener.spec.name
    );
    Some(Conflict { reason, message })
}

/// Host names keep Gateways of one namespace apart. One of another namespace could take names that aren't its own, so both
/// must allow it, and even then nobody gets names of one that comes first. The messages don't name the others: they may
/// belong to people who share nothing but the address.
fn stranger(
    (gateway, listener): (&Gateway<'_>, &Listener<'_>),
    (other, holder): (&Gateway<'_>, &Listener<'_>),
    key: &FrontendKey,
) -> Option<Conflict> {
    if gateway.name.namespace == other.name.namespace {
        return None;
    }
    let name = listener.spec.name;
    if !shares_addresses(gateway) || !shares_addresses(other) {
        let message = format!(
            "port {} of {} belongs to a Gateway of another namespace; give listener {name} another port, or its Gateway \
             another address, or let both Gateways share theirs (addresses.sharing of their GatewayConfig)",
            key.port, key.address
        );
        return Some(Conflict { reason: "PortUnavailable", message });
    }
    let wanted = listener.hostname.as_ref()?;
    holder.hostname.as_ref()?.covers(wanted).then(|| {
        let message = format!(
            "hostname {wanted} on port {} of {} belongs to a Gateway of another namespace, which comes first by age and \
             name; give listener {name} another hostname or port, or its Gateway another address",
            key.port, key.address
        );
        Conflict { reason: "HostnameConflict", message }
    })
}

fn shares_addresses(gateway: &Gateway<'_>) -> bool {
    gateway.settings.address_sharing() == AddressSharing::Cluster
}

fn or_hostname(reason: &str) -> &'static str {
    if reason == "HostnameConflict" { " or hostname" } else { "" }
}
