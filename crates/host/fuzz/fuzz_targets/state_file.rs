//! Whatever can be unsealed was sealed: sealing it again results in the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xshield_host::files::{seal, unseal};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(payload) = unseal(bytes) {
        assert_eq!(seal(payload), bytes);
    }
    assert_eq!(unseal(&seal(bytes)), Ok(bytes));
});
