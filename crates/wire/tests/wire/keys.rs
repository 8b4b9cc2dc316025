use proptest::prelude::*;
use xshield_wire::keys::KeyError;
use xshield_wire::{EnforcementKey, KeyId, PolicyPublicKey, SessionKey};

use crate::fixtures::{enforcement, identity, policy_key};

#[test]
fn an_enforcement_key_survives_copying_by_people() {
    let text = enforcement().to_text();
    assert_eq!(text.as_str(), "xek1_k7f3_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwdqXJPS");
    let read: EnforcementKey = format!("  {}\n", *text).parse().unwrap();
    assert_eq!(read, enforcement());
}

#[test]
fn a_miscopied_enforcement_key_is_distinguished_from_other_text() {
    let text = enforcement().to_text();
    let swapped = text.replace("_k7f3_", "_k7f4_");
    let form: [&str; 8] = [
        "",
        "xek1_",
        "xek1_k7f3",
        "xek2_k7f3_BwcH",
        "xek1__BwcH",
        "xek1_k7f3_BwcH",
        &text[..text.len() - 1],
        "xek1_k7f3_????????????????????????????????????????????????",
    ];
    for wrong in form {
        assert_eq!(wrong.parse::<EnforcementKey>(), Err(KeyError::EnforcementForm), "{wrong}");
    }
    assert_eq!(swapped.parse::<EnforcementKey>(), Err(KeyError::EnforcementChecksum));
}

#[test]
fn no_secret_is_shown() {
    let session = SessionKey::from_bytes([0xAB; 32]);
    let shown = format!("{:?} {:?} {:?} {:?}", enforcement(), identity(), policy_key(), session);
    let secrets = ["7, 7", "0707", "BwcH", "11, 11", "0b0b", "13, 13", "171", "abab", "ABAB"];
    for secret in secrets {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

#[test]
fn a_policy_key_is_named_by_its_hash() {
    let public = policy_key().public();
    assert_eq!(public.id().as_str().len(), 16);
    assert_eq!(public.to_string().parse::<PolicyPublicKey>().unwrap(), public);
    assert_eq!(serde_json::to_string(&public).unwrap(), format!("\"{public}\""));
    assert!("abc".parse::<PolicyPublicKey>().is_err());
}

proptest! {
    #[test]
    fn every_enforcement_key_reads_back(id in "[a-zA-Z0-9-]{1,32}", secret: [u8; 32]) {
        let key = EnforcementKey::new(id.parse::<KeyId>().unwrap(), secret);
        prop_assert_eq!(key.to_text().parse::<EnforcementKey>().unwrap(), key);
    }

    #[test]
    fn one_wrong_character_never_yields_a_key(
        secret: [u8; 32], at in 0usize..58, with in "[a-zA-Z0-9_-]",
    ) {
        let key = EnforcementKey::new("k7f3".parse().unwrap(), secret);
        let mut text = key.to_text().to_string();
        text.replace_range(at..=at, &with);
        prop_assume!(text != *key.to_text());
        prop_assert!(text.parse::<EnforcementKey>().is_err());
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,80}") {
        let _ = text.parse::<EnforcementKey>();
        let _ = text.parse::<PolicyPublicKey>();
        let _ = text.parse::<KeyId>();
    }
}
