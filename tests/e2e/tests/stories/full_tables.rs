//! When tables are full, newcomers are refused and counted, and nobody else notices; places free themselves.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::{Condition, Counters, Observed as _, Stage, TCP_PORT};
use lab::traffic::{PATIENCE, Steady, Tally, Volley, tcp};
use lab::wait_until;

/// Room for 334 places: eight to a bucket, filled to 0.6.
const FEW: &[&str] = &["--flows", "200"];

const SERVICES: &[(&str, u32, &[&str])] = &[("all", 1, &["pod1", "pod2", "pod3", "pod4"])];

#[test]
fn a_full_table_refuses_newcomers_and_harms_no_flow() -> Result<()> {
    const NEWCOMERS: usize = 500;
    let stage = Stage::set_with("full", SERVICES, FEW)?;
    let steady: Vec<Steady> = stage
        .tcp()
        .into_iter()
        .map(|target| Steady::start(stage.client(), target, 30))
        .collect::<Result<_, _>>()?;
    steady.iter().try_for_each(|steady| steady.wait_round_trips(5))?;

    // They stay: places of closed connections would be taken again, all of them if the clients are slow enough.
    let target = stage.tcp()[0];
    let newcomers: Vec<io::Result<TcpStream>> = stage
        .client()
        .run(|| (0..NEWCOMERS).map(|_| TcpStream::connect_timeout(&target, PATIENCE)).collect());

    let counters = stage.agents[0].counters()?;
    let refused = newcomers.iter().filter_map(|newcomer| newcomer.as_ref().err());
    let refused: Vec<_> = refused.map(io::Error::kind).collect();
    println!("{} refused, {:?}", refused.len(), counters.reasons());
    assert!(!refused.is_empty() && refused.len() < NEWCOMERS, "some find a place, some do not: {refused:?}");
    assert!(refused.iter().all(|kind| *kind == io::ErrorKind::ConnectionRefused), "{refused:?}");
    assert_eq!(full(&counters), refused.len() as u64, "each refusal is counted: {:?}", counters.reasons());
    for steady in steady {
        steady.wait_round_trips(20)?;
        let report = steady.finish();
        assert_eq!(report.broken().count(), 0, "{report:?}");
    }
    Ok(())
}

#[test]
fn places_free_themselves_without_an_agent() -> Result<()> {
    const GOAL: usize = 2_000;
    let timeouts = ["--timeout", "tcp-closed=100ms", "--timeout", "tcp-opening=100ms"];
    let mut stage = Stage::set_with("reuse", SERVICES, &[FEW, &timeouts].concat())?;
    let steady = Steady::start(stage.client(), stage.tcp()[1], 20)?;
    stage.agents.iter_mut().try_for_each(lab::agent::Agent::kill)?;

    // Six times what the table holds; each place is taken again and again, or this never ends.
    let mut tally = Tally::default();
    wait_until("2,000 connections through 334 places", Duration::from_mins(1), || {
        tally.add(tcp(stage.client(), stage.tcp()[0], Volley::of(50)));
        tally.answered() >= GOAL
    })?;

    println!("{} answered, {} refused", tally.answered(), tally.failed());
    let counters = stage.agents[0].counters()?;
    assert_eq!(full(&counters), tally.failed() as u64, "{:?} {:?}", tally.failures, counters.reasons());
    steady.wait_round_trips(20)?;
    let report = steady.finish();
    assert_eq!(report.broken().count(), 0, "{report:?}");
    Ok(())
}

#[test]
fn a_gateway_without_room_is_not_programmed_until_there_is_some() -> Result<()> {
    // The stage's own two listeners on two addresses, and one more listener.
    let stage = Stage::set_with("room", SERVICES, &["--size", "frontends=6"])?;
    let steady = Steady::start(stage.client(), stage.tcp()[0], 10)?;
    let [first, second] = [("first", 9001), ("second", 9002)];
    let answered = |port| {
        let targets = stage.gateway().map(|address| SocketAddr::new(address, port));
        targets.map(|target| tcp(stage.client(), target, Volley::of(20)).answered())
    };

    write_gateway(&stage, first)?;
    wait_programmed(&stage, first.0, "True")?;
    write_gateway(&stage, second)?;
    wait_programmed(&stage, second.0, "False")?;
    for agent in &stage.agents {
        let told =
            |listener| agent.condition(second.0, listener, "Programmed")?.context("the Gateway is there");
        assert_eq!(told(None)?.reason, "NoResources");
        let Condition { reason, message, .. } = told(Some("only"))?;
        println!("{message}");
        assert_eq!(reason, "Pending");
        let named = agent.settings.node_addresses.iter().map(|ip| SocketAddr::new(*ip, second.1).to_string());
        for part in named.chain(["all 6 frontends", "--size frontends"].map(str::to_owned)) {
            assert!(message.contains(&part), "no {part} in: {message}");
        }
        for served in [Some("tcp"), Some("udp"), None] {
            let condition = agent.condition("edge", served, "Programmed")?.context("the stage's Gateway")?;
            assert_eq!(condition.status, "True", "{condition:?}");
        }
    }
    assert_eq!((answered(first.1), answered(second.1)), ([20, 20], [0, 0]));

    fs::remove_file(stage.config.join("first.yaml"))?;
    wait_programmed(&stage, second.0, "True")?;
    assert_eq!((answered(first.1), answered(second.1)), ([0, 0], [20, 20]));
    let report = steady.finish();
    assert_eq!(report.broken().count(), 0, "{report:?}");
    Ok(())
}

/// A file with a Gateway that has one listener, `only`, and a route to the stage's Service.
fn write_gateway(stage: &Stage, (name, port): (&str, u16)) -> Result<()> {
    let text = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  \
         gatewayClassName: gateway-agent\n  listeners: [{{name: only, protocol: TCP, port: {port}}}]\n---\n\
         apiVersion: gateway.networking.k8s.io/v1\nkind: TCPRoute\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  \
         parentRefs: [{{name: {name}}}]\n  rules: [{{backendRefs: [{{name: all, port: {TCP_PORT}}}]}}]\n"
    );
    Ok(fs::write(stage.config.join(format!("{name}.yaml")), text)?)
}

/// Waits for both agents' word.
fn wait_programmed(stage: &Stage, gateway: &str, status: &str) -> Result<()> {
    for agent in &stage.agents {
        wait_until(&format!("Programmed={status} of Gateway {gateway}"), PATIENCE, || {
            let told = agent.condition(gateway, None, "Programmed").ok().flatten();
            told.is_some_and(|condition| condition.status == status)
        })?;
    }
    Ok(())
}

fn full(counters: &Counters) -> u64 {
    ["flows_full", "reverse_full", "ports_exhausted"].iter().map(|reason| counters.reason(reason)).sum()
}
