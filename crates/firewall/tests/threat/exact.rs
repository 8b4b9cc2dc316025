//! From the text of a feed to the output of `nft`: the same set, address by address.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use proptest::prelude::*;
use xshield_firewall::plan::Digest;
use xshield_firewall::threat::{Counts, ListName, ThreatTable};
use xshield_threat::codec::{
    self, Delta, FlatReader, FlatWriter, Limits, SnapshotReader, read_snapshot,
};
use xshield_threat::compile::{Compiler, Exception, Feed};
use xshield_threat::feed::{self, Format};
use xshield_threat::plan::{self, Expansion, MovesBuilder, elements};
use xshield_threat::{Confidence, Prefix, ThreatSet};

use crate::lists::block;
use crate::table::listed;
use crate::world::in_namespace;

/// A small range at the edges of bytes and prefixes: this many addresses of each family.
const WORLD: u8 = 96;
const EXPANSION: Expansion = Expansion { v4_from: 31, v6_from: 127 };

type Addresses = BTreeSet<IpAddr>;

fn at(n: u8, v6: bool) -> IpAddr {
    match v6 {
        false => Ipv4Addr::from(0x50ff_ffd0 + u32::from(n)).into(),
        true => Ipv6Addr::from((0x2400_u128 << 112) + 0xffff_ffd0 + u128::from(n)).into(),
    }
}

/// A range of addresses, and a line that contains it.
#[derive(Debug, Clone)]
struct Span {
    first: u8,
    last: u8,
    v6: bool,
    written: Written,
}

#[derive(Debug, Clone, Copy)]
enum Written {
    Alone,
    Prefix,
    Range,
}

impl Span {
    fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        (self.first..=self.last).map(|n| at(n, self.v6))
    }

    fn line(&self) -> String {
        let (first, last) = (at(self.first, self.v6), at(self.last, self.v6));
        match self.written {
            Written::Alone => format!("{first} # a comment"),
            Written::Range => format!("{first} - {last}"),
            Written::Prefix => self.prefix().to_string(),
        }
    }

    fn prefix(&self) -> IpNet {
        let free = (self.last - self.first + 1).ilog2() as u8;
        let bits = if self.v6 { 128 } else { 32 };
        IpNet::new(at(self.first, self.v6), bits - free).unwrap()
    }
}

fn span() -> impl Strategy<Value = Span> {
    (0..WORLD, 0..WORLD / 3, 0u8..5, any::<bool>(), 0u8..3).prop_map(
        |(first, more, free, v6, written)| match written {
            0 => Span { first, last: first, v6, written: Written::Alone },
            1 => {
                let last = first.saturating_add(more).min(WORLD - 1);
                Span { first, last, v6, written: Written::Range }
            }
            _ => {
                // The range starts where 16 addresses would fit, so this is aligned there as well.
                let first = first >> free << free;
                let last = first + (1 << free) - 1;
                Span { first, last, v6, written: Written::Prefix }
            }
        },
    )
}

fn prefix_span() -> impl Strategy<Value = Span> {
    span().prop_filter("an exception is an address or a prefix", |span| {
        !matches!(span.written, Written::Range)
    })
}

/// A feed's text and exceptions, compiled; and the addresses that must result.
fn compiled((spans, exceptions): &(Vec<Span>, Vec<Span>)) -> (ThreatSet, Addresses) {
    let text: String = spans.iter().map(|span| span.line() + "\n").collect();
    let format = Format::Plain { levels: None };
    let limits = feed::Limits::default();
    let text = format!("; a list\n{text}");
    let (listing, summary) =
        feed::listing(&format, text.as_bytes(), limits, Confidence::FULL).unwrap();
    assert_eq!(summary.rejected, 0, "{text}");
    let id = "feed".parse().unwrap();
    let exception = |span: &Span| Exception {
        name: "ours".to_owned(),
        prefix: Prefix::try_from(span.prefix()).unwrap(),
    };
    let compiler = Compiler {
        feeds: vec![Feed { id, least: Confidence::NONE, listing }],
        exceptions: exceptions.iter().map(exception).collect(),
        protected: Vec::new(),
    };
    let all = |spans: &[Span]| spans.iter().flat_map(Span::addresses).collect::<Addresses>();
    let expected = all(spans).difference(&all(exceptions)).copied().collect();
    (compiler.compile().set().clone(), expected)
}

