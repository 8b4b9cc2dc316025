//! Documents as stored: JSON.

use xshield_api::changes;
use xshield_api::policy::DocumentChange;
use xshield_policy::document::Document;

use crate::error::{Doing as _, Result};

/// Documents as stored.
///
/// # Errors
/// When they can't be encoded as JSON.
pub fn to_json(documents: &[Document]) -> Result<String> {
    serde_json::to_string(documents).doing("write policy documents as JSON")
}

/// Stored documents as shown by the API.
///
/// # Errors
/// When they are damaged.
pub fn shown(json: &str) -> Result<serde_json::Value> {
    serde_json::from_str(json).doing("read stored policy documents")
}

/// The differences between stored documents.
///
/// # Errors
/// When they can't be parsed.
pub async fn compared(before: String, after: String) -> Result<Vec<DocumentChange>> {
    let compare = move || -> Result<Vec<DocumentChange>> {
        if before == after {
            return Ok(Vec::new());
        }
        let read = |json: &str| -> Result<Vec<Document>> {
            serde_json::from_str(json).doing("read stored policy documents")
        };
        let changes = changes::changes(&read(&before)?, &read(&after)?);
        changes.doing("compare policies")
    };
    tokio::task::spawn_blocking(compare).await.doing("compare policies")?
}
