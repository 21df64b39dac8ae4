//! Two agents of one node: one hands over to the other, and whichever dies, the other goes on.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use e2e::{Load, Observed as _, Pinned, Stage};
use lab::agent::Agent;
use lab::traffic::{PATIENCE, Steady, Volley, tcp};
use lab::wait_until;

const SERVICES: &[(&str, u32, &[&str])] = &[("stable", 1, &["pod1", "pod3"]), ("canary", 1, &["pod2"])];

#[test]
fn agents_hand_over_and_stand_by_for_each_other() -> Result<()> {
    let mut stage = Stage::set("hand-over", SERVICES)?;
    begin_again_with_hand_over(&mut stage)?;
    let before = Pinned::of(&stage.agents[0].settings.pin)?;
    let steady = Steady::start(stage.client(), stage.tcp()[0], 20)?;
    let load = Load::start(stage.client(), &stage.tcp(), 4);

    let mut second = another(&stage, "second")?;
    second.wait_ready()?;
    assert_eq!((place(&stage.agents[0])?, place(&second)?), ("retired".into(), "active".into()));
    assert!(is_ready(&stage.agents[0]) && is_ready(&second), "who is about to end was not ended by it");
    let now = Pinned::of(&second.settings.pin)?;
    assert_eq!(now.maps, before.maps, "the same maps");
    assert!(now.links.iter().all(|(ifindex, link)| before.links[ifindex].program != link.program));
    load.wait_turnover()?;

    second.kill()?;
    wait_until("the first agent taking over again", PATIENCE, || {
        place(&stage.agents[0]).is_ok_and(|place| place == "active")
    })?;
    stage.change(|objects| objects.set_weight("stable", 0))?;
    let newcomers = tcp(stage.client(), stage.tcp()[1], Volley::of(50));
    assert_eq!(newcomers.of("pod2"), 50, "it feeds the kernel: {newcomers:?}");

    second.restart()?;
    assert_eq!(place(&stage.agents[0])?, "retired");
    stage.agents[0].terminate()?;
    load.wait_turnover()?;
    assert_eq!(place(&second)?, "active");
    assert_eq!(Pinned::of(&second.settings.pin)?.links.len(), before.links.len());

    let tally = load.finish();
    assert_eq!(tally.failed(), 0, "{tally:?}");
    let report = steady.finish();
    assert_eq!(report.broken().count(), 0, "{report:?}");
    Ok(())
}

#[test]
fn a_holder_that_hangs_keeps_its_place_until_it_dies() -> Result<()> {
    let mut stage = Stage::set("hanging", SERVICES)?;
    begin_again_with_hand_over(&mut stage)?;
    let pid = stage.agents[0].pid().to_string();
    stage.agents[0].namespace().command(&["kill", "-STOP", &pid])?;

    let mut second = another(&stage, "second")?;
    wait_until("the second agent answering", PATIENCE, || {
        place(&second).is_ok_and(|place| place == "candidate")
    })?;
    assert!(!is_ready(&second), "the kernel is not its own yet");
    stage.agents[0].kill()?;
    second.wait_ready()?;
    assert_eq!(place(&second)?, "active");
    Ok(())
}

/// As an upgrade finds it.
fn begin_again_with_hand_over(stage: &mut Stage) -> Result<()> {
    let socket = stage.lab.lab.folder("node1")?.join("active.sock");
    let agent = &mut stage.agents[0];
    agent.terminate()?;
    agent.settings.extra.push(format!("--hand-over={}", socket.display()));
    agent.restart()?;
    assert_eq!(place(agent)?, "active");
    Ok(())
}

/// An agent beside node1's, with the same pins.
fn another(stage: &Stage, name: &str) -> Result<Agent> {
    let first = &stage.agents[0];
    let file =
        |extension: &str| -> PathBuf { first.settings.socket.with_file_name(name).with_extension(extension) };
    let mut settings = first.settings.clone();
    (settings.socket, settings.log) = (file("sock"), file("log"));
    Ok(Agent::launch(first.namespace(), settings)?)
}

fn place(agent: &Agent) -> Result<String> {
    Ok(agent.status()?["place"].as_str().context("the status has a place")?.to_owned())
}

fn is_ready(agent: &Agent) -> bool {
    agent
        .command(&["status", "--probe=ready", "--socket", &agent.settings.socket.display().to_string()])
        .is_ok()
}
