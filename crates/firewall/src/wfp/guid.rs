//! The 128-bit keys by which WFP names its objects.

use std::fmt;
use std::str::FromStr;

use ring::digest::{Context, SHA256};

/// A GUID. Its text form is that of Windows: `{d1f3b7c2-5d1e-4c3f-9d0c-1f6f2f6f1a01}`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid(pub u128);

impl Guid {
    /// A GUID derived from these parts: the first bits of their SHA-256, as a UUID of version 8 (RFC 9562).
    /// The same parts have the same GUID on every host.
    #[must_use]
    pub fn of(parts: &[&str]) -> Self {
        let mut context = Context::new(&SHA256);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&context.finish().as_ref()[..16]);
        let number = u128::from_be_bytes(bytes);
        let version = 0xf_u128 << 76;
        let variant = 0b11_u128 << 62;
        Self(number & !version & !variant | 8 << 76 | 0b10 << 62)
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = format!("{:032x}", self.0);
        let [a, b, c, d, e] = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
        write!(f, "{{{a}-{b}-{c}-{d}-{e}}}")
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The text is not a GUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a GUID: expected {{xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx}} in hexadecimal digits"
)]
pub struct GuidError(String);

impl FromStr for Guid {
    type Err = GuidError;

    fn from_str(text: &str) -> Result<Self, GuidError> {
        let refuse = || GuidError(text.to_owned());
        let bare = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
        let groups: Vec<&str> = bare.split('-').collect();
        let is_hex = |group: &&str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
        let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
        if lengths != [8, 4, 4, 4, 12] || !groups.iter().all(is_hex) {
            return Err(refuse());
        }
        u128::from_str_radix(&groups.concat(), 16).map(Self).map_err(|_| refuse())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        let text = "{c38d57d1-05a7-4c33-904f-7fbceee60e82}";
        let guid: Guid = text.parse().unwrap();
        assert_eq!(guid, Guid(0xc38d57d1_05a7_4c33_904f_7fbceee60e82));
        assert_eq!(guid.to_string(), text);
        assert_eq!(text.trim_matches(['{', '}']).parse(), Ok(guid));
        for wrong in [
            "",
            "{}",
            "{c38d57d1-05a7-4c33-904f-7fbceee60e8}",
            "{+38d57d1-05a7-4c33-904f-7fbceee60e82}",
        ] {
            assert!(wrong.parse::<Guid>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn parts_are_told_apart() {
        assert_eq!(Guid::of(&["a", "b"]), Guid::of(&["a", "b"]));
        assert_ne!(Guid::of(&["a", "b"]), Guid::of(&["ab"]));
        assert_ne!(Guid::of(&["a", "b"]), Guid::of(&["", "ab"]));
        let text = Guid::of(&["a"]).to_string();
        assert_eq!(&text[15..16], "8", "{text}");
    }
}
