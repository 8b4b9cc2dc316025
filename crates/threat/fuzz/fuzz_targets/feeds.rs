//! Every format parses any bytes to a result within its limits; the first byte selects the format.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xshield_threat::Confidence;
use xshield_threat::feed::manifest::Manifest;
use xshield_threat::feed::{Fields, Format, Levels, Limits, Port, contents};

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let fields = Fields {
        address: "ip".into(),
        confidence: Some("score".into()).filter(|_| choice & 16 != 0),
        valid_until: Some("until".into()).filter(|_| choice & 32 != 0),
    };
    let limits = Limits { line_bytes: 256, entries: 100, total_bytes: 4096, ..Limits::default() };
    let format = match choice % 10 {
        0 => Format::Plain { levels: None },
        1 => Format::Plain { levels: Some(Levels(vec![(1, Confidence::FULL)])) },
        2 => Format::Csv { separator: ',', fields, port: Port::LeftOut },
        3 => Format::JsonLines { fields },
        4 => Format::JsonArray { path: vec!["data".into()], fields },
        5 => Format::Stix,
        6 => Format::Misp,
        7 => Format::Csv { separator: '\t', fields, port: Port::InUrl },
        8 => Format::CrowdSec,
        _ => {
            if let Ok(read) = Manifest::read(bytes, limits) {
                assert!(read.0.len() <= 100);
                assert!(read.0.keys().all(|id| id.to_string().len() == 36));
            }
            return;
        }
    };
    let now = 1_790_000_000;
    if let Ok(read) = contents(&format, bytes, limits, Confidence::FULL, now) {
        assert!(read.summary.entries <= 100 && read.summary.samples.len() <= 20);
        assert!((read.listed.len() + read.withdrawn.len()) as u64 <= read.summary.entries);
        assert!(read.listed.iter().all(|(prefix, _)| prefix.bits() >= 8));
        assert!(read.listed.next_expiry().is_none_or(|until| until > now));
        assert_eq!(read.listed.in_force(now), read.listed);
    }
});
