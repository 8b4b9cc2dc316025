//! A policy compiled for all assets, not in effect yet.

use xshield_api::impact::ImpactSummary;
use xshield_model::Timestamp;
use xshield_policy::compile::CompileError;
use xshield_policy::document::Policy;
use xshield_policy::inventory::Inventory;
use xshield_policy::{AssetId, Impact};
use xshield_store::{Conn, StoreResult, rulesets};
use xshield_wire::RulesetVersion;
use xshield_wire::message::Digest;

use super::base::{Base, Failure, Whole};
use crate::error::{Doing as _, Result};
use crate::policy::impact::summary;
use crate::policy::simulations::Permit;

/// A policy that was compiled for all assets of an inventory.
#[derive(Debug)]
pub struct CompiledPolicy {
    base: Base,
    whole: Whole,
    warnings: Vec<String>,
    /// The impact on assets when it replaces the committed policy.
    impact: std::result::Result<Impact, CompileError>,
}

impl CompiledPolicy {
    /// Compiles the policy of `base`, and compares it with the previous one. Slow; cancelled when nobody
    /// waits for the result any more.
    pub(super) fn of(
        mut base: Base,
        before: Option<&Policy>,
        inventory: &Inventory,
        permit: &Permit,
    ) -> Self {
        let warnings = base.compiler().warnings().iter().map(ToString::to_string).collect();
        let whole = base.compile_while(|| !permit.is_given_up());
        let impact = if permit.is_given_up() {
            Ok(Impact::default())
        } else {
            base.impact(before, inventory)
        };
        Self { base, whole, warnings, impact }
    }

    /// The inputs and results.
    pub(super) fn into_base(self) -> Base {
        self.base
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.base.committed.policy
    }

    /// The warnings about what compiled but is probably not intended; empty when taken before.
    #[must_use]
    pub fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    /// All assets for which it could not be compiled, by name.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &Failure)> {
        self.whole.failures.iter().map(|(asset, failure)| {
            let name = self.base.placement.name(asset);
            (name.map_or(asset.as_str(), |name| name.as_str()), failure.as_ref())
        })
    }

    /// The impact on assets when it replaces the committed policy; `documents` are its own, as JSON.
    ///
    /// # Errors
    /// When it can't be compared with the committed one.
    pub fn impact(&self, documents: &str) -> Result<ImpactSummary> {
        const ACTION: &str = "compute the impact of a policy";
        let impact = self.impact.as_ref().map_err(Clone::clone).doing(ACTION)?;
        let assets = self.base.placement.classes().count();
        summary(impact, assets, documents).doing(ACTION)
    }

    /// The desired rulesets of assets.
    #[must_use]
    pub fn digests(&self) -> &[(AssetId, Digest)] {
        &self.whole.digests
    }

    /// Stores the desired rulesets of assets.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn store(&self, tx: &mut Conn, now: Timestamp) -> StoreResult<()> {
        let revision = self.base.committed.revision;
        let compilation = rulesets::next_compilation(tx).await?;
        rulesets::put(tx, RulesetVersion { revision, compilation }, self.digests(), now).await
    }
}
