//! The cost of many rules per packet: the same traffic to hosts that differ only in their rules.
//!
//! Every packet is allowed by one of the last rules of the list, so that a linear search passes all rules.
//! None of the contestants has a shortcut for established flows.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Effort;
use super::driver::Driver;
use super::firewall::{CLIENT, FEW, MANY, file, lab_with_client};
use super::rules::{self, Rule, Shape};
use super::traffic::{Sink, Source};
use crate::figure::{Figure, median};
use crate::host::Host;

/// Long enough to be steady, short enough that a disturbance of the machine affects adjacent slices alike.
const SLICE: Duration = Duration::from_millis(40);
/// Pairs of slices of Xshield per round; the peers differ so much that they need less precision.
const OURS: usize = 3;

/// Which firewall is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contestant {
    Xshield,
    Nft,
    Iptables,
}

impl Contestant {
    const ALL: [Self; 3] = [Self::Xshield, Self::Nft, Self::Iptables];

    fn name(self) -> &'static str {
        match self {
            Self::Xshield => "xshield",
            Self::Nft => "nft, plain lines",
            Self::Iptables => "iptables, plain lines",
        }
    }

    fn host_name(self, count: usize) -> String {
        format!("{}-{count}", format!("{self:?}").to_lowercase())
    }

    fn program(self, driver: &Path, host: &Host, list: &[Rule]) -> Result<()> {
        match self {
            Self::Xshield => {
                let ruleset = file(host, "ruleset.json", &rules::bound(list, 1)?)?;
                Driver::start(driver, host)?.apply(&ruleset)
            }
            Self::Nft => {
                let lines = file(host, "rules.nft", &rules::nft_lines(list))?;
                host.run("nft", ["-f".as_ref(), lines.as_os_str()]).map(drop)
            }
            Self::Iptables => {
                let lines = file(host, "rules.iptables", &rules::iptables_lines(list))?;
                host.run("iptables-restore", [lines]).map(drop)
            }
        }
    }
}

/// A host with few rules and one with many, of one contestant.
struct Pair {
    contestant: Contestant,
    few: Target,
    many: Target,
}

struct Target {
    sink: Sink,
    /// To the ports of all shapes in turns.
    mixed: Source,
    /// To the port of one shape each, in the order of [`Shape::ALL`].
    single: Vec<Source>,
    closed: Source,
}

impl Target {
    fn open(host: &Host) -> Result<Self> {
        let ports = Shape::ALL.map(Shape::port);
        let sink = Sink::open(host, &[&ports[..], &[rules::CLOSED]].concat())?;
        let mixed = Source::open(&sink, &ports)?;
        let single = ports.iter().map(|&port| Source::open(&sink, &[port]));
        let single = single.collect::<Result<_>>()?;
        let closed = Source::open(&sink, &[rules::CLOSED])?;
        Ok(Self { sink, mixed, single, closed })
    }
}

/// Rates in two adjacent slices.
#[derive(Default)]
struct Rates {
    many: Vec<f64>,
    ratios: Vec<f64>,
}

impl Rates {
    /// One round of a contestant.
    fn round(
        &mut self,
        round: usize,
        pair: &Pair,
        rate: impl Fn(&Target) -> Result<f64>,
    ) -> Result<()> {
        let times = if pair.contestant == Contestant::Xshield { OURS } else { 1 };
        (0..times).try_for_each(|time| self.measure(round + time, pair, &rate))
    }

    /// The two are measured first in turns, so that neither has an advantage.
    fn measure(
        &mut self,
        round: usize,
        pair: &Pair,
        rate: impl Fn(&Target) -> Result<f64>,
    ) -> Result<()> {
        let (few, many) = if round.is_multiple_of(2) {
            let few = rate(&pair.few)?;
            (few, rate(&pair.many)?)
        } else {
            let many = rate(&pair.many)?;
            (rate(&pair.few)?, many)
        };
        self.many.push(many);
        self.ratios.push(many / few);
        Ok(())
    }
}

