//! Each packet in a datagram of the kernel is counted once, whatever it contains.
#![no_main]

mod netlink;

use libfuzzer_sys::fuzz_target;
use netlink::Datagram;
use xshield_host::linux::nflog::{Aggregate, Numbers};

/// `NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET`, an error, the end of a list.
const KINDS: [u16; 3] = [4 << 8, 2, 3];

fuzz_target!(|datagrams: Vec<Datagram>| {
    let mut aggregate = Aggregate::new(8);
    let mut numbers = Numbers::default();
    let mut packets = 0;
    for datagram in &datagrams {
        packets += numbers.fold(&datagram.bytes(&KINDS), &mut aggregate, 1).packets;
    }
    assert_eq!(aggregate.drain().packets(), packets);
});
