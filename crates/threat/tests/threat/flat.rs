use proptest::prelude::*;
use xshield_threat::codec::flat::{FlatError, Trailer};
use xshield_threat::codec::{
    CodecError, Delta, FlatReader, FlatWriter, Limits, SnapshotReader, Step, delta, snapshot,
};
use xshield_threat::plan::{Expansion, Moves, MovesBuilder, changes, elements};
use xshield_threat::{Prefix, ThreatSet};

use crate::{set, sets};

type Prefixes = Result<Vec<Prefix>, CodecError>;

fn write(set: &ThreatSet) -> Vec<u8> {
    let mut writer = FlatWriter::new(Vec::new());
    set.iter().for_each(|prefix| writer.push(prefix).unwrap());
    let (bytes, trailer) = writer.finish().unwrap();
    let (v4, v6) = (set.v4().len() as u64, set.v6().len() as u64);
    assert_eq!(trailer, Trailer { digest: set.digest(), v4, v6 });
    bytes
}

fn reader(bytes: &[u8]) -> Result<FlatReader<&[u8]>, CodecError> {
    FlatReader::new(bytes, Limits::default())
}

fn read(bytes: &[u8]) -> Prefixes {
    reader(bytes)?.collect()
}

fn change(base: &ThreatSet, target: &ThreatSet) -> Delta {
    let bytes = delta(base, target);
    Delta::read(&bytes[..], base.iter().map(Ok), Limits::default()).unwrap()
}

fn moves(change: &Delta, base: &ThreatSet) -> Moves {
    let mut moves = MovesBuilder::default();
    change.steps(base.iter().map(Ok)).for_each(|step| moves.note(step.unwrap()));
    moves.finish()
}

const LIST: &str = "1.2.3.0/30 1.2.3.77 9.9.9.9 203.0.113.0/24 2001:db8::/32 2001:db9::1";

#[test]
fn version_1_of_the_flat_list_is_pinned() {
    let bytes = write(&set("1.2.3.4/31 2001:db8::/32"));
    let head = b"XTL\x01F\x1f\x01\x02\x03\x04\xff\x20\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\0\xff";
    assert_eq!(&bytes[..head.len()], head);
    assert_eq!(
        bytes[head.len()..head.len() + 16],
        [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]
    );
    assert_eq!(bytes[head.len() + 16..], set("1.2.3.4/31 2001:db8::/32").digest().0);
}

#[test]
fn edges_of_the_address_space_are_exact() {
    for text in [
        "",
        "0.0.0.0/1 128.0.0.0/1",
        "0.0.0.1-255.255.255.255",
        "255.255.255.255 ::",
        "::/1 8000::/1",
        "::1-ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe",
    ] {
        let given = set(text);
        assert_eq!(read(&write(&given)).unwrap(), given.iter().collect::<Vec<_>>(), "{text}");
        for other in [set(""), set(LIST), set("0.0.0.0/1 128.0.0.0/1 ::/1 8000::/1")] {
            let change = change(&given, &other);
            let streamed: Prefixes = change.stream(given.iter().map(Ok)).collect();
            assert_eq!(streamed.unwrap(), other.iter().collect::<Vec<_>>(), "{text}");
        }
    }
}

#[test]
fn every_damaged_bit_and_every_cut_is_found() {
    let bytes = write(&set(LIST));
    for at in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[at / 8] ^= 1 << (at % 8);
        assert!(read(&bytes).is_err(), "bit {at}");
    }
    (0..bytes.len()).for_each(|end| assert!(read(&bytes[..end]).is_err(), "cut at {end}"));
    let longer = [&bytes[..], b"\0"].concat();
    assert!(matches!(read(&longer), Err(CodecError::Trailing)));
    assert!(matches!(read(&bytes[..bytes.len() - 1]), Err(CodecError::Truncated)));
    assert!(matches!(read(&snapshot(&set(LIST))), Err(CodecError::NotThis(_))));
    let few = FlatReader::new(&bytes[..], Limits { entries: 3 }).unwrap();
    assert!(matches!(few.collect::<Prefixes>(), Err(CodecError::TooMany { limit: 3, .. })));
}

