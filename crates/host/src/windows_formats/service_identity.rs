//! The security identifier of a service.

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// `NT SERVICE\name` as a security identifier: Windows computes it from the name in capital letters, so
/// that it is the same on every host and known before the service is installed.
#[must_use]
pub fn service_sid(name: &str) -> String {
    let capitals = name.chars().map(|letter| {
        let mut capitals = letter.to_uppercase();
        match (capitals.next(), capitals.next()) {
            (Some(one), None) => one,
            // Windows maps a letter to a letter.
            _ => letter,
        }
    });
    let bytes: Vec<u8> =
        capitals.collect::<String>().encode_utf16().flat_map(u16::to_le_bytes).collect();
    let sum = digest(&SHA1_FOR_LEGACY_USE_ONLY, &bytes);
    let (words, _) = sum.as_ref().as_chunks::<4>();
    words
        .iter()
        .fold("S-1-5-80".to_owned(), |sid, word| format!("{sid}-{}", u32::from_le_bytes(*word)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::windows_formats::access::TRUSTED_INSTALLER;

    #[test]
    fn service_identities_match_windows() {
        for (name, sid) in [
            ("TrustedInstaller", TRUSTED_INSTALLER),
            ("trustedinstaller", TRUSTED_INSTALLER),
            ("MpsSvc", "S-1-5-80-3088073201-1464728630-1879813800-1107566885-823218052"),
        ] {
            assert_eq!(service_sid(name), sid, "{name}");
        }
        assert_ne!(service_sid("stra\u{df}e"), service_sid("strasse"));
    }
}
