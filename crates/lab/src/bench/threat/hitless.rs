//! The effect of deltas on traffic: no packet of a legitimate flow may be lost, none of a peer that is listed
//! before and after may pass.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::flood::Flood;
use super::{BenchContext, Driver, MILLION, lists, shown};
use crate::bench::firewall::{CLIENT, lab_with_client};
use crate::bench::traffic::{Sink, inside, number, settled};
use crate::bench::{Effort, pause};
use crate::figure::Figure;

const GOOD: u16 = 7000;
const BAD: u16 = 7001;
/// The pause between two rounds of packets. Slow enough that no queue between the hosts overflows.
const PACE: Duration = Duration::from_micros(200);
/// Listed before and after: as hosts, and within a prefix.
const LISTED_HOSTS: u32 = 64;
const LISTED_NET: &str = "11.9.0.0/16";
/// Entries that are in only one of the two lists.
const CHANGED: u32 = 10_000;

pub(super) fn run(bench: &BenchContext<'_>) -> Result<()> {
    let deltas = match bench.effort {
        Effort::Full => 200,
        Effort::Quick => 20,
    };
    let mut lab = lab_with_client()?;
    lab.add_host("server", 12)?;
    let (client, server) = (lab.host(CLIENT.0)?, lab.host("server")?);
    let driver = Driver { program: bench.driver, host: server };
    let addresses = lists::random(MILLION + 2 * CHANGED);
    let (common, changed) = addresses.split_at(MILLION as usize);
    let mut days = Vec::new();
    for (day, own) in changed.chunks(CHANGED as usize).enumerate() {
        // Neighbours of the listed prefix are added and removed, too.
        let nets = format!("{LISTED_NET}\n11.{}.0.0/16\n11.8.{}.0/24\n", 10 + day, 7 * day);
        let text = lists::plain(common.iter().chain(own)) + &nets;
        days.push(driver.compile(&lists::file(server, &format!("{day}.txt"), &text)?)?);
    }
    let [first, second] = &days[..] else { anyhow::bail!("not two lists") };
    let (there, back) = (first.with_extension("delta"), second.with_extension("delta"));
    driver.ask(["delta", shown(first)?, shown(second)?, shown(&there)?])?;
    driver.ask(["delta", shown(second)?, shown(first)?, shown(&back)?])?;

    let (good, bad) = (Sink::open(server, &[GOOD])?, Sink::open(server, &[BAD])?);
    let to = server.v4();
    let listed: Vec<Ipv4Addr> = (0..LISTED_HOSTS)
        .flat_map(|n| [common[n as usize], Ipv4Addr::from(0x0b09_0000 + n * 1021)])
        .collect();
    let begin = bad.arrived()?;
    let proof = inside(client.network(), {
        let listed = listed.clone();
        move || {
            let flood = Flood::open(SocketAddrV4::new(to, BAD))?;
            Ok(move || Ok(listed.iter().filter(|from| flood.send(**from)).count()))
        }
    })?;
    let sent = proof.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
    ensure!(sent == listed.len(), "only {sent} of {} packets were sent", listed.len());
    let arrived = settled(&bad, begin, sent as u64)?;
    ensure!(arrived == sent as u64, "without a list, {arrived} of {sent} packets arrive");
    driver.ask(["load", shown(first)?])?;

    let (good_before, bad_before) = (good.arrived()?, bad.arrived()?);
    let (ended, allowed, denied) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicU64::new(0)),
    );
    let sender = inside(client.network(), {
        let (ended, allowed, denied) =
            (Arc::clone(&ended), Arc::clone(&allowed), Arc::clone(&denied));
        move || {
            let stays = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            stays.connect((to, GOOD))?;
            let new = Flood::open(SocketAddrV4::new(to, GOOD))?;
            let bad = Flood::open(SocketAddrV4::new(to, BAD))?;
            Ok(move || {
                let mut next = Instant::now();
                for from in listed.iter().cycle() {
                    if ended.load(Ordering::Acquire) {
                        break;
                    }
                    let passes = u64::from(stays.send(b"x").is_ok())
                        + u64::from(new.send(new.any_address()));
                    allowed.fetch_add(passes, Ordering::AcqRel);
                    denied.fetch_add(u64::from(bad.send(*from)), Ordering::AcqRel);
                    next += PACE;
                    pause(next);
                }
                Ok(())
            })
        }
    })?;
    let count = deltas.to_string();
    let swap =
        ["swap", shown(first)?, shown(&there)?, shown(second)?, shown(&back)?, count.as_str()];
    let spent = driver.spend(swap)?;
    ended.store(true, Ordering::Release);
    sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
    driver.ask(["verify", shown(if deltas % 2 == 0 { first } else { second })?])?;

    let allowed = allowed.load(Ordering::Acquire);
    let lost = allowed.checked_sub(settled(&good, good_before, allowed)?);
    let lost = lost.context("more packets arrived than were sent")?;
    let leaked = bad.arrived()? - bad_before;
    Figure::new("threat.hitless_lost", number(lost), "packets").print();
    Figure::new("threat.hitless_leaked", number(leaked), "packets").print();
    Figure::new("threat.hitless_allowed_sent", number(allowed), "packets").print();
    let denied = denied.load(Ordering::Acquire);
    Figure::new("threat.hitless_denied_sent", number(denied), "packets").print();
    Figure::new("threat.hitless_delta_ms", spent.milliseconds / f64::from(deltas), "ms").print();
    Ok(())
}
