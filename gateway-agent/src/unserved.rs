//! Listeners that the kernel doesn't serve as the tables say: the statuses of their Gateways say why.

use std::collections::{BTreeMap, BTreeSet};

use gateway_agent_api::{Kind, ObjectRef};
use gateway_agent_kernel::ApplyProblem;
use gateway_agent_tables::{FrontendKey, L4Tables, ListenerName, Steered};
use serde_json::Value;

use crate::statuses::{programmed, programmed_mut, turn_false};

/// Turns Programmed to False where a listener lacks one of its frontends, since it must be available on every address
/// of its Gateway, and where a Gateway has no listener left that carries traffic.
pub fn tell<'p>(
    statuses: &mut BTreeMap<ObjectRef, Value>,
    wanted: Wanted<'_>,
    problems: impl Iterator<Item = &'p ApplyProblem>,
) {
    let mut gateways = BTreeSet::new();
    for (listener, causes) in by_listener(wanted, problems) {
        let gateway = gateway_of(listener);
        let Some(status) = statuses.get_mut(&gateway) else { continue };
        if let Some(programmed) = programmed_of(status, &listener.listener) {
            turn_false(programmed, "Pending", &causes.join("; "));
            gateways.insert(gateway);
        }
    }
    for gateway in gateways {
        if let Some(status) = statuses.get_mut(&gateway) {
            sum_up(status);
        }
    }
}

/// The Gateways whose listeners that concerns.
pub fn gateways<'p>(
    wanted: Wanted<'_>,
    problems: impl Iterator<Item = &'p ApplyProblem>,
) -> BTreeSet<ObjectRef> {
    by_listener(wanted, problems).into_keys().map(gateway_of).collect()
}

fn gateway_of(listener: &ListenerName) -> ObjectRef {
    ObjectRef::new(Kind::Gateway, &listener.gateway.namespace, &listener.gateway.name)
}

/// What the kernel is to do.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub forwarded: &'a L4Tables,
    pub steered: &'a BTreeMap<FrontendKey, Steered>,
}

impl<'a> Wanted<'a> {
    fn listeners(self, key: &FrontendKey) -> impl Iterator<Item = &'a ListenerName> {
        let forwarded = self.forwarded.frontends.get(key).map(|frontend| &frontend.listener);
        let steered = self.steered.get(key).into_iter().flat_map(|steered| &steered.listeners);
        forwarded.into_iter().chain(steered)
    }
}

/// Why listeners are not served, by the frontends that the kernel didn't take.
pub fn by_listener<'a, 'p>(
    wanted: Wanted<'a>,
    problems: impl Iterator<Item = &'p ApplyProblem>,
) -> BTreeMap<&'a ListenerName, Vec<String>> {
    let mut causes: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for problem in problems {
        let Some(key) = problem.frontend() else { continue };
        for listener in wanted.listeners(&key) {
            causes.entry(listener).or_default().push(problem.to_string());
        }
    }
    causes
}

/// The Gateway's own condition follows from those of its listeners.
fn sum_up(status: &mut Value) {
    let listeners = status["listeners"].as_array().into_iter().flatten();
    let (carrying, idle): (Vec<_>, Vec<_>) = listeners
        .partition(|listener| programmed(listener).is_some_and(|condition| condition["status"] == "True"));
    let names = |listeners: &[&Value]| {
        listeners.iter().filter_map(|listener| listener["name"].as_str()).collect::<Vec<_>>().join(", ")
    };
    let (served, unserved) = (names(&carrying), names(&idle));
    let Some(condition) = programmed_mut(status) else { return };
    if served.is_empty() {
        let message = format!("no listener carries traffic; see the conditions of {unserved}");
        // The Gateway API's reason for infrastructure that has no room left.
        turn_false(condition, "NoResources", &message);
    } else {
        condition["message"] =
            format!("listeners that carry traffic: {served}; others: {unserved}; see their conditions")
                .into();
    }
}

