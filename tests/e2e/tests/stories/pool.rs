//! Addresses of a pool: one node announces each, any other takes over.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use e2e::{Observed as _, POOL, Stage, TCP_PORT, UDP_PORT};
use lab::agent::Agent;
use lab::traffic::{Steady, Volley, tcp, udp};
use lab::{Stopwatch, wait_until};

/// A pod on each node for each Service.
const SERVICES: &[(&str, u32, &[&str])] = &[("web", 1, &["pod1", "pod3"])];

/// How soon an address has to answer again (issue D), on a machine that is not busy.
const FAILOVER: Duration = Duration::from_secs(2);

/// Agents have to start, to find each other, and to agree.
const AGREE: Duration = Duration::from_mins(1);

fn announces(agent: &Agent, address: IpAddr) -> bool {
    let announced = |status: serde_json::Value| {
        let all = status["pool"]["announced"].as_array().cloned().unwrap_or_default();
        all.iter().any(|one| one.as_str() == Some(&address.to_string()))
    };
    agent.status().is_ok_and(announced)
}

/// The index of the node that announces the address, once there is one and it alone does.
fn announcer(stage: &Stage, address: IpAddr) -> Result<usize> {
    let announcing = || [0, 1].map(|node| announces(&stage.agents[node], address));
    let told = || -> Result<()> {
        wait_until("one announcer", AGREE, || announcing().iter().filter(|one| **one).count() == 1)?;
        Ok(())
    };
    told().with_context(|| format!("{address}: {:?}", announcing()))?;
    Ok(usize::from(announcing()[1]))
}

/// Every agent knows the other, and how to hand packets on to it.
fn acquainted(stage: &Stage) -> Result<()> {
    for agent in &stage.agents {
        let known = wait_until("the other agent", AGREE, || {
            agent.status().is_ok_and(|status| {
                let peer = &status["pool"]["peers"][0];
                peer["live"] == true && peer["mac"].is_string()
            })
        });
        known.with_context(|| agent.status().map_or_else(|e| e.to_string(), |status| status.to_string()))?;
    }
    POOL.into_iter().try_for_each(|address| announcer(stage, address).map(drop))
}

fn set(name: &str) -> Result<Stage> {
    let stage = Stage::set_pool(name, SERVICES)?;
    acquainted(&stage)?;
    Ok(stage)
}

fn at(address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, TCP_PORT)
}

/// The time from now until the address answers a newcomer. Half of them fall to an endpoint that may be dead.
fn answers_after(stage: &Stage, address: IpAddr) -> Result<Duration> {
    let begun = Stopwatch::start();
    let target = SocketAddr::new(address, UDP_PORT);
    let short = Volley { count: 4, parallel: 4, patience: Duration::from_millis(50) };
    wait_until("an answer", AGREE, || udp(stage.client(), target, short).answered() > 0)?;
    Ok(begun.read())
}

#[test]
fn every_endpoint_is_reached_and_sees_the_client() -> Result<()> {
    let stage = set("pool")?;
    let client = &stage.lab.clients[0];
    for (address, own) in POOL.into_iter().zip(client.addresses()) {
        for (protocol, tally) in [
            ("tcp", tcp(stage.client(), at(address), Volley::of(200))),
            ("udp", udp(stage.client(), SocketAddr::new(address, UDP_PORT), Volley::of(200))),
        ] {
            assert_eq!((tally.answered(), tally.failed()), (200, 0), "{protocol} {address}: {tally:?}");
            for pod in ["pod1", "pod3"] {
                assert!(tally.of(pod) > 50, "{protocol} {address}: {tally:?}");
                assert_eq!(tally.clients[pod], [own].into(), "{protocol} {address}: {tally:?}");
            }
        }
        let node = announcer(&stage, address)?;
        let handed_on = stage.agents[node].counters()?.handed_on();
        assert!(handed_on > 100, "half of the packets have gone to the other node: {handed_on}");
        // Neither node has the address: its program answers for it, on one of them.
        let neighbours = stage.client().command(&["ip", "-json", "neigh", "show", &address.to_string()])?;
        let mac = stage.lab.nodes[node].host.namespace.mac(lab::topology::UPLINK)?.to_string();
        assert!(neighbours.contains(&mac), "{neighbours} should be {mac}");
    }
    Ok(())
}

