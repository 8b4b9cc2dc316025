//! Expiry times.

use xshield_model::Timestamp;

use crate::error::{OperationError, Result};

/// Refuses an expiry in the past.
///
/// # Errors
/// When it is not in the future.
pub fn in_future(end: Option<Timestamp>, now: Timestamp) -> Result<()> {
    if end.is_some_and(|end| end <= now) {
        return Err(OperationError::invalid("/expires_at", "not in the future"));
    }
    Ok(())
}
