//! A delta applied to its base is its target, at once or streamed; an accepted delta is its own only
//! encoding; the elements that move are those in which the plans differ.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xshield_threat::codec::{Delta, Limits, delta};
use xshield_threat::plan::{Expansion, MovesBuilder, changes, elements};
use xshield_threat::{Net, Prefix, ThreatSet};

fn planned(set: &ThreatSet, expansion: Expansion) -> Vec<Prefix> {
    let mut planned: Vec<_> = set.iter().flat_map(|prefix| elements(prefix, expansion)).collect();
    planned.sort();
    planned
}

fn sorted(elements: impl Iterator<Item = Prefix>) -> Vec<Prefix> {
    let mut elements: Vec<_> = elements.collect();
    elements.sort();
    elements
}

fuzz_target!(|input: (&[u8], Vec<(u32, u8)>, Vec<(u32, u8)>, bool)| {
    let (damage, a, b, near) = input;
    let set = |entries: Vec<(u32, u8)>| -> ThreatSet {
        let net = |(at, len): (u32, u8)| match near {
            true => Net::around(at % 512, 24 + len % 9),
            false => Net::around(at, len % 33),
        };
        entries.into_iter().map(|entry| Prefix::V4(net(entry))).collect()
    };
    let (a, b) = (set(a), set(b));
    let limits = Limits { entries: 10_000 };
    let read = |bytes: &[u8]| Delta::read(bytes, a.iter().map(Ok), limits);
    let mut bytes = delta(&a, &b);
    let change = read(&bytes).unwrap();
    assert_eq!(change.apply(&a).as_ref().ok(), Some(&b));

    let mut moves = MovesBuilder::default();
    let mut target = Vec::new();
    for step in change.steps(a.iter().map(Ok)) {
        let step = step.unwrap();
        moves.note(step);
        target.extend(step.target());
    }
    assert_eq!(target, b.iter().collect::<Vec<_>>());
    let moves = moves.finish();
    let expansion = Expansion { v4_from: 27, v6_from: 128 };
    let (gone, new) =
        changes(planned(&a, expansion).into_iter(), planned(&b, expansion).into_iter());
    assert_eq!(sorted(moves.elements_gone(expansion)), gone);
    assert_eq!(sorted(moves.elements_new(expansion)), new);

    for (byte, damage) in bytes.iter_mut().skip(69).zip(damage) {
        *byte ^= damage;
    }
    if let Ok(change) = read(&bytes) {
        let streamed = change.stream(a.iter().map(Ok)).collect::<Result<ThreatSet, _>>();
        let applied = change.apply(&a);
        assert_eq!(streamed.as_ref().ok(), applied.as_ref().ok());
        if let Ok(result) = applied {
            assert_eq!(delta(&a, &result), bytes);
        }
    }
});
