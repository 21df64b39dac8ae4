//! Load for some time while everything changes, and what was found.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::churn::{Change, SERVICES};
use super::stage::resident;
use super::{HttpStage, Load, Report};

/// How long, and what of it.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// While nobody dies.
    pub orderly: Duration,
    /// While endpoints are killed.
    pub killing: Duration,
    /// Clients of each kind for each of the two addresses.
    pub clients: usize,
    /// Between two replacements of the proxy; each takes the time that the longest conversation has.
    pub replaced_every: Duration,
}

#[derive(Clone, Debug, Default)]
pub struct Findings {
    pub orderly: Report,
    pub killing: Report,
    /// How often each change was made.
    pub changes: BTreeMap<String, usize>,
    /// The most that each proxy had in memory, in kilobytes, in the order in which they served.
    pub proxies: Vec<(i32, u64)>,
    /// The same of agents.
    pub agents: Vec<(i32, u64)>,
    /// What was logged that nobody should see.
    pub complaints: Vec<String>,
}

/// A later process may have so much more in memory than the first ones of its kind: what allocators keep differs.
const GROWTH_KB: u64 = 6 << 10;

/// Plays it.
pub fn soak(terms: Terms, progress: impl Fn(&str)) -> Result<Findings> {
    let mut stage = HttpStage::set("soak", SERVICES)?;
    let mut findings = Findings::default();
    let changes = [Change::Weights, Change::Routes, Change::Leaves];
    findings.orderly = findings.play(&mut stage, terms, terms.orderly, &changes, &progress)?;
    stage.change(|objects| {
        objects.retries = true;
        objects.weights.iter_mut().for_each(|(_, weight)| *weight = 1);
    })?;
    findings.killing = findings.play(&mut stage, terms, terms.killing, &[Change::Dies], &progress)?;
    findings.complaints = stage.complaints();
    Ok(findings)
}

impl Findings {
    fn play(
        &mut self,
        stage: &mut HttpStage,
        terms: Terms,
        time: Duration,
        changes: &[Change],
        progress: &impl Fn(&str),
    ) -> Result<Report> {
        let load = Load::start(stage.client(), &stage.targets(), terms.clients);
        let begun = Instant::now();
        let (mut replaced, mut turn) = (begun, 0);
        while begun.elapsed() < time {
            let change = if changes.contains(&Change::Routes) && replaced.elapsed() >= terms.replaced_every {
                replaced = Instant::now();
                Change::Proxy
            } else {
                changes[turn % changes.len()]
            };
            change.make(stage, turn / changes.len())?;
            *self.changes.entry(format!("{change:?}")).or_default() += 1;
            turn += 1;
            self.note_memory(stage)?;
            let report = load.report();
            progress(&format!("{:.0?}: {} done, {} failed", begun.elapsed(), report.done(), report.failed()));
        }
        Ok(load.finish())
    }

    fn note_memory(&mut self, stage: &HttpStage) -> Result<()> {
        for process in stage.proxies()? {
            note(&mut self.proxies, process.pid, process.resident);
        }
        let agent = i32::try_from(stage.agent.pid())?;
        note(&mut self.agents, agent, resident(agent));
        Ok(())
    }

    /// What must hold: nobody is harmed in order; of requests that meet a dying endpoint, only those that can't be repeated
    /// are lost; memory is flat; nobody complains.
    pub fn judge(&self) -> Result<()> {
        ensure!(self.orderly.failed() == 0, "requests failed though nobody died:\n{}", self.orderly);
        for (kind, tally) in self.orderly.0.iter().chain(&self.killing.0) {
            ensure!(tally.done > 0, "{kind}: not one was answered:\n{self}");
        }
        for (kind, tally) in self.killing.0.iter().filter(|(kind, _)| kind.may_be_repeated()) {
            ensure!(tally.failed() == 0, "{kind}: failed though it could be repeated:\n{}", self.killing);
        }
        for (what, processes) in [("proxy", &self.proxies), ("agent", &self.agents)] {
            let first = processes.iter().take(2).map(|(_, most)| *most).max().unwrap_or_default();
            let last = processes.last().map_or(0, |(_, most)| *most);
            ensure!(last <= first + GROWTH_KB, "the {what} grows: {processes:?} kB");
        }
        ensure!(self.complaints.is_empty(), "logged: {}", self.complaints.join("\n"));
        Ok(())
    }
}

fn note(known: &mut Vec<(i32, u64)>, pid: i32, resident: u64) {
    match known.iter_mut().find(|(its_pid, _)| *its_pid == pid) {
        Some((_, most)) => *most = (*most).max(resident),
        None => known.push((pid, resident)),
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let changes = self.changes.iter().map(|(change, times)| format!("{change} {times}"));
        writeln!(f, "changes: {}", changes.collect::<Vec<_>>().join(", "))?;
        write!(f, "while nobody dies:\n{}while endpoints are killed:\n{}", self.orderly, self.killing)?;
        let sizes = |of: &[(i32, u64)]| {
            of.iter()
                .map(|(_, most)| format!("{}.{}", most >> 10, ((most & 1023) * 10) >> 10))
                .collect::<Vec<_>>()
                .join(", ")
        };
        writeln!(f, "proxies, MB at most: {}", sizes(&self.proxies))?;
        writeln!(f, "agents, MB at most: {}", sizes(&self.agents))
    }
}
