//! Policy as code from untrusted text: never a panic; accepted documents can be compiled or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xshield_policy::document::{Policy, parse};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(documents) = parse(text, "fuzz.yaml") {
        let _ = Policy::build(documents);
    }
});
