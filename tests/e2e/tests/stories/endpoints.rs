//! Endpoints drain, go and come back: flows stay while their endpoint is there, and learn at once when it is gone.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use anyhow::Result;
use e2e::{Load, Observed as _, Phase, Stage};
use lab::Namespace;
use lab::traffic::{PATIENCE, Steady, Volley, tcp, udp};

const EVERY_POD: &[&str] = &["pod1", "pod2", "pod3", "pod4"];

/// One endpoint on the node that clients use, one on the other.
const LEAVING: [&str; 2] = ["pod1", "pod3"];

#[test]
fn a_drained_endpoint_keeps_its_flows_and_gets_no_new_ones_until_it_is_gone() -> Result<()> {
    let mut stage = Stage::set("draining", &[("all", 1, EVERY_POD)])?;
    let connections: Vec<Steady> = stage
        .tcp()
        .into_iter()
        .map(|target| Steady::start(stage.client(), target, 40))
        .collect::<Result<_, _>>()?;
    let dialogues = dialogues(&stage)?;

    stage.change(|objects| LEAVING.iter().for_each(|pod| objects.place("all", pod, Phase::Draining)))?;
    for (tcp_target, udp_target) in stage.tcp().into_iter().zip(stage.udp()) {
        for tally in [
            tcp(stage.client(), tcp_target, Volley::of(200)),
            udp(stage.client(), udp_target, Volley::of(200)),
        ] {
            assert_eq!(
                tally.of("pod2") + tally.of("pod4"),
                200,
                "newcomers while pod1 and pod3 drain: {tally:?}"
            );
        }
    }
    connections.iter().try_for_each(|steady| steady.wait_round_trips(10))?;
    for dialogue in &dialogues {
        assert_eq!(dialogue.ask()?, dialogue.server, "a flow stays with its draining endpoint");
    }

    stage.change(|objects| LEAVING.iter().for_each(|pod| objects.remove("all", pod)))?;
    for dialogue in &dialogues {
        match dialogue.ask() {
            Ok(server) => {
                assert!(server == dialogue.server && !LEAVING.contains(&server.as_str()), "{server}");
            }
            Err(error) => {
                assert!(LEAVING.contains(&dialogue.server.as_str()), "{error} from {}", dialogue.server);
                assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "port unreachable, not {error}");
            }
        }
    }
    for steady in connections {
        let leaving: usize = LEAVING.iter().map(|pod| steady.to(pod)).sum();
        assert!(leaving > 0, "some connections went to pod1 or pod3");
        lab::wait_until("the reset of every connection to them", PATIENCE, || steady.ended() >= leaving)?;
        let report = steady.finish();
        for connection in report.broken() {
            assert!(LEAVING.contains(&connection.server.as_str()), "broken without reason: {connection:?}");
            let cause = connection.broken.as_deref().unwrap_or_default();
            assert!(cause.contains("reset"), "a reset tells at once, not: {cause}");
        }
        assert_eq!(report.broken().count(), leaving);
    }
    assert!(stage.agents[0].counters()?.reason("endpoint_gone") > 0);
    Ok(())
}

#[test]
fn two_hundred_changes_under_load_fail_no_connection_to_a_live_endpoint() -> Result<()> {
    const CHANGES: usize = 200;
    let mut stage = Stage::set("changes", &[("all", 1, EVERY_POD)])?;
    let load = Load::start(stage.client(), &stage.tcp(), 4);
    let mut changes = 0;
    for pod in EVERY_POD.iter().cycle() {
        stage.change(|objects| objects.place("all", pod, Phase::Draining))?;
        // Its connections end while it drains: none is under way when it goes.
        load.wait_turnover()?;
        stage.change(|objects| objects.remove("all", pod))?;
        stage.change(|objects| objects.place("all", pod, Phase::Ready))?;
        changes += 3;
        if changes >= CHANGES {
            break;
        }
    }
    let tally = load.finish();
    println!("{changes} changes, {} connections, {} failed", tally.answered(), tally.failed());
    assert_eq!(tally.failed(), 0, "{tally:?}");
    assert!(EVERY_POD.iter().all(|pod| tally.of(pod) > 0), "{tally:?}");
    Ok(())
}

/// A UDP flow: one socket that asks again and again.
struct Dialogue {
    socket: UdpSocket,
    server: String,
}

/// Some of each family: enough that each pod has one, but for one case in a thousand.
fn dialogues(stage: &Stage) -> Result<Vec<Dialogue>> {
    let mut all = Vec::new();
    for target in stage.udp() {
        for _ in 0..25 {
            all.push(Dialogue::begin(stage.client(), target)?);
        }
    }
    Ok(all)
}

impl Dialogue {
    fn begin(client: &Namespace, target: SocketAddr) -> io::Result<Self> {
        let any: IpAddr =
            if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = client.run(|| UdpSocket::bind((any, 0)))?;
        socket.connect(target)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut dialogue = Self { socket, server: String::new() };
        dialogue.server = dialogue.ask()?;
        Ok(dialogue)
    }

    /// Who answers.
    fn ask(&self) -> io::Result<String> {
        self.socket.send(b"who")?;
        let mut answer = [0; 512];
        let length = self.socket.recv(&mut answer)?;
        let text = String::from_utf8_lossy(&answer[..length]);
        Ok(text.split(' ').next().unwrap_or_default().to_owned())
    }
}
