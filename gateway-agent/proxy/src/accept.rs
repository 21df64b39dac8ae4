//! One worker's sockets: connections are accepted until the set is retired, and a little longer.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use gateway_agent_tables::Application;
use gateway_agent_tables::http::HttpLimits;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::warn;

use crate::answer;
use crate::counters::Closed;
use crate::serve::Shared;
use crate::socket::Tcp;
use crate::worker::Worker;

/// After the kernel gives new connections to others: handshakes that had begun are completed with the socket that
/// they began with, and a lost packet is repeated after a second (RFC 6298, 2.1).
const GRACE: Duration = Duration::from_secs(3);

/// A connection may be here before the message that names its listener.
const UNKNOWN: Duration = Duration::from_secs(1);

/// Without descriptors or memory, accepting fails at once, again and again.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts until set number `set` is retired and nothing waits any more. `_open` is dropped at the end.
pub(crate) async fn accept(
    listener: TcpListener,
    set: u64,
    shared: Arc<Shared>,
    http: Rc<Worker<Tcp>>,
    _open: mpsc::Sender<()>,
) {
    let mut retired = shared.retired.subscribe();
    loop {
        tokio::select! {
            accepted = listener.accept() => take(accepted, &shared, &http).await,
            // An error: the process ends.
            () = async { drop(retired.wait_for(|up_to| set <= *up_to).await) } => break,
        }
    }
    let end = Instant::now() + GRACE;
    while let Ok(accepted) = timeout_at(end, listener.accept()).await {
        take(accepted, &shared, &http).await;
    }
    // What is complete by now is still in the queue.
    while let Ok(accepted) = timeout(Duration::ZERO, listener.accept()).await {
        take(accepted, &shared, &http).await;
    }
}

async fn take(accepted: io::Result<(TcpStream, SocketAddr)>, shared: &Arc<Shared>, http: &Rc<Worker<Tcp>>) {
    match accepted {
        Ok((stream, peer)) => begin(stream, peer, shared, http),
        // The client has gone; accept(2) says it this way.
        Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
        Err(error) => {
            warn!("can't accept connections: {error}");
            sleep(PAUSE).await;
        }
    }
}

/// Above the limit, connections are closed at once: those that are open go on undisturbed.
fn begin(stream: TcpStream, peer: SocketAddr, shared: &Arc<Shared>, http: &Rc<Worker<Tcp>>) {
    let Ok(permit) = Arc::clone(&shared.connections).try_acquire_owned() else {
        return shared.server.counters.count_closed(Closed::Connections);
    };
    spawn_local(serve(stream, peer, Arc::clone(shared), Rc::clone(http), permit));
}

/// As long as either side wants it. All that waits of a connection is in here, so its size is what an idle one costs.
async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    shared: Arc<Shared>,
    http: Rc<Worker<Tcp>>,
    _permit: OwnedSemaphorePermit,
) {
    let Ok(local) = stream.local_addr() else { return };
    match application(local, &shared).await {
        // Responses are written whole; without it, a small one could wait for an acknowledgement.
        Some(Application::Http) if stream.set_nodelay(true).is_ok() => {
            http.connection(stream, local, peer).await;
        }
        // Apart: every connection would have room for its buffer.
        Some(Application::Tls) => Box::pin(answer::connection(stream, &HttpLimits::default())).await,
        // The client has gone, or asks for what is no listener's.
        Some(Application::Http) | None => {}
    }
}

/// What clients of this address and port say; None: it is no listener's.
async fn application(local: SocketAddr, shared: &Shared) -> Option<Application> {
    // A socket for both families gives IPv4 addresses as IPv4-mapped ones.
    let key = (local.ip().to_canonical(), local.port());
    let mut listeners = shared.listeners.subscribe();
    let known = timeout(UNKNOWN, listeners.wait_for(|listeners| listeners.contains_key(&key))).await;
    known.ok()?.ok()?.get(&key).copied()
}

/// The listeners by address and port.
pub(crate) type Listeners = watch::Sender<HashMap<(IpAddr, u16), Application>>;

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;
    use tokio::task::LocalSet;

    use super::*;
    use crate::{Server, Settings};

    /// It owns its task and no buffer; what a request needs is allocated with it.
    #[tokio::test]
    async fn an_idle_connection_takes_little_memory() {
        LocalSet::new().run_until(size()).await;
    }

    async fn size() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address = listener.local_addr().expect("an address");
        let stream = TcpStream::connect(address).await.expect("a connection");
        let server = Server::new(Settings::default());
        let shared = Arc::new(Shared {
            server: Arc::clone(&server),
            listeners: watch::Sender::default(),
            retired: watch::Sender::new(0),
            connections: Arc::new(Semaphore::new(1)),
        });
        let permit = Arc::clone(&shared.connections).try_acquire_owned().expect("the only one");
        let size = size_of_val(&serve(stream, address, shared, Worker::start(server, Tcp), permit));
        // Together with its address, deadline, budget and place in the runtime (some 2 kB), an idle one is to stay below
        // 4 kB. What other crates of the workspace ask of tokio makes it a little larger than in a build of this one alone.
        assert!(size <= 1100, "{size} bytes");
    }
}
