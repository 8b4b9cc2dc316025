use super::listing::proc_line;
use super::*;
use std::net::{TcpListener, TcpStream, UdpSocket};
use xshield_policy::Protocol;

fn listed(holders: &mut Holders) -> Vec<ListeningPort> {
    ports(&listening_sockets(holders).unwrap())
}

fn now() -> Vec<ListeningPort> {
    listed(&mut Holders::default())
}

fn of_port(ports: &[ListeningPort], protocol: Protocol, port: u16) -> Vec<String> {
    ports
        .iter()
        .filter(|row| row.protocol == protocol && row.port == port)
        .map(|row| row.address.to_string())
        .collect()
}

#[test]
fn real_listeners_are_found_with_their_process() {
    let v4 = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = v4.local_addr().unwrap().port();
    let udp = UdpSocket::bind("0.0.0.0:0").unwrap();
    let udp_port = udp.local_addr().unwrap().port();
    let ports = now();
    assert_eq!(of_port(&ports, Protocol::Tcp, port), ["0.0.0.0"]);
    assert_eq!(of_port(&ports, Protocol::Udp, udp_port), ["0.0.0.0"]);
    let row = ports.iter().find(|row| row.port == port).unwrap();
    let me = super::super::processes::Process::of(std::process::id()).unwrap();
    assert_eq!((row.process.as_ref(), row.path.as_ref()), (Some(&me.name), me.path.as_ref()));
    assert_eq!(row.uid, Some(rustix::process::geteuid().as_raw()));
}

#[test]
fn an_ipv6_wildcard_socket_serves_ipv4_unless_v6only() {
    let Ok(dual) = TcpListener::bind("[::]:0") else {
        eprintln!("SKIPPED: this machine has no IPv6");
        return;
    };
    let port = dual.local_addr().unwrap().port();
    assert_eq!(of_port(&now(), Protocol::Tcp, port), ["0.0.0.0", "::"]);

    use rustix::net;
    let only = net::socket(net::AddressFamily::INET6, net::SocketType::STREAM, None).unwrap();
    net::sockopt::set_ipv6_v6only(&only, true).unwrap();
    let any: std::net::SocketAddrV6 = "[::]:0".parse().unwrap();
    net::bind(&only, &any).unwrap();
    net::listen(&only, 1).unwrap();
    let only = TcpListener::from(only);
    let port = only.local_addr().unwrap().port();
    assert_eq!(of_port(&now(), Protocol::Tcp, port), ["::"]);
}

#[test]
fn unreachable_sockets_are_left_out() {
    let loopback = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = loopback.local_addr().unwrap();
    let connected = TcpStream::connect(address).unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let asking = UdpSocket::bind("0.0.0.0:0").unwrap();
    asking.connect(udp.local_addr().unwrap()).unwrap();
    let ports = now();
    for (what, protocol, port) in [
        ("loopback only", Protocol::Tcp, address.port()),
        ("a connection", Protocol::Tcp, connected.local_addr().unwrap().port()),
        ("loopback only", Protocol::Udp, udp.local_addr().unwrap().port()),
        ("connected", Protocol::Udp, asking.local_addr().unwrap().port()),
    ] {
        assert_eq!(of_port(&ports, protocol, port), [""; 0], "{what}");
    }
}

#[test]
fn netlink_and_proc_agree() {
    // In its own network namespace, so that no other program opens or closes sockets meanwhile.
    let outcome = std::thread::spawn(|| {
        if in_new_network().is_err() {
            eprintln!("SKIPPED: needs root to make a network namespace");
            return;
        }
        let _tcp = TcpListener::bind("0.0.0.0:80").unwrap();
        let _tcp6 = TcpListener::bind("[::]:443").unwrap();
        let _udp = UdpSocket::bind("0.0.0.0:53").unwrap();
        let _udp6 = UdpSocket::bind("[::]:123").unwrap();
        let mut diag = by_sock_diag().unwrap();
        let mut proc_net = by_proc_net().unwrap();
        diag.sort_by_key(|socket| socket.port);
        proc_net.sort_by_key(|socket| socket.port);
        assert_eq!(diag, proc_net);
        let ports: Vec<u16> = diag.iter().map(|socket| socket.port).collect();
        assert_eq!(ports, [53, 80, 123, 443], "this namespace's sockets and no others");
    });
    outcome.join().unwrap();
}

