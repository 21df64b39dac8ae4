//! `propagation_5000`: endpoints change one after the other, and the agent's tables follow.
//!
//! A bare watch beside the agent sees the same changes. What it tells is when the API server told them; the agent's
//! log says when its tables were applied.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::api::{Api, Watch, for_all};
use super::objects::{self, FRONTENDS, HTTP, HTTP_ROUTES, SLICES, endpoints};
use super::rig::Rig;
use super::role::{PATIENCE, Role};
use super::{AGAIN, Effort, OURS, memory};
use crate::report::{Limit, Metric, Report, Target};

pub(crate) const QUIET: &str = "propagation_5000";
/// With 100 changes a second to HTTPRoutes, which no L4 table depends on.
pub(crate) const CHURN: &str = "propagation_5000_churn";
const CHURN_PER_SECOND: u32 = 100;

const BARE: &str = "bare-watch";
const P50: Metric = Metric { name: "p50_ms", unit: "ms" };
const P99: Metric = Metric { name: "p99_ms", unit: "ms" };
const API_P99: Metric = Metric { name: "api_p99_ms", unit: "ms" };
const RSS: Metric = Metric { name: "rss_mb", unit: "MiB" };
const CGROUP: Metric = Metric { name: "cgroup_mb", unit: "MiB" };
/// Not in the figure before it.
const MAPS: Metric = Metric { name: "maps_mb", unit: "MiB" };
/// Of the process beside it, which is told the tables of HTTP.
const PROXY: Metric = Metric { name: "proxy_mb", unit: "MiB" };
const FIRST_SYNC: Metric = Metric { name: "first_sync_s", unit: "s" };

/// Issue C, "Must show"; it asks the same of both cases.
pub(crate) fn targets(case: &'static str) -> Vec<Target> {
    let absolute = |metric: Metric, most| Target {
        case,
        metric: metric.name,
        subject: OURS,
        baseline: None,
        limit: Limit::AtMost(most),
    };
    let beside = |metric: Metric, subject, baseline, limit| Target {
        case,
        metric: metric.name,
        subject,
        baseline: Some(baseline),
        limit,
    };
    vec![
        absolute(P50, 3.0),
        beside(P50, AGAIN, OURS, Limit::None),
        absolute(P99, 10.0),
        beside(P99, AGAIN, OURS, Limit::None),
        beside(API_P99, OURS, BARE, Limit::AtMostMore(10.0)),
        absolute(RSS, 60.0),
        absolute(CGROUP, 60.0),
        absolute(FIRST_SYNC, 3.0),
        beside(FIRST_SYNC, AGAIN, OURS, Limit::None),
        beside(FIRST_SYNC, OURS, BARE, Limit::None),
    ]
}

