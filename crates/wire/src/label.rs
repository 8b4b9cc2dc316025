//! The order in which a platform compiled what it signed.
//!
//! One revision of the policy is compiled again whenever assets change their addresses or tags. A
//! [`RulesetLabel`] says which compilation a ruleset is, is signed like the ruleset, names it by its
//! digest, and travels beside it: a host from before labels reads the ruleset as ever. It is small, so
//! a host can show it to prove which ruleset it holds.

use std::fmt;

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use xshield_policy::{AssetId, Revision, Ruleset};

use crate::bytes::Bytes;
use crate::envelope::{Payload, SealError};
use crate::message::Digest;

/// The place of a ruleset among all that a platform has signed: the later is the greater.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct RulesetVersion {
    /// The committed policy.
    pub revision: Revision,
    /// Counts compilations of the platform, whatever the revision and the asset, from 1; 0 is said of
    /// rulesets without a label.
    pub compilation: u64,
}

impl From<Revision> for RulesetVersion {
    /// Before any numbered compilation of this revision.
    fn from(revision: Revision) -> Self {
        Self { revision, compilation: 0 }
    }
}

impl fmt::Display for RulesetVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "revision {}", self.revision)?;
        match self.compilation {
            0 => Ok(()),
            compilation => write!(f, ", compilation {compilation}"),
        }
    }
}

/// Says which compilation a ruleset is. Signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesetLabel {
    /// Whom the ruleset is for.
    pub asset: AssetId,
    /// Its place.
    #[serde(flatten)]
    pub version: RulesetVersion,
    /// SHA-256 of its payload.
    pub digest: Digest,
}

impl Payload for RulesetLabel {
    const TYPE: &'static str = "application/vnd.xshield.ruleset-label.v1+json";

    fn asset(&self) -> &AssetId {
        &self.asset
    }
}

/// The digests of rulesets that differ in nothing but whom they are for, made of one.
#[derive(Clone)]
pub struct SharedDigest {
    /// Everything before the asset.
    head: Context,
}

impl SharedDigest {
    /// Of rulesets like this one.
    ///
    /// # Errors
    /// When it can't be written as JSON.
    pub fn of(ruleset: &Ruleset) -> Result<Self, SealError> {
        let payload = crate::envelope::written(ruleset)?;
        let Some(head) = payload.strip_suffix(tail(&ruleset.asset).as_bytes()) else {
            unreachable!("the asset is the last field of a ruleset")
        };
        let mut context = Context::new(&SHA256);
        context.update(head);
        Ok(Self { head: context })
    }

    /// SHA-256 of the payload for this asset.
    #[must_use]
    pub fn for_asset(&self, asset: &AssetId) -> Digest {
        let mut context = self.head.clone();
        context.update(tail(asset).as_bytes());
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        Bytes(digest)
    }
}

impl fmt::Debug for SharedDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedDigest")
    }
}

/// How the JSON of a ruleset ends. The letters of an asset's id need no escape.
fn tail(asset: &AssetId) -> String {
    format!("\"asset\":\"{asset}\"}}")
}
