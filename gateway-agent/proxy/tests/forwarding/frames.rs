//! HTTP/2 frame by frame, for what no client does.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::rig::Proxy;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of RFC 9113, 6.
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// `:method` GET or POST, `:scheme` http, `:path` /, `:authority` a (RFC 7541, appendix A).
pub(crate) const GET_BLOCK: &[u8] = &[0x82, 0x86, 0x84, 1, 1, b'a'];
pub(crate) const POST_BLOCK: &[u8] = &[0x83, 0x86, 0x84, 1, 1, b'a'];

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A whole GET on this stream.
pub(crate) fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, GET_BLOCK)
}

/// A connection whose preface is sent.
pub(crate) async fn open(proxy: &Proxy) -> TcpStream {
    let mut socket = TcpStream::connect(proxy.address).await.expect("a connection");
    socket.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.expect("the proxy takes it");
    socket
}

/// Reads what the proxy begins a connection to an endpoint with.
pub(crate) async fn preface(socket: &mut TcpStream) {
    let mut preface = vec![0; PREFACE.len()];
    socket.read_exact(&mut preface).await.expect("a preface");
    assert_eq!(preface, PREFACE);
}

/// A frame that the proxy sent.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) kind: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// The next frame; None: the connection has ended, and was not reset.
pub(crate) async fn next(socket: &mut TcpStream) -> Option<Received> {
    let mut head = [0; 9];
    if socket.read(&mut head[..1]).await.expect("no reset") == 0 {
        return None;
    }
    socket.read_exact(&mut head[1..]).await.expect("a whole head");
    let [high, middle, low, kind, _, stream @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
    socket.read_exact(&mut payload).await.expect("a whole frame");
    Some(Received { kind, stream: u32::from_be_bytes(stream), payload })
}

/// The next frame of this kind; others are passed over.
pub(crate) async fn next_of(socket: &mut TcpStream, kind: u8) -> Received {
    loop {
        let received = next(socket).await.expect("the connection goes on");
        if received.kind == kind {
            return received;
        }
    }
}
