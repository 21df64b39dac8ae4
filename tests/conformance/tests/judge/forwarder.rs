//! Connections to an address, handed on to wherever the address points now.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Where an address points; nowhere at first.
#[derive(Clone, Default)]
pub(crate) struct Target(Arc<Mutex<Option<SocketAddrV4>>>);

impl Target {
    pub(crate) fn set(&self, target: SocketAddrV4) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(target);
    }

    fn current(&self) -> Option<SocketAddrV4> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves from a thread, in the network of the caller's, as long as this process lives.
pub(crate) fn serve(address: Ipv4Addr, port: u16) -> io::Result<Target> {
    let listener = TcpListener::bind((address, port))?;
    let target = Target::default();
    let served = target.clone();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // Without a target the client is hung up on.
            let Some(target) = served.current() else { continue };
            thread::spawn(move || forward(&client, target));
        }
    });
    Ok(target)
}

fn forward(client: &TcpStream, target: SocketAddrV4) -> io::Result<()> {
    let server = TcpStream::connect(target)?;
    thread::scope(|scope| {
        scope.spawn(|| copy(client, &server));
        copy(&server, client);
    });
    Ok(())
}

fn copy(mut from: &TcpStream, mut to: &TcpStream) {
    // Whoever ended it, the other side has to hear of it.
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
