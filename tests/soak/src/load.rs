//! What clients do while a story happens, and how they fared.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use lab::traffic::{self, Arrivals, Newcomers, PATIENCE, Steady, SteadyReport};

use crate::Stage;
use crate::stage::{HTTP_PORT, PORT};

/// New TCP connections in a second, and those that stay (issue D).
pub(crate) const NEWCOMERS: u32 = 1000;
/// Those that a story does without who have to fail: of nodes that die, endpoints are listed for some time.
pub(crate) const FEW: u32 = 100;
pub(crate) const STAYING: usize = 200;

/// HTTP requests in a second, each on a connection of its own.
const REQUESTS: u32 = 100;

/// Of 100 requests in a second, each of which takes some milliseconds, and more on a busy machine.
const UNDER_WAY: usize = 5;

/// Between two round trips of a connection that stays: 2,000 in a second over all of them.
const PAUSE: Duration = Duration::from_millis(100);

/// Clients of the pool's address.
pub(crate) struct Load {
    newcomers: Newcomers,
    requests: Newcomers,
    staying: Steady,
    rate: u32,
    keeps_pace: bool,
}

/// How they fared.
pub(crate) struct Fared {
    pub(crate) newcomers: Arrivals,
    pub(crate) requests: Arrivals,
    pub(crate) staying: SteadyReport,
    /// Newcomers of a second, at the least.
    least: usize,
}

impl Load {
    pub(crate) fn start(stage: &Stage, rate: u32) -> Result<Self> {
        let client = stage.client();
        let at = |port| SocketAddr::new(stage.pool(), port);
        let staying = Steady::start_paced(client, at(PORT), STAYING, PAUSE)?;
        let http = at(HTTP_PORT);
        let request = move || traffic::get(http, PATIENCE).map(drop);
        let requests = Newcomers::start_with(client, REQUESTS, request);
        let newcomers = Newcomers::start(client, at(PORT), rate);
        Ok(Self { newcomers, requests, staying, rate, keeps_pace: stage.keeps_pace() })
    }

    /// Lets all go on for some seconds.
    pub(crate) fn go_on(&self, seconds: u32) -> Result<()> {
        Ok(self.newcomers.wait(usize::try_from(seconds * self.rate)?)?)
    }

    /// Lets the connections that stay go on, until those that don't are known.
    pub(crate) fn sort_out(&self) -> Result<()> {
        Ok(self.staying.wait_round_trips(10)?)
    }

    /// Connections that stay, by the node of their endpoint.
    pub(crate) fn staying_on(&self, node: &str) -> usize {
        self.staying.to(node)
    }

    /// Ends it, and tells people.
    pub(crate) fn finish(self) -> Fared {
        let (newcomers, requests) = (self.newcomers.finish(), self.requests.finish());
        let least = if self.keeps_pace { self.rate as usize * 95 / 100 } else { 0 };
        let fared = Fared { newcomers, requests, staying: self.staying.finish(), least };
        fared.print();
        fared
    }
}

impl Fared {
    /// Nobody failed, and no connection broke.
    pub(crate) fn unharmed(&self) -> Result<()> {
        ensure!(self.requests.failed() == 0, "requests failed: {:?}", self.requests.failures);
        self.unharmed_by_moves(1)
    }

    /// The same, but for requests whose connection ended in a proxy of a node that lost the address: those that were
    /// under way, which are few.
    pub(crate) fn unharmed_by_moves(&self, moves: usize) -> Result<()> {
        let few = moves * UNDER_WAY;
        ensure!(self.requests.failed() <= few, "requests failed: {:?}", self.requests.failures);
        self.newcomers_unharmed()?;
        self.staying_unharmed(|_| true)
    }

    /// All new connections were served, and as many came as should if they keep their pace.
    pub(crate) fn newcomers_unharmed(&self) -> Result<()> {
        ensure!(self.newcomers.failed() == 0, "new connections failed: {:?}", self.newcomers.failures);
        let rate = self.newcomers.rate();
        ensure!(rate >= self.least, "{rate} newcomers came in a second, and not {}", self.least);
        Ok(())
    }

    /// Connections to these nodes' endpoints stayed, with the client's own address.
    pub(crate) fn staying_unharmed(&self, concerns: impl Fn(&str) -> bool) -> Result<()> {
        let concerned = || self.staying.connections.iter().filter(|it| concerns(&it.server));
        let number = concerned().count();
        ensure!(number > 0, "none of the connections that stay were to be looked at");
        let mut harmed = concerned().filter(|it| it.broken.is_some() || !it.sees_client);
        let broken = harmed.clone().count();
        ensure!(
            broken == 0,
            "{broken} of {number} connections broke, or hid their client, the first of them: {:?}",
            harmed.next()
        );
        Ok(())
    }

    fn print(&self) {
        for (what, arrivals) in [("new connections", &self.newcomers), ("HTTP requests", &self.requests)] {
            println!(
                "    {} {what} in {:.1?} ({} in a second): {} failed, the slowest took {:.0?}",
                arrivals.served + arrivals.failed(),
                arrivals.took,
                arrivals.rate(),
                arrivals.failed(),
                arrivals.slowest,
            );
        }
        println!(
            "    {} connections stayed, with {} round trips: {} broke, the slowest round trip took {:.0?}",
            self.staying.connections.len(),
            self.staying.round_trips(),
            self.staying.broken().count(),
            self.staying.slowest(),
        );
    }
}
