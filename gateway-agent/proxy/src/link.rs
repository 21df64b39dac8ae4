//! What agent and proxy say to each other: messages in postcard, each after its length in four bytes (big-endian), over
//! a Unix stream. Sockets come with the message that counts them (`SCM_RIGHTS`, unix(7)).

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use gateway_agent_tables::Application;
use gateway_agent_tables::http::HttpUpdate;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::telemetry::Figures;

/// From the agent to the proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// How HTTP requests are forwarded: what is other than said before. The first one of a link replaces all that was said
    /// by others.
    Http(Box<HttpUpdate>),
    /// All listeners that there are; it replaces what was said before.
    Listeners(Vec<Listener>),
    /// Accept connections at as many sockets as this, which come with it.
    Accept { sockets: usize },
    /// The kernel gives new connections to the sockets that came last: those before get no more.
    Steered,
    /// Another proxy has the connections: finish what there is, and end.
    Retire,
    /// Tell what was counted.
    Figures,
}

/// From the proxy to the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// The first message of a link: it wants a socket for each worker.
    Hello { version: String, workers: usize },
    /// It accepts at the sockets that came last.
    Accepting,
    /// What was asked for.
    Figures(Figures),
}

/// An address and port of listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Listener {
    pub address: IpAddr,
    pub port: NonZeroU16,
    pub application: Application,
}

#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("a message can't be read: {0}; are agent and proxy of the same version?")]
    Message(#[from] postcard::Error),
    #[error("a message of {0} bytes; at most {MOST_BYTES} are read")]
    Size(usize),
    #[error("{wanted} sockets were to come with the message, and {found} did")]
    Sockets { wanted: usize, found: usize },
}

/// A rule is about 300 bytes, and a route may have a few hundred kilobytes of them: 200,000 rules, or 100 such routes.
const MOST_BYTES: usize = 64 << 20;

/// `SCM_MAX_FD` of linux/net/scm.h: what the kernel passes with one message.
const MOST_DESCRIPTORS: usize = 253;

/// Two halves of a connected stream.
pub fn link(stream: UnixStream) -> (Sender, Receiver) {
    let stream = Arc::new(stream);
    let receiver = Receiver { stream: Arc::clone(&stream), bytes: Vec::new(), descriptors: VecDeque::new() };
    (Sender { stream }, receiver)
}

#[derive(Debug)]
pub struct Sender {
    stream: Arc<UnixStream>,
}

#[derive(Debug)]
pub struct Receiver {
    stream: Arc<UnixStream>,
    /// Received, and not yet a whole message.
    bytes: Vec<u8>,
    /// Received, and not yet taken.
    descriptors: VecDeque<OwnedFd>,
}

impl Sender {
    /// Must not be dropped half-way: the other side would read the next message in the middle of this one.
    pub async fn send(
        &mut self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), LinkError> {
        let mut bytes = postcard::to_extend(message, vec![0; 4])?;
        let len = bytes.len() - 4;
        let prefix = u32::try_from(len).map_err(|_| LinkError::Size(len))?;
        bytes[..4].copy_from_slice(&prefix.to_be_bytes());
        let mut sent = 0;
        while sent < bytes.len() {
            // They go with the first byte.
            let with = if sent == 0 { descriptors } else { &[] };
            let rest = &bytes[sent..];
            let write = || send_some(&self.stream, rest, with);
            sent += self.stream.async_io(Interest::WRITABLE, write).await?;
        }
        Ok(())
    }
}

