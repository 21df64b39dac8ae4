//! Programmed says what nodes have done: a Gateway is programmed when nodes report that they have applied it. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use gateway_agent_api::{GatewayNode, Kind, ObjectRef};
use serde_json::Value;
use tokio::time::Instant;

use crate::statuses::{programmed, programmed_mut, turn_false};

/// What a node's agent reports about Gateways.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub node: String,
    /// Everything that the API server told of Gateways up to here is in its data plane.
    pub applied: u64,
    /// For how long at least its agent has told nothing, if that is too long: what it said last counts no more.
    pub silent: Option<Duration>,
    /// Gateway, listener (None: all of them) and why it is not served there.
    pub problems: Vec<(ObjectRef, Option<String>, String)>,
}

/// How far each Gateway has come.
#[derive(Debug, Default)]
pub struct Progress {
    gateways: BTreeMap<ObjectRef, State>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    generation: i64,
    /// The resourceVersion at which this generation was seen first: who has applied that, has applied it.
    seen_at: u64,
    /// When it was seen first.
    since: Instant,
    /// When the first node had applied it.
    begun: Option<Instant>,
}

impl Report {
    pub fn of(node: &GatewayNode, silent: Option<Duration>) -> Self {
        const GATEWAYS: &str = "gateways.gateway.networking.k8s.io";
        let status = node.status.clone().unwrap_or_default();
        let problems = status.problems.into_iter().map(|problem| {
            let gateway = ObjectRef::new(Kind::Gateway, &problem.namespace, &problem.gateway);
            (gateway, problem.listener, problem.message)
        });
        Self {
            node: node.metadata.name.clone().unwrap_or_default(),
            applied: status
                .applied
                .get(GATEWAYS)
                .and_then(|version| version.parse().ok())
                .unwrap_or_default(),
            problems: problems.collect(),
            silent,
        }
    }
}

impl Report {
    /// Why the Gateway isn't served there, or not as it is now.
    fn cause(&self, gateway: &ObjectRef) -> String {
        if let Some(silent) = self.silent {
            return format!("its agent has told nothing for {} s", silent.as_secs());
        }
        let problem = self.problems.iter().find(|(of, ..)| of == gateway);
        let cause = problem.map(|(_, _, cause)| cause.as_str());
        cause.unwrap_or("it has not applied the latest change yet").to_owned()
    }
}

/// Nodes that lag behind the first one are waited for this long (DESIGN.md section 9).
const LAGGARDS: Duration = Duration::from_secs(5);

/// What is known of a Gateway.
enum Stage {
    /// No node has applied it.
    Nowhere,
    /// Some have, and others may follow until then.
    Until(Instant),
    /// All have, or those that have not were waited for: how many, and what is known of the others.
    Done { applied: usize, others: Option<String> },
}

impl Progress {
    /// Turns Programmed to what nodes report. A change to a Gateway that serves must not look like an outage: what was
    /// `said` of it stays until nodes have the change, or were waited for. Gives the time when waiting alone changes the
    /// outcome.
    pub fn tell(
        &mut self,
        statuses: &mut BTreeMap<ObjectRef, Value>,
        said: &BTreeMap<ObjectRef, Value>,
        seen: &BTreeMap<ObjectRef, (i64, u64)>,
        reports: &[Report],
        now: Instant,
    ) -> Option<Instant> {
        self.gateways.retain(|name, _| statuses.contains_key(name));
        let mut recheck: Option<Instant> = None;
        for (name, status) in statuses.iter_mut().filter(|(name, _)| name.kind == Kind::Gateway) {
            let Some(&(generation, version)) = seen.get(name) else { continue };
            let progress = self.state(name, generation, version, now);
            if !is_programmed(status) {
                continue;
            }
            let said = said.get(name).filter(|said| is_programmed(said));
            let mut stage = stage(progress, name, reports, now);
            let patience = progress.since + LAGGARDS;
            if matches!(stage, Stage::Nowhere) && said.is_some() && now < patience {
                stage = Stage::Until(patience);
            }
            if let Stage::Until(until) = stage {
                recheck = Some(recheck.map_or(until, |recheck| recheck.min(until)));
            }
            match (stage, said) {
                (Stage::Nowhere, _) => turn_all(status, &nowhere(reports)),
                (Stage::Until(_), None) => turn_all(status, "nodes are applying it"),
                (Stage::Until(_), Some(said)) if is_about(said, generation) => keep_message(status, said),
                (Stage::Until(_), Some(said)) => said.clone_into(status),
                (Stage::Done { applied, others }, _) => {
                    refuse_listeners(status, name, reports);
                    note(status, &count(applied, reports.len(), others.as_deref()));
                }
            }
        }
        recheck
    }

    fn state(&mut self, name: &ObjectRef, generation: i64, version: u64, now: Instant) -> &mut State {
        let new = State { generation, seen_at: version, since: now, begun: None };
        let state = self.gateways.entry(name.clone()).or_insert(new);
        if state.generation != generation {
            *state = new;
        }
        state
    }
}

