//! What slow clients and endpoints make the proxy keep.

mod resident;
#[path = "forwarding/rig.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod rig;

use std::net::SocketAddr;
use std::time::Duration;

use resident::{allow_many_sockets, resident, settle};
use rig::{Proxy, run_within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{spawn_local, yield_now};

/// As many as make the difference between what one may keep and what all together may.
const CLIENTS: usize = 1000;

/// 64 kB each would be 64 MB. Large buffers of 16 MB at once, then some 8 kB for each of the rest; with 10 kB for the tasks
/// and sockets of each, here and at the endpoint.
const MOST: usize = 40 << 20;

/// One test: memory is that of the process, and what one part gives back another one takes.
#[test]
fn slow_peers_take_little_each() {
    allow_many_sockets();
    run_within(Duration::from_mins(2), async {
        let before = resident();
        readers().await;
        let kept = resident().saturating_sub(before);
        println!("{CLIENTS} readers that take nothing: {kept} bytes");
        assert!(kept < MOST, "{kept} bytes for {CLIENTS} readers");
        let clients = senders().await;
        let kept = resident().saturating_sub(before);
        println!("{CLIENTS} bodies that nobody takes: {kept} bytes");
        assert!(kept < MOST, "{kept} bytes for {CLIENTS} bodies");
        drop(clients);
    });
}

/// An endpoint that takes connections, and nothing of what comes.
async fn deaf() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let address = listener.local_addr().expect("an address");
    spawn_local(async move {
        let mut taken = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            taken.push(socket);
        }
    });
    address
}

/// Clients whose bodies nobody takes.
async fn senders() -> Vec<TcpStream> {
    let proxy = Proxy::of(&[deaf().await]).await;
    let body = "x".repeat(60 << 10);
    let post = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", 1 << 20);
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = TcpStream::connect(proxy.address).await.expect("a connection");
        client.write_all(post.as_bytes()).await.expect("taken");
        yield_now().await;
        clients.push(client);
    }
    settle().await;
    clients
}

/// Clients that take nothing of an answer without end.
async fn readers() -> Vec<TcpStream> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let address = listener.local_addr().expect("an address");
    spawn_local(async move {
        let piece: &'static [u8] = vec![b'x'; 64 << 10].leak();
        while let Ok((mut socket, _)) = listener.accept().await {
            spawn_local(async move {
                let _ = socket.read(&mut [0; 1024]).await;
                let _ = socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
                while socket.write_all(piece).await.is_ok() {}
            });
        }
    });
    let proxy = Proxy::of(&[address]).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let socket = TcpSocket::new_v4().expect("a socket");
        // So that the kernel keeps little of it.
        socket.set_recv_buffer_size(4096).expect("a size");
        let mut client = socket.connect(proxy.address).await.expect("a connection");
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("taken");
        yield_now().await;
        clients.push(client);
    }
    settle().await;
    clients
}
