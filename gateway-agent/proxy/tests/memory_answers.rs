//! What answers by HTTP/2 make the proxy keep that clients don't take. A process of its own: what it gave back would hide
//! what it takes.

mod resident;
#[path = "forwarding/rig.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod rig;

use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use gateway_agent_tables::http::{BackendProtocol, HttpBackend, HttpTarget, Upstream};
use h2::server::SendResponse;
use http::Response;
use hyper::body::Bytes;
use resident::{allow_many_sockets, resident, settle};
use rig::{Proxy, backend, rule, run_within, service, split};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{spawn_local, yield_now};

/// Ten for each endpoint. Their windows would let them keep 100 MB.
const CLIENTS: usize = 200;
const ENDPOINTS: usize = 20;

/// Large buffers of 32 MB, and for each client that comes then a window of 8 kB and a read of 4 kB; with 100 kB for the
/// tasks, sockets and heads of each, here and at the endpoint.
const MOST: usize = 56 << 20;

#[test]
fn answers_that_nobody_takes_take_little_each() {
    allow_many_sockets();
    run_within(Duration::from_mins(5), async {
        let before = resident();
        let asked = Rc::<Cell<usize>>::default();
        let mut endpoints = Vec::new();
        for _ in 0..ENDPOINTS {
            endpoints.push(endless(Rc::clone(&asked)).await);
        }
        let upstream =
            Upstream { service: service("web"), protocol: BackendProtocol::Http2, encrypted: false };
        let spoken = HttpBackend { target: HttpTarget::Forward(upstream), ..backend("web", 1, vec![]) };
        let proxy = Proxy::with(rule(split(vec![spoken])), &endpoints).await;
        let mut clients = Vec::new();
        while clients.len() < CLIENTS {
            clients.push(slow(&proxy).await);
            while asked.get() < clients.len() {
                yield_now().await;
            }
        }
        settle().await;
        let kept = resident().saturating_sub(before);
        println!("{CLIENTS} answers that nobody takes: {kept} bytes");
        assert!(kept < MOST, "{kept} bytes for {CLIENTS} answers");
        drop(clients);
    });
}

/// A client that takes nothing of its answer.
async fn slow(proxy: &Proxy) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    // So that the kernel keeps little of it.
    socket.set_recv_buffer_size(4096).expect("a size");
    let mut client = socket.connect(proxy.address).await.expect("a connection");
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("taken");
    client
}

/// An endpoint whose answers have no end, and which keeps nothing of them itself; it counts those that are asked.
async fn endless(asked: Rc<Cell<usize>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let address = listener.local_addr().expect("an address");
    spawn_local(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let asked = Rc::clone(&asked);
            spawn_local(async move {
                let mut connection = h2::server::handshake(socket).await.expect("HTTP/2");
                while let Some(Ok((_, respond))) = connection.accept().await {
                    asked.set(asked.get() + 1);
                    spawn_local(send(respond));
                }
            });
        }
    });
    address
}

async fn send(mut respond: SendResponse<Bytes>) {
    static PIECE: [u8; 16 << 10] = [b'x'; 16 << 10];
    let mut stream = respond.send_response(Response::new(()), false).expect("a stream");
    loop {
        stream.reserve_capacity(PIECE.len());
        let Some(Ok(room)) = poll_fn(|cx| stream.poll_capacity(cx)).await else { return };
        if stream.send_data(Bytes::from_static(&PIECE[..room.min(PIECE.len())]), false).is_err() {
            return;
        }
    }
}
