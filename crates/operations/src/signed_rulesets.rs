//! Signed rulesets of hosts.

use std::sync::Arc;

use xshield_api::telemetry::Compiled;
use xshield_policy::AssetId;
use xshield_store::Store;
use xshield_store::rulesets::StoredRuleset;
use xshield_wire::keys::PolicyKey;
use xshield_wire::{Envelope, envelope};

use crate::compiler::RulesetCompiler;
use crate::error::{Doing as _, OperationError, Result};
use crate::lookup;

/// A signed ruleset.
#[derive(Debug)]
pub struct Signed {
    /// Which one it is.
    pub stored: StoredRuleset,
    /// As sent to the host.
    pub envelope: Envelope,
}

/// An asset's current ruleset; `None` while no policy is committed.
///
/// # Errors
/// When it can't be compiled or signed, or the database fails.
pub async fn signed(
    compiler: &RulesetCompiler,
    key: &Arc<PolicyKey>,
    asset: &AssetId,
) -> Result<Option<Signed>> {
    const SIGN: &str = "sign a ruleset";
    let Some((stored, ruleset)) = compiler.ruleset(asset).await? else { return Ok(None) };
    let key = key.clone();
    let seal = move || envelope::seal_ruleset(&key, &ruleset, stored.version.compilation);
    let envelope = tokio::task::spawn_blocking(seal).await.doing(SIGN)?.doing(SIGN)?;
    Ok(Some(Signed { stored, envelope }))
}

/// The ruleset of an asset, by its id or name, as shown by the admin API.
///
/// # Errors
/// When there is no such asset or no policy, the ruleset can't be compiled, or the database fails.
pub async fn shown(
    store: &Store,
    compiler: &RulesetCompiler,
    key: &Arc<PolicyKey>,
    named: &str,
) -> Result<Compiled> {
    let asset = lookup::asset(&mut *store.read().await?, named).await?;
    let signed = signed(compiler, key, &asset.id).await?;
    let Signed { stored, envelope } =
        signed.ok_or_else(|| OperationError::not_found("ruleset of", asset.name.as_str()))?;
    let ruleset = serde_json::from_slice(envelope.payload()).doing("read a signed ruleset")?;
    let envelope = serde_json::to_value(&envelope).doing("write a signed ruleset")?;
    let (wanted, compiled_at) = (stored.wanted(), stored.compiled_at);
    let compilation = stored.version.compilation;
    Ok(Compiled { wanted, compilation, compiled_at, ruleset, envelope })
}
