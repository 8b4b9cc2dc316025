//! Whether anybody can manage an asset: what is said where nobody can.

use xshield_policy::AssetId;
use xshield_store::StoreResult;
use xshield_wire::message::Problem;

use crate::compiler::RulesetCompiler;

/// What someone should act on, when what is enforced on the asset lets in nobody who manages it.
///
/// # Errors
/// When the database fails.
pub async fn finding(compiler: &RulesetCompiler, asset: &AssetId) -> StoreResult<Option<Problem>> {
    let is_managed = compiler.is_managed(asset).await?.unwrap_or(true);
    Ok((!is_managed).then(|| Problem {
        code: "no-management-access".to_owned(),
        text:
            "what is enforced lets in no management source, and nobody by SSH, RDP or WinRM: name \
               who manages hosts in the policy's settings, management, or allow it by a rule"
                .to_owned(),
    }))
}
