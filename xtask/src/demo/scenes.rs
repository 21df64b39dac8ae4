//! The scenes of the demo, in order. Each sends real traffic and claims only what it saw.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::http::{Asked, ask, call};
use lab::traffic::{Download, Steady, Tally, Volley, tcp, udp};
use lab::wait_until;

use super::files::{Fate, excerpt};
use super::report::{Report, say};
use super::stage::{CANARY, Family, STABLE, Stage, share};
use crate::setup;

pub(super) struct Scene {
    pub(super) title: &'static str,
    pub(super) play: fn(&mut Stage, &mut Report) -> Result<()>,
}

/// A scene fails only where it can't be played; what it finds are claims.
pub(super) const ALL: [Scene; 9] = [
    Scene { title: "TCP connections are split by the TCPRoute's weights", play: tcp_weights },
    Scene { title: "UDP datagrams are split by the UDPRoute's weights", play: udp_weights },
    Scene { title: "Client addresses are kept for endpoints on the node", play: client_addresses },
    Scene { title: "HTTP requests go by path, and by the HTTPRoute's weights", play: http },
    Scene { title: "gRPC calls are split by the GRPCRoute's weights", play: grpc },
    Scene { title: "A canary's weight changes in the file while connections run", play: canary },
    Scene { title: "An endpoint is drained, then gone", play: drain },
    Scene { title: "The agent is killed with -9 during a download, and started again", play: kill },
    Scene { title: "The kernel's tables have names", play: inside },
];

/// Exchanges per client: enough that four standard deviations tell 90 to 10 from its neighbours.
const MANY: usize = 1_000;
/// Where a few will do.
const FEW: usize = 200;
/// Long-lived connections per client and family.
const STEADY: usize = 20;
/// A rate that leaves time to kill an agent, and a size that takes five seconds at it.
const RATE: u64 = 60_000_000;
const DOWNLOAD: u64 = 5 * RATE;
/// Until a connection whose endpoint is gone notices: its next round trip is answered by a reset.
const NOTICE: Duration = Duration::from_secs(5);
/// Of a dump that is shown.
const SHOWN_LINES: usize = 14;

#[expect(clippy::unnecessary_wraps, reason = "a scene")]
fn tcp_weights(stage: &mut Stage, report: &mut Report) -> Result<()> {
    for family in Family::BOTH {
        let (held, seen) = split(&tcp_from_all(stage, family, MANY), 0.9);
        report.claim(&format!("TCP over {}, 90 to 10", family.name()), held, seen);
    }
    Ok(())
}

#[expect(clippy::unnecessary_wraps, reason = "a scene")]
fn udp_weights(stage: &mut Stage, report: &mut Report) -> Result<()> {
    for family in Family::BOTH {
        let tallies: Vec<Tally> =
            both(|i| udp(&stage.lab.clients[i].namespace, stage.udp(i, family), Volley::of(MANY)));
        let (held, seen) = split(&tallies, 0.75);
        report.claim(&format!("UDP over {}, 3 to 1", family.name()), held, seen);
    }
    Ok(())
}

#[expect(clippy::unnecessary_wraps, reason = "a scene")]
fn client_addresses(stage: &mut Stage, report: &mut Report) -> Result<()> {
    for family in Family::BOTH {
        let client = &stage.lab.clients[0];
        let tally = tcp(&client.namespace, stage.tcp(0, family), Volley::of(FEW));
        let seen_by = |pods: [&str; 2]| -> BTreeSet<IpAddr> {
            pods.iter().filter_map(|pod| tally.clients.get(*pod)).flatten().copied().collect()
        };
        let (near, far) = (seen_by(["pod1", "pod2"]), seen_by(["pod3", "pod4"]));
        let own = family.of(client);
        let node = family.of(&stage.lab.nodes[0].host);
        report.claim(
            &format!("client address kept, {}", family.name()),
            near == BTreeSet::from([own]) && far == BTreeSet::from([node]) && tally.failed() == 0,
            format!("pods on node1 saw {}, those on node2 saw {} (the node)", list(&near), list(&far)),
        );
    }
    Ok(())
}

fn http(stage: &mut Stage, report: &mut Report) -> Result<()> {
    for family in Family::BOTH {
        let (client, to) = (&stage.lab.clients[0].namespace, stage.http(0, family));
        let (held, seen) = split_pods(&ask(client, to, "/", None, MANY)?, 0.9);
        report.claim(&format!("HTTP over {}, 90 to 10", family.name()), held, seen);
        let (held, seen) = split_pods(&ask(client, to, "/canary/now", None, FEW)?, 0.0);
        report.claim(&format!("/canary over {}, by path", family.name()), held, seen);
    }
    Ok(())
}

