//! Errors as problem documents (RFC 9457).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::field_error::FieldError;
use crate::impact::ImpactSummary;

/// What an error answer says.
//
// Servers between a client and the platform may answer with less: nothing of it is needed to read it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A URI reference that names the kind, e.g. `/problems/clock-skew`.
    #[serde(rename = "type", default)]
    #[schema(required = true)]
    pub kind: String,
    /// The kind, for people.
    #[serde(default)]
    #[schema(required = true)]
    pub title: String,
    /// HTTP status.
    #[serde(default)]
    #[schema(required = true)]
    pub status: u16,
    /// This occurrence; says what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The field at fault, as a JSON pointer into the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Everything that is wrong, where there is more than one thing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// What a commit would do, where another impact was expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impact: Option<Box<ImpactSummary>>,
}
