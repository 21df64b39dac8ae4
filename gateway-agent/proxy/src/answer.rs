//! What a client of TLS gets as long as nothing ends or carries it: an orderly end.

use std::io;
use std::time::Duration;

use gateway_agent_tables::http::HttpLimits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::hello::{self, Progress};

/// What is read while a client may still be sending, so that it gets the answer and not a reset that overtakes it
/// (RFC 9112, 9.6).
const LINGER: Duration = Duration::from_secs(2);

pub(crate) async fn connection(stream: TcpStream, limits: &HttpLimits) {
    // Whatever fails, fails because the client has gone.
    let _ = client_hello(stream, limits).await;
}

/// Reads a ClientHello; who sends something else is closed as well.
async fn client_hello(mut stream: TcpStream, limits: &HttpLimits) -> io::Result<()> {
    let mut bytes = Vec::new();
    let read = async {
        while hello::progress(&bytes) == Progress::Partial
            && bytes.len() <= limits.head_bytes as usize
            && stream.read_buf(&mut bytes).await? > 0
        {}
        io::Result::Ok(())
    };
    if let Ok(result) = timeout(limits.head_timeout, read).await {
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
    async fn answered(parts: &[&[u8]], limits: HttpLimits) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address: SocketAddr = listener.local_addr().expect("an address");
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a client");
            connection(stream, &limits).await;
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

    #[tokio::test]
    async fn a_hello_is_read_before_the_end() {
        assert_eq!(answered(&[HELLO], HttpLimits::default()).await, "");
        assert_eq!(answered(&[&HELLO[..3], &HELLO[3..]], HttpLimits::default()).await, "");
        assert_eq!(answered(&[b"GET / HTTP/1.1\r\n\r\n"], HttpLimits::default()).await, "");
    }

    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let limits = HttpLimits { head_timeout: Duration::from_millis(50), ..HttpLimits::default() };
        assert_eq!(answered(&[&HELLO[..3]], limits).await, "");
    }
}