pub(super) fn run(driver: &Path, effort: Effort) -> Result<()> {
    let mut lab = lab_with_client()?;
    let client = lab.host(CLIENT.0)?.v4();
    let mut number = 20;
    for contestant in Contestant::ALL {
        for count in [FEW, MANY] {
            lab.add_host(&contestant.host_name(count), number)?;
            number += 1;
        }
    }
    let lists = [FEW, MANY].map(|count| rules::rules(count, 0, client));
    std::thread::scope(|scope| {
        let measurement = || -> Result<()> {
            lab.host(CLIENT.0)?.network().enter()?;
            let mut pairs = Vec::new();
            for contestant in Contestant::ALL {
                let target = |count: usize| -> Result<Target> {
                    let host = lab.host(&contestant.host_name(count))?;
                    let target = Target::open(host)?;
                    ensure!(target.closed.passes(&target.sink)?, "nothing is filtered yet");
                    let list = lists.iter().find(|list| list.len() == count);
                    contestant.program(driver, host, list.context("no such list")?)?;
                    ensure!(!target.closed.passes(&target.sink)?, "{contestant:?} does not filter");
                    Ok(target)
                };
                pairs.push(Pair { contestant, few: target(FEW)?, many: target(MANY)? });
            }
            packets(&pairs, effort)?;
            streams(&pairs, effort)
        };
        let result = scope.spawn(measurement).join();
        result.map_err(|_| anyhow::anyhow!("the measurement panicked"))?
    })
}

fn packets(pairs: &[Pair], effort: Effort) -> Result<()> {
    let rounds = match effort {
        Effort::Full => 100,
        Effort::Quick => 10,
    };
    let mut mixed: Vec<Rates> = pairs.iter().map(|_| Rates::default()).collect();
    let mut single: Vec<Rates> = Shape::ALL.iter().map(|_| Rates::default()).collect();
    for round in 0..rounds {
        for (pair, rates) in pairs.iter().zip(&mut mixed) {
            rates.round(round, pair, |target| target.mixed.datagrams(&target.sink, SLICE))?;
        }
        for (shape, rates) in single.iter_mut().enumerate() {
            let rate = |target: &Target| target.single[shape].datagrams(&target.sink, SLICE);
            rates.measure(round, &pairs[0], rate)?;
        }
    }
    print("firewall.pps_ratio_10k", ("firewall.pps_10k", "packets/s"), mixed)?;
    let names = Shape::ALL.map(|shape| match shape {
        Shape::Host => "firewall.pps_ratio_10k_hosts",
        Shape::Box => "firewall.pps_ratio_10k_boxes",
        Shape::Port => "firewall.pps_ratio_10k_ports",
    });
    for (name, rates) in names.into_iter().zip(single) {
        let ratio = median(rates.ratios).context("nothing was measured")?;
        Figure::new(name, ratio, "ratio").print();
    }
    Ok(())
}

fn streams(pairs: &[Pair], effort: Effort) -> Result<()> {
    let rounds = match effort {
        Effort::Full => 60,
        Effort::Quick => 6,
    };
    let mut rates: Vec<Rates> = pairs.iter().map(|_| Rates::default()).collect();
    for round in 0..rounds {
        for (pair, rates) in pairs.iter().zip(&mut rates) {
            rates.round(round, pair, |target| target.mixed.streams(SLICE))?;
        }
    }
    print("firewall.tcp_ratio_10k", ("firewall.tcp_10k", "bytes/s"), rates)
}

/// One line per peer for the ratio, and one for the rate with many rules.
fn print(ratio: &'static str, rate: (&'static str, &'static str), all: Vec<Rates>) -> Result<()> {
    let middle = |values: Vec<f64>| median(values).context("nothing was measured");
    let mut ratios = Vec::new();
    let mut rates = Vec::new();
    for one in all {
        ratios.push(middle(one.ratios)?);
        rates.push(middle(one.many)?);
    }
    for (name, unit, values) in [(ratio, "ratio", ratios), (rate.0, rate.1, rates)] {
        for (peer, &value) in Contestant::ALL.iter().zip(&values).skip(1) {
            Figure::new(name, values[0], unit).beside(peer.name(), value).print();
        }
    }
    Ok(())
}
