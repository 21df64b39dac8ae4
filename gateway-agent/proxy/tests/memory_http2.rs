//! What streams of HTTP/2 make the proxy keep. A process of its own: what it gave back would hide what it takes.

#[path = "forwarding/frames.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod frames;
mod resident;
#[path = "forwarding/rig.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod rig;

use std::time::Duration;

use frames::{DATA, END_HEADERS, HEADERS, POST_BLOCK, WINDOW_UPDATE, frame, next_of, open};
use gateway_agent_proxy::Settings;
use resident::{allow_many_sockets, resident, settle};
use rig::{Proxy, backend, rule, run_within, split, tables};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::yield_now;

/// Three to a connection.
const STREAMS: usize = 1500;

/// What each of them sends of its body, in pieces: 90 MB in all, which is within the windows.
const PIECE: usize = 12 << 10;
const PIECES: usize = 5;

/// Large buffers of 16 MB, and for each of the rest a frame of its body; with 25 kB for the tasks, sockets and heads of each.
const MOST: usize = 80 << 20;

#[test]
fn bodies_that_nobody_reads_take_little_each() {
    allow_many_sockets();
    run_within(Duration::from_mins(2), async {
        let before = resident();
        let proxy =
            Proxy::start(Settings { connect_timeout: Duration::from_mins(1), ..Settings::default() }).await;
        let endpoint = Full::start().await;
        let rule = rule(split(vec![backend("web", 1, vec![])]));
        let address = endpoint.listener.local_addr().expect("an address");
        proxy.server.replace(&tables(proxy.address, vec![("/", rule)], &[("web", &[address])]));
        let clients = clients(&proxy).await;
        let [listener] = &proxy.server.figures().listeners[..] else { panic!("one listener") };
        assert_eq!(listener.active, STREAMS as u64, "all of them are under way");
        let kept = resident().saturating_sub(before);
        println!("{STREAMS} streams whose bodies nobody reads: {kept} bytes");
        assert!(kept < MOST, "{kept} bytes for {STREAMS} streams");
        drop((clients, endpoint));
    });
}

async fn clients(proxy: &Proxy) -> Vec<TcpStream> {
    let body = |stream| frame(DATA, 0, stream, &[b'x'; PIECE]).repeat(PIECES);
    let head = |stream| frame(HEADERS, END_HEADERS, stream, POST_BLOCK);
    let streams = [1, 3, 5];
    let sent = [streams.map(head), streams.map(body)].concat().concat();
    let mut clients = Vec::new();
    for _ in 0..STREAMS / 3 {
        let mut client = open(proxy).await;
        // Before that, all streams together may send 64 kB.
        next_of(&mut client, WINDOW_UPDATE).await;
        client.write_all(&sent).await.expect("the kernel takes what the proxy doesn't");
        yield_now().await;
        clients.push(client);
    }
    settle().await;
    clients
}

/// An endpoint whose queue of connections is full: whoever connects waits, and sends nothing.
struct Full {
    listener: tokio::net::TcpListener,
    _waiting: Vec<TcpStream>,
}

impl Full {
    async fn start() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let listener = socket.listen(1).expect("a queue");
        let address = listener.local_addr().expect("an address");
        let mut waiting = Vec::new();
        // The queue has room for one more than it should.
        while let Ok(connected) =
            tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await
        {
            waiting.push(connected.expect("a connection"));
        }
        Self { listener, _waiting: waiting }
    }
}
