//! What of the HTTP tables each proxy has not been told yet.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use gateway_agent_tables::HttpDelta;
use gateway_agent_tables::http::{HttpTables, HttpUpdate};
use tokio::sync::Notify;

/// The proxies that are told.
#[derive(Debug, Default)]
pub(super) struct Readers(Vec<Weak<Untold>>);

/// One proxy's share. However slow it reads, there is never more of it than the tables have.
#[derive(Debug)]
pub struct Untold {
    update: Mutex<HttpUpdate>,
    more: Notify,
}

impl Readers {
    /// One more; it is told everything first.
    pub(super) fn add(&mut self, tables: &HttpTables) -> Arc<Untold> {
        let update = Mutex::new(HttpUpdate::new(tables, &HttpDelta::all(tables)));
        let untold = Arc::new(Untold { update, more: Notify::new() });
        self.0.push(Arc::downgrade(&untold));
        untold
    }

    /// The tables are others than before by `delta`.
    pub(super) fn tell(&mut self, tables: &HttpTables, delta: &HttpDelta) {
        self.0.retain(|reader| match reader.upgrade() {
            Some(untold) => {
                untold.add(HttpUpdate::new(tables, delta));
                true
            }
            None => false,
        });
    }
}

impl Untold {
    /// Waits for more than there was at first. Can be cancelled.
    pub(super) async fn more(&self) {
        self.more.notified().await;
    }

    pub(super) fn take(&self) -> HttpUpdate {
        mem::take(&mut self.update.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, update: HttpUpdate) {
        self.update.lock().unwrap_or_else(PoisonError::into_inner).extend(update);
        self.more.notify_one();
    }
}