impl Receiver {
    /// The next message; None: the other side has gone. What was received stays if this is dropped half-way.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, LinkError> {
        loop {
            if let Some(message) = self.buffered()? {
                return Ok(Some(message));
            }
            let (bytes, descriptors) = (&mut self.bytes, &mut self.descriptors);
            let read = || receive_some(&self.stream, bytes, descriptors);
            if self.stream.async_io(Interest::READABLE, read).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Descriptors that came with messages read so far, the oldest first.
    pub fn take_descriptors(&mut self, number: usize) -> Result<Vec<OwnedFd>, LinkError> {
        let found = self.descriptors.len();
        if found < number {
            return Err(LinkError::Sockets { wanted: number, found });
        }
        Ok(self.descriptors.drain(..number).collect())
    }

    fn buffered<T: DeserializeOwned>(&mut self) -> Result<Option<T>, LinkError> {
        let Some((prefix, rest)) = self.bytes.split_first_chunk::<4>() else { return Ok(None) };
        let len = u32::from_be_bytes(*prefix) as usize;
        if len > MOST_BYTES {
            return Err(LinkError::Size(len));
        }
        let Some(message) = rest.get(..len) else { return Ok(None) };
        let message = postcard::from_bytes(message)?;
        self.bytes.drain(..4 + len);
        Ok(Some(message))
    }
}

fn send_some(stream: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?)
}

fn receive_some(
    stream: &UnixStream,
    bytes: &mut Vec<u8>,
    descriptors: &mut VecDeque<OwnedFd>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut buffer = [0; 16 << 10];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = recvmsg(stream, &mut [IoSliceMut::new(&mut buffer)], &mut control, flags)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    bytes.extend_from_slice(&buffer[..received.bytes]);
    Ok(received.bytes)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsFd as _;

    use super::*;

    fn listeners(number: u16) -> Order {
        let listener = |port| Listener {
            address: [192, 0, 2, 1].into(),
            port: NonZeroU16::new(port).expect("a port"),
            application: Application::Http,
        };
        Order::Listeners((1..=number).map(listener).collect())
    }

    #[tokio::test]
    async fn messages_and_sockets_arrive_in_order() {
        let (agent, proxy) = UnixStream::pair().expect("a pair");
        let ((mut sender, _keep), (_, mut receiver)) = (link(agent), link(proxy));
        let sockets = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").expect("a socket"));
        let sent = tokio::spawn(async move {
            // More than one buffer's worth.
            sender.send(&listeners(10_000), &[]).await.expect("sent");
            let borrowed = [sockets[0].as_fd(), sockets[1].as_fd()];
            sender.send(&Order::Accept { sockets: 2 }, &borrowed).await.expect("sent");
            sender.send(&Order::Steered, &[]).await.expect("sent");
            sockets.map(|socket| socket.local_addr().expect("an address"))
        });
        let next = async |receiver: &mut Receiver| receiver.next::<Order>().await.expect("received");
        assert_eq!(next(&mut receiver).await, Some(listeners(10_000)));
        assert_eq!(next(&mut receiver).await, Some(Order::Accept { sockets: 2 }));
        let passed = receiver.take_descriptors(2).expect("two sockets");
        assert_eq!(next(&mut receiver).await, Some(Order::Steered));
        let passed = passed.into_iter().map(|fd| TcpListener::from(fd).local_addr().expect("an address"));
        assert_eq!(passed.collect::<Vec<_>>(), sent.await.expect("no panic"));
        assert!(matches!(receiver.take_descriptors(1), Err(LinkError::Sockets { wanted: 1, found: 0 })));
    }

    #[tokio::test]
    async fn what_is_too_long_is_not_read() {
        use tokio::io::AsyncWriteExt as _;
        let (mut agent, proxy) = UnixStream::pair().expect("a pair");
        let (_, mut receiver) = link(proxy);
        agent.write_all(&[0xff; 8]).await.expect("written");
        assert!(matches!(receiver.next::<Order>().await, Err(LinkError::Size(_))));
    }

    #[tokio::test]
    async fn the_end_is_told() {
        let (agent, proxy) = UnixStream::pair().expect("a pair");
        let (_, mut receiver) = link(proxy);
        drop(agent);
        assert!(matches!(receiver.next::<Order>().await, Ok(None)));
    }
}
