//! Values in answers that may be of a newer version.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// A value in an answer. A client that is older than the platform keeps a value that it does not know as JSON,
/// and can read and show the rest of the answer. Requests have the type itself: the platform refuses what it
/// does not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Open<T> {
    /// A value that this version knows.
    Known(T),
    /// Any other one.
    Unknown(Value),
}

impl<T> Open<T> {
    /// The value, if this version knows it.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }
}

impl<T> From<T> for Open<T> {
    fn from(value: T) -> Self {
        Self::Known(value)
    }
}

impl<T: PartialEq> PartialEq<T> for Open<T> {
    fn eq(&self, other: &T) -> bool {
        self.known() == Some(other)
    }
}

impl<'de, T: Serialize + DeserializeOwned> Deserialize<'de> for Open<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(from)?;
        Ok(match T::deserialize(&value) {
            Ok(known) if !loses_word(&known, &value) => Self::Known(known),
            _ => Self::Unknown(value),
        })
    }
}

/// Whether a word was read as the variant for all unknown ones (`serde(other)`), and would be shown as that.
fn loses_word(known: &impl Serialize, value: &Value) -> bool {
    value.is_string() && serde_json::to_value(known).is_ok_and(|known| known != *value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use xshield_wire::message::{CommandKind, Status};

    use super::*;
    use crate::access::Role;
    use crate::alerts::NamedRule;

    fn read<T: Serialize + DeserializeOwned>(value: &Value) -> Open<T> {
        serde_json::from_value(value.clone()).unwrap()
    }

    #[test]
    fn known_values_are_read_and_others_kept() {
        assert_eq!(read::<Role>(&json!("viewer")), Role::Viewer);
        let blocked = json!({"state": "blocked", "by": "firewalld"});
        assert_eq!(read::<Status>(&blocked), Status::Blocked { by: "firewalld".to_owned() });
        for value in [json!("auditor"), json!(7), json!({"role": "viewer"}), json!(null)] {
            let open = read::<Role>(&value);
            assert_eq!(open, Open::Unknown(value.clone()));
            assert_eq!(json!(open), value, "written as it was read");
        }
        let paused = json!({"state": "paused", "until": 7});
        assert_eq!(read::<Status>(&paused), Open::Unknown(paused.clone()));
        assert_eq!(read::<CommandKind>(&json!("debug-on")), CommandKind::DebugOn);
        // Hosts read it as unknown; here the word is kept.
        assert_eq!(read::<CommandKind>(&json!("reboot")), Open::Unknown(json!("reboot")));
    }

    #[test]
    fn an_open_value_can_share_its_object() {
        let mut answer = json!({
            "name": "r", "state": "enabled", "when": {"condition": "any-match"},
            "channels": ["ops"], "delivery": {"mode": "immediate"}, "per": "asset",
            "throttle_seconds": 60, "created_at": "2027-01-15T07:00:00Z", "created_by": "admin",
            "withheld": 0,
        });
        let named =
            |answer: &Value| -> NamedRule { serde_json::from_value(answer.clone()).unwrap() };
        assert!(named(&answer).rule.known().is_some());
        answer["per"] = json!("country");
        let Open::Unknown(rule) = named(&answer).rule else { panic!("{answer}") };
        assert_eq!((&rule["per"], &rule["state"]), (&json!("country"), &json!("enabled")));
        assert_eq!(rule.get("created_by"), None);
        assert_eq!(json!(named(&answer)), answer);
    }
}