fn grpc(stage: &mut Stage, report: &mut Report) -> Result<()> {
    for family in Family::BOTH {
        let (client, to) = (&stage.lab.clients[1].namespace, stage.http(1, family));
        let (held, seen) = split_pods(&call(client, to, MANY)?, 0.75);
        report.claim(&format!("gRPC over {}, 3 to 1", family.name()), held, seen);
    }
    Ok(())
}

fn canary(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let steady = open_steady(stage)?;
    stage.change(|files| files.weights(50, 50))?;
    say("routes.yaml now says 50 and 50");
    let tallies = tcp_from_all(stage, Family::V4, MANY);
    let (held, seen) = split(&tallies, 0.5);
    report.claim("canary raised to 50 to 50", held, seen);
    for connections in &steady {
        connections.wait_round_trips(10)?;
    }
    let (broken, seen) = finish(steady, |_| true);
    report.claim("no running connection broken by it", broken == 0, seen);
    Ok(())
}

fn drain(stage: &mut Stage, report: &mut Report) -> Result<()> {
    const POD: &str = "pod1";
    let addresses = stage.lab.nodes[0].pods[0].host.addresses();
    let steady = open_steady(stage)?;
    let on_pod: usize = steady.iter().map(|s| s.to(POD)).sum();
    ensure!(on_pod > 0, "none of the long-lived connections went to {POD}");

    stage.change(|files| files.endpoints(&addresses, Fate::Drains))?;
    say(excerpt(&stage.files.folder, addresses[0])?);
    let tallies: Vec<Tally> = Family::BOTH.into_iter().flat_map(|f| tcp_from_all(stage, f, FEW)).collect();
    let (newcomers, failed) = (sum(&tallies, |t| t.of(POD)), sum(&tallies, Tally::failed));
    let others = sum(&tallies, Tally::answered);
    for connections in &steady {
        connections.wait_round_trips(10)?;
    }
    let ended: usize = steady.iter().map(Steady::ended).sum();
    report.claim(
        "draining: no newcomers, its connections go on",
        newcomers == 0 && failed == 0 && ended == 0,
        format!("{newcomers} of {others} newcomers to {POD}, {failed} failed; {ended} of its {on_pod} connections ended"),
    );

    let begun = Instant::now();
    stage.change(|files| files.endpoints(&addresses, Fate::Gone))?;
    let total = || steady.iter().map(Steady::ended).sum::<usize>();
    // Whether they all ended is what the claim tells.
    let _ = wait_until("the end of its connections", NOTICE, || total() >= on_pod);
    let took = begun.elapsed();
    for connections in &steady {
        connections.wait_round_trips(5)?;
    }
    let ended = total();
    let (broken_elsewhere, seen) = finish(steady, |server| server != POD);
    report.claim(
        "gone: its connections are reset, no others",
        ended == on_pod && broken_elsewhere == 0,
        format!("{ended} of {on_pod} reset {took:.0?} after the change; elsewhere {seen}"),
    );
    stage.change(super::files::Files::restore_services)
}

fn kill(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let client = &stage.lab.clients[0].namespace;
    let download = Download::start(client, stage.tcp(0, Family::V4), DOWNLOAD, Some(RATE));
    download.wait_received(RATE / 2)?;
    stage.agents[0].kill()?;
    let at = download.received();
    say(format!("killed the agent of node1 after {} MB", at / 1_000_000));
    let target = stage.tcp(0, Family::V6);
    let tally = tcp(&stage.lab.clients[0].namespace, target, Volley::of(FEW));
    download.wait_received(RATE)?;
    report.claim(
        "without an agent: new connections",
        tally.answered() == FEW,
        format!("{} of {FEW} answered", tally.answered()),
    );
    let begun = Instant::now();
    stage.agents[0].restart()?;
    say(format!(
        "the next agent took over within {:.0?}, after {} MB",
        begun.elapsed(),
        download.received() / 1_000_000
    ));
    let unfinished = !download.is_finished();
    match download.finish() {
        Ok(transfer) => report.claim(
            "download through kill -9 and restart",
            unfinished,
            format!("{} MB intact, longest pause {:.0?}", transfer.bytes / 1_000_000, transfer.longest_pause),
        ),
        Err(error) => report.claim("download through kill -9 and restart", false, error),
    }
    Ok(())
}

