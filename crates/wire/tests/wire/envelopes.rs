use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;
use serde_json::{Value, json};
use xshield_policy::{Revision, Ruleset};
use xshield_wire::envelope::{
    EnvelopeError, Payload as _, Verified, open, open_label, open_order, seal, seal_ruleset,
};
use xshield_wire::label::RulesetLabel;
use xshield_wire::threat::ThreatOrder;
use xshield_wire::{PolicyKey, PolicyPublicKey, RulesetVersion, SharedDigest};

use crate::fixtures::{asset, policy_key, ruleset};

fn sealed(revision: u64) -> Vec<u8> {
    seal(&policy_key(), &ruleset(revision)).unwrap().to_bytes()
}

fn opened(bytes: &[u8]) -> Result<Verified<xshield_policy::Ruleset>, EnvelopeError> {
    open(bytes, &[policy_key().public()], &asset("a-web"), Revision(3).into())
}

#[test]
fn an_envelope_of_one_type_never_verifies_as_another() {
    let pinned = [policy_key().public()];
    let as_order = open_order(&sealed(3), &pinned, &asset("a-web"), 0);
    let expected = ThreatOrder::TYPE;
    let error = as_order.unwrap_err();
    assert!(matches!(error, EnvelopeError::PayloadType { expected: e, .. } if e == expected));
}

#[test]
fn a_sealed_ruleset_opens_and_opens_again_from_disk() {
    let bytes = sealed(3);
    let verified = opened(&bytes).unwrap();
    assert_eq!(*verified, ruleset(3));
    assert_eq!(verified.envelope(), bytes);
    assert_eq!(verified.digest(), seal(&policy_key(), &ruleset(3)).unwrap().digest());
    assert_eq!(verified.in_force().revision, Revision(3));
    assert_eq!(opened(verified.envelope()).unwrap(), verified);
}

#[test]
fn the_same_revision_is_accepted_again_and_an_older_one_is_refused() {
    let mut again = ruleset(3);
    again.intranet.clear();
    let again = seal(&policy_key(), &again).unwrap();
    assert_ne!(opened(&sealed(3)).unwrap().digest(), again.digest());
    opened(&again.to_bytes()).unwrap();
    opened(&sealed(4)).unwrap();
    let error = opened(&sealed(2)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the envelope contains revision 2, but this host has already had revision 3"
    );
}

fn labelled(revision: u64, compilation: u64) -> Vec<u8> {
    seal_ruleset(&policy_key(), &ruleset(revision), compilation).unwrap().to_bytes()
}

fn opened_above(
    bytes: &[u8],
    revision: u64,
    compilation: u64,
) -> Result<Verified<Ruleset>, EnvelopeError> {
    let floor = RulesetVersion { revision: Revision(revision), compilation };
    open(bytes, &[policy_key().public()], &asset("a-web"), floor)
}

#[test]
fn an_older_compilation_of_the_same_revision_is_refused() {
    let verified = opened_above(&labelled(3, 7), 3, 6).unwrap();
    assert_eq!(verified.version(), RulesetVersion { revision: Revision(3), compilation: 7 });
    assert_eq!(opened_above(verified.envelope(), 3, 7).unwrap(), verified, "the same one again");
    opened_above(&labelled(4, 1), 3, 7).unwrap();
    for (revision, compilation) in [(3, 6), (2, 9)] {
        let error = opened_above(&labelled(revision, compilation), 3, 7).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "the envelope contains revision {revision}, compilation {compilation}, but this \
                 host has already had revision 3, compilation 7"
            )
        );
    }
}

#[test]
fn a_removed_label_is_detected() {
    let mut bare: Value = serde_json::from_slice(&labelled(3, 7)).unwrap();
    assert!(bare.as_object_mut().unwrap().remove("label").is_some());
    let bare = serde_json::to_vec(&bare).unwrap();
    assert_eq!(opened(&bare).unwrap().version(), Revision(3).into(), "of a platform from before");
    assert!(matches!(opened_above(&bare, 3, 6).unwrap_err(), EnvelopeError::Older { .. }));
    assert!(matches!(opened_above(&bare, 2, 6).unwrap_err(), EnvelopeError::Unlabelled { .. }));
}

