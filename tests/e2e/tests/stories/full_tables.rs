//! When tables are full, newcomers are refused and counted, and nobody else notices; places free themselves.

use std::time::Duration;

use anyhow::Result;
use e2e::{Counters, Observed as _, Stage};
use lab::traffic::{Steady, Tally, Volley, tcp};
use lab::wait_until;

/// Room for 334 places: eight to a bucket, filled to 0.6.
const FEW: &[&str] = &["--flows", "200"];

const SERVICES: &[(&str, u32, &[&str])] = &[("all", 1, &["pod1", "pod2", "pod3", "pod4"])];

#[test]
fn a_full_table_refuses_newcomers_and_harms_no_flow() -> Result<()> {
    const NEWCOMERS: usize = 2_000;
    let stage = Stage::set_with("full", SERVICES, FEW)?;
    let steady: Vec<Steady> = stage
        .tcp()
        .into_iter()
        .map(|target| Steady::start(stage.client(), target, 30))
        .collect::<Result<_, _>>()?;
    steady.iter().try_for_each(|steady| steady.wait_round_trips(5))?;

    let tally = tcp(stage.client(), stage.tcp()[0], Volley::of(NEWCOMERS));

    let counters = stage.agents[0].counters()?;
    println!("{} answered, {:?}, {:?}", tally.answered(), tally.failures, counters.reasons());
    assert!(tally.failed() > 0 && tally.answered() > 0, "some find a place, some do not: {tally:?}");
    assert_eq!(full(&counters), tally.failed() as u64, "each refusal is counted: {:?}", counters.reasons());
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

fn full(counters: &Counters) -> u64 {
    ["flows_full", "reverse_full", "ports_exhausted"].iter().map(|reason| counters.reason(reason)).sum()
}
