//! Agents die, end, start again and are replaced; packets go on.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use e2e::{Load, Observed as _, Stage};
use lab::agent::Agent;
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
    assert!(later.backend("stable", "bytes_out") > counters.backend("stable", "bytes_out"));

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
    let next = stage.lab.lab.dir().join("gateway-agent-next");
    fs::copy(&stage.agents[0].settings.binary, &next).context("another build")?;
    let steady = Steady::start(stage.client(), stage.tcp()[1], 20)?;
    let load = Load::start(stage.client(), &stage.tcp(), 4);
    for end in [killed, ended, killed, ended] {
        for agent in &mut stage.agents {
            end(agent)?;
            load.wait_turnover()?;
            agent.restart()?;
            load.wait_turnover()?;
        }
    }
    for agent in &mut stage.agents {
        agent.terminate()?;
        agent.settings.binary.clone_from(&next);
        agent.restart()?;
        load.wait_turnover()?;
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
    let links = links(&pin)?;
    assert_eq!(links.len(), 3, "on the uplink and on both pods' devices");

    stage.agents[0].terminate()?;
    assert_eq!(tcp(stage.client(), target, Volley::of(20)).answered(), 20, "an orderly end is no detach");
    stage.agents[0].command(&["detach", "--pin", &pin.display().to_string()])?;

    assert!(!pin.exists(), "{} is gone", pin.display());
    // The kernel frees them when nobody can be inside any more.
    wait_until("the end of every link", PATIENCE, || links.iter().all(|link| !exists(*link)))?;
    assert_eq!(tcp(stage.client(), target, Volley::of(20)).answered(), 0, "nothing forwards any more");
    Ok(())
}

/// Ids of the links that are pinned.
fn links(pin: &Path) -> Result<Vec<u64>> {
    let id = |entry: std::io::Result<fs::DirEntry>| -> Result<u64> {
        let shown = bpftool(&["link", "show", "pinned", &entry?.path().display().to_string()])?;
        shown["id"].as_u64().with_context(|| format!("bpftool shows the id of a link: {shown}"))
    };
    fs::read_dir(pin.join("links"))?.map(id).collect()
}

fn exists(link: u64) -> bool {
    bpftool(&["link", "show", "id", &link.to_string()]).is_ok()
}

fn bpftool(words: &[&str]) -> Result<Value> {
    let output = Command::new("bpftool").arg("-j").args(words).output().context("run bpftool")?;
    anyhow::ensure!(
        output.status.success(),
        "bpftool {words:?}: {}",
        String::from_utf8_lossy(&output.stdout)
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}
