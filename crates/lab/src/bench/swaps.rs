//! The effect of ruleset swaps on traffic: no allowed packet may be lost, and no denied one may pass.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::driver::Driver;
use super::firewall::{CLIENT, file, lab_with_client};
use super::rules::{self, CLOSED, Shape};
use super::traffic::{inside, number};
use super::{Effort, pause};
use crate::figure::Figure;
use crate::host::{Host, Network};
use crate::{sys, wait};

/// The port of one lasting flow with answers.
const ESTABLISHED: u16 = 61_000;
/// The port of flows of one packet each.
const NEW: u16 = 61_200;
/// The pause between two rounds of packets. Slow enough that no queue between the hosts overflows.
const PACE: Duration = Duration::from_micros(200);
/// Enough for many seconds of this traffic.
const RECEIVE_BUFFER: usize = 32 << 20;
/// Rules in each of the two rulesets besides those that the traffic needs.
const RULES: usize = 100;

/// Packets of one kind.
#[derive(Default)]
struct Count {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Count {
    fn missing(&self) -> u64 {
        self.sent.load(Ordering::SeqCst).saturating_sub(self.received.load(Ordering::SeqCst))
    }
}

#[derive(Default)]
struct Counts {
    established: Count,
    answers: Count,
    new: Count,
    denied: Count,
    ended: AtomicBool,
}

impl Counts {
    fn allowed(&self) -> [&Count; 3] {
        [&self.established, &self.answers, &self.new]
    }

    fn lost(&self) -> u64 {
        self.allowed().iter().map(|count| count.missing()).sum()
    }
}

pub(super) fn run(driver: &Path, effort: Effort) -> Result<()> {
    let swaps = match effort {
        Effort::Full => 1000,
        Effort::Quick => 100,
    };
    let mut lab = lab_with_client()?;
    lab.add_host("server", 12)?;
    let (client, server) = (lab.host(CLIENT.0)?, lab.host("server")?);
    ensure!(ESTABLISHED == Shape::Host.port() && NEW == Shape::Port.port(), "ports without rules");
    let rulesets = [0u32, 1].map(|seed| -> Result<_> {
        let text = rules::bound(&rules::rules(RULES, seed, client.v4()), u64::from(seed) + 1)?;
        file(server, &format!("{seed}.json"), &text)
    });
    let [first, second] = rulesets;
    let (first, second) = (first?, second?);

    let counts = Arc::new(Counts::default());
    let receivers = receivers(server, &counts)?;
    prove_open(client, server, &counts)?;
    let mut driver = Driver::start(driver, server)?;
    driver.apply(&second)?;

    let sender = sender(client.network(), server.v4(), &counts)?;
    let time = driver.swap([&first, &second], swaps)?;
    counts.ended.store(true, Ordering::SeqCst);
    join(sender)?;
    // Packets in transit arrive soon; lost ones never do.
    let _some_are_lost = wait::until("all packets arrive", Duration::from_secs(2), || {
        Ok((counts.lost() == 0).then_some(()))
    });
    let overflows = overflows(server)? + overflows(client)?;
    ensure!(overflows == 0, "{overflows} packets did not fit a receiver's queue; measure again");
    receivers.into_iter().try_for_each(join)?;

    Figure::new("firewall.swap_lost", number(counts.lost()), "packets").print();
    let leaked = counts.denied.received.load(Ordering::SeqCst);
    Figure::new("firewall.swap_leaked", number(leaked), "packets").print();
    let watched = counts.allowed().iter().map(|count| count.sent.load(Ordering::SeqCst)).sum();
    Figure::new("firewall.swap_allowed_sent", number(watched), "packets").print();
    let denied = counts.denied.sent.load(Ordering::SeqCst);
    Figure::new("firewall.swap_denied_sent", number(denied), "packets").print();
    let swaps = u32::try_from(swaps).context("so many swaps")?;
    Figure::new("firewall.swap_ms", time / f64::from(swaps), "ms").print();
    Ok(())
}

fn join(thread: JoinHandle<Result<()>>) -> Result<()> {
    thread.join().map_err(|_| anyhow::anyhow!("a thread of the measurement panicked"))?
}

fn bound(port: u16) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
    sys::set_receive_buffer(&socket, RECEIVE_BUFFER)?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    Ok(socket)
}

