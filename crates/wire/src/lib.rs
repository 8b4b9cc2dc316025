//! The messages between hosts and platform, and their authentication.
//!
//! Pure: keys, time and randomness are arguments. Messages are JSON; their types are defined here and in
//! `policy`. The requests of a host, all under `/host/v1`:
//!
//! | request | message | authenticated by |
//! |---|---|---|
//! | `GET /host/v1/trust` | nothing → [`trust::PublicTrust`] | nothing; verified by its digest |
//! | `POST /host/v1/session` | [`message::SessionRequest`] → [`message::SessionResponse`] | [`session`]: enforcement key + identity key |
//! | `POST /host/v1/check-in` | [`message::CheckIn`] → [`message::CheckInAnswer`] | [`signature`] with the session key |
//! | `GET /host/v1/ruleset` | nothing → [`envelope::Envelope`] or 304 | [`signature`]; the envelope by the pinned policy key |
//! | `GET /host/v1/threat/…` | see [`threat`] | see there |
//! | `GET /host/v1/notify`, `…/uploads/…` | see [`control`] | [`signature`] with the session key |
//! | `POST /host/v1/reports` | zstd of [`message::Report`] → [`message::ReportAnswer`] | [`signature`] with the session key |

pub mod bounds;
pub mod bytes;
pub mod control;
pub mod envelope;
pub mod fingerprint;
pub mod foreign;
pub mod keys;
pub mod label;
pub mod message;
mod payload;
pub mod session;
pub mod signature;
pub mod succession;
pub mod telemetry;
pub mod threat;
mod transcript;
pub mod trust;

pub use bytes::Bytes;
pub use envelope::{Envelope, Verified};
pub use keys::{EnforcementKey, IdentityKey, KeyId, PolicyKey, PolicyPublicKey, SessionKey};
pub use label::{RulesetLabel, RulesetVersion, SharedDigest};
pub use trust::DeploymentKey;
