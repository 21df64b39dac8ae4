//! Writes this node's GatewayNode, which nobody else writes.

use std::time::Duration;

use gateway_agent_api::own::gateway_node::{GatewayNodeSpec, GatewayNodeStatus};
use gateway_agent_api::{GatewayNode, Time};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use crate::clock::at;
use crate::source::cluster::cause;

/// Writes what it was told last, now and then.
#[derive(Debug)]
pub struct NodeWriter {
    latest: watch::Sender<Option<Told>>,
}

#[derive(Clone, Debug)]
struct Told {
    status: GatewayNodeStatus,
    /// How many nodes the cluster has, ours included.
    nodes: usize,
}

/// After a failure; up to as much again is added at random, so that agents don't come back together.
const RETRY: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(10);

/// Writes of one node are this far apart, but for new problems, so that the API server gets 50 a second at most
/// (DESIGN.md section 9).
fn interval(nodes: usize) -> Duration {
    per_node(nodes).max(Duration::from_secs(1))
}

/// A node with nothing new to tell is heard of this often, so that one whose agent is gone can be told from a quiet one.
pub fn heartbeat(nodes: usize) -> Duration {
    per_node(nodes).max(Duration::from_secs(10))
}

fn per_node(nodes: usize) -> Duration {
    Duration::from_millis(20).saturating_mul(u32::try_from(nodes).unwrap_or(u32::MAX))
}

impl NodeWriter {
    /// Begins to write the GatewayNode of this name; it ends with the value.
    pub fn start(client: Client, node: String) -> Self {
        let (latest, told) = watch::channel(None);
        tokio::spawn(write_all(Api::all(client), node, told));
        Self { latest }
    }

    /// `nodes`: how many nodes report, ours included.
    pub fn tell(&self, status: Option<GatewayNodeStatus>, nodes: usize) {
        let Some(mut status) = status else { return };
        self.latest.send_if_modified(|latest| {
            if let Some(latest) = latest {
                keep_times(&mut status, &latest.status);
            }
            let is_news = latest.as_ref().is_none_or(|latest| is_news(&latest.status, &status));
            *latest = Some(Told { status, nodes });
            is_news
        });
    }
}

async fn write_all(nodes: Api<GatewayNode>, node: String, mut told: watch::Receiver<Option<Told>>) {
    let mut written: Option<GatewayNodeStatus> = None;
    let mut failing = false;
    // Not before then, if there is something new; and at the latest then, if there isn't.
    let mut next = Instant::now();
    let mut beat = None;
    let mut pending = false;
    loop {
        let due = if pending { Some(next) } else { beat };
        tokio::select! {
            changed = told.changed() => {
                if changed.is_err() {
                    return;
                }
                pending = true;
                let urgent = told.borrow().as_ref().is_some_and(|told| has_new_problem(written.as_ref(), &told.status));
                if failing || !urgent {
                    continue;
                }
            }
            () = at(due), if due.is_some() => {}
        }
        let Some(Told { mut status, nodes: number }) = told.borrow_and_update().clone() else { continue };
        status.last_heartbeat_time = Some(Time(jiff::Timestamp::now()));
        let result = timeout(PATIENCE, write(&nodes, &node, &status)).await;
        let failure = match result {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(cause(&error)),
            Err(_) => Some("no answer from the API server".to_owned()),
        };
        let now = Instant::now();
        pending = failure.is_some();
        match failure {
            None => {
                if failing || written.is_none() {
                    info!(event = "reporting", "GatewayNode {node} says what this node does");
                }
                failing = false;
                written = Some(status);
                next = now + interval(number);
                beat = Some(now + heartbeat(number));
            }
            Some(failure) => {
                if !failing {
                    warn!("GatewayNode {node} can't be written: {failure}; it is tried again");
                }
                failing = true;
                next = now + RETRY.mul_f64(1.0 + part());
            }
        }
    }
}

fn has_new_problem(written: Option<&GatewayNodeStatus>, status: &GatewayNodeStatus) -> bool {
    let known: Vec<_> = written.iter().flat_map(|written| &written.problems).collect();
    status.problems.iter().any(|problem| !known.contains(&problem))
}

/// Any number from 0 to 1; 0 if the machine has no randomness to give.
fn part() -> f64 {
    f64::from(getrandom::u32().unwrap_or_default()) / f64::from(u32::MAX)
}

