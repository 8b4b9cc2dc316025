//! Which programs are behind sockets.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use xshield_host::operating_system::OperatingSystem as _;
use xshield_host::program::Place;
use xshield_host::windows::{Windows, sockets};
use xshield_policy::{Direction, Protocol};

/// Wine's server makes sockets, and wine finds a socket's process only once that has used it itself.
macro_rules! used {
    ($socket:expr) => {
        if let Err(error) = $socket.ttl().and_then(|ttl| $socket.set_ttl(ttl)) {
            eprintln!("{error}");
        }
    };
}

#[test]
fn listening_sockets_are_listed_with_their_program() {
    let everywhere = TcpListener::bind("0.0.0.0:0").unwrap();
    let everywhere6 = TcpListener::bind("[::]:0").unwrap();
    let datagrams = UdpSocket::bind("0.0.0.0:0").unwrap();
    used!(everywhere);
    used!(everywhere6);
    used!(datagrams);
    let inner = TcpListener::bind("127.0.0.1:0").unwrap();
    let inner6 = UdpSocket::bind("[::1]:0").unwrap();
    let found = sockets::listening_sockets().unwrap();
    let rows = sockets::ports(&found);
    let program = std::env::current_exe().unwrap();
    let name = program.file_name().unwrap().to_string_lossy().into_owned();
    for (protocol, local) in [
        (Protocol::Tcp, everywhere.local_addr().unwrap()),
        (Protocol::Tcp, everywhere6.local_addr().unwrap()),
        (Protocol::Udp, datagrams.local_addr().unwrap()),
    ] {
        let is_it = |row: &&xshield_wire::message::ListeningPort| {
            (row.protocol, row.address, row.port) == (protocol, local.ip(), local.port())
        };
        let row = rows.iter().find(is_it).unwrap_or_else(|| panic!("{local} in {rows:?}"));
        if local.is_ipv6() && row.process.is_none() {
            eprintln!("SKIPPED: no process is told for {local} (wine)");
        } else {
            assert_eq!(row.process.as_deref(), Some(name.as_str()), "{protocol} {local}");
            let path = row.path.as_deref().unwrap();
            assert_eq!(path.to_lowercase(), program.to_string_lossy().to_lowercase());
        }
        assert_eq!(row.uid, None, "users have no numbers");
        assert!(found.iter().any(|socket| socket.listener().port == local.port()));
    }
    for local in [inner.local_addr().unwrap(), inner6.local_addr().unwrap()] {
        assert!(!rows.iter().any(|row| row.port == local.port() && row.address == local.ip()));
    }
    assert!(rows.iter().all(|row| !row.address.is_loopback()));
}

#[test]
fn programs_of_flows_are_found() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let served = server.local_addr().unwrap();
    let client = TcpStream::connect(served).unwrap();
    used!(server);
    used!(client);
    let nobody = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);
    let asks: Place = (Direction::Outbound, Protocol::Tcp, served);
    let serves: Place = (Direction::Inbound, Protocol::Tcp, served);
    let missing: Place = (Direction::Inbound, Protocol::Tcp, nobody);
    let found = Windows.programs_behind(&HashSet::from([asks, serves, missing]));
    let program = std::env::current_exe().unwrap().to_string_lossy().to_lowercase();
    for place in [asks, serves] {
        let path = found[&place].path.as_deref().unwrap().to_lowercase();
        assert_eq!(path, program, "{place:?}");
    }
    assert!(!found.contains_key(&missing));
    drop(client);
}
