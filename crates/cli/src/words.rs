//! The API's words, as people read them.

use serde::Serialize;
use serde_json::Value;

/// The word that the API has for a value: `waiting`, `given-up`.
pub(super) fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(error) => error.to_string(),
    }
}
