//! Agents die, end, start again and are replaced; packets go on.

use std::path::Path;

use anyhow::{Context as _, Result};
use e2e::{Load, Observed as _, Pinned, Stage};
use lab::agent::{Agent, built_beside};
use lab::traffic::{Download, PATIENCE, Steady, Volley, tcp};
use lab::wait_until;
use serde_json::Value;

const SERVICES: &[(&str, u32, &[&str])] =
    &[("stable", 3, &["pod1", "pod3"]), ("canary", 1, &["pod2", "pod4"])];

#[test]
fn a_killed_agent_stops_nothing_and_its_successor_finds_everything() -> Result<()> {
    /// Fifteen seconds: agents need two, and busy machines more.
    const SIZE: u64 = 60_000_000;
    const RATE: u64 = 4_000_000;
    let mut stage = Stage::set("killed", SERVICES)?;
    let downloads = stage.tcp().map(|target| Download::start(stage.client(), target, SIZE, Some(RATE)));
    let steady = Steady::start(stage.client(), stage.tcp()[0], 20)?;
    downloads.iter().try_for_each(|download| download.wait_received(1_000_000))?;
    let (flows, counters) = (stage.agents[0].flows()?, stage.agents[0].counters()?);
    assert_eq!(flows.len(), 22, "{flows:?}");

    stage.agents[0].kill()?;
    downloads.iter().try_for_each(|download| download.wait_received(2_000_000))?;
    let newcomers = tcp(stage.client(), stage.tcp()[1], Volley::of(200));
    assert_eq!((newcomers.answered(), newcomers.failed()), (200, 0), "while no agent lives: {newcomers:?}");

    stage.agents[0].restart()?;
    downloads.iter().try_for_each(|download| download.wait_received(1_000_000))?;
    let kept = stage.agents[0].flows()?;
    assert!(
        flows.iter().all(|flow| kept.contains(flow)),
        "the same flows in the same places: {flows:?}\n{kept:?}"
    );
    let later = stage.agents[0].counters()?;
    assert_eq!(later.ids(), counters.ids(), "frontends and backends keep their ids");
    assert_eq!(later.frontends("tcp", "flows"), counters.frontends("tcp", "flows") + 200, "counters go on");
    assert!(later.backend("stable", "bytesOut") > counters.backend("stable", "bytesOut"));

    assert!(
        downloads.iter().all(|download| !download.is_finished()),
        "all of that happened during the downloads"
    );
    for download in downloads {
        let transfer = download.finish()?;
        println!("longest pause {:?}", transfer.longest_pause);
        assert_eq!(transfer.bytes, SIZE);
    }
    let report = steady.finish();
    assert_eq!(report.broken().count(), 0, "{report:?}");
    Ok(())
}

#[test]
fn agents_come_and_go_under_load_and_no_connection_fails() -> Result<()> {
    let mut stage = Stage::set("upgrades", SERVICES)?;
    let this = stage.agents[0].settings.binary.clone();
    // Debug beside release, where `cargo xtask test` runs this.
    let next = built_beside("gateway-agent");
    let steady = Steady::start(stage.client(), stage.tcp()[1], 20)?;
    let flows = stage.agents[0].flows()?;
    assert_eq!(flows.len(), 20, "{flows:?}");
    let load = Load::start(stage.client(), &stage.tcp(), 4);
    let turns: [(End, &Path); 5] =
        [(killed, &this), (ended, &this), (killed, &next), (ended, &this), (ended, &next)];
    for (end, build) in turns {
        for agent in &mut stage.agents {
            let before = Pinned::of(&agent.settings.pin)?;
            end(agent)?;
            load.wait_turnover()?;
            assert_eq!(Pinned::of(&agent.settings.pin)?, before, "nothing changes without an agent");
            build.clone_into(&mut agent.settings.binary);
            agent.restart()?;
            load.wait_turnover()?;
            assert_taken_over(agent, &before)?;
        }
        let kept = stage.agents[0].flows()?;
        assert!(flows.iter().all(|flow| kept.contains(flow)), "{flows:?}\n{kept:?}");
    }

    let tally = load.finish();
    println!("10 restarts, {} connections, {} failed", tally.answered(), tally.failed());
    assert_eq!(tally.failed(), 0, "{tally:?}");
    let report = steady.finish();
    assert_eq!(report.broken().count(), 0, "{report:?}");
    // A new build forwards by itself, not only by what it found.
    stage.change(|objects| objects.set_weight("stable", 0))?;
    let newcomers = tcp(stage.client(), stage.tcp()[0], Volley::of(100));
    assert_eq!(newcomers.of("pod2") + newcomers.of("pod4"), 100, "{newcomers:?}");
    Ok(())
}

/// The agent's own programs are behind the links that were there, with the maps that were there, and it says so.
fn assert_taken_over(agent: &Agent, before: &Pinned) -> Result<()> {
    let now = Pinned::of(&agent.settings.pin)?;
    assert_eq!(now.maps, before.maps, "the same maps");
    assert_eq!(now.links.len(), before.links.len());
    for (ifindex, link) in &now.links {
        let former = before.links[ifindex];
        assert_eq!(link.id, former.id, "the same attachment to device {ifindex}");
        assert_ne!(link.program, former.program, "another program on device {ifindex}");
    }
    let log = agent.log();
    let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let said = lines.find(|line| line["event"] == "taken-over").context("it says what it took over")?;
    println!("{}", said["message"]);
    assert_eq!(said["devices"], now.links.len(), "{said}");
    assert!(said["flows"].is_u64() && said["generation"].as_u64() > Some(1), "{said}");
    Ok(())
}

/// How an agent comes to its end.
type End = fn(&mut Agent) -> Result<()>;

fn killed(agent: &mut Agent) -> Result<()> {
    agent.kill().context("kill -9")
}

fn ended(agent: &mut Agent) -> Result<()> {
    let status = agent.terminate()?;
    anyhow::ensure!(status.success(), "SIGTERM is an orderly end, not {status}");
    Ok(())
}

#[test]
fn detach_leaves_nothing() -> Result<()> {
    let mut stage = Stage::set("detach", SERVICES)?;
    let target = stage.tcp()[0];
    assert_eq!(tcp(stage.client(), target, Volley::of(20)).answered(), 20);
    let pin = stage.agents[0].settings.pin.clone();
    let links = Pinned::of(&pin)?.links;
    assert_eq!(links.len(), 3, "on the uplink and on both pods' devices");

    stage.agents[0].terminate()?;
    assert_eq!(tcp(stage.client(), target, Volley::of(20)).answered(), 20, "an orderly end is no detach");
    stage.agents[0].command(&["detach", "--pin", &pin.display().to_string()])?;

    assert!(!pin.exists(), "{} is gone", pin.display());
    // The kernel frees them when nobody can be inside any more.
    wait_until("the end of every link", PATIENCE, || links.values().all(|link| !link.exists()))?;
    assert_eq!(tcp(stage.client(), target, Volley::of(20)).answered(), 0, "nothing forwards any more");
    Ok(())
}