fn inside(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let agent = &stage.agents[0];
    let map = agent.settings.pin.join("maps/frontends").display().to_string();
    let bpftool = setup::bpftool().context("bpftool is missing")?.display().to_string();
    let dump = stage.lab.nodes[0].host.namespace.command(&[&bpftool, "map", "dump", "pinned", &map])?;
    say(format!("bpftool map dump pinned {map}"));
    say(first_lines(&dump));
    let names = ["address", "port", "protocol", "split"];
    let all_there = names.iter().all(|name| dump.contains(&format!("\"{name}\"")));
    report.claim("bpftool shows named fields", all_there, names.join(", "));

    let pin = agent.settings.pin.display().to_string();
    let stats = agent.command(&["stats", "--pin", &pin])?;
    say(format!("\ngateway-agent stats --pin {pin}"));
    say(&stats);
    let known = ["shop/edge", "shop/stable", "shop/canary"].iter().all(|name| stats.contains(name));
    report.claim("stats counts by Gateway, route and backend", known, "of node1, above");
    fs::metadata(&map).map(drop).context("the map is pinned")
}

/// Each client asks the node of its number.
fn tcp_from_all(stage: &Stage, family: Family, each: usize) -> Vec<Tally> {
    both(|i| tcp(&stage.lab.clients[i].namespace, stage.tcp(i, family), Volley::of(each)))
}

fn both(ask: impl Fn(usize) -> Tally + Sync) -> Vec<Tally> {
    std::thread::scope(|scope| {
        let clients = [0, 1].map(|i| {
            let ask = &ask;
            scope.spawn(move || ask(i))
        });
        clients.map(|client| client.join().expect("a panic here is a bug of the demo")).into()
    })
}

fn split(tallies: &[Tally], expected: f64) -> (bool, String) {
    shares(share(tallies, STABLE), share(tallies, CANARY), sum(tallies, Tally::failed), expected)
}

fn split_pods(answers: &[Asked], expected: f64) -> (bool, String) {
    let by = |pods: [&str; 2]| {
        answers.iter().filter(|answer| answer.status == 200 && pods.contains(&answer.pod.as_str())).count()
    };
    let (stable, canary) = (by(STABLE), by(CANARY));
    shares(stable, canary, answers.len() - stable - canary, expected)
}

/// Whether the stable Service's share is within four standard deviations of the binomial distribution, and nothing
/// failed.
#[expect(clippy::cast_precision_loss, reason = "counts are below 2^52")]
fn shares(stable: usize, canary: usize, failed: usize, expected: f64) -> (bool, String) {
    let count = (stable + canary) as f64;
    let tolerance = 4.0 * (count * expected * (1.0 - expected)).sqrt();
    let held = failed == 0 && count > 0.0 && (stable as f64 - count * expected).abs() <= tolerance;
    let wanted = count * expected;
    (
        held,
        format!("stable {stable}, canary {canary}, failed {failed} (expected {wanted:.0} ± {tolerance:.0})"),
    )
}

fn open_steady(stage: &Stage) -> Result<Vec<Steady>> {
    let mut all = Vec::new();
    for family in Family::BOTH {
        for (index, client) in stage.lab.clients.iter().enumerate() {
            all.push(Steady::start(&client.namespace, stage.tcp(index, family), STEADY)?);
        }
    }
    Ok(all)
}

/// Ends the connections; counts those broken among the servers that `matters` picks.
fn finish(steady: Vec<Steady>, matters: impl Fn(&str) -> bool) -> (usize, String) {
    let reports: Vec<_> = steady.into_iter().flat_map(|s| s.finish().connections).collect();
    let counted: Vec<_> = reports.iter().filter(|c| matters(&c.server)).collect();
    let broken = counted.iter().filter(|c| c.broken.is_some()).count();
    let trips: usize = counted.iter().map(|c| c.round_trips).sum();
    let slowest = counted.iter().map(|c| c.slowest).max().unwrap_or_default();
    let total = counted.len();
    (broken, format!("{broken} of {total} broken, {trips} round trips, slowest {slowest:.0?}"))
}

fn sum(tallies: &[Tally], count: impl Fn(&Tally) -> usize) -> usize {
    tallies.iter().map(count).sum()
}

fn list(addresses: &BTreeSet<IpAddr>) -> String {
    if addresses.is_empty() {
        return "nobody".to_owned();
    }
    addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
}

fn first_lines(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().take(SHOWN_LINES).collect();
    if text.lines().count() > SHOWN_LINES {
        lines.push("...");
    }
    lines.join("\n")
}
