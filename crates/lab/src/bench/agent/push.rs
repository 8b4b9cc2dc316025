//! From committing a policy to its enforcement, as measured with packets.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::fixture::{Fixture, LIMIT, REST};
use crate::bench::traffic::inside;
use crate::bench::{Effort, pause};
use crate::figure::Figure;
use crate::host::Host;
use crate::platform::{HOST as PLATFORM, PORT};
use crate::wait;

/// One of them is open and one is closed, in turns.
const PORTS: [u16; 2] = [7000, 7001];
/// The interval of datagrams to each host, and so the resolution of the measurement. With a hundred hosts on
/// one machine, a shorter one slows down what is measured; so does checking more often below.
const PACE: Duration = Duration::from_millis(20);
/// How often a receiver checks whether to stop.
const LOOK: Duration = Duration::from_secs(2);
/// Short, so that measuring heartbeats does not take an hour.
const HEARTBEAT: u32 = 20;

/// When the first datagram arrived since the last reset.
type Arrival = Arc<Mutex<Option<Instant>>>;

/// Receives on both ports of every host, and sends to one of them.
struct Gates {
    /// By host, then by port.
    arrivals: Vec<[Arrival; 2]>,
    targets: Vec<Ipv4Addr>,
    ended: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Gates {
    fn open(fixture: &Fixture) -> Result<Self> {
        let mut gates = Self {
            arrivals: Vec::new(),
            targets: Vec::new(),
            ended: Arc::default(),
            threads: Vec::new(),
        };
        for number in 0..fixture.count() {
            let host = fixture.host(number)?;
            gates.targets.push(host.v4());
            let arrivals = [Arrival::default(), Arrival::default()];
            for (port, arrival) in PORTS.iter().zip(&arrivals) {
                gates.receive(host, *port, Arc::clone(arrival))?;
            }
            gates.arrivals.push(arrivals);
        }
        Ok(gates)
    }

    fn receive(&mut self, host: &Host, port: u16, arrival: Arrival) -> Result<()> {
        let ended = Arc::clone(&self.ended);
        self.threads.push(inside(host.network(), move || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
            socket.set_read_timeout(Some(LOOK))?;
            Ok(move || {
                while !ended.load(Ordering::Relaxed) {
                    if socket.recv(&mut [0; 8]).is_ok() {
                        lock(&arrival).get_or_insert_with(Instant::now);
                    }
                }
                Ok(())
            })
        })?);
        Ok(())
    }

    /// Sends to a port of every host until `done` returns true, for [`LIMIT`] at most.
    fn send(&self, from: &Host, port: u16, done: impl FnMut() -> Result<Option<()>>) -> Result<()> {
        let (targets, stop) = (self.targets.clone(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let sender = inside(from.network(), move || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            Ok(move || {
                let mut next = Instant::now();
                while !stopped.load(Ordering::Relaxed) {
                    for target in &targets {
                        // A lost datagram is followed by others.
                        let _not_sent = socket.send_to(b"x", SocketAddr::from((*target, port)));
                    }
                    next += PACE;
                    pause(next);
                }
                Ok(())
            })
        })?;
        let waited = wait::until("datagrams arrive everywhere", LIMIT, done);
        stop.store(true, Ordering::Relaxed);
        sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
        waited
    }

    /// Resets the arrivals at one of the ports.
    fn arm(&self, which: usize) {
        self.arrivals.iter().for_each(|host| *lock(&host[which]) = None);
    }

    /// When the first datagram arrived at each host; `None` while one is missing.
    fn all(&self, which: usize) -> Option<Vec<Instant>> {
        self.arrivals.iter().map(|host| *lock(&host[which])).collect()
    }

    fn none(&self, which: usize) -> bool {
        self.arrivals.iter().all(|host| lock(&host[which]).is_none())
    }

    /// Commits a policy that opens one port and closes the other; returns how long it took until each host
    /// was open.
    fn change(&self, fixture: &Fixture, which: usize) -> Result<Vec<Duration>> {
        fixture.propose(&format!("udp/{}", PORTS[which]))?;
        self.arm(which);
        let mut begin = None;
        let seen = Instant::now() + PACE * 10;
        self.send(fixture.peer()?, PORTS[which], || {
            if begin.is_none() && Instant::now() >= seen {
                ensure!(self.none(which), "the port was open before");
                begin = Some(fixture.synchronize()?);
            }
            Ok(self.all(which).map(drop))
        })?;
        let (begin, all) = (begin.context("it never started")?, self.all(which));
        Ok(all.context("one is missing")?.iter().map(|at| at.duration_since(begin)).collect())
    }
}

impl Drop for Gates {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _failed_earlier = thread.join();
        }
    }
}

