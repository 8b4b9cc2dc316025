//! Tags as typed and displayed: `role=web`.

use std::collections::BTreeMap;
use std::str::FromStr;

use xshield_policy::names::{TagKey, TagValue};

/// A tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tag {
    key: TagKey,
    value: TagValue,
}

impl FromStr for Tag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| format!("{text:?} is not a tag: expected KEY=VALUE, e.g. role=web"))?;
        let key = key.parse().map_err(|error| format!("{error}"))?;
        let value = value.parse().map_err(|error| format!("{error}"))?;
        Ok(Self { key, value })
    }
}

impl Tag {
    /// Key and value.
    pub(crate) fn into_pair(self) -> (TagKey, TagValue) {
        (self.key, self.value)
    }
}

/// A change of an asset's tags: `role=web` sets one, `role-` removes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TagChange {
    /// Set.
    Set(Tag),
    /// Take away.
    Remove(TagKey),
}

impl FromStr for TagChange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_suffix('-') {
            Some(key) if !text.contains('=') => {
                key.parse().map(Self::Remove).map_err(|error| format!("{error}"))
            }
            _ => text.parse().map(Self::Set),
        }
    }
}

/// `env=prod role=web`, or a dash.
pub(crate) fn tags_text(tags: &BTreeMap<TagKey, TagValue>) -> String {
    if tags.is_empty() {
        return "-".to_owned();
    }
    let pairs: Vec<_> = tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_changes() {
        let (key, value) = "role=web=1".parse::<Tag>().unwrap().into_pair();
        assert_eq!((key.as_str(), value.as_str()), ("role", "web=1"));
        for text in ["role", "=web", "role=", "ro le=web", "role=a\nb"] {
            assert!(text.parse::<Tag>().is_err(), "{text:?}");
        }
        assert_eq!("role-".parse(), Ok(TagChange::Remove("role".parse().unwrap())));
        assert_eq!("role=a-".parse(), Ok(TagChange::Set("role=a-".parse().unwrap())));
        for text in ["", "-", "role", "=-"] {
            assert!(text.parse::<TagChange>().is_err(), "{text:?}");
        }
    }
}
