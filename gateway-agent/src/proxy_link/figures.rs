//! What the proxy has counted, for whoever asks the agent.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gateway_agent_proxy::telemetry::Figures;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Far more than a proxy takes to add up what it has counted; a scrape is to end in time without it.
const PATIENCE: Duration = Duration::from_secs(2);

type Question = oneshot::Sender<Figures>;

/// The way to the proxy that has the connections.
#[derive(Clone, Debug, Default)]
pub struct ProxyFigures(Arc<Mutex<Option<mpsc::Sender<Question>>>>);

impl ProxyFigures {
    /// What the proxy has counted since it began; None: there is none, or it doesn't answer.
    pub async fn ask(&self) -> Option<Figures> {
        let proxy = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let (reply, figures) = oneshot::channel();
        let exchange = async {
            proxy.send(reply).await.ok()?;
            figures.await.ok()
        };
        timeout(PATIENCE, exchange).await.ok().flatten()
    }

    /// Another proxy has taken over; its session answers questions from now on.
    pub(super) fn come_from(&self, session: mpsc::Sender<Question>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(session);
    }
}
