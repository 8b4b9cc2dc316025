//! Values in query strings, where all are texts.

use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use xshield_policy::PortNumber;

/// Parses a number from a parameter.
///
/// # Errors
/// When it is not a number, or out of range.
pub fn number<'de, D: Deserializer<'de>, T: FromStr>(from: D) -> Result<Option<T>, D::Error> {
    let text = String::deserialize(from)?;
    text.parse()
        .map(Some)
        .map_err(|_| D::Error::custom(format!("{text:?} is not a number in range")))
}

/// Parses a port from a parameter.
///
/// # Errors
/// When it is not a port; for the name of a service, its port is suggested.
pub fn port<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u16>, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map(|PortNumber(port)| Some(port)).map_err(D::Error::custom)
}