fn stage(state: &mut State, name: &ObjectRef, reports: &[Report], now: Instant) -> Stage {
    let has_applied = |report: &&Report| {
        let refused =
            report.problems.iter().any(|(gateway, listener, _)| gateway == name && listener.is_none());
        report.applied >= state.seen_at && !refused && report.silent.is_none()
    };
    let (applied, others): (Vec<_>, Vec<_>) = reports.iter().partition(has_applied);
    if applied.is_empty() {
        return Stage::Nowhere;
    }
    let until = *state.begun.get_or_insert(now) + LAGGARDS;
    if !others.is_empty() && now < until {
        return Stage::Until(until);
    }
    let others = others.first().map(|report| format!("{}: {}", report.node, report.cause(name)));
    Stage::Done { applied: applied.len(), others }
}

/// Of a listener that no node serves, that is said instead.
fn refuse_listeners(status: &mut Value, gateway: &ObjectRef, reports: &[Report]) {
    let listeners = status.get_mut("listeners").and_then(Value::as_array_mut).into_iter().flatten();
    for listener in listeners {
        let name = listener["name"].as_str().unwrap_or_default().to_owned();
        let refusals = reports.iter().map(|report| {
            report
                .problems
                .iter()
                .find(|(of, part, _)| of == gateway && part.as_deref() == Some(name.as_str()))
        });
        let refusals: Option<Vec<_>> = refusals.collect();
        if let Some((_, _, cause)) = refusals.as_ref().and_then(|refusals| refusals.first()) {
            turn_pending(listener, cause);
        }
    }
}

fn nowhere(reports: &[Report]) -> String {
    match reports {
        [] => "no agent reports that it has applied it; check that the CRDs of deploy/crds are installed and that \
               agents run"
            .to_owned(),
        reports => format!("0 of {} nodes have applied it so far", reports.len()),
    }
}

fn count(applied: usize, nodes: usize, others: Option<&str>) -> String {
    let cause = others.map(|others| format!("; {others}")).unwrap_or_default();
    format!("{applied} of {nodes} nodes{cause}")
}

fn turn_all(status: &mut Value, cause: &str) {
    turn_pending(status, cause);
    for listener in status.get_mut("listeners").and_then(Value::as_array_mut).into_iter().flatten() {
        turn_pending(listener, cause);
    }
}

fn turn_pending(part: &mut Value, cause: &str) {
    if let Some(condition) = programmed_mut(part).filter(|condition| condition["status"] == "True") {
        turn_false(condition, "Pending", cause);
    }
}

/// Whether Programmed was said of this generation.
fn is_about(said: &Value, generation: i64) -> bool {
    programmed(said).is_some_and(|condition| condition["observedGeneration"] == generation)
}

fn keep_message(status: &mut Value, said: &Value) {
    if let (Some(condition), Some(said)) = (programmed_mut(status), programmed(said)) {
        condition["message"] = said["message"].clone();
    }
}

fn note(status: &mut Value, text: &str) {
    if let Some(condition) = programmed_mut(status) {
        let message = condition["message"].as_str().unwrap_or_default();
        condition["message"] = format!("{message}; {text}").into();
    }
}

