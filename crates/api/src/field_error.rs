//! An error in a request.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One of several errors in a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// JSON pointer into the request, e.g. `/documents/3`.
    pub field: String,
    /// What is wrong and what was expected.
    pub reason: String,
    /// File (when given), line and column, where the input was text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

impl FieldError {
    /// An error of the whole request.
    #[must_use]
    pub fn of_all(reason: impl Into<String>) -> Self {
        Self { field: String::new(), reason: reason.into(), place: None }
    }
}
