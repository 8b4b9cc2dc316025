//! A stored listing is read back; other bytes are refused, even with a matching digest.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xshield_threat::listing::{ListingBuilder, store};
use xshield_threat::{Confidence, Net, Prefix};

fuzz_target!(|input: (&[u8], Vec<(u128, u8, u8, Option<u32>)>, u32)| {
    let (content, entries, now) = input;
    let bytes = [b"XTF\x01", content].concat();
    let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
    if let Ok(listing) = store::decode(&[&bytes[..], digest.as_ref()].concat()) {
        assert_eq!(store::decode(&store::encode(&listing)), Ok(listing));
    }
    assert!(store::decode(content).is_err() || content.len() > 36);

    let mut builder = ListingBuilder::default();
    for (address, len, percent, until) in entries {
        let prefix = if len % 2 == 0 {
            Prefix::V4(Net::around(address as u32, len % 33))
        } else {
            Prefix::V6(Net::around(address, len % 129))
        };
        let confidence = Confidence::new(percent % 101).unwrap();
        match until {
            Some(until) => builder.push_until(prefix.into(), confidence, until.into()),
            None => builder.push_prefix(prefix, confidence),
        }
    }
    let listing = builder.finish().since_of(None, now.into());
    assert_eq!(store::decode(&store::encode(&listing)), Ok(listing.clone()));
    assert!(listing.details().all(|entry| listing.find(entry.prefix) == Some(entry)));
});
