//! The order in which a platform compiled what it signed.
//!
//! One revision of the policy is compiled again whenever assets change their addresses or tags. A
//! [`RulesetLabel`] says which compilation a ruleset is, is signed like the ruleset, names it by its
//! digest, and travels beside it: a host from before labels reads the ruleset as ever. It is small, so
//! a host can show it to prove which ruleset it holds.

use std::{fmt, io};

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use xshield_policy::{AssetId, Revision, Ruleset};

use crate::bytes::Bytes;
use crate::message::Digest;
use crate::payload::{self, Payload, SealError};

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
        let mut hashing = Hashing { context: Context::new(&SHA256), ahead: Vec::new() };
        payload::write(ruleset, &mut hashing)?;
        let Hashing { context: mut head, ahead } = hashing;
        let Some(rest) = ahead.strip_suffix(tail(&ruleset.asset).as_bytes()) else {
            unreachable!("the asset is the last field of a ruleset")
        };
        head.update(rest);
        Ok(Self { head })
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

/// Hashes what is written to it, but for the end, which may be the asset. A large ruleset's text is
/// never in memory.
struct Hashing {
    context: Context,
    /// Not hashed yet.
    ahead: Vec<u8>,
}

impl Hashing {
    /// More than any asset takes.
    const KEPT: usize = 256;
    const AT_ONCE: usize = 16 << 10;
}

impl io::Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.ahead.extend_from_slice(bytes);
        if self.ahead.len() > Self::AT_ONCE {
            let hashed = self.ahead.len() - Self::KEPT;
            self.context.update(&self.ahead[..hashed]);
            self.ahead.drain(..hashed);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How the JSON of a ruleset ends. The letters of an asset's id need no escape.
fn tail(asset: &AssetId) -> String {
    format!("\"asset\":\"{asset}\"}}")
}