async fn write(nodes: &Api<GatewayNode>, node: &str, status: &GatewayNodeStatus) -> kube::Result<()> {
    const NOT_FOUND: u16 = 404;
    let patch = Patch::Merge(patch(status));
    let parameters = PatchParams::default();
    match nodes.patch_status(node, &parameters, &patch).await {
        Err(kube::Error::Api(answer)) if answer.code == NOT_FOUND => {}
        result => return result.map(drop),
    }
    let object = GatewayNode::new(node, GatewayNodeSpec {});
    nodes.create(&PostParams::default(), &object).await?;
    nodes.patch_status(node, &parameters, &patch).await.map(drop)
}

/// What is not said any more goes away.
fn patch(status: &GatewayNodeStatus) -> Value {
    let mut fields = json!({
        "conditions": null, "version": null, "kernel": null, "cni": null, "delivery": null, "addresses": null, "applied": null,
        "hooks": null, "problems": null, "settings": null, "lastHeartbeatTime": null,
    });
    if let (Some(all), Ok(Value::Object(said))) = (fields.as_object_mut(), serde_json::to_value(status)) {
        all.extend(said);
    }
    json!({ "status": fields })
}

/// A condition whose status stays keeps its time.
fn keep_times(new: &mut GatewayNodeStatus, old: &GatewayNodeStatus) {
    for condition in &mut new.conditions {
        let same = |old: &&_| same_state(condition, old);
        if let Some(old) = old.conditions.iter().find(same) {
            condition.last_transition_time = old.last_transition_time.clone();
        }
    }
}

fn same_state(
    a: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition,
    b: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition,
) -> bool {
    a.type_ == b.type_ && a.status == b.status
}

/// Pods come and go: another number of devices alone is not worth a write.
fn is_news(old: &GatewayNodeStatus, new: &GatewayNodeStatus) -> bool {
    let essence = |status: &GatewayNodeStatus| {
        let mut status = status.clone();
        status.hooks.iter_mut().for_each(|hook| hook.devices = hook.devices.min(1));
        status.conditions.iter_mut().for_each(|condition| condition.message.clear());
        status
    };
    essence(old) != essence(new)
}

#[cfg(test)]
mod tests {
    use gateway_agent_api::own::gateway_node::{Hook, NodeProblem};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

    use super::*;

    fn status(ready: &str, devices: i32, second: i64) -> GatewayNodeStatus {
        GatewayNodeStatus {
            conditions: vec![Condition {
                type_: "Ready".into(),
                status: ready.into(),
                reason: "R".into(),
                message: format!("{devices} devices"),
                last_transition_time: Time(k8s_openapi::jiff::Timestamp::from_second(second).unwrap()),
                observed_generation: None,
            }],
            hooks: vec![Hook { name: "tcx ingress".into(), devices, failures: Vec::new() }],
            ..GatewayNodeStatus::default()
        }
    }

    #[test]
    fn pods_that_come_and_go_are_no_news() {
        let cases =
            [(1, "True", 7, false), (1, "False", 1, true), (0, "True", 1, true), (3, "True", 3, false)];
        for (devices, ready, then, news) in cases {
            let (old, mut new) = (status("True", devices, 1), status(ready, then, 2));
            keep_times(&mut new, &old);
            assert_eq!(is_news(&old, &new), news, "{devices} {ready} {then}");
            let time = new.conditions[0].last_transition_time.0.as_second();
            assert_eq!(time, if ready == "True" { 1 } else { 2 });
        }
    }

    #[test]
    fn many_nodes_write_seldom() {
        let seconds = |number| Duration::from_secs(number);
        for (nodes, news, beat) in [(0, 1, 10), (50, 1, 10), (200, 4, 10), (500, 10, 10), (5000, 100, 100)] {
            assert_eq!((interval(nodes), heartbeat(nodes)), (seconds(news), seconds(beat)), "{nodes}");
        }
    }

    #[test]
    fn only_a_new_problem_is_urgent() {
        let problem = |message: &str| NodeProblem { message: message.to_owned(), ..NodeProblem::default() };
        let with = |problems: &[&str]| GatewayNodeStatus {
            problems: problems.iter().map(|it| problem(it)).collect(),
            ..GatewayNodeStatus::default()
        };
        let cases: [(&[&str], &[&str], bool); 4] = [
            (&[], &["a"], true),
            (&["a"], &["a", "b"], true),
            (&["a", "b"], &["b"], false),
            (&["a"], &["a"], false),
        ];
        for (before, now, urgent) in cases {
            assert_eq!(has_new_problem(Some(&with(before)), &with(now)), urgent, "{before:?} {now:?}");
        }
        assert!(has_new_problem(None, &with(&["a"])));
    }

    #[test]
    fn what_is_not_said_any_more_is_removed() {
        let patch = patch(&status("True", 1, 1));
        assert_eq!(patch["status"]["problems"], Value::Null);
        assert_eq!(patch["status"]["hooks"][0]["devices"], 1);
    }
}