#[test]
fn a_dead_agents_addresses_move_and_nothing_breaks() -> Result<()> {
    let mut stage = set("pool-agent")?;
    let node = announcer(&stage, POOL[0])?;
    let steady = [0, 1].map(|i| Steady::start(stage.client(), at(POOL[i]), 20));
    let steady: Vec<Steady> = steady.into_iter().collect::<Result<_, _>>()?;
    stage.agents[node].kill()?;
    let begun = Stopwatch::start();
    for address in POOL {
        wait_until("the other node to announce", AGREE, || announces(&stage.agents[1 - node], address))?;
    }
    let moved = begun.read();
    println!("announced by the other node {moved:?} after kill -9");
    assert!(moved < FAILOVER, "{moved:?}");
    let newcomers = tcp(stage.client(), at(POOL[0]), Volley::of(100));
    assert_eq!(newcomers.failed(), 0, "{newcomers:?}");
    steady.iter().try_for_each(|steady| steady.wait_round_trips(20))?;

    stage.agents[node].restart()?;
    acquainted(&stage)?;
    assert_eq!(announcer(&stage, POOL[0])?, node, "it announces what it announced before");
    let newcomers = tcp(stage.client(), at(POOL[0]), Volley::of(100));
    assert_eq!(newcomers.failed(), 0, "{newcomers:?}");
    steady.iter().try_for_each(|steady| steady.wait_round_trips(20))?;
    for steady in steady {
        let report = steady.finish();
        assert_eq!(report.broken().count(), 0, "{report:?}");
    }
    Ok(())
}

#[test]
fn a_planned_move_breaks_nothing_and_loses_no_newcomer() -> Result<()> {
    let mut stage = set("pool-move")?;
    let node = announcer(&stage, POOL[0])?;
    let steady = Steady::start(stage.client(), at(POOL[0]), 20)?;
    for _ in 0..3 {
        let begun = Instant::now();
        let status = stage.agents[node].terminate()?;
        assert!(status.success(), "{status}");
        wait_until("the other node to announce", AGREE, || announces(&stage.agents[1 - node], POOL[0]))?;
        println!("moved {:?} after SIGTERM", begun.elapsed());
        let newcomers = tcp(stage.client(), at(POOL[0]), Volley::of(200));
        assert_eq!(newcomers.failed(), 0, "{newcomers:?}");
        stage.agents[node].restart()?;
        acquainted(&stage)?;
        assert_eq!(announcer(&stage, POOL[0])?, node);
        let newcomers = tcp(stage.client(), at(POOL[0]), Volley::of(200));
        assert_eq!(newcomers.failed(), 0, "{newcomers:?}");
    }
    let report = steady.finish();
    println!("slowest round trip {:?}", report.slowest());
    assert_eq!(report.broken().count(), 0, "{report:?}");
    Ok(())
}

#[test]
fn a_dead_nodes_addresses_answer_again_within_two_seconds() -> Result<()> {
    let stage = set("pool-node")?;
    for address in POOL {
        let node = announcer(&stage, address)?;
        let (dead, living) = (stage.lab.nodes[node].name(), &stage.agents[1 - node]);
        let pods = if node == 0 { ["pod1", "pod3"] } else { ["pod3", "pod1"] };
        let steady = Steady::start(stage.client(), at(address), 20)?;
        let survivors = steady.to(pods[1]);
        assert!(survivors > 0 && survivors < 20, "{survivors} of 20 connections are to the living node");

        stage.lab.switch.ip(&format!("link set {dead} down\n"))?;
        let after = answers_after(&stage, address)?;
        println!("{address} answered {after:?} after its node's death");
        assert!(after < FAILOVER, "{after:?}");
        assert!(announces(living, address));
        steady.wait_round_trips(20)?;
        let report = steady.finish();
        let broken = report.broken().filter(|connection| connection.server == pods[1]).count();
        assert_eq!(broken, 0, "connections to the living node: {report:?}");

        // Both have announced all of them meanwhile. One gives way.
        stage.lab.switch.ip(&format!("link set {dead} up\n"))?;
        acquainted(&stage)?;
        assert_eq!(announcer(&stage, address)?, node);
        wait_until("both nodes' endpoints", AGREE, || {
            let tally = tcp(stage.client(), at(address), Volley { count: 20, ..Volley::of(20) });
            tally.failed() == 0 && tally.of(pods[0]) > 0 && tally.of(pods[1]) > 0
        })?;
    }
    Ok(())
}
