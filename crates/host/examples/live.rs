//! Measures the cost of live sources: `live nflog` and `live conntrack`, as root, each in its own network
//! namespace. Prints the reading thread's CPU time per packet and per connection.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a measurement stops where it fails")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use xshield_host::linux::conntrack::{Accounting, Monitor, Settings};
use xshield_host::linux::nflog::{Aggregate, Listener, Read as Heard};

const SPAN: Duration = Duration::from_secs(5);
const RULES: &str = "table inet t {
    chain out {
        type filter hook output priority 0;
        ct state new accept
        udp dport 1-1000 log prefix \"xshield: DENY out rule=web/https \" group 5 drop
    }
}";

fn main() {
    let what = std::env::args().nth(1).unwrap_or_default();
    own_network();
    run("ip link set lo up");
    match what.as_str() {
        "nflog" => nflog(),
        "conntrack" => conntrack(),
        _ => eprintln!("say nflog or conntrack"),
    }
}

#[allow(unsafe_code, reason = "unshare(2) before any other thread is started")]
fn own_network() {
    use rustix::thread::UnshareFlags;
    // SAFETY: only the network namespace changes; no memory or descriptors.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
}

fn run(command: &str) {
    assert!(Command::new("sh").args(["-ec", command]).status().unwrap().success(), "{command}");
}

fn nft(rules: &str) {
    let mut child = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// CPU time in nanoseconds: the first number of `/proc/PID/schedstat`.
fn own_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// Waits until `at`, or until the other end is closed.
fn pause_until(at: Instant, stop: &Receiver<()>) {
    let _ = stop.recv_timeout(at.saturating_duration_since(Instant::now()));
}

fn nflog() {
    nft(&RULES.replace("ct state new accept", ""));
    let mut listener = Listener::open(&[5]).unwrap();
    let mut aggregate = Aggregate::new(20_000);
    let flood = std::thread::spawn(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (start, mut sent) = (Instant::now(), 0_u64);
        while start.elapsed() < SPAN {
            for port in 1..=1000 {
                // The sender gets an error for a dropped packet.
                let _ = socket.send_to(b"x", ("127.0.0.2", port));
            }
            sent += 1000;
        }
        sent
    });
    let (before, mut total) = (own_time(), Heard::default());
    let start = Instant::now();
    while start.elapsed() < SPAN + Duration::from_millis(500) {
        let read = listener.read(&mut aggregate, Duration::from_millis(100), || 1).unwrap();
        total.packets += read.packets;
        total.lost += read.lost;
        total.overruns += read.overruns;
    }
    let spent = own_time() - before;
    let sent = flood.join().unwrap();
    let drained = aggregate.drain();
    assert_eq!(drained.packets(), total.packets);
    let each = spent.as_nanos() as f64 / total.packets as f64;
    println!(
        "sent {sent} in {SPAN:?}, {total:?}, {} flows; {each:.0} ns a packet: {:.2} million a second \
         and core, {:.1} % of a core at 100,000 a second",
        drained.flows.len(),
        1_000.0 / each,
        each / 100.0,
    );
}

fn conntrack() {
    const EACH_SECOND: u32 = 1_000;
    nft(RULES);
    Accounting::switch_on().unwrap();
    let server = peer();
    let mut monitor = Monitor::open(Settings::default(), 1).unwrap();
    let (go, stop) = channel::<()>();
    let opener = std::thread::spawn(move || {
        let (_hold, never) = channel();
        let (start, mut opened) = (Instant::now(), 0);
        while start.elapsed() < SPAN {
            let mut stream = TcpStream::connect(server).unwrap();
            let _ = stream.read(&mut [0]);
            opened += 1;
            pause_until(start + Duration::from_secs(1) * opened / EACH_SECOND, &never);
        }
        opened
    });
    let (before, start) = (own_time(), Instant::now());
    let (mut began, mut wakes) = (0, 0_u64);
    while start.elapsed() < SPAN {
        began += monitor.read(Duration::from_millis(500), 1).unwrap().began;
        wakes += 1;
        pause_until(Instant::now() + Duration::from_millis(50), &stop);
    }
    drop(go);
    let report = monitor.drain(2).unwrap();
    let spent = own_time() - before;
    let opened = opener.join().unwrap();
    let named = report
        .drained
        .paths
        .iter()
        .filter(|path| path.key.program.as_ref().is_some_and(|program| program.path.is_some()));
    println!(
        "{opened} opened in {SPAN:?}, {began} seen in {wakes} reads, {} lost, {} live; {spent:?}: \
         {:.2} % of a core; named connections: {}",
        report.lost_events,
        monitor.live(),
        100.0 * spent.as_secs_f64() / SPAN.as_secs_f64(),
        named.map(|path| path.connections).sum::<u64>(),
    );
}

/// A second host that closes every connection at once.
fn peer() -> SocketAddr {
    let (ready, born) = channel();
    std::thread::spawn(move || {
        own_network();
        ready.send(rustix::thread::gettid().as_raw_nonzero()).unwrap();
        let address = "10.0.0.2:7000";
        let listener = loop {
            if let Ok(listener) = TcpListener::bind(address) {
                break listener;
            }
            std::thread::yield_now();
        };
        listener.incoming().for_each(drop);
    });
    let id = born.recv().unwrap();
    run(&format!(
        "ip link add v0 type veth peer name v1 netns {id}; ip addr add 10.0.0.1/24 dev v0; \
         ip link set v0 up; nsenter --net=/proc/{id}/ns/net sh -ec 'ip addr add 10.0.0.2/24 dev v1; \
         ip link set v1 up'"
    ));
    let server: SocketAddr = "10.0.0.2:7000".parse().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(server).is_err() {
        assert!(Instant::now() < deadline, "the other host does not answer");
    }
    server
}
