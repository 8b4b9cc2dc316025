use std::io::{self, Read, Write};

use proptest::prelude::*;
use xshield_threat::codec::flat::FlatError;
use xshield_threat::codec::{CodecError, FlatWriter, delta, snapshot};
use xshield_threat::keep::{Elements, KeepError, rewrite, unpack};
use xshield_threat::plan::{self, Counts, Expansion};
use xshield_threat::{Prefix, ThreatSet};

use crate::{set, sets};

const LIST: &str = "1.2.3.0/30 1.2.3.77 9.9.9.9 203.0.113.0/24 2001:db8::/32 2001:db9::1";
const NEXT: &str = "1.2.3.0/31 8.8.8.8 203.0.113.0/24 203.0.114.0/24 2001:db8::/32 2001:db9::2";

fn flat(set: &ThreatSet) -> Vec<u8> {
    let mut writer = FlatWriter::new(Vec::new());
    set.iter().for_each(|prefix| writer.push(prefix).unwrap());
    writer.finish().unwrap().0
}

/// The flat list that results from a delta and `base`, if `target` is ordered.
fn rewritten(base: &[u8], delta: &[u8], target: &ThreatSet) -> Result<Vec<u8>, KeepError> {
    let (mut first, mut second, mut delta) = (base, base, delta);
    let mut out = Vec::new();
    rewrite([&mut first, &mut second], &mut delta, target.digest(), &mut out)?;
    Ok(out)
}

/// A short name for a kind of error.
fn kind(result: Result<Vec<u8>, KeepError>) -> &'static str {
    match result {
        Ok(_) => "taken",
        Err(KeepError::Source(CodecError::WrongBase { .. })) => "another base",
        Err(KeepError::Source(CodecError::WrongContent { .. })) => "another list",
        Err(KeepError::Source(CodecError::Truncated)) => "too short",
        Err(KeepError::Source(CodecError::Damaged)) => "damaged",
        Err(_) => "something else",
    }
}

#[test]
fn files_that_do_not_lead_to_the_ordered_list_are_distinguished() {
    let (base, next, other) = (set(LIST), set(NEXT), set("4.4.4.4 5.5.5.5"));
    let change = delta(&base, &next);
    let nothing = ThreatSet::default();
    for (name, base, change, target, expected) in [
        ("as ordered", flat(&base), &change[..], &next, "taken"),
        ("another list was ordered", flat(&base), &change[..], &other, "another list"),
        ("another list is here", flat(&other), &change[..], &next, "another base"),
        ("a longer list is here", flat(&base.union(&other)), &change[..], &next, "another base"),
        ("no list is here", flat(&nothing), &change[..], &next, "another base"),
        ("the delta is cut off", flat(&base), &change[..80], &next, "too short"),
    ] {
        assert_eq!(kind(rewritten(&base, change, target)), expected, "{name}");
    }
    let mut cut = flat(&base);
    cut.truncate(cut.len() - 60);
    assert_eq!(kind(rewritten(&cut, &change, &next)), "too short", "the list here is cut off");
}

/// The first reading of the base verifies nothing: any damage must be detected in the second.
#[test]
fn no_flipped_bit_of_the_base_or_the_delta_goes_unnoticed() {
    let (base, next) = (set(LIST), set(NEXT));
    let (list, change) = (flat(&base), delta(&base, &next));
    let wanted = flat(&next);
    // The digest at the end of the base is not needed: another one is computed and compared.
    for at in 5 * 8..(list.len() - 32) * 8 {
        let mut damaged = list.clone();
        damaged[at / 8] ^= 1 << (at % 8);
        assert!(rewritten(&damaged, &change, &next).is_err(), "bit {at} of the list");
    }
    for at in 0..change.len() * 8 {
        let mut damaged = change.clone();
        damaged[at / 8] ^= 1 << (at % 8);
        let result = rewritten(&list, &damaged, &next);
        assert!(result.is_err(), "bit {at} of the delta: {:?}", result.map(|list| list == wanted));
    }
}

#[test]
fn a_snapshot_of_another_list_is_refused_before_anything_is_written() {
    let mut out = Vec::new();
    let bytes = snapshot(&set(LIST));
    let error = unpack(&mut &bytes[..], set(NEXT).digest(), &mut out).unwrap_err();
    assert!(matches!(error, KeepError::Source(CodecError::WrongContent { .. })), "{error:?}");
    assert!(out.is_empty());
}

/// A disk that is full after this many bytes.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        if taken == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(taken) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_a_write_error() {
    let (base, next) = (set(LIST), set(NEXT));
    let (list, change) = (flat(&base), delta(&base, &next));
    for room in 0..flat(&next).len() {
        let readers: [&mut dyn Read; 2] = [&mut &list[..], &mut &list[..]];
        let error = rewrite(readers, &mut &change[..], next.digest(), &mut Full(room)).unwrap_err();
        assert!(matches!(error, KeepError::Write(FlatError::Write(_))), "{room}: {error:?}");
    }
}

proptest! {
    #[test]
    fn elements_are_read_from_snapshot_and_delta(
        a in sets(),
        b in sets(),
        v4_from in 25u8..=32,
        v6_from in 121u8..=128,
    ) {
        let expansion = Expansion { v4_from, v6_from };
        for b in [b.clone(), a.union(&b), a.difference(&b), a.clone()] {
            let mut list = Vec::new();
            let (trailer, tally) =
                unpack(&mut &snapshot(&a)[..], a.digest(), &mut list).unwrap();
            prop_assert_eq!(&list, &flat(&a));
            prop_assert_eq!(trailer.digest, a.digest());
            prop_assert_eq!(tally.counts(expansion), Counts::of(&a, expansion));

            let next = rewritten(&list, &delta(&a, &b), &b).unwrap();
            prop_assert_eq!(&next, &flat(&b));

            let elements = Elements::of(Box::new(io::Cursor::new(next)), expansion).unwrap();
            let elements: Vec<Prefix> = elements.collect::<Result<_, _>>().unwrap();
            let planned: Vec<Prefix> =
                b.iter().flat_map(|prefix| plan::elements(prefix, expansion)).collect();
            prop_assert_eq!(elements, planned);
        }
    }
}
