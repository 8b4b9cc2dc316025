//! Any answer of the metadata service results in an instance or nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xshield_host::linux::machine::cloud::{Provider, instance};

fuzz_target!(|bodies: (Vec<u8>, Vec<u8>)| {
    for provider in [Provider::Aws, Provider::Azure, Provider::Gcp] {
        let mut bodies = [bodies.1.clone(), bodies.0.clone()].to_vec();
        if let Some(found) = instance(provider, |_| bodies.pop()) {
            assert!(!found.instance.is_empty());
        }
    }
});
