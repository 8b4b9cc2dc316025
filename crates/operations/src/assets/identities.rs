//! Identity keys that claim an asset's name: an operator approves or rejects each by its fingerprint.

use xshield_api::assets::Asset;
use xshield_api::claims::{Approval, Rejection, Running};
use xshield_model::{Timestamp, relative};
use xshield_store::assets::{self, StoredAsset};
use xshield_store::identities::{self, OtherIdentity};
use xshield_store::{Store, enforcement_keys, enrolment};
use xshield_wire::fingerprint::IdentityFingerprint;

use super::read::whole;
use crate::caller::{By, Operator};
use crate::change::{AuditEntry, AuditedChange};
use crate::compiler::RulesetCompiler;
use crate::error::{OperationError, Result};
use crate::lookup;

/// Pins an identity key by its fingerprint, e.g. after a host was reinstalled.
///
/// # Errors
/// When no such key is pending, the machine with the pinned one is still active, or the database fails.
pub async fn approve_identity(
    store: &Store,
    compiler: &RulesetCompiler,
    by: &By<Operator>,
    named: &str,
    approval: &Approval,
    now: Timestamp,
) -> Result<Asset> {
    let mut change = AuditedChange::begin(store, by, now).await?;
    let asset = lookup::asset(&mut change, named).await?;
    let mut known = identities::waiting(&mut change, &asset.id).await?;
    // A key rejected by mistake can still be approved.
    known.extend(identities::rejected(&mut change, &asset.id).await?);
    let other = the_one(known, &asset, approval.fingerprint)?;
    if approval.running == Running::Keep {
        is_silent(&asset, &other, now)?;
    }
    if let Some(taken) = assets::by_identity(&mut change, other.identity).await? {
        let detail =
            format!("the host has registered as {} since; delete that asset first", taken.name);
        return Err(OperationError::conflict("identity-in-use", detail));
    }
    identities::approve(&mut change, &asset.id, other.identity).await?;
    // A used-up key still admits a host that an operator approves.
    if enforcement_keys::count_registration(&mut change, &other.key, now).await? {
        enrolment::note_registration(&mut change, &asset.id, &other.key).await?;
    }
    let approved = lookup::asset(&mut change, asset.id.as_str()).await?;
    let shown = whole(&mut change, compiler, approved, now).await?;
    let entry = AuditEntry {
        action: "asset.approve-identity",
        target: asset.name.as_str(),
        before: IdentityFingerprint::of(&asset.identity).to_string(),
        after: other.fingerprint().to_string(),
    };
    change.commit(entry).await?;
    Ok(shown)
}

/// Rejects an identity key permanently, by its fingerprint.
///
/// # Errors
/// When no such key is pending, or the database fails.
pub async fn reject_identity(
    store: &Store,
    compiler: &RulesetCompiler,
    by: &By<Operator>,
    named: &str,
    rejection: &Rejection,
    now: Timestamp,
) -> Result<Asset> {
    let mut change = AuditedChange::begin(store, by, now).await?;
    let asset = lookup::asset(&mut change, named).await?;
    let waiting = identities::waiting(&mut change, &asset.id).await?;
    let other = the_one(waiting, &asset, rejection.fingerprint)?;
    identities::reject(&mut change, &asset.id, other.identity).await?;
    let left = lookup::asset(&mut change, asset.id.as_str()).await?;
    let shown = whole(&mut change, compiler, left, now).await?;
    let (before, after) = (other.fingerprint().to_string(), String::new());
    let target = asset.name.as_str();
    let entry = AuditEntry { action: "asset.reject-identity", target, before, after };
    change.commit(entry).await?;
    Ok(shown)
}

/// The identity with this fingerprint.
fn the_one(
    known: Vec<OtherIdentity>,
    asset: &StoredAsset,
    fingerprint: IdentityFingerprint,
) -> Result<OtherIdentity> {
    let name = &asset.name;
    if known.is_empty() {
        let detail = format!("no other identity key is pending for {name}");
        return Err(OperationError::conflict("no-pending-identity", detail));
    }
    let found = known.into_iter().find(|other| other.fingerprint() == fingerprint);
    found.ok_or_else(|| {
        let detail = format!(
            "no identity key with the fingerprint {fingerprint} is pending for {name}; compare \
             it with what the host shows, and list the pending ones: xshield asset show {name}"
        );
        OperationError::conflict_at("/fingerprint", "identity-not-waiting", detail)
    })
}

/// Refuses while the machine with the pinned key is active: then the other one is not a reinstallation of it,
/// but another machine.
fn is_silent(asset: &StoredAsset, other: &OtherIdentity, now: Timestamp) -> Result<()> {
    let Some(last) = asset.last_check_in.filter(|last| *last > other.first_seen) else {
        return Ok(());
    };
    let name = &asset.name;
    Err(OperationError::conflict(
        "pinned-identity-in-use",
        format!(
            "{name} has checked in with its pinned key since this key was first seen, most \
             recently {}: these are two machines. Give the other one a name of its own with \
             name: in its configuration; or, to take the asset away from its current machine, \
             repeat with --replace-running",
            relative(last, now)
        ),
    ))
}

#[cfg(test)]
mod tests {
    use xshield_store::commit;
    use xshield_store::identities::Attempt;
    use xshield_wire::Bytes;

    use super::*;
    use crate::compiler::Endpoints;
    use crate::testing::{NOW, audited, by, register, store};

    const OTHER: Bytes<32> = Bytes([77; 32]);

    fn code(error: OperationError) -> &'static str {
        match error {
            OperationError::Conflict { code, .. } => code,
            other => panic!("{other}"),
        }
    }

    #[tokio::test]
    async fn a_key_is_pinned_by_its_fingerprint_even_after_a_rejection() {
        let (_dir, store) = store().await;
        let by = by::<Operator>();
        let compiler = RulesetCompiler::new(store.clone(), Endpoints::default());
        register(&store, &[("web", "web")]).await;
        let pinned = IdentityFingerprint::of(&Bytes([0; 32]));
        let other = IdentityFingerprint::of(&OTHER);
        let approval = |fingerprint| Approval { fingerprint, running: Running::Keep };
        let approve = async |fingerprint| {
            let approval = approval(fingerprint);
            approve_identity(&store, &compiler, &by, "web", &approval, NOW).await
        };
        assert_eq!(code(approve(other).await.unwrap_err()), "no-pending-identity");

        let mut tx = store.write().await.unwrap();
        let from = "10.0.0.9".parse().unwrap();
        let attempt = Attempt { identity: OTHER, key: "k1", from };
        identities::note(&mut tx, &"as-web".parse().unwrap(), attempt, NOW).await.unwrap();
        commit(tx).await.unwrap();
        assert_eq!(code(approve(pinned).await.unwrap_err()), "identity-not-waiting");
        let rejection = Rejection { fingerprint: other };
        let asset = reject_identity(&store, &compiler, &by, "web", &rejection, NOW).await.unwrap();
        assert_eq!(asset.waiting_identities.map(|waiting| waiting.len()), Some(0));
        let again = reject_identity(&store, &compiler, &by, "web", &rejection, NOW).await;
        assert_eq!(code(again.unwrap_err()), "no-pending-identity");
        assert_eq!(approve(other).await.unwrap().fingerprint, other);
        let expected = [
            format!("user:ann asset.reject-identity web: {other} -> "),
            format!("user:ann asset.approve-identity web: {pinned} -> {other}"),
        ];
        assert_eq!(audited(&store).await, expected);
    }
}
