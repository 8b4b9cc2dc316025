//! The cost of a million entries for a packet that matches none: the same traffic to hosts that differ only
//! in the length of their list.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context, Result};

use super::contestants::{Contestant, Forms};
use super::flood::Flood;
use super::{BenchContext, MILLION, lists};
use crate::bench::Effort;
use crate::bench::firewall::{CLIENT, lab_with_client};
use crate::bench::traffic::{Sink, Source};
use crate::figure::{Figure, median};
use crate::host::Host;

/// Long enough to be steady, short enough that a disturbance of the machine affects adjacent slices alike.
const SLICE: Duration = Duration::from_millis(40);
const PORT: u16 = 7000;
/// The host without any table.
const BARE: &str = "bare";

struct Target {
    sink: Sink,
    source: Source,
    flood: Flood,
}

impl Target {
    fn open(host: &Host) -> Result<Self> {
        let sink = Sink::open(host, &[PORT])?;
        let source = Source::open(&sink, &[PORT])?;
        Ok(Self { sink, source, flood: Flood::open(SocketAddrV4::new(host.v4(), PORT))? })
    }
}

/// Two hosts that are compared.
struct Pair {
    name: &'static str,
    few: usize,
    many: usize,
}

pub(super) fn run(bench: &BenchContext<'_>) -> Result<()> {
    let mut lab = lab_with_client()?;
    let names =
        |who: Contestant| [1, MILLION].map(|count| format!("{who:?}-{count}").to_lowercase());
    let mut hosts: Vec<String> = Contestant::ALL.into_iter().flat_map(names).collect();
    hosts.push(BARE.to_owned());
    for (host, number) in hosts.iter().zip(20..) {
        lab.add_host(host, number)?;
    }
    let list = lists::random(MILLION);
    std::thread::scope(|scope| {
        let measurement = || -> Result<()> {
            lab.host(CLIENT.0)?.network().enter()?;
            let mut targets = Vec::new();
            for host in &hosts {
                targets.push(Target::open(lab.host(host)?)?);
            }
            let mut pairs = Vec::new();
            for (at, who) in Contestant::ALL.into_iter().enumerate() {
                let (few, many) = (2 * at, 2 * at + 1);
                for (at, list) in [(few, &list[..1]), (many, &list[..])] {
                    let host = lab.host(&hosts[at])?;
                    block(who, bench, host, list, &targets[at])?;
                }
                pairs.push(Pair { name: who.name(), few, many });
            }
            // Also compared with a host that has no table and does not track connections.
            pairs.push(Pair { name: "no table at all", few: targets.len() - 1, many: 1 });
            measure(&targets, &pairs, bench.effort)
        };
        let result = scope.spawn(measurement).join();
        result.map_err(|_| anyhow::anyhow!("the measurement panicked"))?
    })
}

/// Loads a list and checks that it blocks.
fn block(
    who: Contestant,
    bench: &BenchContext<'_>,
    host: &Host,
    list: &[Ipv4Addr],
    target: &Target,
) -> Result<()> {
    let first = *list.first().context("the list is empty")?;
    let passes = || -> Result<bool> {
        let before = target.sink.arrived()?;
        anyhow::ensure!(target.flood.send(first), "could not send from {first}");
        Ok(crate::bench::traffic::settled(&target.sink, before, 1)? > 0)
    };
    anyhow::ensure!(passes()?, "without a list, a packet from {first} does not arrive");
    Forms::write(bench.driver, host, list)?.load(who, bench.driver, host)?;
    if who == Contestant::Ipset {
        for (chain, end) in [("INPUT", "src"), ("OUTPUT", "dst")] {
            let rule = ["-A", chain, "-m", "set", "--match-set", "s", end, "-j", "DROP"];
            host.run("iptables", rule)?;
        }
    }
    anyhow::ensure!(!passes()?, "{who:?} lets a listed packet through");
    Ok(())
}

type Rate = fn(&Target) -> Result<f64>;

fn measure(targets: &[Target], pairs: &[Pair], effort: Effort) -> Result<()> {
    let rounds = match effort {
        Effort::Full => 100,
        Effort::Quick => 10,
    };
    let kinds: [(_, _, Rate); 3] = [
        ("threat.pps_ratio_1m", rounds, |to| to.source.datagrams(&to.sink, SLICE)),
        ("threat.pps_random_ratio_1m", rounds, |to| to.flood.rate(&to.sink, SLICE)),
        ("threat.tcp_ratio_1m", rounds, |to| to.source.streams(SLICE)),
    ];
    for (name, rounds, rate) in kinds {
        let mut ratios: Vec<Vec<f64>> = pairs.iter().map(|_| Vec::new()).collect();
        for round in 0..rounds {
            for (pair, ratios) in pairs.iter().zip(&mut ratios) {
                // The two are measured first in turns, so that neither has an advantage.
                let (few, many) = if round % 2 == 0 {
                    let few = rate(&targets[pair.few])?;
                    (few, rate(&targets[pair.many])?)
                } else {
                    let many = rate(&targets[pair.many])?;
                    (rate(&targets[pair.few])?, many)
                };
                ratios.push(many / few);
            }
        }
        let middle = |values| median(values).context("nothing was measured");
        let ratios = ratios.into_iter().map(middle).collect::<Result<Vec<f64>>>()?;
        for (pair, &ratio) in pairs.iter().zip(&ratios).skip(1) {
            Figure::new(name, ratios[0], "ratio").beside(pair.name, ratio).print();
        }
    }
    Ok(())
}
