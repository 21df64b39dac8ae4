//! The agent's Unix socket: one request in a line, one answer in a line of JSON.
//!
//! Requests are `status`, `hand-over` and `trace` with a question in JSON behind it; what is not known gets an object with
//! the field `error`.

use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::trace::Question;

/// Requests that the server knows.
pub const STATUS: &str = "status";
pub const HAND_OVER: &str = "hand-over";
pub const TRACE: &str = "trace";

/// Longest line that is read as a request: a question has a head, which may have 32 kB, and its quotes.
const MAX_REQUEST_BYTES: u64 = 64 << 10;

/// A client that has sent nothing by then is dropped; one that waits for an answer gives up.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a client wants; the answer is JSON.
#[derive(Debug)]
pub struct Request {
    pub wish: Wish,
    pub reply: oneshot::Sender<Value>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A report; it is made when somebody wants to see it.
    Status,
    /// That the agent lets go of the kernel, for the client.
    HandOver,
    /// What would become of a request.
    Trace(Question),
}

/// Answers on a socket as long as it lives; takes the socket's file away when dropped.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("{}: another agent answers there; stop it, or give this one a --socket of its own", .0.display())]
    InUse(PathBuf),
    #[error("can't listen on {}: {source}; give a --socket in a directory that the agent may write to", path.display())]
    Listen { path: PathBuf, source: io::Error },
    #[error("no agent answers on {}: {source}; is it running, and with this --socket?", path.display())]
    Ask { path: PathBuf, source: io::Error },
    #[error("the agent on {} refused the request: {message}; are both of the same version?", path.display())]
    Refused { path: PathBuf, message: String },
}

impl Server {
    /// Listens on a socket that only this user can connect to, and hands requests on.
    pub fn start(path: &Path, requests: mpsc::Sender<Request>) -> Result<Self, AdminError> {
        if BlockingStream::connect(path).is_ok() {
            return Err(AdminError::InUse(path.to_owned()));
        }
        let listen = |source| AdminError::Listen { path: path.to_owned(), source };
        // An agent that was killed left its socket behind.
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(listen(error)),
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(listen)?;
        fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(listen)?;
        Ok(Self { path: path.to_owned(), task: tokio::spawn(serve(listener, requests)) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        // If it is gone already, all the better.
        let _ = fs::remove_file(&self.path);
    }
}

/// Asks the agent that listens on a socket.
pub fn ask(path: &Path, request: &str) -> Result<Value, AdminError> {
    let answer =
        exchange(path, request).map_err(|source| AdminError::Ask { path: path.to_owned(), source })?;
    match answer.get("error").and_then(Value::as_str) {
        Some(message) => Err(AdminError::Refused { path: path.to_owned(), message: message.to_owned() }),
        None => Ok(answer),
    }
}

fn exchange(path: &Path, request: &str) -> io::Result<Value> {
    let mut stream = BlockingStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    writeln!(stream, "{request}")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    serde_json::from_str(&line).map_err(io::Error::from)
}

async fn serve(listener: UnixListener, requests: mpsc::Sender<Request>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let requests = requests.clone();
                tokio::spawn(async move {
                    let exchange = timeout(PATIENCE, answer(stream, requests)).await;
                    if let Ok(Err(error)) = exchange {
                        tracing::debug!("a client of the admin socket went away: {error}");
                    }
                });
            }
            Err(error) => {
                // Out of descriptors, most likely; they come back.
                tracing::warn!("admin socket: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn answer(stream: UnixStream, requests: mpsc::Sender<Request>) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut request = String::new();
    tokio::io::BufReader::new(reader.take(MAX_REQUEST_BYTES)).read_line(&mut request).await?;
    let mut line = match Wish::parse(request.trim()) {
        Some(wish) => {
            let (reply, answer) = oneshot::channel();
            // Fails like the next line if the agent has stopped.
            let _ = requests.send(Request { wish, reply }).await;
            answer.await.map_err(io::Error::other)?.to_string()
        }
        None => json!({"error": format!("unknown request `{}`", request.trim())}).to_string(),
    };
    line.push('\n');
    writer.write_all(line.as_bytes()).await
}

impl Wish {
    fn parse(line: &str) -> Option<Self> {
        match line {
            STATUS => Some(Self::Status),
            HAND_OVER => Some(Self::HandOver),
            _ => {
                let question = line.strip_prefix(TRACE)?.strip_prefix(' ')?;
                serde_json::from_str(question).ok().map(Self::Trace)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::net;

    use super::*;

    #[tokio::test]
    async fn answers_as_long_as_it_lives() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let (sender, mut requests) = mpsc::channel::<Request>(1);
        let server = Server::start(&path, sender.clone()).unwrap();
        tokio::spawn(async move {
            for generation in 1.. {
                let Some(Request { wish, reply }) = requests.recv().await else { break };
                assert_eq!(wish, Wish::Status);
                reply.send(json!({"generation": generation})).unwrap();
            }
        });
        let ask_for = |request: &'static str| {
            let path = path.clone();
            async move { tokio::task::spawn_blocking(move || ask(&path, request)).await.unwrap() }
        };
        assert_eq!(ask_for(STATUS).await.unwrap(), json!({"generation": 1}));
        assert_eq!(ask_for(STATUS).await.unwrap(), json!({"generation": 2}));
        assert!(matches!(ask_for("stop").await, Err(AdminError::Refused { .. })));
        assert!(matches!(Server::start(&path, sender), Err(AdminError::InUse(_))));
        drop(server);
        assert!(!path.exists());
        assert!(matches!(ask_for(STATUS).await, Err(AdminError::Ask { .. })));
    }

    #[tokio::test]
    async fn takes_over_what_a_dead_agent_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        // Nobody listens there, nor does a child that another test is about to start and that has a copy of the descriptor.
        let left = net::socket(net::AddressFamily::UNIX, net::SocketType::STREAM, None).unwrap();
        net::bind(&left, &net::SocketAddrUnix::new(&path).unwrap()).unwrap();
        drop(left);
        assert!(path.exists());
        Server::start(&path, mpsc::channel(1).0).unwrap();
    }
}
