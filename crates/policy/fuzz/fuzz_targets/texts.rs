//! The small languages: an accepted text is written and parsed again as the same value.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xshield_policy::criteria::Criteria;
use xshield_policy::peer::PeerRef;
use xshield_policy::{Packet, Service};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(criteria) = text.parse::<Criteria>() {
        assert_eq!(criteria.to_string().parse::<Criteria>().as_ref(), Ok(&criteria));
    }
    if let Ok(peer) = text.parse::<PeerRef>() {
        assert_eq!(peer.to_string().parse::<PeerRef>().as_ref(), Ok(&peer));
    }
    if let Ok(service) = text.parse::<Service>() {
        assert_eq!(service.to_string().parse::<Service>().as_ref(), Ok(&service));
    }
    if let Ok(packet) = text.parse::<Packet>() {
        assert_eq!(packet.to_string().parse::<Packet>().as_ref(), Ok(&packet));
    }
});
