//! An accepted flat list is the only form of its content.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xshield_threat::codec::{FlatReader, FlatWriter, Limits};
use xshield_threat::{Net, Prefix, ThreatSet};

fn write(prefixes: impl Iterator<Item = Prefix>) -> Vec<u8> {
    let mut writer = FlatWriter::new(Vec::new());
    prefixes.for_each(|prefix| writer.push(prefix).unwrap());
    writer.finish().unwrap().0
}

fn read(bytes: &[u8]) -> Option<Vec<Prefix>> {
    FlatReader::new(bytes, Limits { entries: 10_000 }).ok()?.collect::<Result<_, _>>().ok()
}

fuzz_target!(|input: (&[u8], Vec<(u32, u8)>, Vec<(u128, u8)>)| {
    let (damage, v4, v6) = input;
    let v4 = v4.into_iter().map(|(address, len)| Prefix::V4(Net::around(address, len % 33)));
    let v6 = v6.into_iter().map(|(address, len)| Prefix::V6(Net::around(address, len % 129)));
    let set: ThreatSet = v4.chain(v6).collect();
    let mut bytes = write(set.iter());
    assert_eq!(read(&bytes), Some(set.iter().collect()));
    for (byte, damage) in bytes.iter_mut().skip(5).zip(damage) {
        *byte ^= damage;
    }
    for bytes in [&bytes, damage] {
        if let Some(found) = read(bytes) {
            assert_eq!(write(found.into_iter()), bytes);
        }
    }
});
