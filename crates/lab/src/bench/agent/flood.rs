//! A flood of denied packets: what it costs the agent, and whether each packet is counted.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::fixture::{Fixture, LIMIT, name};
use super::usage::{Share, Watched};
use crate::bench::traffic::{inside, number};
use crate::bench::{Effort, pause};
use crate::figure::Figure;
use crate::{agent, wait};

/// Packets per second.
const RATE: u32 = 100_000;
/// Sockets of the sender, and closed ports of the host: since neither number divides the other, every pair is
/// a flow.
const SOCKETS: usize = 31;
const PORTS: std::ops::Range<u16> = 9000..9008;
/// The interval of memory measurements.
const LOOK: Duration = Duration::from_millis(200);

pub(super) fn run(effort: Effort) -> Result<()> {
    let span = match effort {
        Effort::Full => Duration::from_secs(120),
        Effort::Quick => Duration::from_secs(10),
    };
    let mut fixture = Fixture::begin(1, "")?;
    let target = fixture.host(0)?.v4();
    ensure!(is_open(&fixture, target)?, "the ports are closed without a policy");
    count_arrivals(&fixture)?;
    fixture.commit("tcp/8080")?;
    ensure!(!is_open(&fixture, target)?, "the ports are open despite the policy");
    wait::until("the rules hand packets to the agent", LIMIT, || {
        let listens = fixture.status(0)?["live"]["standing"]["state"] == "listening";
        Ok((listens && handed_over(&fixture).is_ok()).then_some(()))
    })?;

    let watched = Watched::new(&fixture.agents[0])?;
    let idle = watched.resident_kib()?;
    let share = Share::begin(&watched)?;
    let sender = inside(fixture.peer()?.network(), move || {
        let sockets: Vec<UdpSocket> = (0..SOCKETS)
            .map(|_| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))
            .collect::<Result<_, _>>()?;
        Ok(move || Ok(send(&sockets, target, span)))
    })?;
    let residents = look(&watched, span)?;
    let percent = share.percent()?;
    let sent = sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
    fixture.all_live()?;

    let third = residents.len() / 3;
    let most = |part: &[f64]| part.iter().copied().fold(0.0, f64::max);
    let (early, late) = (most(&residents[..third]), most(&residents[residents.len() - third..]));
    Figure::new("agent.flood_cpu_percent", percent, "percent").print();
    Figure::new("agent.flood_rss_growth_kib", late - early, "KiB").print();
    Figure::new("agent.flood_rss_kib", most(&residents), "KiB").beside("before it", idle).print();
    Figure::new("agent.flood_rate", number(sent) / span.as_secs_f64(), "packets/s").print();
    count(&fixture)
}

/// Every packet that reached the host is in an event or a reported loss; and every packet logged to the group
/// was shown live or reported as lost.
fn count(fixture: &Fixture) -> Result<()> {
    let arrived = arrived(fixture)?;
    let (mut denied, mut lost) = (0, 0);
    let counted = wait::until("every packet is told", LIMIT, || {
        agent::command(&fixture.lab, fixture.host(0)?, &["run"])?;
        fixture.settle()?;
        (denied, lost) = told(fixture)?;
        Ok((denied + lost >= arrived).then_some(()))
    });
    if let Err(error) = counted {
        // The figure contains the difference.
        eprintln!("{error:#}");
    }
    let (mut offered, mut shown, mut unshown) = (0, 0, 0);
    let settled = wait::until("every packet is shown or told as lost", LIMIT, || {
        let counts = fixture.status(0)?["live"]["counts"].clone();
        let count = |what: &str| counts[what].as_u64().context("no count");
        (offered, shown, unshown) = (handed_over(fixture)?, count("shown")?, count("lost")?);
        Ok((shown + unshown >= offered).then_some(()))
    });
    if let Err(error) = settled {
        eprintln!("{error:#}");
    }
    let live = offered.abs_diff(shown + unshown) + arrived.saturating_sub(offered);
    let miscount = arrived.abs_diff(denied + lost) + live;
    Figure::new("agent.flood_shown", number(shown), "packets").print();
    Figure::new("agent.flood_unshown", number(unshown), "packets").print();
    Figure::new("agent.flood_miscount", number(miscount), "packets").print();
    Figure::new("agent.flood_lost", number(lost), "packets").print();
    Figure::new("agent.flood_denied", number(arrived), "packets").print();
    Ok(())
}