fn programmed_of<'a>(status: &'a mut Value, listener: &str) -> Option<&'a mut Value> {
    let listeners = status.get_mut("listeners")?.as_array_mut()?;
    let listener = listeners.iter_mut().find(|candidate| candidate["name"] == listener)?;
    programmed_mut(listener)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use gateway_agent_tables::{Frontend, ObjectName, Protocol};
    use serde_json::json;

    use super::*;

    const ADDRESSES: [&str; 2] = ["192.0.2.1", "2001:db8::1"];

    fn key(address: &str, port: u16) -> FrontendKey {
        let address: IpAddr = address.parse().unwrap();
        FrontendKey { address, port: port.try_into().unwrap(), protocol: Protocol::Tcp }
    }

    /// Listeners `a` on port 1 and `b` on port 2 of the Gateway shop/edge, both on two addresses.
    fn tables() -> L4Tables {
        let gateway = ObjectName { namespace: "shop".into(), name: "edge".into() };
        let mut tables = L4Tables::default();
        for (listener, port) in [("a", 1), ("b", 2)] {
            for address in ADDRESSES {
                let listener = ListenerName { gateway: gateway.clone(), listener: listener.into() };
                tables.frontends.insert(key(address, port), Frontend { listener, split: None });
            }
        }
        tables
    }

    fn told(unserved: &[FrontendKey]) -> Vec<(String, String, String)> {
        let condition =
            || json!([{"type": "Programmed", "status": "True", "reason": "Programmed", "message": "all"}]);
        let listeners = ["a", "b"].map(|name| json!({"name": name, "conditions": condition()}));
        let edge = ObjectRef::new(Kind::Gateway, "shop", "edge");
        let status = json!({"conditions": condition(), "listeners": listeners});
        let mut statuses = BTreeMap::from([(edge.clone(), status)]);
        let problems: Vec<_> = unserved
            .iter()
            .map(|frontend| ApplyProblem::FrontendsFull { frontend: *frontend, capacity: 2 })
            .collect();
        let wanted = Wanted { forwarded: &tables(), steered: &BTreeMap::new() };
        tell(&mut statuses, wanted, problems.iter());
        let text = |pointer: String| statuses[&edge].pointer(&pointer).unwrap().as_str().unwrap().to_owned();
        let places = ["", "/listeners/0", "/listeners/1"].map(|part| format!("{part}/conditions/0"));
        places
            .map(|place| ["status", "reason", "message"].map(|field| text(format!("{place}/{field}"))))
            .map(|[status, reason, message]| (status, reason, message))
            .into()
    }

    fn expected(conditions: [(&str, &str, &str); 3]) -> Vec<(String, String, String)> {
        conditions.map(|(status, reason, message)| (status.into(), reason.into(), message.into())).into()
    }

    #[test]
    fn what_fits_is_programmed() {
        assert_eq!(told(&[]), expected([("True", "Programmed", "all"); 3]));
        let of_nobody = key("192.0.2.9", 9);
        assert_eq!(told(&[of_nobody]), expected([("True", "Programmed", "all"); 3]));
    }

    #[test]
    fn a_listener_that_lacks_an_address_is_not() {
        let cause = "frontend [2001:db8::1]:2/tcp is not served: all 2 frontends are in use; raise --size frontends \
                     (pinned tables keep their sizes until `gateway-agent detach`)";
        assert_eq!(
            told(&[key(ADDRESSES[1], 2)]),
            expected([
                ("True", "Programmed", "listeners that carry traffic: a; others: b; see their conditions"),
                ("True", "Programmed", "all"),
                ("False", "Pending", cause),
            ])
        );
    }

    #[test]
    fn a_gateway_without_any_listener_is_not() {
        let all: Vec<_> = tables().frontends.into_keys().collect();
        let [gateway, a, b] = &told(&all)[..] else { panic!("three conditions") };
        assert_eq!(
            (gateway.0.as_str(), gateway.1.as_str(), gateway.2.as_str()),
            ("False", "NoResources", "no listener carries traffic; see the conditions of a, b")
        );
        for (listener, port) in [(a, ":1/tcp"), (b, ":2/tcp")] {
            assert_eq!(listener.0, "False");
            assert_eq!(listener.2.matches(port).count(), 2, "on both addresses: {}", listener.2);
        }
    }
}