/// Content that only a faulty writer could write is refused although its digest matches.
#[test]
fn other_forms_of_a_set_are_refused() {
    let prefix = |text: &str| text.parse::<Prefix>().unwrap();
    for (text, before) in [
        ("1.2.3.4", "1.2.3.5"),
        ("1.2.3.4", "1.2.3.4"),
        ("1.2.3.5", "1.2.3.4"),
        ("1.2.3.7", "1.2.3.0/24"),
        ("128.0.0.0/1", "0.0.0.0/1"),
        ("1.2.3.4", "::1"),
        ("::1", "::"),
    ] {
        let mut writer = FlatWriter::new(Vec::new());
        writer.push(prefix(before)).unwrap();
        let refused = writer.push(prefix(text));
        assert!(matches!(refused, Err(FlatError::Order(_))), "{text} after {before}");
    }
    let mut bytes = write(&set("1.2.3.4/31"));
    bytes.splice(5..10, *b"\x20\x01\x02\x03\x04\x20\x01\x02\x03\x05");
    assert!(matches!(read(&bytes), Err(CodecError::Damaged)));
}

#[test]
fn a_failed_reader_returns_nothing_more() {
    let bytes = write(&set(LIST));
    let mut cut = reader(&bytes[..bytes.len() - 1]).unwrap();
    assert!(cut.by_ref().any(|prefix| prefix.is_err()));
    assert!(cut.next().is_none() && cut.trailer().is_none());
    let mut whole = reader(&bytes).unwrap();
    assert!(whole.trailer().is_none());
    assert_eq!(whole.by_ref().count(), 6);
    assert_eq!(whole.trailer().map(|trailer| trailer.digest), Some(set(LIST).digest()));
}

#[test]
fn a_full_disk_is_reported() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    assert!(matches!(FlatWriter::new(Full).finish(), Err(FlatError::Write(_))));
    let mut writer = FlatWriter::new(Full);
    let pushed = (0..100_000).try_for_each(|number| writer.push(Prefix::V4(host(number * 2))));
    assert!(matches!(pushed, Err(FlatError::Write(_))));
}

fn host(address: u32) -> xshield_threat::Net<u32> {
    xshield_threat::Net::host(address)
}

#[test]
fn prefixes_split_and_merge() {
    let cases = [
        ("1.2.3.0/30", "1.2.3.0/31 1.2.3.3", "-1.2.3.0/30 +1.2.3.0/31 +1.2.3.3"),
        ("1.2.3.0/31 1.2.3.3", "1.2.3.0/30", "+1.2.3.0/30 -1.2.3.0/31 -1.2.3.3"),
        ("1.2.3.0/31 1.2.3.4", "1.2.3.0/31 1.2.3.5", "1.2.3.0/31 -1.2.3.4 +1.2.3.5"),
        ("1.2.3.4 ::1", "::1 ::3", "-1.2.3.4 ::1 +::3"),
        ("1.2.3.1-1.2.3.6", "1.2.3.0/29", "+1.2.3.0/29 -1.2.3.1 -1.2.3.2/31 -1.2.3.4/31 -1.2.3.6"),
        ("9.9.9.9", "9.9.9.9", "9.9.9.9"),
    ];
    for (base, target, expected) in cases {
        let (base, target) = (set(base), set(target));
        let steps = change(&base, &target);
        let steps = steps.steps(base.iter().map(Ok)).map(|step| match step.unwrap() {
            Step::Kept(prefix) => prefix.to_string(),
            Step::Gone(prefix) => format!("-{prefix}"),
            Step::New(prefix) => format!("+{prefix}"),
        });
        assert_eq!(steps.collect::<Vec<_>>().join(" "), expected);
    }
}