/// Sends at the rate for a time; returns the number of packets sent.
fn send(sockets: &[UdpSocket], target: Ipv4Addr, span: Duration) -> u64 {
    let begin = Instant::now();
    let mut ways = sockets.iter().cycle().zip(PORTS.cycle());
    let (mut tried, mut sent) = (0_u64, 0_u64);
    while begin.elapsed() < span {
        let due = begin.elapsed().as_micros() * u128::from(RATE) / 1_000_000;
        while u128::from(tried) < due {
            let Some((socket, port)) = ways.next() else { return sent };
            tried += 1;
            if socket.send_to(b"flood", SocketAddr::from((target, port))).is_ok() {
                sent += 1;
            }
        }
        pause(Instant::now() + Duration::from_micros(500));
    }
    sent
}

/// The agent's resident memory during the flood.
fn look(watched: &Watched, span: Duration) -> Result<Vec<f64>> {
    let mut residents = Vec::new();
    let mut next = Instant::now();
    let end = next + span;
    while next < end {
        residents.push(watched.resident_kib()?);
        next += LOOK;
        pause(next);
    }
    Ok(residents)
}

/// Counts arriving packets before our tables see them.
fn count_arrivals(fixture: &Fixture) -> Result<()> {
    let table = format!(
        "table inet count {{
            counter arrived {{ }}
            chain arrival {{
                type filter hook prerouting priority -300;
                udp dport {}-{} counter name arrived
            }}
        }}",
        PORTS.start,
        PORTS.end - 1
    );
    fixture.host(0)?.run("nft", [table]).map(drop)
}

fn arrived(fixture: &Fixture) -> Result<u64> {
    counter(fixture, "count", "arrived")
}

/// Packets that the rules logged to the group.
fn handed_over(fixture: &Fixture) -> Result<u64> {
    counter(fixture, "xshield", "live")
}

/// The value of a counter according to `nft`.
fn counter(fixture: &Fixture, table: &str, name: &str) -> Result<u64> {
    let list = ["-j", "list", "counter", "inet", table, name];
    let listed: Value = serde_json::from_str(&fixture.host(0)?.run("nft", list)?)?;
    let items = listed["nftables"].as_array().context("nft lists nothing")?;
    let counter = items.iter().find_map(|item| item.get("counter")).context("no counter")?;
    counter["packets"].as_u64().context("no count")
}

/// Whether a datagram to the first port arrives.
fn is_open(fixture: &Fixture, target: Ipv4Addr) -> Result<bool> {
    let receiver = inside(fixture.host(0)?.network(), || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORTS.start))?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        Ok(move || Ok(socket.recv(&mut [0; 8]).is_ok()))
    })?;
    let sender = inside(fixture.peer()?.network(), move || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        Ok(move || Ok(socket.send_to(b"open?", (target, PORTS.start))?))
    })?;
    sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
    receiver.join().map_err(|_| anyhow::anyhow!("the receiver panicked"))?
}

/// Packets in the platform's denied events for the flood's ports, and those reported as lost.
fn told(fixture: &Fixture) -> Result<(u64, u64)> {
    let mut denied = 0;
    for port in PORTS {
        let port = port.to_string();
        let name = name(0);
        let list = ["events", "--asset", &name, "--kind", "denied", "--port", &port];
        let most = ["--limit", "1000"];
        let events = fixture.platform.json(&fixture.lab, &[&list[..], &most].concat())?;
        let items = events["items"].as_array().or(events.as_array()).context("a list of events")?;
        ensure!(items.len() < 1000, "more events than one answer holds");
        denied += items.iter().filter_map(|event| event["packets"].as_u64()).sum::<u64>();
    }
    let asset = fixture.platform.json(&fixture.lab, &["asset", "show", &name(0)])?;
    Ok((denied, asset["events_lost"].as_u64().unwrap_or(0)))
}
