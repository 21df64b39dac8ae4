//! Writes this node's GatewayNode, which nobody else writes.

use std::time::Duration;

use gateway_agent_api::GatewayNode;
use gateway_agent_api::own::gateway_node::{GatewayNodeSpec, GatewayNodeStatus};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use crate::source::cluster::cause;

/// Writes what it was told last, now and then.
#[derive(Debug)]
pub struct NodeWriter {
    latest: watch::Sender<Option<GatewayNodeStatus>>,
}

/// Writes are this far apart, but for new problems, which are written at once.
const INTERVAL: Duration = Duration::from_secs(1);

/// After a failure.
const RETRY: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(10);

impl NodeWriter {
    /// Begins to write the GatewayNode of this name; it ends with the value.
    pub fn start(client: Client, node: String) -> Self {
        let (latest, told) = watch::channel(None);
        tokio::spawn(write_all(Api::all(client), node, told));
        Self { latest }
    }

    pub fn tell(&self, status: Option<GatewayNodeStatus>) {
        let Some(mut status) = status else { return };
        self.latest.send_if_modified(|latest| {
            if let Some(latest) = latest {
                keep_times(&mut status, latest);
            }
            let is_news = latest.as_ref().is_none_or(|latest| is_news(latest, &status));
            *latest = Some(status);
            is_news
        });
    }
}

async fn write_all(
    nodes: Api<GatewayNode>,
    node: String,
    mut told: watch::Receiver<Option<GatewayNodeStatus>>,
) {
    let mut written: Option<GatewayNodeStatus> = None;
    let mut next = Instant::now();
    let mut failing = false;
    while told.changed().await.is_ok() {
        let has_new_problem = told.borrow().as_ref().is_some_and(|status| {
            written.as_ref().is_some_and(|written| written.problems != status.problems)
        });
        if !has_new_problem {
            sleep_until(next).await;
        }
        let Some(status) = told.borrow_and_update().clone() else { continue };
        let result = timeout(PATIENCE, write(&nodes, &node, &status)).await;
        let failure = match result {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(cause(&error)),
            Err(_) => Some("no answer from the API server".to_owned()),
        };
        next = Instant::now() + INTERVAL;
        match failure {
            None => {
                if failing || written.is_none() {
                    info!(event = "reporting", "GatewayNode {node} says what this node does");
                }
                failing = false;
                written = Some(status);
            }
            Some(failure) => {
                if !failing {
                    warn!("GatewayNode {node} can't be written: {failure}; it is tried again");
                }
                failing = true;
                told.mark_changed();
                sleep(RETRY).await;
            }
        }
    }
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
        "conditions": null, "version": null, "kernel": null, "cni": null, "addresses": null, "applied": null,
        "hooks": null, "problems": null, "settings": null,
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
    use gateway_agent_api::own::gateway_node::Hook;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

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
    fn what_is_not_said_any_more_is_removed() {
        let patch = patch(&status("True", 1, 1));
        assert_eq!(patch["status"]["problems"], Value::Null);
        assert_eq!(patch["status"]["hooks"][0]["devices"], 1);
    }
}
