//! What a client gets as long as its listener's routes are not served: an orderly answer, and the end.

use std::io;
use std::time::Duration;

use gateway_agent_tables::Application;
use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::h1::{Ending, Fault, Fields, RequestHead, write_reply};
use crate::hello::{self, Progress};
use crate::serve::Limits;

/// What a client of HTTP/2 says first (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Empty SETTINGS, then GOAWAY with `NO_ERROR` that has seen no stream (RFC 9113, 6.5 and 6.8): requests may be sent
/// again elsewhere.
const GOAWAY: [u8; 26] = [0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// What is read while a client may still be sending, so that it gets the answer and not a reset that overtakes it
/// (RFC 9112, 9.6).
const LINGER: Duration = Duration::from_secs(2);

pub(crate) async fn connection(stream: TcpStream, application: Application, limits: &Limits) {
    // Whatever fails, fails because the client has gone.
    let _ = match application {
        Application::Http => request(stream, limits).await,
        Application::Tls => client_hello(stream, limits).await,
    };
}

async fn request(mut stream: TcpStream, limits: &Limits) -> io::Result<()> {
    let mut bytes = Vec::new();
    let answer = match timeout(limits.first_message, head(&mut stream, &mut bytes, limits)).await {
        Ok(answer) => answer?,
        Err(_) if bytes.is_empty() => None,
        Err(_) => Some(reply(StatusCode::REQUEST_TIMEOUT, false)),
    };
    if let Some(answer) = answer {
        stream.write_all(&answer).await?;
    }
    close(stream).await
}

/// Reads a request's head and gives what it is answered; None: the client has said nothing and gone.
async fn head(stream: &mut TcpStream, bytes: &mut Vec<u8>, limits: &Limits) -> io::Result<Option<Vec<u8>>> {
    loop {
        let is_complete = stream.read_buf(bytes).await? == 0;
        if bytes.starts_with(PREFACE) {
            return Ok(Some(GOAWAY.to_vec()));
        }
        if !PREFACE.starts_with(bytes) {
            match RequestHead::parse(bytes, limits.head) {
                Ok(Some(head)) => return Ok(Some(reply(StatusCode::NOT_FOUND, head.method == Method::HEAD))),
                Ok(None) => {}
                Err(fault) => return Ok(Some(reply(fault.status(), false))),
            }
        }
        if is_complete {
            let status = Fault::RequestLine.status();
            return Ok((!bytes.is_empty()).then(|| reply(status, false)));
        }
    }
}

fn reply(status: StatusCode, without_body: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut fields = Fields::default();
    fields.push("content-type", b"text/plain");
    let body = format!("{status}\n");
    write_reply(&mut out, status, &fields, &body, without_body, Ending::Close);
    out
}

/// Reads a ClientHello; who sends something else is closed as well.
async fn client_hello(mut stream: TcpStream, limits: &Limits) -> io::Result<()> {
    let mut bytes = Vec::new();
    let read = async {
        while hello::progress(&bytes) == Progress::Partial
            && bytes.len() <= limits.head.bytes
            && stream.read_buf(&mut bytes).await? > 0
        {}
        io::Result::Ok(())
    };
    if let Ok(result) = timeout(limits.first_message, read).await {
        result?;
    }
    close(stream).await
}

/// Ends our side, then waits a little for the client to end its own.
async fn close(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut rest = [0; 4096];
    let drain = async { while stream.read(&mut rest).await.is_ok_and(|n| n > 0) {} };
    let _ = timeout(LINGER, drain).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::net::TcpListener;

    use super::*;

    const HELLO: &[u8] = &[22, 3, 1, 0, 5, 1, 0, 0, 1, 7];

    /// What a client gets that sends `parts` and then waits for the end.
    async fn answered(application: Application, parts: &[&[u8]], limits: Limits) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address: SocketAddr = listener.local_addr().expect("an address");
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a client");
            connection(stream, application, &limits).await;
        });
        let mut client = TcpStream::connect(address).await.expect("connected");
        for part in parts {
            client.write_all(part).await.expect("written");
            tokio::task::yield_now().await;
        }
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.expect("an end, not a reset");
        drop(client);
        server.await.expect("no panic");
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn http(parts: &[&[u8]]) -> String {
        answered(Application::Http, parts, Limits::default()).await
    }

    #[tokio::test]
    async fn requests_get_404() {
        let wanted = "HTTP/1.1 404 Not Found\r\ncontent-type: text/plain\r\nContent-Length: 14\r\nConnection: close\r\n\r\n";
        let get = http(&[b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"]).await;
        assert_eq!(get, format!("{wanted}404 Not Found\n"));
        let head = http(&[b"HEAD / HT", b"TP/1.1\r\nHost: a.example\r\n\r\n"]).await;
        assert_eq!(head, wanted);
        let body = vec![b'x'; 200_000];
        let post =
            http(&[b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 200000\r\n\r\n", &body]).await;
        assert!(post.ends_with("404 Not Found\n"), "{post}");
    }

    #[tokio::test]
    async fn what_is_no_request_is_told_so() {
        for (sent, wanted) in [
            ("GET / HTTP/1.1\r\n\r\n", "400"),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 2\r\n\r\n", "400"),
            ("\u{16}\u{3}\u{1}", "400"),
            ("PRI * HTTP/3.0\r\n\r\n", "505"),
        ] {
            let answer = http(&[sent.as_bytes()]).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {wanted} ")), "{sent:?}: {answer}");
        }
        let long = format!("GET / HTTP/1.1\r\nHost: a\r\nx: {}\r\n\r\n", "y".repeat(40_000));
        assert!(http(&[long.as_bytes()]).await.starts_with("HTTP/1.1 431 "));
    }

    #[tokio::test]
    async fn http_2_is_sent_away_in_its_own_words() {
        let answer = http(&[PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]]).await;
        assert_eq!(answer.as_bytes(), GOAWAY);
    }

    #[tokio::test]
    async fn a_hello_is_read_before_the_end() {
        let tls = async |parts: &[&[u8]], limits| answered(Application::Tls, parts, limits).await;
        assert_eq!(tls(&[HELLO], Limits::default()).await, "");
        assert_eq!(tls(&[&HELLO[..3], &HELLO[3..]], Limits::default()).await, "");
        assert_eq!(tls(&[b"GET / HTTP/1.1\r\n\r\n"], Limits::default()).await, "");
    }

    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let limits = || Limits { first_message: Duration::from_millis(50), ..Limits::default() };
        let slow = answered(Application::Http, &[b"GET / HT"], limits()).await;
        assert!(slow.starts_with("HTTP/1.1 408 "), "{slow}");
        assert_eq!(answered(Application::Http, &[], limits()).await, "");
        assert_eq!(answered(Application::Tls, &[&HELLO[..3]], limits()).await, "");
    }
}
