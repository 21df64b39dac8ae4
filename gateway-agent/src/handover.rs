//! Two agents of one node: which of them feeds the kernel.
//!
//! The lock on the pin folder decides, since it goes when the process that holds it does. An agent that wants it asks
//! the holder over a socket that both know; the holder lets go, and stands by in case its successor dies.
//!
//! | place | kernel | socket for successors | ready |
//! |---|---|---|---|
//! | candidate | waits until the holder lets go, or dies | asks there | no |
//! | active | holds the lock, writes | answers there | when a proxy accepts what it has to |
//! | retired | waits until the successor dies | | yes |

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep;
use tracing::debug;

use crate::admin;

/// Where an agent stands towards others of its pin folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Candidate,
    Active,
    Retired,
}

/// How often an agent looks whether the lock is free. The kernel forwards meanwhile; only changes wait.
const LOOK: Duration = Duration::from_millis(100);

/// How long a retired agent leaves the lock to its successor, which takes it within milliseconds, or has died.
const COURTESY: Duration = Duration::from_secs(5);

impl Place {
    pub fn name(self) -> &'static str {
        match self {
            Self::Candidate => "candidate",
            Self::Active => "active",
            Self::Retired => "retired",
        }
    }
}

/// Tells when the lock may be free, for as long as it lives.
#[derive(Debug)]
pub struct Vacancy {
    chances: mpsc::Receiver<()>,
    task: JoinHandle<()>,
}

impl Vacancy {
    /// Asks whoever answers on the socket to let go, again and again: it may die and be replaced by another.
    pub fn demand(socket: PathBuf) -> Self {
        Self::spawn(|tell| async move {
            while tell.send(()).await.is_ok() {
                match ask(socket.clone()).await {
                    Ok(()) => continue,
                    // Nobody answers: it ends, or has yet to listen.
                    Err(error) => debug!("nobody hands over: {error}"),
                }
                sleep(LOOK).await;
            }
        })
    }

    /// After a successor had its chance.
    pub fn await_death() -> Self {
        Self::spawn(|tell| async move {
            sleep(COURTESY).await;
            while tell.send(()).await.is_ok() {
                sleep(LOOK).await;
            }
        })
    }

    /// The next time that the lock is worth a try. Can be cancelled.
    pub async fn chance(&mut self) {
        if self.chances.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    fn spawn<F: Future<Output = ()> + Send + 'static>(run: impl FnOnce(mpsc::Sender<()>) -> F) -> Self {
        let (tell, chances) = mpsc::channel(1);
        Self { chances, task: tokio::spawn(run(tell)) }
    }
}

impl Drop for Vacancy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn ask(socket: PathBuf) -> Result<(), String> {
    let answer = spawn_blocking(move || admin::ask(Path::new(&socket), admin::HAND_OVER)).await;
    answer.map_err(|error| error.to_string())?.map(drop).map_err(|error| error.to_string())
}