fn lock(arrival: &Arrival) -> std::sync::MutexGuard<'_, Option<Instant>> {
    arrival.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Many hosts that hold polls.
pub(super) fn notified(effort: Effort) -> Result<()> {
    let (hosts, rounds) = match effort {
        Effort::Full => (100, 5),
        Effort::Quick => (4, 3),
    };
    let mut fixture = Fixture::begin(hosts, "")?;
    let gates = open(&fixture)?;
    let mut times = Vec::new();
    for round in 0..rounds {
        fixture.settle()?;
        pause(Instant::now() + REST);
        times.extend(gates.change(&fixture, (round + 1) % 2)?);
    }
    fixture.all_live()?;
    let mut milliseconds: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1000.0).collect();
    milliseconds.sort_by(f64::total_cmp);
    let at = |percent: usize| milliseconds.get((milliseconds.len() * percent).div_ceil(100) - 1);
    for (name, percent) in [("agent.push_p50_ms", 50), ("agent.push_p99_ms", 99)] {
        Figure::new(name, *at(percent).context("nothing was measured")?, "ms").print();
    }
    Ok(())
}

/// A host whose notification is lost on the network: both ends believe that the connection still exists.
pub(super) fn by_heartbeat(effort: Effort) -> Result<()> {
    let rounds = match effort {
        Effort::Full => 5,
        Effort::Quick => 1,
    };
    let mut fixture = Fixture::begin(1, &format!("heartbeat-seconds: {HEARTBEAT}"))?;
    let gates = open(&fixture)?;
    let mut longest = Duration::ZERO;
    for round in 0..rounds {
        // By notification, so that the next poll is new and does not time out in the meantime.
        gates.change(&fixture, 1)?;
        fixture.settle()?;
        let before = fixture.status(0)?["last_cycle"]["ended"].clone();
        wait::until("a heartbeat", LIMIT, || {
            Ok((fixture.status(0)?["last_cycle"]["ended"] != before).then_some(()))
        })?;
        lose_what_is_open(&fixture).with_context(|| format!("in round {round}"))?;
        let times = gates.change(&fixture, 0)?;
        longest = times.into_iter().fold(longest, Duration::max);
        fixture.lab.host(PLATFORM)?.run("nft", ["delete table inet lost"])?;
    }
    fixture.all_live()?;
    Figure::new("agent.heartbeat_push_s", longest.as_secs_f64(), "s")
        .beside("the interval", f64::from(HEARTBEAT))
        .print();
    Ok(())
}

/// Checks that both ports are open without a policy, then opens only the first one.
fn open(fixture: &Fixture) -> Result<Gates> {
    let gates = Gates::open(fixture)?;
    for which in [0, 1] {
        gates.send(fixture.peer()?, PORTS[which], || Ok(gates.all(which).map(drop)))?;
    }
    fixture.commit(&format!("udp/{}", PORTS[0]))?;
    Ok(gates)
}

/// Drops the packets of all open connections from now on.
fn lose_what_is_open(fixture: &Fixture) -> Result<()> {
    let platform = fixture.lab.host(PLATFORM)?;
    let filter = format!("sport = :{PORT}");
    let text = platform.run("ss", ["-Htn", "state", "established", &filter])?;
    let of_host = format!("{}:", fixture.host(0)?.v4());
    let peers = text.lines().filter_map(|line| line.split_whitespace().last());
    // On a dual-stack socket, IPv4 addresses are written as IPv6 ones.
    let peers = peers.map(|peer| peer.trim_start_matches("[::ffff:").replace(']', ""));
    let ports: Vec<String> =
        peers.filter_map(|peer| Some(peer.strip_prefix(&of_host)?.to_owned())).collect();
    ensure!(!ports.is_empty(), "no notification is held open: {text}");
    let ports = ports.join(", ");
    let table = format!(
        "table inet lost {{
            chain input {{
                type filter hook input priority 0;
                tcp dport {PORT} tcp sport {{ {ports} }} drop
            }}
            chain output {{
                type filter hook output priority 0;
                tcp sport {PORT} tcp dport {{ {ports} }} drop
            }}
        }}"
    );
    platform.run("nft", [table]).map(drop)
}
