use proptest::prelude::*;
use xshield_wire::keys::KeyError;
use xshield_wire::message::Message as _;
use xshield_wire::trust::{Der, PublicTrust, TrustDigest, TrustError};
use xshield_wire::{DeploymentKey, EnforcementKey, PolicyPublicKey};

use crate::fixtures::{enforcement, policy_key};

fn shown() -> PublicTrust {
    let ca = vec![Der(vec![1; 70]), Der(vec![2; 3])];
    PublicTrust { version: 1, ca, policy_keys: vec![policy_key().public(), [9; 32].into()] }
}

fn key() -> DeploymentKey {
    DeploymentKey::new(enforcement(), shown().digest())
}

#[test]
fn a_deployment_key_survives_copying_by_people() {
    let key = DeploymentKey::new(enforcement(), TrustDigest::from([0x5A; 32]));
    let text = key.to_text();
    assert_eq!(
        text.as_str(),
        "xdk1_k7f3_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwdaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWl\
         paWlpaWlDH37A"
    );
    let read: DeploymentKey = format!("  {}\n", *text).parse().unwrap();
    assert_eq!(read, key);
    assert_eq!(read.enforcement(), &enforcement());
    let shown = format!("{key:?}");
    assert!(!shown.contains("BwcH") && !shown.contains("7, 7"), "{shown}");
}

#[test]
fn a_miscopied_deployment_key_is_distinguished_from_other_text() {
    let text = key().to_text();
    for end in 0..text.len() {
        let cut: Result<DeploymentKey, _> = text[..end].parse();
        assert_eq!(cut, Err(KeyError::DeploymentForm), "{}", &text[..end]);
    }
    let form = [
        format!("{}A", *text),
        text.replace("xdk1_", "xdk2_"),
        text.replace("_k7f3_", "__"),
        enforcement().to_text().to_string(),
    ];
    for wrong in form {
        assert_eq!(wrong.parse::<DeploymentKey>(), Err(KeyError::DeploymentForm), "{wrong}");
    }
    let other = text.replace("_k7f3_", "_k7f4_");
    assert_eq!(other.parse::<DeploymentKey>(), Err(KeyError::DeploymentChecksum));
    assert_eq!(text.parse::<EnforcementKey>(), Err(KeyError::EnforcementForm));
}

#[test]
fn trust_is_accepted_only_by_its_digest() {
    let vouched = key().vouch(shown()).unwrap();
    assert_eq!(vouched.policy_keys(), shown().policy_keys);
    let pem = vouched.ca_pem();
    assert_eq!(pem.matches("-----BEGIN CERTIFICATE-----\n").count(), 2);
    assert!(pem.lines().all(|line| line.len() <= 64), "{pem}");
    assert!(pem.ends_with("AgIC\n-----END CERTIFICATE-----\n"), "{pem}");

    let mut turned = shown();
    turned.ca.reverse();
    turned.policy_keys.reverse();
    key().vouch(turned).expect("order is no matter");

    type Change = fn(&mut PublicTrust);
    let changes: [Change; 6] = [
        |trust| trust.ca[0].0[0] ^= 1,
        |trust| trust.ca.truncate(1),
        |trust| trust.ca.push(Der(vec![3])),
        |trust| trust.policy_keys[0] = [1; 32].into(),
        |trust| trust.policy_keys.truncate(1),
        // The same bytes, split differently.
        |trust| trust.ca = vec![Der(vec![1; 69]), Der(vec![1, 2, 2, 2])],
    ];
    for change in changes {
        let mut other = shown();
        change(&mut other);
        let refused = key().vouch(other).unwrap_err();
        assert!(matches!(refused, TrustError::Other { .. }), "{refused}");
        let text = refused.to_string();
        assert!(
            text.contains("is not the one for which this key was created: it is sha256:"),
            "{text}"
        );
    }
}

#[test]
fn empty_trust_is_refused() {
    let none: Vec<PolicyPublicKey> = Vec::new();
    let empty = PublicTrust { version: 1, ca: shown().ca, policy_keys: none };
    let key = DeploymentKey::new(enforcement(), empty.digest());
    assert_eq!(key.vouch(empty), Err(TrustError::Count("policy keys")));
    let empty = PublicTrust { version: 1, ca: vec![], policy_keys: shown().policy_keys };
    let key = DeploymentKey::new(enforcement(), empty.digest());
    assert_eq!(key.vouch(empty), Err(TrustError::Count("CA certificates")));
}

proptest! {
    #[test]
    fn every_deployment_key_reads_back(
        id in "[a-zA-Z0-9-]{1,32}", secret: [u8; 32], trust: [u8; 32],
    ) {
        let enforcement = EnforcementKey::new(id.parse().unwrap(), secret);
        let key = DeploymentKey::new(enforcement, TrustDigest::from(trust));
        prop_assert_eq!(key.to_text().parse::<DeploymentKey>().unwrap(), key);
    }

    #[test]
    fn one_wrong_character_never_yields_a_key(at in 0usize..101, with in "[a-zA-Z0-9_-]") {
        let mut text = key().to_text().to_string();
        text.replace_range(at..=at, &with);
        prop_assume!(text != *key().to_text());
        prop_assert!(text.parse::<DeploymentKey>().is_err());
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,120}", bytes: Vec<u8>) {
        let _ = text.parse::<DeploymentKey>();
        let _ = format!("xdk1_k_{text}").parse::<DeploymentKey>();
        let _ = PublicTrust::read(&bytes);
    }

    #[test]
    fn trust_reads_back_with_its_digest(
        ca in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..4),
        keys in prop::collection::vec(any::<[u8; 32]>(), 0..4),
    ) {
        let policy_keys = keys.into_iter().map(PolicyPublicKey::from).collect();
        let trust = PublicTrust { version: 1, ca: ca.into_iter().map(Der).collect(), policy_keys };
        let read = PublicTrust::read(&trust.to_json().unwrap()).unwrap();
        prop_assert_eq!(read.digest(), trust.digest());
        prop_assert_eq!(read, trust);
    }
}
