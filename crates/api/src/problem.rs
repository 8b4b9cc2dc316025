//! Errors as problem documents (RFC 9457).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::field_error::FieldError;
use crate::impact::ImpactSummary;

/// An error response.
//
// Servers between a client and the platform may answer with less: nothing of it is needed to read it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDocument {
    /// A URI reference that identifies the type, e.g. `/problems/clock-skew`.
    #[serde(rename = "type", default)]
    #[schema(required = true)]
    pub kind: String,
    /// The type in words.
    #[serde(default)]
    #[schema(required = true)]
    pub title: String,
    /// HTTP status.
    #[serde(default)]
    #[schema(required = true)]
    pub status: u16,
    /// This occurrence, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The invalid field, as a JSON pointer into the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// All errors, if there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// The actual impact of a commit, if another one was expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impact: Option<Box<ImpactSummary>>,
}
