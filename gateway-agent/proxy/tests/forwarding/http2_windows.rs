//! Endpoints that speak HTTP/2 and are faster than clients.

use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use gateway_agent_tables::http::BackendProtocol;
use h2::server::SendResponse;
use http::{Method, Response};
use http_body_util::BodyExt as _;
use hyper::body::Bytes;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{spawn_local, yield_now};

use crate::http2::{client, empty, request, speaking};
use crate::rig::{Proxy, run_within};

/// Bytes of an answer to `/whole`: more than any window, and than sockets keep.
const WHOLE: usize = 2 << 20;

/// An endpoint that sends as fast as it may: [`WHOLE`], or for `/endless` pieces of this size without end.
struct Fast {
    address: SocketAddr,
    connections: Rc<Cell<usize>>,
    /// Endless streams that had to wait at least once.
    waited: Rc<Cell<usize>>,
}

impl Fast {
    async fn start(piece: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address = listener.local_addr().expect("an address");
        let fast = Self { address, connections: Rc::default(), waited: Rc::default() };
        let (connections, waited) = (Rc::clone(&fast.connections), Rc::clone(&fast.waited));
        spawn_local(async move {
            while let Ok((socket, _)) = listener.accept().await {
                connections.set(connections.get() + 1);
                let waited = Rc::clone(&waited);
                spawn_local(async move {
                    let mut connection = h2::server::handshake(socket).await.expect("HTTP/2");
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        let endless = request.uri().path() == "/endless";
                        let waited = endless.then(|| Rc::clone(&waited));
                        let piece = if endless { piece } else { 16 << 10 };
                        spawn_local(send(respond, piece, waited));
                    }
                });
            }
        });
        fast
    }
}

/// Sends pieces, without end if somebody wants to know whether it waits.
async fn send(mut respond: SendResponse<Bytes>, piece: usize, mut waited: Option<Rc<Cell<usize>>>) {
    let mut stream = respond.send_response(Response::new(()), false).expect("a stream");
    let endless = waited.is_some();
    let mut left = WHOLE;
    while left > 0 {
        stream.reserve_capacity(piece);
        let capacity = poll_fn(|cx| {
            let polled = stream.poll_capacity(cx);
            if polled.is_pending()
                && let Some(waited) = waited.take()
            {
                waited.set(waited.get() + 1);
            }
            polled
        });
        let Some(Ok(room)) = capacity.await else { return };
        let len = room.min(piece).min(left);
        if stream.send_data(Bytes::from(vec![b'x'; len]), len == left && !endless).is_err() {
            return;
        }
        left -= if endless { 0 } else { len };
    }
}

/// A client that takes nothing of an endless answer.
async fn slow(proxy: &Proxy) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    // So that the kernel keeps little of it.
    socket.set_recv_buffer_size(4096).expect("a size");
    let mut client = socket.connect(proxy.address).await.expect("a connection");
    client.write_all(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("taken");
    client
}

async fn whole(proxy: &Proxy) {
    let response = client(proxy).await.send_request(request(Method::GET, "/whole", empty())).await;
    let body = response.expect("a response").into_body().collect().await.expect("a whole body");
    assert_eq!(body.to_bytes().len(), WHOLE);
}

/// Answers that nobody takes would use up the connection's window, and messages of 20 bytes what h2 allows of those.
#[test]
fn slow_clients_of_an_endpoint_do_not_stop_others() {
    run_within(Duration::from_mins(2), async {
        for (clients, piece) in [(8, 16 << 10), (70, 16 << 10), (1, 20)] {
            let endpoint = Fast::start(piece).await;
            let proxy = Proxy::with(speaking(BackendProtocol::Http2), &[endpoint.address]).await;
            let mut slows = Vec::new();
            for _ in 0..clients {
                slows.push(slow(&proxy).await);
            }
            while endpoint.waited.get() < clients {
                yield_now().await;
            }
            whole(&proxy).await;
            if clients < 70 {
                assert_eq!(endpoint.connections.get(), 1);
            }
            assert_eq!(proxy.server.counters.aborted(), 0, "{clients} clients, {piece} bytes");
            drop(slows);
        }
    });
}