#[allow(unsafe_code, reason = "unshare(2) concerns this thread alone here")]
fn in_new_network() -> rustix::io::Result<()> {
    // SAFETY: only the network namespace of this thread changes; no memory or descriptors.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }
}

#[test]
fn remembered_holders_are_verified_before_use() {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut holders = Holders::default();
    listed(&mut holders);
    let text = serde_json::to_string(&holders).unwrap();
    let mut again: Holders = serde_json::from_str(&text).unwrap();
    assert_eq!(again, holders);
    // Another process, another descriptor, an ended process.
    for (pid, fd) in [(1, 0), (std::process::id(), 0), (u32::MAX, 3)] {
        for holder in again.held.values_mut() {
            *holder = Holder { pid, fd };
        }
        let rows = listed(&mut again);
        let row = rows.iter().find(|row| row.port == port).unwrap();
        let path = std::env::current_exe().unwrap();
        assert_eq!(row.path.as_deref(), path.to_str(), "held by {pid} {fd}");
    }
}

#[test]
fn a_socket_without_a_holder_is_not_searched_for_everywhere_at_every_run() {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let inode = inode_of(&listener);
    let mut holders = Holders::default();
    let nobodys = BTreeSet::from([u32::MAX]);
    holders.refresh(&nobodys);
    assert_eq!((&holders.unfound, holders.age), (&nobodys, 0));
    holders.refresh(&nobodys);
    assert_eq!(holders.age, 1, "a quick search");

    // As if it had been without a holder so far, and this process had been searched.
    holders.unfound.insert(inode);
    let both = BTreeSet::from([inode, u32::MAX]);
    while holders.age < THOROUGH_EVERY {
        holders.refresh(&both);
        assert_eq!(holders.held, BTreeMap::new(), "this process is not new");
    }
    holders.refresh(&both);
    assert_eq!((&holders.unfound, holders.age), (&nobodys, 0), "found by the full search");

    holders.held.clear();
    holders.unfound = both.clone();
    holders.searched.remove(&std::process::id());
    holders.refresh(&both);
    assert_eq!((&holders.unfound, holders.age), (&nobodys, 1), "found in a new process");

    // A new socket, or one whose holder has ended, causes a full search at once.
    holders.held.clear();
    holders.refresh(&both);
    assert!(holders.held.contains_key(&inode));
}

fn inode_of(listener: &TcpListener) -> u32 {
    use std::os::fd::AsRawFd;
    let fd = u32::try_from(listener.as_raw_fd()).unwrap();
    Holder { pid: std::process::id(), fd }.inode().unwrap()
}

#[test]
fn lines_of_proc_net() {
    #[rustfmt::skip]
    let table = [
        (Protocol::Tcp, "   0: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 12345 1 0", Some("127.0.0.1:80 101 12345")),
        (Protocol::Tcp, "   0: 0500000A:1F90 0600000A:C000 01 00000000:00000000 00:00000000 00000000     0        0 12346 1 0", None),
        (Protocol::Udp, "   1: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 777 2 0", Some("0.0.0.0:53 0 777")),
        (Protocol::Tcp, "   0: B80D0120000000000000000005000000:01BB 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 9 1", Some("[2001:db8::5]:443 0 9")),
        (Protocol::Tcp, "   0: 0000000000000000FFFF00000500000A:01BB 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 9 1", Some("10.0.0.5:443 0 9")),
        (Protocol::Tcp, "garbage", None),
        (Protocol::Tcp, "0: 0100007F 0 0A 0 0 0 0 0 0", None),
    ];
    for (protocol, line, expected) in table {
        let got = proc_line(protocol, line).map(|socket| {
            let address = std::net::SocketAddr::new(socket.address, socket.port);
            format!("{address} {} {}", socket.uid, socket.inode)
        });
        assert_eq!(got.as_deref(), expected, "{line}");
    }
}
