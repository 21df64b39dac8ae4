//! Floods of HTTP/2 frames: the connection ends after little, is counted, and others are served meanwhile.

use gateway_agent_proxy::Closed;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::{spawn_local, yield_now};

use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GET_BLOCK, HEADERS, PING, POST_BLOCK, PREFACE, PRIORITY,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, frame, get, next, open,
};
use crate::rig::{Act, Origin, Proxy, run};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

type Frames = fn(u32) -> Vec<u8>;

/// Bytes that a client could send before it was cut off: `first`, and then `frames` of rising numbers.
async fn flood(proxy: &Proxy, first: &[u8], frames: impl Fn(u32) -> Vec<u8>) -> usize {
    /// More than any flood may take, and than sockets hold.
    const MOST: usize = 32 << 20;
    let socket = TcpStream::connect(proxy.address).await.expect("a connection");
    let (mut from, mut to) = socket.into_split();
    // Answers are taken, so that the proxy can't be blamed for waiting.
    spawn_local(async move { while from.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {} });
    let begin = [PREFACE, &frame(SETTINGS, 0, 0, &[]), first].concat();
    let mut sent = begin.len();
    to.write_all(&begin).await.expect("the proxy takes it");
    for round in 0.. {
        let batch: Vec<u8> = (0..50).flat_map(|number| frames(round * 50 + number)).collect();
        if to.write_all(&batch).await.is_err() {
            break;
        }
        sent += batch.len();
        assert!(sent < MOST, "the flood goes on");
        yield_now().await;
    }
    sent
}

#[test]
fn floods_end_soon_and_others_are_served() {
    run(async {
        let post = frame(HEADERS, END_HEADERS, 1, POST_BLOCK);
        let open_head = frame(HEADERS, END_STREAM, 1, GET_BLOCK);
        let floods: [(&str, &[u8], Frames); 9] = [
            ("PING", &[], |_| frame(PING, 0, 0, &[0; 8])),
            ("PING answers", &[], |_| frame(PING, 1, 0, &[0; 8])),
            ("SETTINGS", &[], |_| frame(SETTINGS, 0, 0, &[])),
            ("PRIORITY", &[], |_| frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])),
            ("empty DATA", &post, |_| frame(DATA, 0, 1, &[])),
            ("WINDOW_UPDATE", &[], |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
            ("CONTINUATION", &open_head, |_| frame(CONTINUATION, 0, 1, &[])),
            ("unknown", &[], |_| frame(0xfa, 0, 0, &[])),
            ("rapid reset", &[], |number| {
                let stream = number * 2 + 1;
                [get(stream), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
            }),
        ];
        let origin = Origin::start(vec![Act::text("ok")]).await;
        let proxy = Proxy::of(&[origin.address]).await;
        let mut other = proxy.connect().await;
        for (index, (name, first, frames)) in floods.into_iter().enumerate() {
            let sent = flood(&proxy, first, frames).await;
            // A little more than the credit of a client, and what is on its way when the end comes.
            assert!(sent < 1 << 20, "{name}: {sent} bytes");
            let counters = &proxy.server.counters;
            let closed = counters.closed(Closed::Flood) + counters.closed(Closed::Http2);
            assert_eq!(closed, index as u64 + 1, "{name}");
            other.send(GET).await;
            assert_eq!(other.response().await.status, 200, "after {name}");
        }
    });
}

/// Requests that are given up before they are answered, a few at a time: each reaches an endpoint, and no burst does.
#[test]
fn resets_in_their_own_time_end_too() {
    /// Fewer than a burst. More than one, or a slow machine would send them no faster than clients are forgiven.
    const FEW: u32 = 10;
    run(async {
        let origin = Origin::start(vec![Act::Silence]).await;
        let proxy = Proxy::of(&[origin.address]).await;
        let mut socket = open(&proxy).await;
        let mut resets = 0;
        for begun in (0..5000).step_by(FEW as usize) {
            let streams = || (begun..begun + FEW).map(|number| number * 2 + 1);
            if socket.write_all(&streams().flat_map(get).collect::<Vec<_>>()).await.is_err() {
                break;
            }
            // The proxy has looked at them.
            for _ in 0..8 {
                yield_now().await;
            }
            let given_up = streams().flat_map(|stream| frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
            if socket.write_all(&given_up.collect::<Vec<_>>()).await.is_err() {
                break;
            }
            resets += FEW;
        }
        assert!((20..3000).contains(&resets), "{resets}");
        assert_eq!(proxy.server.counters.closed(Closed::Flood), 1);
    });
}

/// What a client needs to take a large answer is no flood.
#[test]
fn who_downloads_may_say_so() {
    run(async {
        let body = "x".repeat(4 << 20);
        let origin = Origin::start(vec![Act::text(&body)]).await;
        let proxy = Proxy::of(&[origin.address]).await;
        let mut socket = open(&proxy).await;
        socket.write_all(&get(1)).await.expect("taken");
        let mut data = 0;
        while data < body.len() {
            let received = next(&mut socket).await.expect("the connection stays");
            let len = u32::try_from(received.payload.len()).expect("short");
            if received.kind == DATA && len > 0 {
                data += received.payload.len();
                // For each kilobyte, both windows: the most that a client may find useful.
                let pieces = len.div_ceil(1024);
                for piece in 0..pieces {
                    let grown = (len / pieces + u32::from(piece < len % pieces)).to_be_bytes();
                    let both = [frame(WINDOW_UPDATE, 0, 0, &grown), frame(WINDOW_UPDATE, 0, 1, &grown)];
                    socket.write_all(&both.concat()).await.expect("the connection stays");
                }
            }
        }
        assert_eq!(proxy.server.counters.closed(Closed::Flood), 0);
    });
}

/// A head that grows without end, in frames that are full.
#[test]
fn endless_heads_end_the_connection() {
    run(async {
        let proxy = Proxy::of(&[]).await;
        let open_head = frame(HEADERS, END_STREAM, 1, GET_BLOCK);
        // A field without indexing, whose name and value have 100 bytes each.
        let field = [&[0, 100][..], &[b'a'; 100], &[100], &[b'b'; 100]].concat();
        let sent = flood(&proxy, &open_head, |_| frame(CONTINUATION, 0, 1, &field.repeat(50))).await;
        assert!(sent < 2 << 20, "{sent} bytes");
    });
}
