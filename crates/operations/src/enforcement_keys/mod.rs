//! Enforcement keys and registration tokens: created and shown once, rotated with an overlap, revoked.

mod access;
mod expiring;
mod followed;
mod made;
mod operations;
mod shown;

pub use access::{Issuer, PlatformAccess};
pub use expiring::{expiring, warning};
pub use followed::{FollowedKey, followed};
pub use operations::{create, get, hosts, list, revoke, rotate};