/// Creates what the case is named by, and has a controller give the Gateways their addresses. It is ended then: what it
/// would write of changes isn't measured here.
pub(crate) async fn fill(rig: &Rig, api: &Api) -> Result<()> {
    eprintln!("  {QUIET}: creating its objects");
    for_all(objects::all(), |(path, object)| async move { api.create(&path, &object).await.map(drop) })
        .await?;
    let controller = rig.controller()?;
    let (agent, _proxy) = rig.agent()?;
    let settled = async {
        while !is_settled(api).await? {
            sleep(POLL).await;
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE, settled).await.context("some statuses are still not right")??;
    controller.terminate()?;
    agent.terminate()
}

/// The API server is busy enough without being asked more often.
const POLL: Duration = Duration::from_secs(1);

/// Every Gateway has an address, and every route was judged.
async fn is_settled(api: &Api) -> Result<bool> {
    for path in objects::lists() {
        let field = match path.rsplit('/').next() {
            Some("gateways") => "addresses",
            Some(plural) if plural.ends_with("routes") => "parents",
            _ => continue,
        };
        let has = |object: &Value| object["status"][field].as_array().is_some_and(|list| !list.is_empty());
        if !api.list(&path).await?.iter().all(has) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Each round has agents of its own.
pub(crate) async fn run(
    case: &'static str,
    effort: Effort,
    rig: &Rig,
    api: &Api,
    report: &mut Report,
) -> Result<()> {
    for round in 0..effort.rounds {
        eprintln!("  {case}: round {} of {}", round + 1, effort.rounds);
        report.add(case, BARE, FIRST_SYNC, first_lists(api).await?);
        for subject in [OURS, AGAIN] {
            let delays = agent(case, subject, effort, rig, api, report).await?;
            if subject == OURS {
                let seen = delays.iter().map(|it| it.call_to_event).collect();
                report.add(case, BARE, API_P99, quantile(seen, 99));
            }
        }
    }
    Ok(())
}

/// What an agent of its own does.
async fn agent(
    case: &'static str,
    subject: &'static str,
    effort: Effort,
    rig: &Rig,
    api: &Api,
    report: &mut Report,
) -> Result<Vec<Delays>> {
    let (mut agent, proxy) = rig.agent()?;
    let ready = agent.told("that it is ready", |line| line["event"] == "ready").await?;
    ensure!(ready.fields["frontends"] == FRONTENDS, "the first tables lack frontends: {}", ready.fields);
    report.add(case, subject, FIRST_SYNC, ready.at.duration_since(agent.started).as_secs_f64());

    let mut slices = api.watch(SLICES).await?;
    let measured = changes(effort.changes, &mut agent, &mut slices, api);
    let delays = if case == CHURN { beside_churn(api, measured).await? } else { measured.await? };

    let column = |pick: fn(&Delays) -> f64| delays.iter().map(pick).collect::<Vec<f64>>();
    report.add(case, subject, P50, quantile(column(|it| it.applied), 50));
    report.add(case, subject, P99, quantile(column(|it| it.applied), 99));
    report.add(case, subject, API_P99, quantile(column(|it| it.call_to_applied), 99));
    let maps = memory::maps(agent.pid())?;
    report.add(case, subject, RSS, memory::resident(agent.pid())?);
    report.add(case, subject, CGROUP, memory::working_set(agent.cgroup()?)? - maps);
    report.add(case, subject, MAPS, maps);
    report.add(case, subject, PROXY, memory::resident(proxy.pid())?);
    agent.terminate()?;
    Ok(delays)
}

/// Seconds that a client takes which does nothing with what the API server has.
async fn first_lists(api: &Api) -> Result<f64> {
    let begin = Timestamp::now();
    for_all(objects::lists(), |path| async move { api.list(&path).await.map(drop) }).await?;
    Ok(Timestamp::now().duration_since(begin).as_secs_f64())
}

/// Of one change, in milliseconds.
struct Delays {
    /// From the bare watch's event to applied tables.
    applied: f64,
    call_to_applied: f64,
    call_to_event: f64,
}

/// Changes the endpoints of one Service after the other; each change waits for the one before.
async fn changes(count: usize, agent: &mut Role, slices: &mut Watch, api: &Api) -> Result<Vec<Delays>> {
    /// Another one each time, so that every patch changes something.
    static PASS: AtomicUsize = AtomicUsize::new(1);
    /// Services of TCPRoutes and of UDPRoutes take turns; no Service comes twice.
    const STRIDE: usize = FRONTENDS / 2 + 1;
    ensure!(count <= FRONTENDS, "there are only {FRONTENDS} Services whose endpoints make a difference");
    let pass = PASS.fetch_add(1, Ordering::Relaxed);
    let mut delays = Vec::new();
    for change in 0..count {
        let service = change * STRIDE % FRONTENDS;
        let patch = json!({"endpoints": endpoints(service, pass)});
        let call = Timestamp::now();
        let answer = api.patch(SLICES, &format!("s{service}"), &patch).await?;
        let event = until_seen(slices, &answer).await?;
        let changed = |line: &Value| line["event"] == "applied" && line["changes"].as_u64() > Some(0);
        let applied = agent.told("that tables changed", changed).await?.at;
        delays.push(Delays {
            applied: millis(event, applied),
            call_to_applied: millis(call, applied),
            call_to_event: millis(call, event),
        });
    }
    Ok(delays)
}

async fn until_seen(slices: &mut Watch, object: &Value) -> Result<Timestamp> {
    let seen = async {
        loop {
            let seen = slices.next().await?;
            if seen.object["metadata"]["resourceVersion"] == object["metadata"]["resourceVersion"] {
                return anyhow::Ok(seen.at);
            }
        }
    };
    timeout(PATIENCE, seen).await?
}

/// Measures while HTTPRoutes get other host names.
async fn beside_churn(api: &Api, measured: impl Future<Output = Result<Vec<Delays>>>) -> Result<Vec<Delays>> {
    let begin = Instant::now();
    let changed = AtomicUsize::new(0);
    let delays = tokio::select! {
        delays = measured => delays?,
        failed = churn(api, &changed) => return failed,
    };
    let wanted = begin.elapsed().as_secs_f64() * f64::from(CHURN_PER_SECOND);
    let done = u32::try_from(changed.into_inner())?;
    ensure!(
        f64::from(done) >= 0.9 * wanted,
        "only {done} of {wanted:.0} changes elsewhere: the machine is too busy"
    );
    Ok(delays)
}

/// Without an end. Several at once, so that one which takes long doesn't slow it down.
async fn churn<T>(api: &Api, changed: &AtomicUsize) -> Result<T> {
    let mut tick = interval(Duration::from_secs(1) / CHURN_PER_SECOND);
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut under_way = JoinSet::new();
    let mut numbers = 0_usize..;
    loop {
        tokio::select! {
            _ = tick.tick() => {
                let n = numbers.next().unwrap_or_default();
                let api = api.clone();
                let patch = json!({"spec": {"hostnames": [format!("h{n}.churn.example.com")]}});
                under_way.spawn(async move { api.patch(HTTP_ROUTES, &format!("w{}", n % HTTP), &patch).await });
            }
            Some(done) = under_way.join_next() => {
                done?.context("a change elsewhere")?;
                changed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn millis(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64() * 1000.0
}

/// By the nearest rank.
fn quantile(mut values: Vec<f64>, percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() * percent).div_ceil(100);
    values[rank.saturating_sub(1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values() {
        let values = || (1..=100).rev().map(f64::from).collect::<Vec<f64>>();
        assert_eq!((quantile(values(), 50), quantile(values(), 99)), (50.0, 99.0));
        assert_eq!(Some(quantile(vec![7.0], 99)), Some(7.0));
    }
}
