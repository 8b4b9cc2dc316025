//! An accepted message is written and parsed again as the same message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xshield_wire::control::{Notification, UploadStanding};
use xshield_wire::message::{
    CheckIn, CheckInAnswer, Message, Report, ReportAnswer, SessionRequest, SessionResponse,
};
use xshield_wire::trust::PublicTrust;
use xshield_wire::{DeploymentKey, EnforcementKey};

fuzz_target!(|bytes: &[u8]| {
    again::<SessionRequest>(bytes);
    again::<SessionResponse>(bytes);
    again::<CheckIn>(bytes);
    again::<CheckInAnswer>(bytes);
    again::<Report>(bytes);
    again::<ReportAnswer>(bytes);
    again::<Notification>(bytes);
    again::<UploadStanding>(bytes);
    again::<PublicTrust>(bytes);
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    if let Ok(key) = text.parse::<EnforcementKey>() {
        assert_eq!(key.to_text().parse::<EnforcementKey>().unwrap(), key);
    }
    if let Ok(key) = text.parse::<DeploymentKey>() {
        assert_eq!(key.to_text().parse::<DeploymentKey>().unwrap(), key);
    }
});

fn again<M: Message + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(message) = M::read(bytes) {
        assert_eq!(M::read(&message.to_json().unwrap()).unwrap(), message);
    }
}
