//! The policy: candidate, revisions, what differs, what a commit would do.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use xshield_model::Timestamp;

use crate::impact::{ExpectedImpact, ImpactSummary};
use crate::query::number;

/// The policy that operators are editing.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CandidatePolicy {
    /// Grows with every edit.
    pub version: u64,
    pub updated_at: Option<Timestamp>,
    pub updated_by: Option<String>,
    /// The committed revision, when there is one.
    pub committed_revision: Option<u64>,
    /// Whether synchronizing would change what is committed.
    pub differs_from_committed: bool,
    #[schema(value_type = Vec<Object>)]
    pub documents: serde_json::Value,
}

/// What a policy would do.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Validated {
    pub documents: usize,
    /// What compiles but probably isn't meant.
    pub warnings: Vec<String>,
    /// What committing it would do to assets.
    pub impact: ImpactSummary,
}

/// What a commit would come to.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CommitProspect {
    /// The candidate's version, which a commit names.
    pub candidate_version: u64,
    /// The revision that it would replace.
    pub committed_revision: Option<u64>,
    /// What compiles but probably isn't meant.
    pub warnings: Vec<String>,
    /// What it would do to assets.
    pub impact: ImpactSummary,
}

/// What differs between two policies.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Differences {
    /// The earlier revision; `null` when nothing is committed.
    pub from: Option<u64>,
    /// The later revision; `null` for the candidate.
    pub to: Option<u64>,
    pub changes: Vec<DocumentChange>,
}

#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Synchronize {
    /// Refused unless the candidate is of this version.
    pub expected_version: u64,
    /// Refused when it would do something else to assets: the digest of an impact (`sha256:…`), `no-loss`
    /// (when left out), or `any`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub expected_impact: ExpectedImpact,
    /// For the list of revisions.
    #[serde(default)]
    pub note: String,
}

/// A committed policy.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PolicyRevision {
    pub revision: u64,
    pub note: String,
    pub committed_at: Timestamp,
    pub committed_by: String,
}

/// A committed policy with its documents.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WholeRevision {
    #[serde(flatten)]
    pub about: PolicyRevision,
    #[schema(value_type = Vec<Object>)]
    pub documents: serde_json::Value,
}

#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Restore {
    /// Commit it as a new revision at once; otherwise it becomes the candidate only.
    #[serde(default)]
    pub synchronize: bool,
    /// Refused when committing it would do something else to assets: the digest of an impact
    /// (`sha256:…`), `no-loss` (when left out), or `any`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub expected_impact: ExpectedImpact,
}

/// What restoring did.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Restored {
    pub candidate: CandidatePolicy,
    /// When it was committed, too.
    pub synchronized: Option<Synchronized>,
}

/// What synchronizing did.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Synchronized {
    /// The new revision.
    pub revision: u64,
    /// How many assets have a ruleset of it.
    pub assets: usize,
    /// What compiled but probably isn't meant.
    pub warnings: Vec<String>,
    /// What became of assets.
    pub impact: ImpactSummary,
}

/// What became of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Only in the later policy.
    Added,
    /// In both, with another content.
    Changed,
    /// Only in the earlier one.
    Removed,
}

/// A document that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DocumentChange {
    /// How.
    pub change: Change,
    /// Kind and name: `segment web`.
    pub document: String,
    /// Its lines, each after `+`, `-` or a space: those that differ and two around them. `…` stands
    /// between places.
    pub lines: Vec<String>,
    /// Lines that found no room.
    pub left_out: usize,
}

/// One YAML text with any number of documents.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyFile {
    /// Names the text in errors, e.g. `segments.yaml`.
    pub name: String,
    /// The YAML.
    pub text: String,
}

/// Policy documents in one of two forms.
#[derive(Debug, Clone, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyInput {
    /// The documents themselves.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Object>>)]
    pub documents: Option<Vec<serde_json::Value>>,
    /// YAML texts.
    #[serde(default)]
    pub files: Option<Vec<PolicyFile>>,
}

/// What replacing the candidate expects.
#[derive(Debug, Clone, Default, Deserialize, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PutQuery {
    /// Refused unless the candidate is of this version.
    #[serde(default, deserialize_with = "number")]
    #[param(value_type = Option<u64>)]
    pub expected_version: Option<u64>,
}

/// Whose impact is looked at.
#[derive(Debug, Clone, Default, Deserialize, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ImpactQuery {
    /// Of restoring this revision; of the candidate when left out.
    #[serde(default, deserialize_with = "number")]
    #[param(value_type = Option<u64>)]
    pub revision: Option<u64>,
}

/// Which two policies are compared.
#[derive(Debug, Clone, Default, Deserialize, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DiffQuery {
    /// The earlier revision; the committed one when left out.
    #[serde(default, deserialize_with = "number")]
    #[param(value_type = Option<u64>)]
    pub from: Option<u64>,
    /// The later revision; the candidate when left out.
    #[serde(default, deserialize_with = "number")]
    #[param(value_type = Option<u64>)]
    pub to: Option<u64>,
}
