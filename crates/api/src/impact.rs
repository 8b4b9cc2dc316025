//! What a commit would do to assets, and what is expected of it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a commit would do to assets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImpactSummary {
    /// Of the documents and of all that they would do to assets: `sha256:` and hexadecimal digits. The
    /// same documents have another one as soon as they would do something else.
    pub digest: String,
    /// Assets that were looked at.
    pub assets: usize,
    /// Whether an asset loses protection, its last segment or management access, or a management source
    /// goes: what `no-loss` refuses.
    pub is_loss: bool,
    /// Whether nothing changes for any asset.
    pub is_none: bool,
    /// Flows opened by peers.
    pub inbound: DirectionSummary,
    /// Flows opened by assets.
    pub outbound: DirectionSummary,
    /// They were in a segment and will be in none.
    pub leave_all_segments: Affected,
    /// They could be managed and no longer can.
    pub lose_management: Affected,
    /// What will be enforced lets in no management source, and nobody by SSH, RDP or WinRM.
    pub without_management: Affected,
    /// Management sources that the settings will no longer name.
    pub management_removed: Affected,
}

/// What becomes of one direction of assets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DirectionSummary {
    /// They deny less: a lower level, a block rule that goes, forwarded traffic that is left alone.
    pub lose_protection: Affected,
    /// They deny more.
    pub gain_protection: Affected,
    /// Rules, or management sources, allow what was not allowed.
    pub allow_more: Affected,
    /// Rules, or management sources, no longer allow what they did.
    pub allow_less: Affected,
    /// Levels and modes that change.
    pub levels: Vec<LevelSummary>,
}

/// Assets whose level or mode becomes another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LevelSummary {
    /// E.g. `secure-all-ports (enforce)`.
    pub from: String,
    /// E.g. `secure-all-ports (test)`.
    pub to: String,
    /// The assets.
    pub assets: Affected,
}

/// How many, and the first of them by name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Affected {
    /// All.
    pub count: usize,
    /// At most 20.
    pub first: Vec<String>,
}

/// `a, b and 7 more`.
impl fmt::Display for Affected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Named on one line.
        const SHORT: usize = 5;
        let named = self.first.len().min(SHORT);
        f.write_str(&self.first[..named].join(", "))?;
        match self.count - named {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// What is expected of a commit; it is refused when it would do something else.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ExpectedImpact {
    /// Nothing is lost: the default.
    #[default]
    NoLoss,
    /// The impact with this digest.
    Exactly(String),
    /// Whatever it is.
    Any,
}

/// Why a text is no expected impact.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no expected impact: write the digest that a dry run prints (sha256:…), 'no-loss', or 'any'"
)]
pub struct NoExpectedImpact(String);

impl FromStr for ExpectedImpact {
    type Err = NoExpectedImpact;

    fn from_str(text: &str) -> Result<Self, NoExpectedImpact> {
        let is_digest = |hex: &str| {
            hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        match text {
            "no-loss" => Ok(Self::NoLoss),
            "any" => Ok(Self::Any),
            text if text.strip_prefix("sha256:").is_some_and(is_digest) => {
                Ok(Self::Exactly(text.to_owned()))
            }
            text => Err(NoExpectedImpact(text.to_owned())),
        }
    }
}

impl TryFrom<String> for ExpectedImpact {
    type Error = NoExpectedImpact;

    fn try_from(text: String) -> Result<Self, NoExpectedImpact> {
        text.parse()
    }
}

impl From<ExpectedImpact> for String {
    fn from(expected: ExpectedImpact) -> Self {
        match expected {
            ExpectedImpact::NoLoss => "no-loss".to_owned(),
            ExpectedImpact::Exactly(digest) => digest,
            ExpectedImpact::Any => "any".to_owned(),
        }
    }
}
