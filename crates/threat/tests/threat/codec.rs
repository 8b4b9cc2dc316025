use proptest::prelude::*;
use xshield_threat::codec::{
    CodecError, Delta, Limits, SnapshotReader, delta, read_snapshot, snapshot,
};
use xshield_threat::{Net, Prefix, ThreatSet};

use crate::{set, sets};

fn read(bytes: &[u8]) -> Result<ThreatSet, CodecError> {
    read_snapshot(bytes, Limits::default())
}

fn change(bytes: &[u8], base: &ThreatSet) -> Result<Delta, CodecError> {
    Delta::read(bytes, base.iter().map(Ok), Limits::default())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const OLD: &str = "1.2.3.0/30 1.2.3.77 9.9.9.9 203.0.113.0/24 2001:db8::/32 2001:db9::1";
const NEW: &str = "1.2.3.0 1.2.3.2/31 1.2.3.76/31 203.0.113.0/24 2001:db8::/32 2001:db9::2";

/// Hosts and platform are upgraded in any order, so the meaning of version 1 never changes.
#[test]
fn version_1_of_the_codec_is_pinned() {
    let (old, new) = (set(OLD), set(NEW));
    let recorded = |name: &str| {
        let text = include_str!("recorded.txt");
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map(str::trim).unwrap_or_default().to_owned()
    };
    assert_eq!(hex(&snapshot(&old)), recorded("snapshot-1"));
    assert_eq!(hex(&delta(&old, &new)), recorded("delta-1"));
}

#[test]
fn edges_of_the_address_space_are_exact() {
    for text in [
        "",
        "0.0.0.0",
        "255.255.255.255",
        "0.0.0.0/1 128.0.0.0/1",
        "0.0.0.0/1 128.0.0.0-255.255.255.254",
        "0.0.0.1-255.255.255.255",
        "::/1 8000::/1",
        "::1-ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ] {
        let given = set(text);
        assert_eq!(read(&snapshot(&given)).unwrap(), given, "{text}");
        for other in [set(""), set(OLD), set("0.0.0.0/1 128.0.0.0/1 ::/1 8000::/1")] {
            let change = change(&delta(&given, &other), &given).unwrap();
            assert_eq!(change.apply(&given).unwrap(), other, "{text}");
        }
    }
}

#[test]
fn damage_is_named() {
    let (old, new) = (set(OLD), set(NEW));
    let (bytes, change_bytes) = (snapshot(&old), delta(&old, &new));
    assert!(matches!(read(b""), Err(CodecError::Truncated)));
    assert!(matches!(read(b"<html>"), Err(CodecError::NotThis(_))));
    assert!(matches!(read(&change_bytes), Err(CodecError::NotThis(_))));
    assert!(matches!(change(&bytes, &old), Err(CodecError::NotThis(_))));
    let longer = [&bytes[..], b"\0"].concat();
    assert!(matches!(read(&longer), Err(CodecError::Trailing)));
    let mut newer = bytes.clone();
    newer[3] = 2;
    assert!(matches!(read(&newer), Err(CodecError::Version(2))));
    assert!(matches!(change(&change_bytes, &new), Err(CodecError::WrongBase { .. })));
    let read_change = change(&change_bytes, &old).unwrap();
    assert!(matches!(read_change.apply(&new), Err(CodecError::WrongBase { .. })));
    let few = Limits { entries: 3 };
    assert!(matches!(read_snapshot(&bytes[..], few), Err(CodecError::TooMany { declared: 6, .. })));
}

#[test]
fn every_damaged_bit_and_every_cut_is_found() {
    let (old, new) = (set(OLD), set(NEW));
    let (bytes, change_bytes) = (snapshot(&old), delta(&old, &new));
    let applied = |bytes: &[u8]| change(bytes, &old).and_then(|change| change.apply(&old));
    for at in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[at / 8] ^= 1 << (at % 8);
        assert!(read(&bytes).is_err(), "bit {at} of the snapshot");
    }
    for at in 0..change_bytes.len() * 8 {
        let mut bytes = change_bytes.clone();
        bytes[at / 8] ^= 1 << (at % 8);
        assert!(applied(&bytes).is_err(), "bit {at} of the delta");
    }
    (0..bytes.len()).for_each(|end| assert!(read(&bytes[..end]).is_err(), "cut at {end}"));
    (0..change_bytes.len()).for_each(|end| assert!(applied(&change_bytes[..end]).is_err()));
}

/// A few bytes that encode millions of parts cut out of one prefix.
#[test]
fn parts_of_a_delta_are_limited() {
    let base = set("10.0.0.0/8");
    let parts = (0..20_000u32).map(|at| Prefix::V4(Net::host(0x0a00_0000 + 4 * at)));
    let bytes = delta(&base, &base.difference(&parts.collect()));
    assert!(bytes.len() < 1000, "{}", bytes.len());
    let read = |entries| Delta::read(&bytes[..], base.iter().map(Ok), Limits { entries });
    assert!(read(20_000).is_ok());
    assert!(matches!(read(19_999), Err(CodecError::Damaged)));
}

#[test]
fn a_failed_reader_returns_nothing_more() {
    let bytes = snapshot(&set(OLD));
    let mut reader = SnapshotReader::new(&bytes[..bytes.len() - 1], Limits::default()).unwrap();
    assert!(reader.by_ref().any(|prefix| prefix.is_err()));
    assert!(reader.next().is_none());
}

/// A reader that returns one byte at a time and is interrupted in between.
struct Dripping<'a>(&'a [u8], bool);

impl std::io::Read for Dripping<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        let one = buffer.len().min(1);
        std::io::Read::read(&mut self.0, &mut buffer[..one])
    }
}

proptest! {
    #[test]
    fn a_snapshot_is_its_set(given in sets()) {
        let bytes = snapshot(&given);
        prop_assert_eq!(&read(&bytes).unwrap(), &given);
        prop_assert_eq!(&read_snapshot(Dripping(&bytes, false), Limits::default()).unwrap(), &given);
        let streamed: Result<Vec<Prefix>, _> =
            SnapshotReader::new(&bytes[..], Limits::default()).unwrap().collect();
        prop_assert_eq!(streamed.unwrap(), given.iter().collect::<Vec<_>>());
    }

    #[test]
    fn a_delta_turns_its_base_into_its_target(a in sets(), b in sets(), other in sets()) {
        // Sets that share most of their content, too.
        for b in [b.clone(), a.union(&b), a.difference(&b)] {
            let bytes = delta(&a, &b);
            let read = change(&bytes, &a).unwrap();
            prop_assert_eq!(&read.apply(&a).unwrap(), &b);
            prop_assert_eq!(read.removed(), &a.difference(&b));
            prop_assert_eq!(read.added(), &b.difference(&a));
            if other != a {
                let is_wrong_base = matches!(change(&bytes, &other), Err(CodecError::WrongBase { .. }));
                prop_assert!(is_wrong_base);
            }
        }
    }

    #[test]
    fn every_set_has_one_encoding(
        given in sets(),
        b in sets(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let damaged = |mut bytes: Vec<u8>| {
            damage.iter().for_each(|(at, byte)| {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            });
            bytes
        };
        let bytes = damaged(snapshot(&given));
        if let Ok(read) = read(&bytes) {
            prop_assert_eq!(snapshot(&read), bytes);
        }
        let bytes = damaged(delta(&given, &b));
        if let Ok(result) = change(&bytes, &given).and_then(|change| change.apply(&given)) {
            prop_assert_eq!(delta(&given, &result), bytes);
        }
    }
}
