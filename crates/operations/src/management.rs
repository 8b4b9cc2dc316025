//! Whether anybody can manage an asset, and the finding if not.

use xshield_policy::AssetId;
use xshield_store::StoreResult;
use xshield_wire::message::Problem;

use crate::compiler::RulesetCompiler;

/// The finding when the enforced ruleset admits nobody who manages the asset.
///
/// # Errors
/// When the database fails.
pub async fn finding(compiler: &RulesetCompiler, asset: &AssetId) -> StoreResult<Option<Problem>> {
    let is_managed = compiler.is_managed(asset).await?.unwrap_or(true);
    Ok((!is_managed).then(|| Problem {
        code: "no-management-access".to_owned(),
        text: "the enforced ruleset admits no management source, and nobody by SSH, RDP or WinRM: \
             add management sources to the policy's settings, management, or allow access by a \
             rule"
            .to_owned(),
    }))
}