/// The list as it is transferred, and as it is on the host's disk.
fn delivered(set: &ThreatSet) -> Vec<u8> {
    let bytes = codec::snapshot(set);
    let mut reader = SnapshotReader::new(&bytes[..], Limits::default()).unwrap();
    let mut writer = FlatWriter::new(Vec::new());
    while let Some(prefix) = reader.read().unwrap() {
        writer.push(prefix).unwrap();
    }
    writer.finish().unwrap().0
}

fn flat(bytes: &[u8]) -> FlatReader<&[u8]> {
    FlatReader::new(bytes, Limits::default()).unwrap()
}

fn name(bytes: &[u8]) -> ListName {
    let mut reader = flat(bytes);
    let mut counts = plan::Counts::default();
    reader.by_ref().for_each(|prefix| counts.add(prefix.unwrap(), EXPANSION));
    let few = |count: u64| u32::try_from(count).unwrap();
    let counts = Counts {
        hosts4: few(counts.v4_hosts),
        nets4: few(counts.v4_intervals),
        hosts6: few(counts.v6_hosts),
        nets6: few(counts.v6_intervals),
    };
    ListName { revision: 1, digest: Digest(reader.trailer().unwrap().digest.0), counts }
}

fn load(table: &mut ThreatTable, bytes: &[u8]) {
    let prefixes = flat(bytes).flat_map(|prefix| elements(prefix.unwrap(), EXPANSION));
    table.load(&name(bytes), &block(), prefixes.map(IpNet::from)).unwrap();
}

/// Changes kernel and disk by the delta between two lists; returns what is on disk then.
fn change(table: &mut ThreatTable, bytes: &[u8], [old, new]: [&ThreatSet; 2]) -> Vec<u8> {
    let delta = codec::delta(old, new);
    let change = Delta::read(&delta[..], flat(bytes), Limits::default()).unwrap();
    let (mut moves, mut writer) = (MovesBuilder::default(), FlatWriter::new(Vec::new()));
    for step in change.steps(flat(bytes)) {
        let step = step.unwrap();
        moves.note(step);
        step.target().into_iter().for_each(|prefix| writer.push(prefix).unwrap());
    }
    let (bytes, moves) = (writer.finish().unwrap().0, moves.finish());
    let removes: Vec<IpNet> = moves.elements_gone(EXPANSION).map(IpNet::from).collect();
    let adds: Vec<IpNet> = moves.elements_new(EXPANSION).map(IpNet::from).collect();
    let base = Digest(old.digest().0);
    table.apply_delta(base, &name(&bytes), &adds, &removes, &block()).unwrap();
    bytes
}

/// The output of `nft`, address by address.
fn in_kernel() -> Addresses {
    listed().iter().flat_map(addresses).collect()
}

fn addresses(prefix: &IpNet) -> Vec<IpAddr> {
    let count = 1u32 << (prefix.max_prefix_len() - prefix.prefix_len());
    let address = |more| match prefix.network() {
        IpAddr::V4(first) => Ipv4Addr::from(u32::from(first) + more).into(),
        IpAddr::V6(first) => Ipv6Addr::from(u128::from(first) + u128::from(more)).into(),
    };
    (0..count).map(address).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn nft_lists_exactly_the_feed(
        lists in proptest::collection::vec(
            (proptest::collection::vec(span(), 1..12), proptest::collection::vec(prefix_span(), 0..4)),
            2..4,
        ),
    ) {
        in_namespace(|| {
            let compiled: Vec<_> = lists.iter().map(compiled).collect();
            let (first, expected) = &compiled[0];
            let mut bytes = delivered(first);
            let snapshot = codec::snapshot(first);
            assert_eq!(&read_snapshot(&snapshot[..], Limits::default()).unwrap(), first);
            let mut table = ThreatTable::open().unwrap();
            load(&mut table, &bytes);
            assert_eq!(&in_kernel(), expected);
            for pair in compiled.windows(2) {
                bytes = change(&mut table, &bytes, [&pair[0].0, &pair[1].0]);
                assert_eq!(in_kernel(), pair[1].1);
                assert_eq!(bytes, delivered(&pair[1].0), "what is on disk");
            }
            load(&mut table, &bytes);
            assert_eq!(Some(in_kernel()), compiled.last().map(|(_, expected)| expected.clone()));
        });
    }
}
