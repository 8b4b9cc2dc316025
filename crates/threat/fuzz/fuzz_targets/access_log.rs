//! No line makes the parser of access logs panic; an untrusted peer is always the client.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xshield_threat::access_log::{Header, LogFormat, Reading, read};

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let header = match choice % 3 {
        0 => Header::XForwardedFor,
        1 => Header::Forwarded,
        _ => Header::XRealIp,
    };
    let format = match choice & 12 {
        0 => LogFormat::Combined,
        4 => LogFormat::Json,
        8 => LogFormat::Haproxy,
        _ => LogFormat::Envoy,
    };
    let trusted: Vec<_> = "10.0.0.0/8".parse().into_iter().collect();
    let _ = read(bytes, &Reading { format, header, trusted });
    if let Ok(found) = read(bytes, &Reading { format, header, trusted: Vec::new() }) {
        assert_eq!(found.via, None);
    }
});
