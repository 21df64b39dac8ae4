//! Bulk data from the client to the backend, one thread per connection and end.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::Progress;
use crate::cpu::Cpus;

/// iperf3's default size of a write.
const CHUNK: usize = 128 * 1024;
/// How soon a sender notices that it should stop while its peer doesn't read.
const NOTICE: Duration = Duration::from_millis(100);

/// Counts what it receives, until the process ends. The first connection is read on the last processor, further ones
/// in turn, so that a lone sender on the first doesn't share its own.
pub(crate) fn serve(listener: &TcpListener, cpus: &Cpus, received: &Arc<AtomicU64>) -> Result<()> {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let (stream, _) = listener.accept()?;
        let (cpus, received, open) = (cpus.clone(), received.clone(), open.clone());
        let turn = cpus.count() - 1 + open.fetch_add(1, Ordering::Relaxed);
        thread::spawn(move || {
            let result = cpus.pin(turn).map(|()| drain(stream, &received));
            open.fetch_sub(1, Ordering::Relaxed);
            result
        });
    }
}

fn drain(mut stream: TcpStream, received: &AtomicU64) {
    let mut buffer = vec![0; CHUNK];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        received.fetch_add(n as u64, Ordering::Relaxed);
    }
}

/// Sends until told to stop.
pub(crate) fn run(target: SocketAddrV4, progress: &Progress) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&target.into(), Duration::from_secs(3))?;
    stream.set_write_timeout(Some(NOTICE))?;
    let chunk = vec![0; CHUNK];
    while !progress.stop.load(Ordering::Relaxed) {
        match stream.write(&chunk) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
