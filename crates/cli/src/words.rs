//! Names of API values.

use serde::Serialize;
use serde_json::Value;

/// The API's name of a value: `waiting`, `given-up`.
pub(super) fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(error) => error.to_string(),
    }
}
