//! The tables, as the agent tells them piece by piece.

use std::time::Duration;

use gateway_agent_tables::HttpDelta;
use gateway_agent_tables::http::{HttpTables, HttpUpdate};
use tokio::time::{Instant, sleep_until};

use crate::server::Server;

/// What an agent has told since it is there.
#[derive(Debug, Default)]
pub(crate) struct Told {
    tables: HttpTables,
    /// What the workers don't know yet.
    news: Option<HttpDelta>,
    /// Whether they know anything of what it told.
    is_known: bool,
    /// None: at once.
    not_before: Option<Instant>,
}

/// Of one core, at most a fifth goes into compiling, however large the tables are and often they change: after a
/// compilation that took long, the next waits so many times as long.
const REST: u32 = 4;

/// A compilation that took less isn't worth a timer, whose steps are as long (`tokio::time`).
const LONG: Duration = Duration::from_millis(1);

impl Told {
    pub(crate) fn tables(&self) -> &HttpTables {
        &self.tables
    }

    pub(crate) fn hear(&mut self, update: HttpUpdate) {
        self.news.get_or_insert_default().extend(update.delta());
        update.apply(&mut self.tables);
    }

    /// Waits until there are news and it is time to tell them.
    pub(crate) async fn due(&self) {
        match (&self.news, self.not_before) {
            (None, _) => std::future::pending().await,
            (Some(_), Some(instant)) => sleep_until(instant).await,
            (Some(_), None) => {}
        }
    }

    /// The workers know all of it from now on.
    pub(crate) fn compile(&mut self, server: &Server) {
        let Some(news) = self.news.take() else { return };
        let started = Instant::now();
        if self.is_known {
            server.update(&self.tables, &news);
        } else {
            server.replace(&self.tables);
        }
        self.is_known = true;
        let took = started.elapsed();
        self.not_before = (took >= LONG).then(|| started + took * (1 + REST));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    #[tokio::test]
    async fn changes_wait_for_each_other_only_after_a_long_compilation() {
        let server = Server::new(Settings::default());
        let mut told = Told::default();
        let is_due = async |told: &Told| tokio::time::timeout(Duration::ZERO, told.due()).await.is_ok();
        assert!(!is_due(&told).await, "there is nothing to be told");
        told.hear(HttpUpdate::default());
        assert!(is_due(&told).await);
        told.compile(&server);
        assert!(!is_due(&told).await, "everything is told");
        told.hear(HttpUpdate::default());
        told.not_before = Some(Instant::now() + Duration::from_hours(1));
        assert!(!is_due(&told).await);
        told.not_before = Some(Instant::now());
        assert!(is_due(&told).await);
    }
}