/// The server's side: counts all packets, answers on the established flow.
fn receivers(server: &Host, counts: &Arc<Counts>) -> Result<Vec<JoinHandle<Result<()>>>> {
    let open = |port: u16| {
        let counts = Arc::clone(counts);
        inside(server.network(), move || {
            let socket = bound(port)?;
            Ok(move || receive(&socket, port, &counts))
        })
    };
    [ESTABLISHED, NEW, CLOSED].into_iter().map(open).collect()
}

fn receive(socket: &UdpSocket, port: u16, counts: &Counts) -> Result<()> {
    let mut buffer = [0; 64];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else {
            if counts.ended.load(Ordering::SeqCst) {
                return Ok(());
            }
            continue;
        };
        let count = match port {
            ESTABLISHED => &counts.established,
            NEW => &counts.new,
            _ => &counts.denied,
        };
        count.received.fetch_add(1, Ordering::SeqCst);
        if port == ESTABLISHED {
            counts.answers.sent.fetch_add(1, Ordering::SeqCst);
            // The firewall may refuse the answer here; then it is missing at the client.
            let _refused = socket.send_to(&buffer[..length], from);
        }
    }
}

/// Without a policy the denied port is reachable: if it is not reachable later, the firewall is the cause.
fn prove_open(client: &Host, server: &Host, counts: &Arc<Counts>) -> Result<()> {
    let to = SocketAddr::from((server.v4(), CLOSED));
    let probe = inside(client.network(), move || {
        Ok(move || bound(0)?.send_to(b"open?", to).map(drop).map_err(Into::into))
    })?;
    join(probe)?;
    wait::until("the denied port is open without a policy", Duration::from_secs(5), || {
        Ok((counts.denied.received.swap(0, Ordering::SeqCst) == 1).then_some(()))
    })
}

/// The client's side, until stopped. Also counts answers.
fn sender(
    network: Network,
    server: Ipv4Addr,
    counts: &Arc<Counts>,
) -> Result<JoinHandle<Result<()>>> {
    let counts = Arc::clone(counts);
    inside(network, move || {
        let (established, denied) = (bound(0)?, bound(0)?);
        established.connect((server, ESTABLISHED))?;
        let answers = established.try_clone()?;
        let answered = Arc::clone(&counts);
        let listener = std::thread::spawn(move || count_answers(&answers, &answered));
        Ok(move || {
            let send = |socket: &UdpSocket, port: u16, count: &Count| -> Result<()> {
                count.sent.fetch_add(1, Ordering::SeqCst);
                socket.send_to(b"packet", (server, port)).context("the client can't send")?;
                Ok(())
            };
            let mut next = Instant::now();
            while !counts.ended.load(Ordering::SeqCst) {
                counts.established.sent.fetch_add(1, Ordering::SeqCst);
                established.send(b"packet").context("the client can't send")?;
                let fresh = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
                send(&fresh, NEW, &counts.new)?;
                send(&fresh, CLOSED, &counts.denied)?;
                send(&denied, CLOSED, &counts.denied)?;
                next += PACE;
                pause(next);
            }
            join(listener)
        })
    })
}

fn count_answers(socket: &UdpSocket, counts: &Counts) -> Result<()> {
    let mut buffer = [0; 64];
    loop {
        if socket.recv(&mut buffer).is_ok() {
            counts.answers.received.fetch_add(1, Ordering::SeqCst);
        } else if counts.ended.load(Ordering::SeqCst) {
            return Ok(());
        }
    }
}

/// Packets that passed the firewall but found a socket's queue full.
fn overflows(host: &Host) -> Result<u64> {
    let table = std::fs::read_to_string(format!("/proc/{}/net/udp", host.pid()?))?;
    let drops = table.lines().skip(1).filter_map(|line| line.split_whitespace().last());
    Ok(drops.filter_map(|count| count.parse::<u64>().ok()).sum())
}
