//! Whatever the kernel's datagram holds: each packet in it is counted once.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xshield_host::linux::nflog::{Aggregate, Numbers};

fuzz_target!(|datagrams: Vec<Vec<u8>>| {
    let mut aggregate = Aggregate::new(8);
    let mut numbers = Numbers::default();
    let mut packets = 0;
    for datagram in &datagrams {
        packets += numbers.fold(datagram, &mut aggregate, 1).packets;
    }
    assert_eq!(aggregate.drain().packets(), packets);
});
