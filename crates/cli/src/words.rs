//! Values of answers as text.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use xshield_api::{Timestamp, relative};

/// The API's name of a value: `waiting`, `given-up`. A value without one is shown as JSON.
pub(super) fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(error) => error.to_string(),
    }
}

/// A field of a value of a newer version, as text; `-` if it has none.
pub(crate) fn field(value: &Value, name: &str) -> String {
    match value.get(name) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// A time in such a value.
pub(crate) fn time_field(value: &Value, name: &str, now: Timestamp) -> String {
    let time = value.get(name).map(Timestamp::deserialize);
    time.and_then(Result::ok).map_or_else(|| field(value, name), |time| relative(time, now))
}

/// A count in such a value.
pub(crate) fn count_field(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or_default()
}
