//! An asset's ruleset, signed with the platform's key.

use std::sync::Arc;

use xshield_operations::compiler::RulesetCompiler;
use xshield_policy::AssetId;
use xshield_store::rulesets::StoredRuleset;
use xshield_wire::{Envelope, envelope};

use crate::keys::Keys;
use crate::problem::{Answer, Problem};

/// A signed ruleset.
#[derive(Debug)]
pub(crate) struct Signed {
    /// Which one it is.
    pub(crate) stored: StoredRuleset,
    /// As the host gets it.
    pub(crate) envelope: Envelope,
}

/// An asset's ruleset as it should be by now; `None` while no policy is committed.
///
/// # Errors
/// When it can't be compiled or signed, or the database fails.
pub(crate) async fn signed(
    compiler: &RulesetCompiler,
    keys: &Arc<Keys>,
    asset: &AssetId,
) -> Answer<Option<Signed>> {
    let Some((stored, ruleset)) = compiler.ruleset(asset).await? else { return Ok(None) };
    let keys = keys.clone();
    let seal = move || envelope::seal_ruleset(&keys.policy, &ruleset, stored.version.compilation);
    let envelope = tokio::task::spawn_blocking(seal).await?;
    let envelope = envelope.map_err(|error| Problem::internal(&error))?;
    Ok(Some(Signed { stored, envelope }))
}
