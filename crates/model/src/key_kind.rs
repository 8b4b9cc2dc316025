//! Kinds of enforcement keys.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The kind of an enforcement key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KeyKind {
    /// Registers hosts until it expires.
    Key,
    /// Registers one host, once.
    Token,
}
