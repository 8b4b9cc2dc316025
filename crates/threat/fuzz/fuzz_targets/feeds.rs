//! Every format reads any bytes to an answer within its limits; the first byte chooses the format.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xshield_threat::Confidence;
use xshield_threat::feed::{Fields, Format, Levels, Limits, Port, listing};

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let fields = Fields {
        address: "ip".into(),
        confidence: Some("score".into()).filter(|_| choice & 16 != 0),
        valid_until: Some("until".into()).filter(|_| choice & 32 != 0),
    };
    let format = match choice % 8 {
        0 => Format::Plain { levels: None },
        1 => Format::Plain { levels: Some(Levels(vec![(1, Confidence::FULL)])) },
        2 => Format::Csv { separator: ',', fields, port: Port::LeftOut },
        3 => Format::JsonLines { fields },
        4 => Format::JsonArray { path: vec!["data".into()], fields },
        5 => Format::Stix,
        6 => Format::Misp,
        _ => Format::CrowdSec,
    };
    let limits = Limits { line_bytes: 256, entries: 100, total_bytes: 4096, ..Limits::default() };
    if let Ok((listing, summary)) = listing(&format, bytes, limits, Confidence::FULL) {
        assert!(summary.entries <= 100 && summary.samples.len() <= 20);
        assert!(listing.len() as u64 <= summary.entries);
        assert!(listing.iter().all(|(prefix, _)| prefix.bits() >= 8));
    }
});
