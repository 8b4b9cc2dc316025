//! Any os-release results in a name and a verdict.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xshield_host::linux::os_release::{OsRelease, SupportedOs};

fuzz_target!(|text: &str| {
    let os = OsRelease::parse(text);
    assert!(!os.id.is_empty());
    let _ = SupportedOs::check(&os);
});