#[test]
fn a_label_belongs_to_one_ruleset() {
    let mut older = ruleset(3);
    older.intranet.clear();
    let older = seal_ruleset(&policy_key(), &older, 6).unwrap().to_bytes();
    let mut older: Value = serde_json::from_slice(&older).unwrap();
    let newer: Value = serde_json::from_slice(&labelled(3, 7)).unwrap();
    older["label"] = newer["label"].clone();
    let older = serde_json::to_vec(&older).unwrap();
    assert!(matches!(opened_above(&older, 3, 6).unwrap_err(), EnvelopeError::Mislabelled));

    let mut forged = newer.clone();
    let other = PolicyKey::from_seed([66; 32]);
    let theirs = seal_ruleset(&other, &ruleset(3), 9).unwrap().to_bytes();
    let theirs: Value = serde_json::from_slice(&theirs).unwrap();
    forged["label"] = theirs["label"].clone();
    let forged = serde_json::to_vec(&forged).unwrap();
    assert!(matches!(opened_above(&forged, 3, 6).unwrap_err(), EnvelopeError::UnknownKey { .. }));
}

#[test]
fn a_label_alone_proves_which_ruleset_a_host_has() {
    let verified = opened_above(&labelled(3, 7), 0, 0).unwrap();
    let shown = verified.label().unwrap();
    assert!(shown.len() < 1024, "{} bytes", shown.len());
    let pinned = [policy_key().public()];
    let label = open_label(shown, &pinned, &asset("a-web")).unwrap();
    let expected = RulesetLabel {
        asset: asset("a-web"),
        version: RulesetVersion { revision: Revision(3), compilation: 7 },
        digest: verified.digest(),
    };
    assert_eq!(*label, expected);
    assert!(open_label(shown, &pinned, &asset("a-db")).is_err());
    assert!(open_label(shown, &[], &asset("a-web")).is_err());
    assert!(open_label(verified.envelope(), &pinned, &asset("a-web")).is_err(), "a ruleset");
    assert!(open(shown, &pinned, &asset("a-web"), Revision(0).into()).is_err());
}

#[test]
fn one_digest_yields_those_of_many_assets() {
    let longest = "x".repeat(64);
    // Small, and larger than what is hashed at once.
    for networks in [0, 1, 700, 2_000] {
        let networks = 0..u32::try_from(networks).unwrap();
        let networks = networks.map(|at| IpAddr::V4(Ipv4Addr::from(at)).into()).collect();
        let ruleset = Ruleset { intranet: networks, ..ruleset(3) };
        let shared = SharedDigest::of(&ruleset).unwrap();
        for id in ["a-web", "a", "as-0123456789.x_Y-z", &longest] {
            let theirs = Ruleset { asset: asset(id), ..ruleset.clone() };
            let signed = seal(&policy_key(), &theirs).unwrap().digest();
            assert_eq!(shared.for_asset(&asset(id)), signed);
        }
    }
}

#[test]
fn another_hosts_ruleset_is_refused() {
    let error = open(&sealed(3), &[policy_key().public()], &asset("a-db"), Revision(0).into());
    let error = error.unwrap_err();
    assert!(matches!(&error, EnvelopeError::OtherHost { .. }));
    assert_eq!(error.to_string(), "the envelope is for a-web, but this host is a-db");
}

