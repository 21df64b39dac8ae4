//! What the proxy needs of a connection, so that tests can script one.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A connection, to a client or to an endpoint.
pub trait Socket: AsyncRead + AsyncWrite + Unpin + 'static {
    /// Whether nothing came since the last read: no byte, no end, no error. Only for sockets that no task awaits.
    fn is_quiet(&mut self) -> bool;
}

/// Connects to endpoints.
pub trait Connect: 'static {
    type Socket: Socket;

    fn connect(&self, to: SocketAddr) -> impl Future<Output = io::Result<Self::Socket>>;
}

/// Connects by TCP.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcp;

impl Connect for Tcp {
    type Socket = TcpStream;

    async fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let socket = TcpStream::connect(to).await?;
        // Messages are written whole; waiting for more of them would only delay them.
        socket.set_nodelay(true)?;
        Ok(socket)
    }
}

impl Socket for TcpStream {
    /// Readiness is known without a system call; only where it may be an old one it is asked for.
    fn is_quiet(&mut self) -> bool {
        matches!(self.try_read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
    }
}
