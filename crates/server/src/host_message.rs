//! Messages of hosts: read in a version that this platform speaks, and without what must not be stored.

use std::borrow::Cow;

use axum::http::StatusCode;
use xshield_wire::foreign::without_userinfo;
use xshield_wire::message::{Message, MessageError};

use crate::problem::{Answer, Problem, parse_json};

/// Reads a message of a supported protocol version.
///
/// # Errors
/// A problem that names the versions, or the field at fault.
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
        // Read again, to learn which field it is.
        Err(MessageError::Malformed(_)) => parse_json(body),
    }
}

/// Takes users and passwords of URLs out of what a host says: ours never say a proxy's, but nothing that
/// might be one is stored.
pub(crate) fn strip_userinfo(text: &mut String) {
    if let Cow::Owned(stripped) = without_userinfo(text) {
        *text = stripped;
    }
}
