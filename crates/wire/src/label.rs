//! The order of a platform's compilations.
//!
//! A revision of the policy is compiled again whenever assets change their addresses or tags. A
//! [`RulesetLabel`] names the compilation of a ruleset. It is signed like the ruleset, refers to it by its
//! digest, and is sent beside it, so that older hosts, which do not know labels, can read the ruleset. It is
//! small, so a host can send it as evidence of the ruleset that it has.

use std::{fmt, io};

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use xshield_policy::{AssetId, Revision, Ruleset};

use crate::bytes::Bytes;
use crate::message::Digest;
use crate::payload::{self, Payload, SealError};

/// The version of a ruleset, which orders all that a platform has signed: a later one is greater.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct RulesetVersion {
    /// The committed policy.
    pub revision: Revision,
    /// The number of the platform's compilation, across all revisions and assets, from 1; 0 for rulesets
    /// without a label.
    pub compilation: u64,
}

impl From<Revision> for RulesetVersion {
    /// The version before any numbered compilation of this revision.
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

/// Names the compilation of a ruleset. Signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesetLabel {
    /// The asset of the ruleset.
    pub asset: AssetId,
    /// Its version.
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

/// Computes the digests of rulesets that only differ in their asset from the digest of one.
#[derive(Clone)]
pub struct SharedDigest {
    /// The hash state of everything before the asset.
    head: Context,
}

impl SharedDigest {
    /// For rulesets like this one.
    ///
    /// # Errors
    /// When it can't be encoded as JSON.
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

/// Hashes what is written to it, except for the end, which may be the asset. The text of a large ruleset is
/// never in memory.
struct Hashing {
    context: Context,
    /// The part that is not hashed yet.
    ahead: Vec<u8>,
}

impl Hashing {
    /// More than any asset id takes.
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

/// The end of a ruleset's JSON. The characters of an asset id need no escapes.
fn tail(asset: &AssetId) -> String {
    format!("\"asset\":\"{asset}\"}}")
}
