//! Query strings: invalid values and unknown parameters are refused with the parameter's name. A misspelled
//! filter must not turn into no filter.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use xshield_api::names::fields;

use crate::problem::{Answer, ErrorResponse};

/// The parameters of `T`; others are refused.
#[derive(Debug)]
pub struct QueryOf<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for QueryOf<T> {
    type Rejection = ErrorResponse;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ErrorResponse> {
        let values = values(parts)?;
        only(&values, &[fields::<T>()])?;
        read(values).map(Self)
    }
}

/// The parameters of `A` and of `B`.
#[derive(Debug)]
pub struct BothOf<A, B>(pub A, pub B);

impl<S, A, B> FromRequestParts<S> for BothOf<A, B>
where
    S: Send + Sync,
    A: DeserializeOwned,
    B: DeserializeOwned,
{
    type Rejection = ErrorResponse;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ErrorResponse> {
        let values = values(parts)?;
        only(&values, &[fields::<A>(), fields::<B>()])?;
        Ok(Self(read(values.clone())?, read(values)?))
    }
}

fn values(parts: &Parts) -> Answer<Map<String, Value>> {
    let pairs: Vec<(String, String)> =
        serde_urlencoded::from_str(parts.uri.query().unwrap_or_default())
            .map_err(|error| ErrorResponse::invalid("?", error.to_string()))?;
    let mut values = Map::new();
    for (name, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
        if values.insert(name.clone(), Value::from(value)).is_some() {
            return Err(ErrorResponse::invalid(&format!("?{name}"), "given twice"));
        }
    }
    Ok(values)
}

fn only(values: &Map<String, Value>, known: &[&[&str]]) -> Answer<()> {
    let known: Vec<&str> = known.concat();
    match values.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let reason = format!("unknown parameter; expected one of {}", known.join(", "));
            Err(ErrorResponse::invalid(&format!("?{name}"), reason))
        }
    }
}

fn read<T: DeserializeOwned>(values: Map<String, Value>) -> Answer<T> {
    serde_path_to_error::deserialize(Value::from(values)).map_err(|error| {
        let field = format!("?{}", error.path());
        ErrorResponse::invalid(&field, error.into_inner().to_string())
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use xshield_api::query::number;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Filter {
        #[serde(default)]
        name: Option<String>,
        #[serde(default, deserialize_with = "number")]
        port: Option<u16>,
    }

    fn parsed(query: &str) -> Answer<Filter> {
        let uri = format!("/x?{query}");
        let (parts, ()) = axum::http::Request::get(uri).body(()).unwrap().into_parts();
        let values = values(&parts)?;
        only(&values, &[fields::<Filter>()])?;
        read(values)
    }

    #[test]
    fn known_parameters_are_read() {
        let both = Filter { name: Some("a b".to_owned()), port: Some(22) };
        assert_eq!(parsed("name=a+b&port=22").unwrap(), both);
        assert_eq!(parsed("name=").unwrap(), Filter { name: None, port: None });
    }

    #[test]
    fn invalid_fields_are_named() {
        for (query, field) in [
            ("nam=a", "?nam"),
            ("name=a&name=b", "?name"),
            ("port=x", "?port"),
            ("port=70000", "?port"),
        ] {
            assert_eq!(parsed(query).unwrap_err().field.as_deref(), Some(field), "{query}");
        }
    }
}
