//! Network namespaces for a test, and running `nft` and `ip` in them.

use std::cell::Cell;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, ipproto};
use rustix::thread::UnshareFlags;
use xshield_firewall::{Capabilities, Firewall};

/// Runs `test` on a thread in a new network namespace with the loopback up.
///
/// Without the permission to create one, prints that the test is skipped.
pub(crate) fn in_namespace<T: Send>(test: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| {
        let run = || {
            if let Err(error) = enter_new_namespace() {
                eprintln!("SKIPPED: no network namespace ({error}); run the tests as root");
                return None;
            }
            sh("ip link set lo up");
            Some(test())
        };
        match scope.spawn(run).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

thread_local! {
    static RENDERING: Cell<Option<Capabilities>> = const { Cell::new(None) };
}

/// Capabilities for which a plan is rendered that this kernel supports: the detected ones, those of a kernel
/// before Linux 5.6, and the minimum. Empty without the permission to test them.
pub(crate) fn renderings() -> Vec<Capabilities> {
    let probe = || *Firewall::open().unwrap().capabilities();
    let Some(found) = in_namespace(probe) else { return Vec::new() };
    let older = Capabilities {
        recorder: found.recorder,
        local_destinations: found.local_destinations,
        ..Capabilities::PLAIN
    };
    let mut all = vec![found];
    for less in [older, Capabilities::PLAIN] {
        if !all.contains(&less) {
            all.push(less);
        }
    }
    all
}

/// Runs `test` once for each of [`renderings`], in a separate namespace; [`firewall`] uses that rendering.
pub(crate) fn in_each_rendering(test: impl Fn() + Sync) {
    for capabilities in renderings() {
        in_namespace(|| {
            eprintln!("rendered for {capabilities}");
            RENDERING.set(Some(capabilities));
            test();
        });
    }
}

/// This namespace's firewall, with the capabilities of the test's rendering.
pub(crate) fn firewall() -> Firewall {
    match RENDERING.get() {
        Some(capabilities) => Firewall::open_with(capabilities).unwrap(),
        None => Firewall::open().unwrap(),
    }
}

/// Whether a command succeeds in this thread's namespace.
pub(crate) fn succeeds(command: &str) -> bool {
    Command::new("sh").args(["-ec", command]).output().unwrap().status.success()
}

#[allow(unsafe_code, reason = "a namespace per test thread")]
fn enter_new_namespace() -> rustix::io::Result<()> {
    // SAFETY: only this thread's network namespace changes; no file descriptors are unshared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
}

/// Runs a command in this thread's namespace; panics when it fails.
pub(crate) fn sh(command: &str) -> String {
    let output = Command::new("sh").args(["-ec", command]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// The objects of a kind in our table according to `nft -j`.
pub(crate) fn nft_objects(kind: &str) -> Vec<serde_json::Value> {
    let all: serde_json::Value = serde_json::from_str(&sh("nft -j list ruleset")).unwrap();
    let objects = all["nftables"].as_array().unwrap().iter();
    objects
        .filter_map(|object| object.get(kind))
        .filter(|o| o["table"] == "xshield")
        .cloned()
        .collect()
}

/// Polls until `condition` holds; panics with `what` after `limit`.
pub(crate) fn eventually(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::yield_now();
    }
}

/// Runs `test` while other threads, one for each core of a small machine, change rules of this namespace in
/// tight loops. Returns the number of their changes.
pub(crate) fn beside_others<C: FnMut()>(start: impl Fn() -> C + Sync, test: impl FnOnce()) -> u64 {
    struct StopOnDrop<'a>(&'a AtomicBool);
    impl Drop for StopOnDrop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let (stop, changes) = (AtomicBool::new(false), AtomicU64::new(0));
    let churn = || {
        let mut change = start();
        while !stop.load(Ordering::Relaxed) {
            change();
            changes.fetch_add(1, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        for _core in 0..2 {
            scope.spawn(churn);
        }
        eventually("others change rules", Duration::from_secs(5), || {
            changes.load(Ordering::Relaxed) > 0
        });
        test();
    });
    changes.into_inner()
}

/// Another host: a thread in its own namespace that runs the jobs it is sent.
pub(crate) struct Host {
    jobs: Sender<Job>,
    _thread: JoinHandle<()>,
}

type Job = Box<dyn FnOnce() + Send>;

impl Host {
    /// Connects a new host to this thread's namespace: here `10.0.0.1` and `fd00::1`, there `10.0.0.2`,
    /// `10.0.0.3`, `fd00::2`.
    pub(crate) fn joined() -> Self {
        Self::joined_in(0)
    }

    /// The same in a separate network: `10.0.N.0/24` and `fd0N::/64`, for N below ten.
    pub(crate) fn joined_in(network: u8) -> Self {
        let (jobs, inbox): (Sender<Job>, Receiver<Job>) = channel();
        let (ready, born) = channel();
        let thread = std::thread::spawn(move || {
            enter_new_namespace().unwrap();
            ready.send(rustix::thread::gettid().as_raw_nonzero()).unwrap();
            inbox.iter().for_each(|job| job());
        });
        let host = Self { jobs, _thread: thread };
        let id = born.recv().unwrap();
        let (here, there) = (format!("v{}", 2 * network), format!("v{}", 2 * network + 1));
        sh(&format!("ip link add {here} type veth peer name {there} netns {id}"));
        let n = network;
        let far = there.clone();
        host.run(move || {
            let there = far;
            sh(&format!(
                "ip link set lo up; ip addr add 10.0.{n}.2/24 dev {there};
                ip addr add 10.0.{n}.3/24 dev {there};
                ip addr add fd0{n}::2/64 dev {there} nodad; ip link set {there} up"
            ));
        });
        sh(&format!(
            "ip addr add 10.0.{n}.1/24 dev {here}; ip addr add fd0{n}::1/64 dev {here} nodad;
            ip link set {here} up"
        ));
        // Each side separately: the kernel brings a link up asynchronously, up to a second later, and until
        // then the link drops packets.
        eventually("this side's link is up", Duration::from_secs(10), || is_up(&here));
        eventually("the other side's link is up", Duration::from_secs(10), || {
            let there = there.clone();
            host.run(move || is_up(&there))
        });
        host
    }

    /// Runs `job` there and waits for its result.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (answer, result) = channel();
        self.jobs.send(Box::new(move || answer.send(job()).unwrap())).unwrap();
        result.recv().unwrap()
    }
}

fn is_up(link: &str) -> bool {
    sh(&format!("ip -o link show dev {link}")).contains("state UP")
}

pub(crate) const TIMEOUT: Duration = Duration::from_secs(1);

/// An established connection over which a byte can be sent and answered.
pub(crate) struct Connection {
    near: TcpStream,
    far: TcpStream,
}

impl Connection {
    /// Opens one from `opener`'s side; `None` if there is no answer.
    pub(crate) fn open(
        connect: impl FnOnce(SocketAddr) -> std::io::Result<TcpStream>,
        listener: &TcpListener,
    ) -> Option<Self> {
        let near = connect(listener.local_addr().unwrap()).ok()?;
        let (far, _) = listener.accept().unwrap();
        Some(Self::between(near, far))
    }

    /// Of its two ends.
    pub(crate) fn between(near: TcpStream, far: TcpStream) -> Self {
        for end in [&near, &far] {
            end.set_read_timeout(Some(TIMEOUT)).unwrap();
        }
        Self { near, far }
    }

    /// Closes properly, this side first, and waits until the other has seen it.
    pub(crate) fn close_near_first(self) {
        use std::io::Read;
        let Self { near, mut far } = self;
        drop(near);
        assert_eq!(far.read(&mut [0]).unwrap(), 0);
        drop(far);
        // The kernel sends the last ACK.
        eventually("no connection waits for its end", Duration::from_secs(2), || {
            !sh("cat /proc/thread-self/net/tcp").contains(" 04 ")
        });
    }

    /// Whether a byte still comes through, both ways.
    pub(crate) fn works(&mut self) -> bool {
        use std::io::{Read, Write};
        let mut byte = [0];
        let there = self.near.write_all(b"x").and_then(|()| self.far.read_exact(&mut byte));
        let back = self.far.write_all(b"y").and_then(|()| self.near.read_exact(&mut byte));
        there.is_ok() && back.is_ok()
    }
}

/// Connects from the calling thread's namespace, from a given source address.
pub(crate) fn connect(to: SocketAddr) -> std::io::Result<TcpStream> {
    TcpStream::connect_timeout(&to, TIMEOUT)
}

/// Sends one datagram from `from` to `to`; returns whether it arrived at `socket`.
pub(crate) fn datagram_arrives(from: &UdpSocket, socket: &UdpSocket) -> bool {
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    from.send_to(b"hello", socket.local_addr().unwrap()).ok();
    let mut buffer = [0; 16];
    match socket.recv(&mut buffer) {
        Ok(_) => true,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
        Err(error) => panic!("{error}"),
    }
}

/// Sends an echo request from the calling thread's namespace and waits for the answer.
pub(crate) fn ping(to: IpAddr) -> bool {
    let (family, protocol, request, reply) = match to {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP, 8, 0),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6, 128, 129),
    };
    let socket = rustix::net::socket(family, SocketType::RAW, Some(protocol)).unwrap();
    let socket = UdpSocket::from(socket);
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    // Type, code, checksum (its complement sum; the kernel fills in the one of ICMPv6), id, sequence.
    let sum = !(u16::from(request) << 8).wrapping_add(7);
    let [high, low] = sum.to_be_bytes();
    if socket.send_to(&[request, 0, high, low, 0, 7, 0, 0], (to, 0)).is_err() {
        return false;
    }
    let mut buffer = [0; 256];
    // Raw IPv4 sockets also return the IP header, and other messages arrive as well.
    while let Ok(length) = socket.recv(&mut buffer) {
        let header = if to.is_ipv4() { 20 } else { 0 };
        if length > header && buffer[header] == reply {
            return true;
        }
    }
    false
}

/// A socket of one IPv4 protocol by number.
pub(crate) struct RawSocket(UdpSocket);

impl RawSocket {
    pub(crate) fn v4(protocol: u8) -> Self {
        let protocol = rustix::net::Protocol::from_raw(u32::from(protocol).try_into().unwrap());
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::RAW, Some(protocol));
        let socket = UdpSocket::from(socket.unwrap());
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        Self(socket)
    }

    /// Sends what follows the IP header.
    pub(crate) fn send(&self, content: &[u8], to: IpAddr) {
        self.0.send_to(content, (to, 0)).unwrap();
    }

    /// Whether a packet of the protocol arrives from there.
    pub(crate) fn hears(&self, from: IpAddr) -> bool {
        while let Ok((_, source)) = self.0.recv_from(&mut [0; 256]) {
            if source.ip() == from {
                return true;
            }
        }
        false
    }
}

pub(crate) fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}
