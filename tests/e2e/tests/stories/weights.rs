//! Shares of newcomers are as the weights say, exactly in the long run; changing them breaks nothing.

use std::collections::BTreeMap;

use anyhow::Result;
use e2e::{Observed as _, Stage};
use lab::traffic::{Steady, Tally, Volley, tcp, udp};

/// errno(3) on Linux.
const ECONNREFUSED: i32 = 111;

#[test]
fn ten_thousand_connections_split_by_weight() -> Result<()> {
    const COUNT: usize = 10_000;
    let services: [(&str, u32, &[&str]); 4] = [
        ("stable", 60, &["pod1", "pod3"]),
        ("canary", 10, &["pod2"]),
        ("beta", 30, &["pod4"]),
        ("none", 0, &[]),
    ];
    let stage = Stage::set("weights", &services)?;
    for (protocol, tally) in [
        ("tcp", tcp(stage.client(), stage.tcp()[0], Volley::of(COUNT))),
        ("udp", udp(stage.client(), stage.udp()[1], Volley::of(COUNT))),
    ] {
        assert_eq!((tally.answered(), tally.failed()), (COUNT, 0), "{protocol}: {tally:?}");
        for (service, weight, pods) in &services {
            assert_share(&format!("{protocol} to {service}"), sum(&tally, pods), COUNT, *weight, 100);
        }
    }
    // Of UDP's flows some had a second client: sockets get ports that were used before.
    let counted = stage.agents[0].counters()?.frontends("tcp", "flows");
    assert_eq!(counted, COUNT as u64, "each connection is counted once");
    Ok(())
}

#[test]
fn a_share_without_endpoints_is_refused_and_no_other() -> Result<()> {
    const COUNT: usize = 1_000;
    let stage = Stage::set("refusals", &[("full", 3, &["pod1", "pod3"]), ("empty", 1, &[])])?;
    let tally = tcp(stage.client(), stage.tcp()[1], Volley::of(COUNT));
    let refused =
        BTreeMap::from([(std::io::Error::from_raw_os_error(ECONNREFUSED).to_string(), tally.failed())]);
    assert_eq!(tally.failures, refused, "refusals are resets");
    assert_share("refused", tally.failed(), COUNT, 1, 4);
    let counters = stage.agents[0].counters()?;
    assert_eq!(counters.reason("no_endpoint"), tally.failed() as u64);
    assert_eq!(counters.backend("empty", "refused"), tally.failed() as u64);
    Ok(())
}

#[test]
fn a_changed_weight_moves_newcomers_and_breaks_no_connection() -> Result<()> {
    let mut stage =
        Stage::set("canary", &[("stable", 90, &["pod1", "pod3"]), ("canary", 10, &["pod2", "pod4"])])?;
    let before: Vec<Steady> = stage
        .tcp()
        .into_iter()
        .map(|target| Steady::start(stage.client(), target, 30))
        .collect::<Result<_, _>>()?;
    before.iter().try_for_each(|steady| steady.wait_round_trips(5))?;

    stage.change(|objects| {
        objects.set_weight("stable", 0);
        objects.set_weight("canary", 100);
    })?;

    for target in stage.tcp() {
        let newcomers = tcp(stage.client(), target, Volley::of(200));
        assert_eq!(sum(&newcomers, &["pod2", "pod4"]), 200, "{newcomers:?}");
    }
    for steady in before {
        assert!(steady.to("pod1") + steady.to("pod3") > 0, "some stay on what gets no newcomers any more");
        steady.wait_round_trips(20)?;
        let report = steady.finish();
        assert_eq!(report.broken().count(), 0, "{report:?}");
    }
    Ok(())
}

/// Within five standard deviations of the binomial distribution: a right program fails once in 1.7 million times.
fn assert_share(story: &str, got: usize, of: usize, weight: u32, total: u32) {
    let share = f64::from(weight) / f64::from(total);
    let [got, of] = [got, of].map(|count| f64::from(u32::try_from(count).expect("a few thousand")));
    let sigma = (of * share * (1.0 - share)).sqrt();
    let off = got - of * share;
    println!(
        "{story}: {got} of {of}, expected {:.0}, off by {:.2} sigma",
        of * share,
        if sigma > 0.0 { off / sigma } else { off }
    );
    assert!(off.abs() <= 5.0 * sigma, "{story}: {got} of {of} is not {weight} of {total}");
}

fn sum(tally: &Tally, pods: &[&str]) -> usize {
    pods.iter().map(|pod| tally.of(pod)).sum()
}
