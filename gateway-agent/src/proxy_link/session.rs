//! One proxy, from its first word to its end.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use gateway_agent_kernel::{MOST_SOCKETS, Process};
use gateway_agent_proxy::link::{self, LinkError, Order, Receiver, Report};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::{Event, Offer};

/// To start, and to begin to accept: no file is read and nothing is waited for.
const START: Duration = Duration::from_secs(10);

pub(super) struct Session {
    pub(super) stream: UnixStream,
    /// Of the proxy, if it is the agent's child.
    pub(super) process: Option<Process>,
    /// Ends the session of a proxy that still has its sockets.
    pub(super) replaces: Option<oneshot::Sender<()>>,
    pub(super) retired: oneshot::Receiver<()>,
}

/// How a session ended that met no error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The proxy has gone.
    Gone,
    /// It was told to end.
    Retired,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("it did not say what was expected within {START:?}")]
    Late,
    #[error("it said {0:?} out of turn; are agent and proxy of the same version?")]
    OutOfTurn(Report),
    #[error("it has gone before it accepted connections")]
    Early,
    #[error("its sockets can't be opened: {0}")]
    Sockets(io::Error),
}

impl Session {
    pub(super) async fn run(self, offer: &Offer) -> Result<End, SessionError> {
        let (mut sender, mut receiver) = link::link(self.stream);
        let workers = match report(&mut receiver).await? {
            Report::Hello { workers, .. } => workers.clamp(1, MOST_SOCKETS),
            other @ (Report::Accepting | Report::Figures(_)) => return Err(SessionError::OutOfTurn(other)),
        };
        let mut listeners = offer.listeners.clone();
        // A proxy of an agent that retires, or has just begun, serves by what it knows. To hear that there is nothing
        // would end that.
        tokio::select! {
            known = listeners.wait_for(Option::is_some) => drop(known),
            // It says nothing unasked.
            _ = receiver.next::<Report>() => return Err(SessionError::Early),
        }
        let sockets = offer.sockets(workers, self.replaces.is_some()).map_err(SessionError::Sockets)?;
        let (wish, granted) = oneshot::channel();
        if offer.events.send(Event::Joined(wish)).await.is_err() {
            return Ok(End::Gone);
        }
        // An error: the agent ends, or is no longer the one that serves.
        let Ok(untold) = granted.await else { return Ok(End::Gone) };
        sender.send(&Order::Http(Box::new(untold.take())), &[]).await?;
        let known = Order::Listeners(listeners.borrow_and_update().clone().unwrap_or_default());
        sender.send(&known, &[]).await?;
        let passed: Vec<BorrowedFd<'_>> = sockets.iter().collect();
        sender.send(&Order::Accept { sockets: passed.len() }, &passed).await?;
        match report(&mut receiver).await? {
            Report::Accepting => {}
            other @ (Report::Hello { .. } | Report::Figures(_)) => {
                return Err(SessionError::OutOfTurn(other));
            }
        }

        let (steered, done) = oneshot::channel();
        let event = Event::Accepting { sockets: Arc::clone(&sockets), process: self.process, steered };
        if offer.events.send(event).await.is_ok() && done.await.is_ok() {
            offer.keep(sockets);
            sender.send(&Order::Steered, &[]).await?;
            // Fails if that proxy has gone by itself.
            self.replaces.map(|former| former.send(()));
        }

        let mut retired = self.retired;
        let (asked, mut questions) = mpsc::channel(1);
        offer.figures.come_from(asked);
        // Who asked, until the proxy has answered.
        let mut asking: Option<oneshot::Sender<_>> = None;
        loop {
            tokio::select! {
                // Tables come before the listeners that they serve.
                biased;
                () = untold.more() => sender.send(&Order::Http(Box::new(untold.take())), &[]).await?,
                changed = listeners.changed() => {
                    if changed.is_err() {
                        return Ok(End::Gone);
                    }
                    let known = Order::Listeners(listeners.borrow_and_update().clone().unwrap_or_default());
                    sender.send(&known, &[]).await?;
                }
                report = receiver.next::<Report>() => match report? {
                    None => return Ok(End::Gone),
                    // Fails if whoever asked has lost patience.
                    Some(Report::Figures(figures)) => {
                        if let Some(reply) = asking.take() {
                            let _ = reply.send(figures);
                        }
                    }
                    Some(report) => return Err(SessionError::OutOfTurn(report)),
                },
                Some(reply) = questions.recv(), if asking.is_none() => {
                    sender.send(&Order::Figures, &[]).await?;
                    asking = Some(reply);
                }
                Ok(()) = &mut retired => {
                    sender.send(&Order::Retire, &[]).await?;
                    return Ok(End::Retired);
                }
            }
        }
    }
}

async fn report(receiver: &mut Receiver) -> Result<Report, SessionError> {
    let report = timeout(START, receiver.next()).await.map_err(|_| SessionError::Late)??;
    report.ok_or(SessionError::Early)
}
