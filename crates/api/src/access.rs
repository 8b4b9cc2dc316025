//! Users, their sign-ins and their API tokens.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use xshield_model::Timestamp;
pub use xshield_model::role::Role;

use crate::keys::ExpiringKey;
use crate::open::Open;

/// A user account.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct User {
    pub name: String,
    #[schema(value_type = Role)]
    pub role: Open<Role>,
    pub created_at: Timestamp,
}

#[derive(Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// Letters, digits, `-`, `_` or `.`.
    pub name: String,
    pub password: String,
    pub role: Role,
}

#[derive(Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserChange {
    #[serde(default)]
    pub role: Option<Role>,
    /// Also ends the user's sign-ins and tokens.
    #[serde(default)]
    pub password: Option<String>,
}

/// An API token, without its secret.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Token {
    pub id: String,
    pub user: String,
    pub name: String,
    #[schema(value_type = Role)]
    pub role: Open<Role>,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub last_used_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What it is for.
    pub name: String,
    /// The caller's own role when left out; at most that role.
    #[serde(default)]
    pub role: Option<Role>,
    /// Never when left out.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

/// A token with its secret, which is not shown again.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedToken {
    /// For `Authorization: Bearer …`.
    pub token: String,
    #[serde(flatten)]
    pub about: Token,
}

#[derive(Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    pub user: String,
    pub password: String,
    /// What the token is for, e.g. the machine's name.
    #[serde(default)]
    pub name: Option<String>,
}

/// A token, shown once.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct SignedIn {
    /// For `Authorization: Bearer …`.
    pub token: String,
    /// The token's id.
    pub id: String,
    pub user: String,
    #[schema(value_type = Role)]
    pub role: Open<Role>,
    pub expires_at: Timestamp,
}

/// The account and role of a token.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Me {
    pub user: String,
    #[schema(value_type = Role)]
    pub role: Open<Role>,
    pub token: String,
}

#[derive(Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    /// The current password.
    pub old: String,
    /// The new password.
    pub new: String,
}

/// What hosts need to know about the platform.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PlatformInfo {
    pub version: String,
    /// For host configurations.
    pub url: String,
    /// The certificate that hosts pin.
    pub ca_pem: String,
    /// The key that hosts pin (base64).
    pub policy_key: String,
    /// The enforcement keys that expire soon and have no successor.
    pub expiring_keys: Vec<ExpiringKey>,
}
