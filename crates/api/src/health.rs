//! How the platform itself is.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use xshield_model::Timestamp;

/// How the platform itself is.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Why it can't do its work now; `null` when it can.
    pub not_ready: Option<String>,
    /// What runs beside requests.
    pub jobs: Vec<Job>,
    /// Records that can't be read and are passed over, met since the start: of many the first.
    pub damaged: Vec<DamagedRecord>,
    /// How hosts follow to other keys; `null` while the first ones are in use.
    pub key_rotation: Option<KeyRotation>,
}

/// How hosts follow the platform to other keys.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct KeyRotation {
    /// Grows with every change.
    pub sequence: u64,
    /// Whether old and new keys overlap; then it is to be finished or cancelled.
    pub under_way: bool,
    /// Hosts in service that have not said that they follow.
    pub behind: u64,
    /// The first of them by name.
    pub behind_first: Vec<String>,
}

/// Something that runs beside requests.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Job {
    /// Its name.
    pub name: String,
    /// Whether it runs.
    pub standing: Standing,
    /// How often it failed and was started again since the start.
    pub restarts: u64,
    /// When it last failed.
    pub failed_at: Option<Timestamp>,
    /// Why.
    pub reason: Option<String>,
}

/// A record that can't be read.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DamagedRecord {
    /// What was read.
    pub list: String,
    /// Which record.
    pub place: String,
    /// Why it can't be read.
    pub reason: String,
    /// When it was last met.
    pub seen: Timestamp,
}

/// Whether a job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = JobStanding)]
pub enum Standing {
    /// It runs.
    #[default]
    Running,
    /// It has failed, and waits until it is started again.
    Waiting,
}
