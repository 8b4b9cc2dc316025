//! Enforcement keys by what they are for.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What an enforcement key is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KeyKind {
    /// Registers hosts until it ends.
    Key,
    /// Registers one host, once.
    Token,
}
