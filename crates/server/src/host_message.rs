//! Messages of hosts: parsed in a supported version, and stripped of what must not be stored.

use std::borrow::Cow;

use axum::http::StatusCode;
use xshield_wire::foreign::without_userinfo;
use xshield_wire::message::{Message, MessageError};

use crate::problem::{Answer, Problem, parse_json};

/// Parses a message of a supported protocol version.
///
/// # Errors
/// A problem that names the versions, or the invalid field.
pub(crate) fn read_message<M: Message>(body: &[u8]) -> Answer<M> {
    match M::read(body) {
        Ok(message) => Ok(message),
        Err(error @ MessageError::Version { .. }) => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "version-unsupported",
            "Unsupported protocol version",
        )
        .field("/version")
        .detail(error.to_string())),
        // Parsed again to find the invalid field.
        Err(MessageError::Malformed(_)) => parse_json(body),
    }
}

/// Removes users and passwords from URLs in what a host reports: our hosts never send a proxy's, but nothing
/// that might be one is stored.
pub(crate) fn strip_userinfo(text: &mut String) {
    if let Cow::Owned(stripped) = without_userinfo(text) {
        *text = stripped;
    }
}
