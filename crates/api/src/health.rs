//! The health of the platform itself.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use xshield_model::Timestamp;

use crate::open::Open;

/// The health of the platform itself.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Why it is not ready; `null` if it is.
    pub not_ready: Option<String>,
    /// The background jobs.
    pub jobs: Vec<Job>,
    /// Unreadable records that were skipped since the start: the first of them.
    pub damaged: Vec<DamagedRecord>,
    /// The progress of a key rotation; `null` while the first keys are in use.
    pub key_rotation: Option<KeyRotation>,
}

/// The progress of hosts in a key rotation.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct KeyRotation {
    /// Grows with every change.
    pub sequence: u64,
    /// Whether old and new keys overlap; the rotation then has to be finished or cancelled.
    pub under_way: bool,
    /// The number of hosts in service that have not confirmed the keys.
    pub behind: u64,
    /// The first of them by name.
    pub behind_first: Vec<String>,
}

/// A background job.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Job {
    /// Its name.
    pub name: String,
    /// Whether it runs.
    #[schema(value_type = JobStanding)]
    pub standing: Open<JobStanding>,
    /// How often it failed and was restarted since the start.
    pub restarts: u64,
    /// When it last failed.
    pub failed_at: Option<Timestamp>,
    /// The reason.
    pub reason: Option<String>,
}

/// An unreadable record.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DamagedRecord {
    /// The list that was read.
    pub list: String,
    /// The record.
    pub place: String,
    /// Why it can't be read.
    pub reason: String,
    /// When it was last encountered.
    pub seen: Timestamp,
}

/// Whether a job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = JobStanding)]
pub enum JobStanding {
    /// It runs.
    #[default]
    Running,
    /// It has failed and waits for its restart.
    Waiting,
}
