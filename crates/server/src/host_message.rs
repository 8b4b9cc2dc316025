//! Messages of hosts: parsed in a supported version, and stripped of what must not be stored.

use std::borrow::Cow;

use xshield_wire::foreign::without_userinfo;
use xshield_wire::message::{Message, MessageError};

use crate::json::{self, JsonError};

/// Why a host's message was not read.
#[derive(Debug, thiserror::Error)]
pub enum HostMessageError {
    /// It is of a version of the protocol that this platform does not support.
    #[error(transparent)]
    Version(MessageError),
    /// It is not as documented.
    #[error(transparent)]
    Malformed(#[from] JsonError),
}

/// Parses a message of a supported protocol version.
///
/// # Errors
/// Names the versions, or the invalid field.
pub(crate) fn read_message<M: Message>(body: &[u8]) -> Result<M, HostMessageError> {
    match M::read(body) {
        Ok(message) => Ok(message),
        Err(error @ MessageError::Version { .. }) => Err(HostMessageError::Version(error)),
        // Parsed again to find the invalid field.
        Err(MessageError::Malformed(_)) => Ok(json::parse(body)?),
    }
}

/// Removes users and passwords from URLs in what a host reports: our hosts never send a proxy's, but nothing
/// that might be one is stored.
pub(crate) fn strip_userinfo(text: &mut String) {
    if let Cow::Owned(stripped) = without_userinfo(text) {
        *text = stripped;
    }
}