#[test]
fn elements_are_kept_when_their_prefix_is_split() {
    let (base, target) = (set("1.2.3.0/30 5.0.0.0/24"), set("1.2.3.0/31 1.2.3.3 5.0.0.0/25"));
    let moves = moves(&change(&base, &target), &base);
    let expansion = Expansion { v4_from: 28, v6_from: 128 };
    let text = |elements: &mut dyn Iterator<Item = Prefix>| {
        elements.map(|element| element.to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(text(&mut moves.elements_gone(expansion)), "1.2.3.2 5.0.0.0/24");
    assert_eq!(text(&mut moves.elements_new(expansion)), "5.0.0.0/25");
    assert_eq!(text(&mut moves.elements_gone(Expansion::NONE)), "1.2.3.0/30 5.0.0.0/24");
    assert_eq!(text(&mut moves.elements_new(Expansion::NONE)), "1.2.3.3 1.2.3.0/31 5.0.0.0/25");
}

#[test]
fn a_stream_over_another_base_ends_in_an_error() {
    let (base, target) = (set(LIST), set("1.2.3.0/31 8.8.8.8 2001:db8::/32"));
    let change = change(&base, &target);
    for other in ["", "1.2.3.0/30", "8.8.8.8", "0.0.0.0/1 128.0.0.0/1", "::/1 8000::/1 7.7.7.7"] {
        let streamed: Prefixes = change.stream(set(other).iter().map(Ok)).collect();
        assert!(matches!(streamed, Err(CodecError::WrongBase { .. })), "{other}");
    }
    let failing = base.iter().take(2).map(Ok).chain([Err(CodecError::Truncated)]);
    let mut streamed = change.stream(failing);
    assert!(matches!(streamed.find_map(Result::err), Some(CodecError::Truncated)));
    assert!(streamed.next().is_none());
}

/// A base that is not verified while it is read is verified by the change.
#[test]
fn a_damaged_base_is_found_by_the_change() {
    let (base, target) = (set(LIST), set("1.2.3.0/31 8.8.8.8 2001:db8::/32"));
    let (bytes, change) = (write(&base), change(&base, &target));
    let delta = delta(&base, &target);
    for at in 5 * 8..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[at / 8] ^= 1 << (at % 8);
        let open = || FlatReader::as_base(&bytes[..], Limits::default()).unwrap();
        let read = Delta::read(&delta[..], open(), Limits::default());
        let streamed: Prefixes = change.stream(open()).collect();
        // The digest at the end of the base is not used by the change.
        let is_digest = at / 8 >= bytes.len() - 32;
        assert_eq!((read.is_ok(), streamed.is_ok()), (is_digest, is_digest), "bit {at}");
    }
}

#[test]
fn a_list_written_under_another_digest_is_refused() {
    let mut writer = FlatWriter::of(Vec::new(), set("9.9.9.9").digest());
    writer.push("1.2.3.4".parse().unwrap()).unwrap();
    let (bytes, _) = writer.finish().unwrap();
    assert!(matches!(read(&bytes), Err(CodecError::WrongContent { .. })));
}

#[test]
fn a_first_load_writes_a_flat_list_from_a_snapshot() {
    let bytes = snapshot(&set(LIST));
    let mut writer = FlatWriter::new(Vec::new());
    for prefix in SnapshotReader::new(&bytes[..], Limits::default()).unwrap() {
        writer.push(prefix.unwrap()).unwrap();
    }
    assert_eq!(writer.finish().unwrap().0, write(&set(LIST)));
}

fn planned(set: &ThreatSet, expansion: Expansion) -> Vec<Prefix> {
    let mut planned: Vec<Prefix> =
        set.iter().flat_map(|prefix| elements(prefix, expansion)).collect();
    planned.sort();
    planned
}

proptest! {
    #[test]
    fn a_flat_list_is_its_set(given in sets()) {
        prop_assert_eq!(read(&write(&given)).unwrap(), given.iter().collect::<Vec<_>>());
    }

    #[test]
    fn a_flat_list_has_one_encoding(
        given in sets(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = write(&given);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(found) = read(&bytes) {
            prop_assert_eq!(write(&found.into_iter().collect()), bytes);
        }
    }

    #[test]
    fn a_streamed_delta_equals_an_applied_one(
        a in sets(),
        b in sets(),
        v4_from in 25u8..=32,
        v6_from in 121u8..=128,
    ) {
        let expansion = Expansion { v4_from, v6_from };
        for b in [b.clone(), a.union(&b), a.difference(&b), a.clone()] {
            let change = change(&a, &b);
            let flat = write(&a);
            let base = FlatReader::as_base(&flat[..], Limits::default()).unwrap();
            let mut writer = FlatWriter::of(Vec::new(), change.to());
            change.stream(base).for_each(|prefix| writer.push(prefix.unwrap()).unwrap());
            prop_assert_eq!(writer.finish().unwrap().0, write(&b));
            let moves = moves(&change, &a);
            let (gone, new) =
                changes(planned(&a, expansion).into_iter(), planned(&b, expansion).into_iter());
            let sorted = |elements: &mut dyn Iterator<Item = Prefix>| {
                let mut elements: Vec<Prefix> = elements.collect();
                elements.sort();
                elements
            };
            prop_assert_eq!(sorted(&mut moves.elements_gone(expansion)), gone);
            prop_assert_eq!(sorted(&mut moves.elements_new(expansion)), new);
        }
    }
}
