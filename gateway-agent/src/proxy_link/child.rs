//! A proxy that the agent starts, and starts again.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as BlockingStream;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use gateway_agent_kernel::one_line;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::session::Session;
use super::{Event, Offer};
use crate::cli::Log;
use crate::{logging, process};

/// This program, also when its file was replaced or removed since.
const PROGRAM: &str = "/proc/self/exe";

/// Between starts that fail one after the other; doubled from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// One that lived this long had started well.
const STABLE: Duration = Duration::from_secs(10);

/// A process that has closed its end of the link is about to end.
const END: Duration = Duration::from_secs(1);

/// Starts a proxy when there is something to accept, and another one whenever it ends.
pub(super) async fn keep(offer: Arc<Offer>, log: Log) {
    let mut listeners = offer.listeners.clone();
    // An error: the agent ends.
    if listeners.wait_for(|known| known.as_ref().is_some_and(|all| !all.is_empty())).await.is_err() {
        return;
    }
    let mut pause = FIRST_PAUSE;
    loop {
        let started = Instant::now();
        let cause = run(&offer, &log).await;
        warn!(event = "proxy-ended", "{cause}; it is started again");
        if started.elapsed() >= STABLE {
            pause = FIRST_PAUSE;
            continue;
        }
        if offer.events.send(Event::Down(format!("{cause}; it is started again"))).await.is_err() {
            return;
        }
        sleep(pause).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

/// One proxy's life, and how it ended.
async fn run(offer: &Offer, log: &Log) -> String {
    let (stream, mut child) = match start(log) {
        Ok(started) => started,
        Err(error) => return format!("the proxy can't be started: {error}"),
    };
    let process = child.id().and_then(process::find);
    info!(event = "proxy-started", pid = child.id(), "started the proxy");
    // Nobody replaces it but its successor, which is started when it has gone.
    let (_retire, retired) = oneshot::channel();
    let session = Session { stream, process, replaces: None, retired };
    let end = session.run(offer).await;
    let status = if let Ok(Ok(status)) = timeout(END, child.wait()).await {
        status.to_string()
    } else {
        // Without a link it is of no use.
        let _ = child.start_kill();
        "no answer".to_owned()
    };
    match end {
        Ok(_) => format!("the proxy has ended ({status})"),
        Err(error) => format!("the proxy failed ({status}): {}", one_line(&error)),
    }
}

/// In a process group of its own, so that Ctrl-C ends the agent alone; its standard input is the link.
fn start(log: &Log) -> io::Result<(UnixStream, Child)> {
    let (ours, theirs) = BlockingStream::pair()?;
    ours.set_nonblocking(true)?;
    let child = Command::new(PROGRAM)
        .arg0("gateway-agent")
        .args(["proxy", "--parent"])
        .args(logging::arguments(log))
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .process_group(0)
        .spawn()?;
    Ok((UnixStream::from_std(ours)?, child))
}