#[test]
fn only_a_pinned_key_signs() {
    let other = PolicyKey::from_seed([66; 32]);
    let bytes = seal(&other, &ruleset(3)).unwrap().to_bytes();
    let error = opened(&bytes).unwrap_err();
    let EnvelopeError::UnknownKey { signed_by, pinned } = error else { panic!("{error:?}") };
    assert_eq!(signed_by, [other.public().id().to_string()]);
    assert_eq!(pinned, [policy_key().public().id()]);

    // Signed by another key with the pinned key's id.
    let mut forged: Value = serde_json::from_slice(&bytes).unwrap();
    forged["signatures"][0]["keyid"] = json!(policy_key().public().id());
    let error = opened(&serde_json::to_vec(&forged).unwrap()).unwrap_err();
    assert!(matches!(error, EnvelopeError::BadSignature));

    // Both pinned, as during a key change.
    let pinned: [PolicyPublicKey; 2] = [policy_key().public(), other.public()];
    open(&bytes, &pinned, &asset("a-web"), Revision(3).into()).unwrap();
    assert!(open(&bytes, &[], &asset("a-web"), Revision(3).into()).is_err());
}

#[test]
fn a_second_signature_supports_key_rotation() {
    let other = PolicyKey::from_seed([66; 32]);
    let mut both: Value = serde_json::from_slice(&sealed(3)).unwrap();
    let theirs: Value =
        serde_json::from_slice(&seal(&other, &ruleset(3)).unwrap().to_bytes()).unwrap();
    let ours = both["signatures"][0].clone();
    both["signatures"] = json!([theirs["signatures"][0], ours]);
    opened(&serde_json::to_vec(&both).unwrap()).unwrap();
    both["signatures"] = json!([]);
    let error = opened(&serde_json::to_vec(&both).unwrap()).unwrap_err();
    assert!(matches!(error, EnvelopeError::UnknownKey { .. }));
}

#[test]
fn the_payloads_type_is_signed_too() {
    let mut envelope: Value = serde_json::from_slice(&sealed(3)).unwrap();
    assert_eq!(envelope["payloadType"], Ruleset::TYPE);
    envelope["payloadType"] = json!("application/vnd.xshield.ruleset.v2+json");
    let error = opened(&serde_json::to_vec(&envelope).unwrap()).unwrap_err();
    assert!(matches!(error, EnvelopeError::PayloadType { .. }));
}

#[test]
fn an_altered_payload_is_refused() {
    use base64::Engine as _;
    let mut envelope: Value = serde_json::from_slice(&sealed(3)).unwrap();
    let mut widened = ruleset(3);
    widened.inbound.enforced.subject = xshield_policy::Subject::Nothing;
    let payload = serde_json::to_vec(&widened).unwrap();
    envelope["payload"] = json!(base64::engine::general_purpose::STANDARD.encode(payload));
    let error = opened(&serde_json::to_vec(&envelope).unwrap()).unwrap_err();
    assert!(matches!(error, EnvelopeError::BadSignature));
}

#[test]
fn damage_at_any_byte_never_yields_another_ruleset() {
    let bytes = sealed(3);
    for at in 0..bytes.len() {
        for flip in [0x01, 0x20, 0x80, 0xFF] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            if let Ok(verified) = opened(&damaged) {
                assert_eq!(*verified, ruleset(3), "byte {at} flipped by {flip:#x}");
            }
        }
    }
}

#[test]
fn a_cut_envelope_is_refused_at_every_length() {
    let bytes = sealed(3);
    for length in 0..bytes.len() {
        let error = opened(&bytes[..length]).unwrap_err();
        assert!(matches!(error, EnvelopeError::Malformed(_)), "{length}: {error:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_refused(bytes: Vec<u8>) {
        prop_assert!(opened(&bytes).is_err());
    }

    #[test]
    fn every_revision_reads_back(revision in 3u64.., seed: [u8; 32]) {
        let key = PolicyKey::from_seed(seed);
        let bytes = seal(&key, &ruleset(revision)).unwrap().to_bytes();
        let verified = open(&bytes, &[key.public()], &asset("a-web"), Revision(3).into()).unwrap();
        prop_assert_eq!(&*verified, &ruleset(revision));
    }
}
