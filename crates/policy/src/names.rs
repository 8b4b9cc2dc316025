//! Names and numbers as distinct types.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not a valid {what}: {expected}")]
pub struct NameError {
    what: &'static str,
    value: String,
    expected: &'static str,
}

/// Defines a newtype over `String` whose text is checked when it is created or deserialized.
macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $expected:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;

            fn try_from(value: String) -> Result<Self, NameError> {
                if $check(&value) {
                    Ok(Self(value))
                } else {
                    Err(NameError { what: $what, value, expected: $expected })
                }
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

fn is_label(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn is_rule_id(text: &str) -> bool {
    (1..=120).contains(&text.len()) && text.split('/').all(is_label)
}

fn is_tag_value(text: &str) -> bool {
    (1..=128).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// A user name as `useradd` and directory services create it, without characters that passwd(5) and command
/// lines use, or a user's number (4294967295 is not a user, chown(2)).
fn is_user(text: &str) -> bool {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        let plain = text == "0" || !text.starts_with('0');
        return plain && text.parse::<u32>().is_ok_and(|number| number != u32::MAX);
    }
    text.len() <= 256
        && !text.starts_with('-')
        && !text
            .chars()
            .any(|c| c.is_control() || c.is_whitespace() || matches!(c, ':' | '/' | ','))
}

/// systemd.unit(5): letters, digits and `:-_.\\@`, at most 255. A template without an instance runs nothing;
/// only services and scopes have their own processes.
fn is_unit(text: &str) -> bool {
    let stem = text.strip_suffix(".service").or_else(|| text.strip_suffix(".scope"));
    text.len() <= 255
        && stem
            .is_some_and(|stem| !stem.is_empty() && !stem.starts_with('@') && !stem.ends_with('@'))
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_' | '.' | '\\' | '@'))
}

/// RFC 1123 host name syntax, lower case, at most 253 octets, at least one label.
fn is_domain(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
        })
        && !text.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()))
}

const LABEL: &str =
    "expected 1 to 64 letters, digits, '-', '_' or '.', starting with a letter or digit";

name!(
    /// Identifies an asset; assigned by the platform when a host first registers.
    AssetId, "asset id",
    "expected 1 to 64 letters, digits, '-', '_' or '.', starting with a letter or digit", is_label
);
name!(
    /// The name of a segment, named network, template or asset, as operators write it.
    Name, "name",
    "expected 1 to 64 letters, digits, '-', '_' or '.', starting with a letter or digit", is_label
);
name!(
    /// The key of a tag: one of the well-known ones (`application`, `environment`, …) or a custom one.
    TagKey, "tag key",
    "expected 1 to 64 letters, digits, '-', '_' or '.', starting with a letter or digit", is_label
);
name!(
    /// The value of a tag.
    TagValue, "tag value",
    "expected 1 to 128 characters without control characters", is_tag_value
);
name!(
    /// Identifies the rule that decided, e.g. `web-tier/https`: template, then rule.
    RuleId, "rule id",
    "expected labels joined by '/', 120 characters at most", is_rule_id
);

name!(
    /// A user of a host, by name or by number.
    UserName, "user",
    "expected a user's name such as postgres, or a number such as 999", is_user
);
name!(
    /// A systemd service or scope, e.g. `nginx.service`, `app@1.service`.
    UnitName, "unit",
    "expected a systemd unit such as nginx.service or app@1.service", is_unit
);

/// A DNS name in lower case without the final dot (RFC 1123 syntax, underscores tolerated).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DomainName(String);

impl DomainName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for DomainName {
    type Error = NameError;

    fn try_from(value: String) -> Result<Self, NameError> {
        let text = value.strip_suffix('.').unwrap_or(&value).to_ascii_lowercase();
        if is_domain(&text) {
            Ok(Self(text))
        } else {
            let expected = "expected a DNS name such as repo.example.com (no wildcard, no address)";
            Err(NameError { what: "domain", value, expected })
        }
    }
}

impl FromStr for DomainName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::try_from(text.to_owned())
    }
}

impl From<DomainName> for String {
    fn from(name: DomainName) -> String {
        name.0
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl RuleId {
    /// The id of a rule inside a template.
    ///
    /// # Errors
    /// When the rule's name is not a label (see [`Name`]).
    pub fn in_template(template: &Name, rule: &str) -> Result<Self, NameError> {
        if !is_label(rule) {
            return Err(NameError { what: "rule name", value: rule.to_owned(), expected: LABEL });
        }
        Self::try_from(format!("{template}/{rule}"))
    }
}

/// The number of a committed policy: 1 is the first one synchronized; 0 means none yet.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
