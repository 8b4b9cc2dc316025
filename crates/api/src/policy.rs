//! The policy: candidate, revisions, differences, impact of a commit.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use xshield_model::Timestamp;

use crate::impact::{ExpectedImpact, ImpactSummary};
use crate::open::Open;
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

/// The result of validating a policy.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Validated {
    pub documents: usize,
    /// Warnings about what compiles but is probably not intended.
    pub warnings: Vec<String>,
    /// The impact of committing it.
    pub impact: ImpactSummary,
}

/// The result of a simulated commit.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CommitProspect {
    /// The candidate's version, to be given with the commit.
    pub candidate_version: u64,
    /// The revision that it would replace.
    pub committed_revision: Option<u64>,
    /// Warnings about what compiles but is probably not intended.
    pub warnings: Vec<String>,
    /// The impact on assets.
    pub impact: ImpactSummary,
}

/// The differences between two policies.
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
    /// Refused unless the candidate has this version.
    pub expected_version: u64,
    /// Refused if the impact on assets is another one: the digest of an impact (`sha256:…`), `no-loss` (when
    /// left out), or `any`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub expected_impact: ExpectedImpact,
    /// A note for the revision.
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
    /// Commit it as a new revision at once; otherwise it only becomes the candidate.
    #[serde(default)]
    pub synchronize: bool,
    /// Refused if the impact on assets is another one: the digest of an impact (`sha256:…`), `no-loss` (when
    /// left out), or `any`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub expected_impact: ExpectedImpact,
}

/// The result of a restore.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Restored {
    pub candidate: CandidatePolicy,
    /// If it was committed, too.
    pub synchronized: Option<Synchronized>,
}

/// The result of a commit.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Synchronized {
    /// The new revision.
    pub revision: u64,
    /// How many assets have a ruleset of it.
    pub assets: usize,
    /// Warnings about what compiled but is probably not intended.
    pub warnings: Vec<String>,
    /// The impact on assets.
    pub impact: ImpactSummary,
}

/// How a document changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Change)]
pub enum ChangeKind {
    /// Only in the later policy.
    Added,
    /// In both, with different content.
    Changed,
    /// Only in the earlier one.
    Removed,
}

/// A document that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DocumentChange {
    /// How.
    #[schema(value_type = ChangeKind)]
    pub change: Open<ChangeKind>,
    /// Kind and name: `segment web`.
    pub document: String,
    /// Its lines with a prefix of `+`, `-` or a space: changed ones and two lines of context. `…` separates
    /// parts.
    pub lines: Vec<String>,
    /// The number of omitted lines.
    pub left_out: usize,
}

/// One YAML text with any number of documents.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyFile {
    /// A name for the text in errors, e.g. `segments.yaml`.
    pub name: String,
    /// The YAML.
    pub text: String,
}

/// Policy documents in one of two forms.
#[derive(Debug, Clone, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyInput {
    /// The documents themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    pub documents: Option<Vec<serde_json::Value>>,
    /// YAML texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Vec<PolicyFile>>,
}

/// A precondition for replacing the candidate.
#[derive(Debug, Clone, Default, Deserialize, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PutQuery {
    /// Refused unless the candidate has this version.
    #[serde(default, deserialize_with = "number")]
    #[param(value_type = Option<u64>)]
    pub expected_version: Option<u64>,
}

/// What to determine the impact of.
#[derive(Debug, Clone, Default, Deserialize, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ImpactQuery {
    /// Restoring this revision; committing the candidate when left out.
    #[serde(default, deserialize_with = "number")]
    #[param(value_type = Option<u64>)]
    pub revision: Option<u64>,
}

/// The two policies to compare.
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
