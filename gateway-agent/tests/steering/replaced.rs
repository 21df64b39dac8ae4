//! Proxies and agents die, end and take over, and nobody is refused.

use std::io::ErrorKind;
use std::process::Stdio;
use std::time::{Duration, Instant};

use lab::agent::Agent;
use lab::wait_until;
use nix::sys::signal::{Signal, kill};

use crate::load::{CLIENTS, Load};
use crate::node::{ADDRESSES, Node, PATIENCE, end, request, target};

#[test]
fn a_proxy_that_dies_is_followed_by_another() {
    const DEATHS: usize = 3;
    let node = Node::accepting("killed");
    let load = Load::start(&node);
    for _ in 0..DEATHS {
        load.goes_on();
        let [proxy] = node.proxies()[..] else { panic!("one proxy: {:?}", node.proxies()) };
        kill(proxy, Signal::SIGKILL).unwrap();
        wait_until("another proxy", PATIENCE, || {
            !matches!(node.proxies()[..], [] | [_, _, ..]) && node.proxies() != [proxy]
        })
        .unwrap();
        load.goes_on();
    }
    let (answered, failed) = load.finish();
    println!("{DEATHS} deaths: {answered} answered, {} failed", failed.len());
    // What a process had accepted dies with it; who came meanwhile waited.
    assert!(failed.len() <= DEATHS * CLIENTS, "{failed:?}");
    assert!(failed.iter().all(|error| error.kind() != ErrorKind::ConnectionRefused), "{failed:?}");
    node.until_accepting();
    assert_eq!(node.programmed("").0, "True");
}

#[test]
fn agents_come_and_go_and_nobody_is_refused() {
    let mut node = Node::accepting("replaced");
    let load = Load::start(&node);
    for turn in 0..6 {
        load.goes_on();
        if turn % 2 == 0 {
            node.agent.kill().unwrap();
        } else {
            assert!(node.agent.terminate().unwrap().success());
        }
        load.goes_on();
        node.agent.restart().unwrap();
        node.until_accepting();
    }
    load.goes_on();
    let (answered, failed) = load.finish();
    println!("6 agents, each with a proxy of its own: {answered} answered, {} failed", failed.len());
    assert!(failed.is_empty(), "{failed:?}");
    // The former ones have finished what they had.
    node.until_proxies(1);
}

#[test]
fn agents_hand_over_and_nobody_is_refused() {
    let mut node = Node::new("handover", &["--hand-over", "LAB/active"]);
    node.until_accepting();
    let load = Load::start(&node);
    for turn in 0..3 {
        load.goes_on();
        let mut settings = node.agent.settings.clone();
        settings.socket = node.lab.dir().join(format!("socket-{turn}"));
        settings.log = node.lab.dir().join(format!("log-{turn}"));
        let successor = Agent::start(&node.namespace, settings).unwrap();
        let mut former = std::mem::replace(&mut node.agent, successor);
        let waited = wait_until("the successor being ready", PATIENCE, || node.status()["ready"] == true);
        assert!(waited.is_ok(), "{}", node.agent.log());
        assert_eq!(node.status()["proxy"], "accepting", "ready means: with a proxy of its own");
        load.goes_on();
        assert!(former.terminate().unwrap().success());
    }
    load.goes_on();
    let (answered, failed) = load.finish();
    println!("3 agents take over from a living one: {answered} answered, {} failed", failed.len());
    assert!(failed.is_empty(), "{failed:?}");
    node.until_proxies(1);
}

#[test]
fn proxies_connect_and_replace_each_other() {
    let mut node = Node::new("container", &["--proxy-socket", "LAB/proxy.sock"]);
    let (status, message) = node.programmed("/listeners/0");
    assert_eq!(status, "False", "{message}");
    let mut first = node.proxy("proxy.sock", Stdio::null());
    node.until_accepting();
    assert_eq!(node.programmed("/listeners/0").0, "True");

    let load = Load::start(&node);
    load.goes_on();
    let mut second = node.proxy("proxy.sock", Stdio::null());
    let mut ended = None;
    wait_until("the end of the first", PATIENCE, || {
        ended = first.try_wait().unwrap();
        ended.is_some()
    })
    .unwrap();
    assert!(ended.unwrap().success(), "it was told to end");
    load.goes_on();
    // Agents come and go; the proxy stays, with new sockets.
    node.agent.kill().unwrap();
    load.goes_on();
    node.agent.restart().unwrap();
    node.until_accepting();
    load.goes_on();
    let (answered, failed) = load.finish();
    println!("another proxy, another agent: {answered} answered, {} failed", failed.len());
    assert!(failed.is_empty(), "{failed:?}");
    end(&mut second);
}

/// As a rolling upgrade has it: two pods, each with a proxy, and the second one's takes its time.
#[test]
fn a_retired_agents_proxy_serves_until_another_does() {
    let mut node = Node::new("pods", &["--hand-over", "LAB/active", "--proxy-socket", "LAB/proxy.sock"]);
    let lab = node.lab.dir();
    let mut first = node.proxy("proxy.sock", Stdio::null());
    node.until_accepting();
    let load = Load::start(&node);
    load.goes_on();

    let mut settings = node.agent.settings.clone();
    settings.socket = lab.join("socket-2");
    settings.log = lab.join("log-2");
    for word in &mut settings.extra {
        *word = word.replace("proxy.sock", "proxy-2.sock");
    }
    let successor = Agent::start(&node.namespace, settings).unwrap();
    let mut former = std::mem::replace(&mut node.agent, successor);
    // The first proxy is back at its agent, which has retired. Whoever it forgets is closed after a second.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1500) {
        load.goes_on();
    }
    assert_eq!(node.status()["ready"], false, "ready means: with a proxy of its own");
    let mut second = node.proxy("proxy-2.sock", Stdio::null());
    wait_until("the successor being ready", PATIENCE, || node.status()["ready"] == true).unwrap();
    load.goes_on();
    assert!(former.terminate().unwrap().success());
    end(&mut first);
    load.goes_on();
    let (answered, failed) = load.finish();
    println!("another agent with another proxy: {answered} answered, {} failed", failed.len());
    assert!(failed.is_empty(), "{failed:?}");
    end(&mut second);
}

#[test]
fn detach_leaves_no_proxy() {
    let mut node = Node::accepting("detach");
    node.client.run(|| request(target(ADDRESSES[0], 80)).unwrap());
    node.agent.terminate().unwrap();
    node.client.run(|| request(target(ADDRESSES[0], 80)).expect("it goes on without an agent"));
    let pin = node.agent.settings.pin.display().to_string();
    node.agent.command(&["detach", "--pin", &pin]).unwrap();
    let refused = node.client.run(|| request(target(ADDRESSES[0], 80)).unwrap_err());
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    node.until_proxies(0);
}
