//! Without the policy key, no bytes are accepted as a ruleset.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xshield_policy::{AssetId, Revision};
use xshield_wire::envelope::open;
use xshield_wire::{Envelope, PolicyKey};

fuzz_target!(|bytes: &[u8]| {
    let asset: AssetId = "a-web".parse().unwrap();
    let pinned = [PolicyKey::from_seed([1; 32]).public()];
    assert!(open(bytes, &pinned, &asset, Revision(0).into()).is_err());
    // Reading an unverified envelope must not panic either.
    if let Ok(envelope) = Envelope::from_bytes(bytes) {
        let _ = (envelope.digest(), envelope.to_bytes());
    }
});
