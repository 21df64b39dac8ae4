//! `attach_1000` and `detach_1000`: routes come to a Gateway and go, and their statuses follow.

use std::collections::BTreeSet;

use anyhow::Result;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::api::{Api, Change, Seen, Watch, for_all};
use super::objects::{CONTROLLER, GATEWAYS, HTTP_ROUTES, SERVICES, gateway, listener, service, web_route};
use super::rig::Rig;
use super::role::PATIENCE;
use super::{AGAIN, Effort, OURS};
use crate::report::{Limit, Metric, Report, Target};

pub(crate) const ATTACH: &str = "attach_1000";
pub(crate) const DETACH: &str = "detach_1000";
const ROUTES: usize = 1_000;

const BARE: &str = "bare-client";
const SECONDS: Metric = Metric { name: "seconds", unit: "s" };
const WRITES: Metric = Metric { name: "gateway_status_writes", unit: "writes" };

/// Issue C, "Must show".
pub(crate) const TARGETS: &[Target] =
    &[target(ATTACH), again(ATTACH), writes(ATTACH), target(DETACH), again(DETACH), writes(DETACH)];

const fn target(case: &'static str) -> Target {
    let limit = Limit::AtMost(1.3);
    Target { case, metric: SECONDS.name, subject: OURS, baseline: Some(BARE), limit }
}

const fn writes(case: &'static str) -> Target {
    Target { case, metric: WRITES.name, subject: OURS, baseline: None, limit: Limit::AtMost(10.0) }
}

/// The A/A row.
const fn again(case: &'static str) -> Target {
    Target { case, metric: SECONDS.name, subject: AGAIN, baseline: Some(OURS), limit: Limit::None }
}

const GATEWAY: &str = "crowd";

/// An agent runs all the time, as in every cluster.
pub(crate) async fn run(effort: Effort, rig: &Rig, api: &Api, report: &mut Report) -> Result<()> {
    api.create(SERVICES, &service(0)).await?;
    let (mut agent, _proxy) = rig.agent()?;
    agent.told("that it is ready", |line| line["event"] == "ready").await?;
    for round in 0..effort.rounds {
        eprintln!("  {ATTACH}, {DETACH}: round {} of {}", round + 1, effort.rounds);
        let bare = bare(api).await?;
        for case in [ATTACH, DETACH] {
            report.add(case, BARE, SECONDS, bare);
        }
        for subject in [OURS, AGAIN] {
            ours(subject, rig, api, report).await?;
        }
    }
    agent.terminate()?;
    api.delete(SERVICES, "s0").await
}

/// Seconds that as many patches of statuses take by themselves, with the size of ours.
async fn bare(api: &Api) -> Result<f64> {
    create_routes(api).await?;
    let status = status();
    let begin = Timestamp::now();
    for_all(names(), |name| {
        let status = &status;
        async move { api.patch_status(HTTP_ROUTES, &name, status).await }
    })
    .await?;
    let seconds = seconds(begin, Timestamp::now());
    delete_routes(api).await?;
    Ok(seconds)
}

/// A controller leads, and sees routes come and go.
async fn ours(subject: &'static str, rig: &Rig, api: &Api, report: &mut Report) -> Result<()> {
    let mut controller = rig.controller()?;
    controller.told("that it leads", |line| line["event"] == "leading").await?;
    let mut gateways = api.watch(GATEWAYS).await?;
    api.create(GATEWAYS, &gateway(GATEWAY, &[listener("web", "HTTP", 80)])).await?;
    until_attached(&mut gateways, 0).await?;

    let mut routes = api.watch(HTTP_ROUTES).await?;
    create_routes(api).await?;
    let last = Timestamp::now();
    let accepted = until_accepted(&mut routes).await?;
    let attached = until_attached(&mut gateways, ROUTES).await?;
    report.add(ATTACH, subject, SECONDS, seconds(last, accepted.max(attached.at)));
    report.add(ATTACH, subject, WRITES, attached.writes);
    drop(routes);

    delete_routes(api).await?;
    let last = Timestamp::now();
    let detached = until_attached(&mut gateways, 0).await?;
    report.add(DETACH, subject, SECONDS, seconds(last, detached.at));
    report.add(DETACH, subject, WRITES, detached.writes);

    api.delete(GATEWAYS, GATEWAY).await?;
    controller.terminate()
}

/// When a Gateway's status was right, and how often it was written until then.
struct Attached {
    at: Timestamp,
    writes: f64,
}

async fn until_attached(gateways: &mut Watch, routes: usize) -> Result<Attached> {
    let mut writes = 0.0;
    let right = async {
        loop {
            let Seen { at, object, change } = gateways.next().await?;
            if object["metadata"]["name"] != GATEWAY {
                continue;
            }
            writes += f64::from(u8::from(change == Change::Modified));
            if object["status"]["listeners"][0]["attachedRoutes"] == routes {
                return anyhow::Ok(at);
            }
        }
    };
    let at = timeout(PATIENCE, right).await??;
    Ok(Attached { at, writes })
}

/// When the last of the routes had been accepted.
async fn until_accepted(routes: &mut Watch) -> Result<Timestamp> {
    let mut waiting: BTreeSet<String> = names().collect();
    let all = async {
        loop {
            let Seen { at, object, .. } = routes.next().await?;
            if is_accepted(&object)
                && let Some(name) = object["metadata"]["name"].as_str()
            {
                waiting.remove(name);
            }
            if waiting.is_empty() {
                return anyhow::Ok(at);
            }
        }
    };
    timeout(PATIENCE, all).await?
}

fn is_accepted(route: &Value) -> bool {
    let parent = &route["status"]["parents"][0];
    let conditions = parent["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let holds = |kind: &str| conditions.iter().any(|it| it["type"] == kind && it["status"] == "True");
    parent["controllerName"] == CONTROLLER && holds("Accepted") && holds("ResolvedRefs")
}

/// What a route's status is like.
fn status() -> Value {
    let condition = |kind: &str, reason: &str, message: &str| {
        json!({
            "type": kind,
            "status": "True",
            "reason": reason,
            "message": message,
            "observedGeneration": 1,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    };
    json!({"status": {"parents": [{
        "parentRef": {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": GATEWAY},
        "controllerName": "example.com/bare-client",
        "conditions": [
            condition("Accepted", "Accepted", "the route is attached to this Gateway"),
            condition("ResolvedRefs", "ResolvedRefs", "all references are resolved"),
        ],
    }]}})
}

async fn create_routes(api: &Api) -> Result<()> {
    for_all(0..ROUTES, |n| async move {
        let (path, route) = web_route("HTTPRoute", &format!("a{n}"), GATEWAY, 0);
        api.create(&path, &route).await.map(drop)
    })
    .await
}

async fn delete_routes(api: &Api) -> Result<()> {
    for_all(names(), |name| async move { api.delete(HTTP_ROUTES, &name).await }).await
}

fn names() -> impl Iterator<Item = String> {
    (0..ROUTES).map(|n| format!("a{n}"))
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}
