//! Simulates committing a policy without changing anything.

use std::collections::BTreeMap;

use xshield_api::field_error::FieldError;
use xshield_api::impact::ImpactSummary;
use xshield_api::policy::CommitProspect;
use xshield_model::claim::Fact;
use xshield_policy::Revision;
use xshield_policy::document::Policy;
use xshield_policy::names::Name;
use xshield_store::{Conn, Store, assets, claims, policy as stored};

use super::candidate::committed_as;
use super::documents::{CheckedPolicy, read_stored};
use super::simulations::{Permit, Simulations};
use super::stored::to_json;
use crate::caller::{AtLeast, By};
use crate::compiler::{Committed, CompiledPolicy, Failure, RulesetCompiler};
use crate::error::{Doing as _, OperationError, Result};

/// The result of a simulated commit.
#[derive(Debug)]
pub struct Prospect {
    /// Warnings about what compiles but is probably not intended.
    pub warnings: Vec<String>,
    /// The impact on assets.
    pub impact: ImpactSummary,
}

/// Simulates committing the candidate, or restoring a revision.
///
/// # Errors
/// When there are too many requests, there is no such revision, it can't be compiled, or the database fails.
pub async fn prospect<R: AtLeast>(
    store: &Store,
    compiler: &RulesetCompiler,
    simulations: &Simulations,
    by: &By<R>,
    revision: Option<u64>,
) -> Result<CommitProspect> {
    let place = simulations.place(by.actor())?;
    let (permit, _waiting) = place.permit().await?;
    let (candidate, committed_revision, documents) = {
        let mut conn = store.read().await?;
        let versions = stored::versions(&mut conn).await?;
        let candidate = stored::candidate(&mut conn).await?;
        let documents = match revision {
            Some(number) => committed_as(&mut conn, &number.to_string()).await?.documents,
            None => candidate.documents,
        };
        (candidate.version, versions.committed, documents)
    };
    let read = move || read_stored(&documents);
    let checked = tokio::task::spawn_blocking(read).await.doing("read stored policy documents")?;
    let checked = checked.map_err(OperationError::InvalidPolicy)?;
    let Prospect { warnings, impact } = simulate(store, compiler, checked, permit).await?;
    Ok(CommitProspect { candidate_version: candidate, committed_revision, warnings, impact })
}

/// Compiles documents without committing them.
///
/// # Errors
/// When they can't be compiled for all assets, or the database fails.
pub async fn simulate(
    store: &Store,
    compiler: &RulesetCompiler,
    checked: CheckedPolicy,
    permit: Permit,
) -> Result<Prospect> {
    let before = compiler.committed().await?;
    let inventory = assets::inventory(&mut *store.read().await?).await?;
    let CheckedPolicy { documents, policy } = checked;
    let documents = to_json(&documents)?;
    let simulated = Committed { revision: Revision(0), policy };
    let mut compiled = compiler.compile_policy(before, simulated, inventory, permit).await?;
    compiles(&compiled)?;
    let mut warnings = compiled.take_warnings();
    warnings.extend(claimed_names(&mut *store.read().await?, compiled.policy()).await?);
    Ok(Prospect { warnings, impact: compiled.impact(&documents)? })
}

/// Hosts that claim names which the policy refers to.
pub(super) async fn claimed_names(conn: &mut Conn, policy: &Policy) -> Result<Vec<String>> {
    let waiting = claims::waiting(conn).await?;
    let claimed = waiting.iter().filter_map(|(asset, claim)| match &claim.fact {
        Fact::Name(name) if policy.names_asset(name) => Some(claimed_name(asset, name)),
        _ => None,
    });
    Ok(claimed.collect())
}

fn claimed_name(asset: &Name, claimed: &Name) -> String {
    format!(
        "policy refers to asset {claimed}; asset {asset} claims this name, but does not get it \
         until an operator decides: xshield asset accept {asset} name"
    )
}

/// Whether a policy could be compiled for all assets.
pub(super) fn compiles(policy: &CompiledPolicy) -> Result<()> {
    let mut failures = policy.failures().peekable();
    if failures.peek().is_none() { Ok(()) } else { Err(does_not_compile(failures)) }
}

/// The distinct failures, each with the first asset that has it.
fn does_not_compile<'a>(failures: impl Iterator<Item = (&'a str, &'a Failure)>) -> OperationError {
    let mut reasons: BTreeMap<String, (&str, usize)> = BTreeMap::new();
    for (asset, failure) in failures {
        let (_, count) = reasons.entry(failure.to_string()).or_insert((asset, 0));
        *count += 1;
    }
    let told = reasons.into_iter().map(|(reason, (name, count))| match count {
        1 => format!("asset {name}: {reason}"),
        _ => format!("asset {name} and {} more: {reason}", count - 1),
    });
    OperationError::PolicyDoesNotCompile(told.map(FieldError::of_all).collect())
}
