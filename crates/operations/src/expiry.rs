//! When something ends.

use xshield_model::Timestamp;

use crate::error::{OperationError, Result};

/// Refuses an end that is over.
///
/// # Errors
/// When it is not in the future.
pub fn in_future(end: Option<Timestamp>, now: Timestamp) -> Result<()> {
    if end.is_some_and(|end| end <= now) {
        return Err(OperationError::invalid("/expires_at", "not in the future"));
    }
    Ok(())
}