fn is_programmed(part: &Value) -> bool {
    programmed(part).is_some_and(|condition| condition["status"] == "True")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn edge() -> ObjectRef {
        ObjectRef::new(Kind::Gateway, "infra", "edge")
    }

    fn compiled(generation: i64) -> BTreeMap<ObjectRef, Value> {
        let conditions = || {
            json!([{"type": "Programmed", "status": "True", "reason": "Programmed", "message": "all",
                "observedGeneration": generation}])
        };
        let listeners = json!([{"name": "web", "conditions": conditions()}]);
        BTreeMap::from([(edge(), json!({"conditions": conditions(), "listeners": listeners}))])
    }

    fn node(name: &str, applied: u64, problem: Option<(Option<&str>, &str)>) -> Report {
        let problems =
            problem.map(|(listener, cause)| (edge(), listener.map(str::to_owned), cause.to_owned()));
        Report { node: name.to_owned(), applied, silent: None, problems: problems.into_iter().collect() }
    }

    /// The Gateway's and its listener's condition in short, with the generation.
    fn shown(statuses: &BTreeMap<ObjectRef, Value>) -> [String; 2] {
        ["/conditions/0", "/listeners/0/conditions/0"].map(|place| {
            let condition = statuses[&edge()].pointer(place).unwrap();
            let text = |field: &str| condition[field].as_str().unwrap();
            format!("{} @{} {}", text("status"), condition["observedGeneration"], text("message"))
        })
    }

    /// One round after the other: generation, resourceVersion, reports, seconds since the begin, and what follows.
    #[test]
    fn a_gateway_is_programmed_when_nodes_have_applied_it() {
        type Round = (i64, u64, Vec<Report>, u64, [&'static str; 2], Option<u64>);
        let rounds: Vec<Round> = vec![
            (1, 10, vec![], 0, ["False @1 no agent reports", "False @1 no agent"], None),
            (
                1,
                11,
                vec![node("a", 9, None), node("b", 9, None)],
                1,
                ["False @1 0 of 2 nodes", "False @1 0 of 2"],
                None,
            ),
            (
                1,
                12,
                vec![node("a", 10, None), node("b", 9, None)],
                2,
                ["False @1 nodes are", "False @1 nodes"],
                Some(7),
            ),
            (
                1,
                12,
                vec![node("a", 11, None), node("b", 10, None)],
                3,
                ["True @1 all; 2 of 2 nodes", "True @1 all"],
                None,
            ),
            // A change to a Gateway that serves: what was said stays until nodes have it.
            (
                2,
                20,
                vec![node("a", 19, None), node("b", 19, None)],
                10,
                ["True @1 all; 2 of 2", "True @1 all"],
                Some(15),
            ),
            (
                2,
                20,
                vec![node("a", 20, None), node("b", 19, None)],
                11,
                ["True @1 all; 2 of 2", "True @1 all"],
                Some(16),
            ),
            (
                2,
                21,
                vec![node("a", 20, None), node("b", 19, None)],
                16,
                ["True @2 all; 1 of 2 nodes; b: it has not applied", "True @2 all"],
                None,
            ),
            (
                2,
                21,
                vec![node("a", 21, None), node("b", 21, Some((None, "wedged")))],
                17,
                ["True @2 all; 1 of 2 nodes; b: wedged", "True @2 all"],
                None,
            ),
            (
                2,
                21,
                vec![node("a", 21, Some((Some("web"), "port taken"))), node("b", 21, None)],
                18,
                ["True @2 all; 2 of 2 nodes", "True @2 all"],
                None,
            ),
            (
                2,
                21,
                vec![
                    node("a", 21, Some((Some("web"), "port taken"))),
                    node("b", 21, Some((Some("web"), "too"))),
                ],
                19,
                ["True @2 all; 2 of 2 nodes", "False @2 port taken"],
                None,
            ),
        ];
        let begin = Instant::now();
        let mut progress = Progress::default();
        let mut said = BTreeMap::new();
        for (round, (generation, version, reports, seconds, expected, recheck)) in
            rounds.into_iter().enumerate()
        {
            let mut statuses = compiled(generation);
            let now = begin + Duration::from_secs(seconds);
            let next = progress.tell(
                &mut statuses,
                &said,
                &BTreeMap::from([(edge(), (generation, version))]),
                &reports,
                now,
            );
            for (shown, expected) in shown(&statuses).iter().zip(expected) {
                assert!(shown.starts_with(expected), "round {round}: {shown}");
            }
            assert_eq!(next.map(|next| (next - begin).as_secs()), recheck, "round {round}");
            said = statuses;
        }
    }

    /// A new leader knows nothing of nodes yet, and all else goes on meanwhile.
    #[test]
    fn nodes_that_do_not_report_are_waited_for_only_so_long() {
        let begin = Instant::now();
        let mut said = compiled(1);
        note(said.get_mut(&edge()).unwrap(), "2 of 2 nodes");
        let mut progress = Progress::default();
        let seen = BTreeMap::from([(edge(), (1, 10))]);
        for (seconds, expected, recheck) in
            [(0, "True @1 all; 2 of 2", Some(5)), (5, "False @1 no agent", None)]
        {
            let mut statuses = compiled(1);
            statuses.get_mut(&edge()).unwrap()["listeners"][0]["attachedRoutes"] = json!(seconds);
            let now = begin + Duration::from_secs(seconds);
            let next = progress.tell(&mut statuses, &said, &seen, &[], now);
            assert!(shown(&statuses)[0].starts_with(expected), "{:?}", shown(&statuses));
            assert_eq!(statuses[&edge()]["listeners"][0]["attachedRoutes"], seconds);
            assert_eq!(next.map(|next| (next - begin).as_secs()), recheck);
        }
    }

    #[test]
    fn a_silent_node_counts_no_more() {
        let silent = Report { silent: Some(Duration::from_secs(40)), ..node("b", 10, None) };
        let seen = BTreeMap::from([(edge(), (1, 10))]);
        let mut progress = Progress::default();
        let begin = Instant::now();
        let reports = [node("a", 10, None), silent];
        let said = BTreeMap::new();
        progress.tell(&mut compiled(1), &said, &seen, &reports, begin);
        let mut statuses = compiled(1);
        progress.tell(&mut statuses, &said, &seen, &reports, begin + LAGGARDS);
        let shown = &shown(&statuses)[0];
        assert!(shown.ends_with("1 of 2 nodes; b: its agent has told nothing for 40 s"), "{shown}");
    }

    #[test]
    fn what_is_not_programmed_stays_so() {
        let mut statuses = compiled(1);
        turn_all(statuses.get_mut(&edge()).unwrap(), "a port is taken");
        let before = statuses.clone();
        let mut progress = Progress::default();
        progress.tell(
            &mut statuses,
            &BTreeMap::new(),
            &BTreeMap::from([(edge(), (1, 1))]),
            &[node("a", 1, None)],
            Instant::now(),
        );
        assert_eq!(statuses, before);
    }
}
