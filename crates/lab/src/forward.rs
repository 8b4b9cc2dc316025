//! A port on this machine that is forwarded to a service inside a lab, for use with a browser.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};

use anyhow::{Context, Result};

use crate::host::Host;

/// Opens a port on 127.0.0.1: `preferred`, or any free one. Connections to it are forwarded to `target` as
/// seen by `host`, until this process ends.
///
/// # Errors
/// When no port can be opened or the host's network can't be entered.
pub fn open(preferred: u16, host: &Host, target: SocketAddr) -> Result<SocketAddr> {
    let listener = bind(preferred)?;
    let address = listener.local_addr()?;
    let network = host.network();
    let (ready, entered) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // The listener stays in the network where it was created; new sockets are created in the host's.
        let result = network.enter();
        let inside = result.is_ok();
        if ready.send(result).is_ok() && inside {
            accept(&listener, target);
        }
    });
    entered.recv().context("the forwarder ended")??;
    Ok(address)
}

fn bind(preferred: u16) -> Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, preferred))
        .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .context("could not open a port on 127.0.0.1")
}

fn accept(listener: &TcpListener, target: SocketAddr) {
    for client in listener.incoming().flatten() {
        // If the platform is down, the client's connection is closed, as it would be directly.
        if let Ok(server) = TcpStream::connect(target) {
            let _connection_over = join(client, server);
        }
    }
}

fn join(client: TcpStream, server: TcpStream) -> io::Result<()> {
    let (client_back, server_back) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || pump(client, server));
    std::thread::spawn(move || pump(server_back, client_back));
    Ok(())
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    let _either_end_closed = io::copy(&mut from, &mut to);
    let _closed_already = to.shutdown(Shutdown::Write);
}
