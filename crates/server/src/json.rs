//! JSON of requests, where what does not fit is named.

use serde::de::DeserializeOwned;
use xshield_operations::pointer::pointer;

/// Why a text is not the JSON that is expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct JsonError {
    /// The field at fault, as a JSON pointer; `None` if it is none of them.
    pub field: Option<String>,
    /// What is wrong, and what was expected.
    pub reason: String,
}

/// Parses JSON; an empty text is an empty object.
///
/// # Errors
/// Names the field.
pub(crate) fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, JsonError> {
    let text = if text.is_empty() { b"{}" } else { text };
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let field = Some(pointer(error.path()));
        JsonError { field, reason: error.into_inner().to_string() }
    })?;
    reader
        .end()
        .map_err(|error| JsonError { field: None, reason: format!("trailing data: {error}") })?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn invalid_fields_are_named() {
        type Numbers = BTreeMap<String, u8>;
        assert_eq!(parse::<Numbers>(b""), Ok(Numbers::new()));
        assert_eq!(parse::<Numbers>(br#"{"a": 1} "#), Ok(Numbers::from([("a".to_owned(), 1)])));
        for (text, field) in [
            (&br#"{"a/b": "x"}"#[..], Some("/a~1b")),
            (br#"{"a": 256}"#, Some("/a")),
            (br#"[1]"#, Some("")),
            (br#"{} {}"#, None),
        ] {
            let refused = parse::<Numbers>(text).unwrap_err();
            assert_eq!(refused.field.as_deref(), field, "{refused}");
        }
    }
}
