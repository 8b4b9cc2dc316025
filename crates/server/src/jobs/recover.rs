//! Recovery after a restore from a backup: the platform's version numbers are behind those that hosts have
//! seen, and hosts accept nothing older. Signed documents that a host presents raise them; unsigned claims do
//! not.

use std::sync::Arc;

use xshield_intelligence::Threats;
use xshield_intelligence::orders::{self, Orders};
use xshield_model::Timestamp;
use xshield_operations::Result;
use xshield_operations::compiler::{Committed, RulesetCompiler};
use xshield_operations::error::Doing as _;
use xshield_operations::policy::documents::read_stored;
use xshield_operations::policy::simulations::Permit;
use xshield_policy::{AssetId, Revision};
use xshield_store as store;
use xshield_store::assets::StoredAsset;
use xshield_store::audit::NewAuditEntry;
use xshield_store::policy::CommittedPolicy;
use xshield_store::{Conn, Store, StoreError, StoreResult, assets, audit, commit, rulesets};
use xshield_wire::envelope::{EnvelopeError, addressee, open_label, open_order};
use xshield_wire::keys::PolicyKey;
use xshield_wire::message::Held;
use xshield_wire::{Envelope, RulesetVersion};

use super::host_configuration::HostConfigurations;
use crate::held_polls::HeldPolls;

/// Raises the platform's numbers above those that hosts show.
#[derive(Debug)]
pub struct Recovery {
    /// Numbers, assets and policy.
    pub store: Store,
    /// Signs rulesets and orders: what it did not sign is not believed.
    pub key: Arc<PolicyKey>,
    /// Orders are numbered, too.
    pub orders: Arc<Orders>,
    /// Compiles again under higher numbers.
    pub compiler: Arc<RulesetCompiler>,
    /// Hosts are told at once.
    pub held_polls: Arc<HeldPolls>,
    /// What hosts should use depends on the policy.
    pub configuring: Arc<HostConfigurations>,
    /// So does the threat list.
    pub threat: Arc<Threats>,
}

impl Recovery {
    /// Processes what a host presents. Documents not signed by this platform, or for another asset, are
    /// ignored and logged.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn take(self: &Arc<Self>, asset: &StoredAsset, held: Held) -> Result<()> {
        if let Some(label) = held.ruleset
            && let Some(version) = self.shown_version(asset, &label).await?
        {
            self.number_above(asset, version).await?;
        }
        if let Some(order) = held.threat
            && let Some(sequence) = self.shown_sequence(asset, &order).await?
        {
            let raised =
                orders::number_above(&self.orders, asset, sequence, Timestamp::now()).await;
            raised.doing("raise the number of a threat order")?;
        }
        Ok(())
    }

    async fn shown_version(
        &self,
        asset: &StoredAsset,
        label: &Envelope,
    ) -> Result<Option<RulesetVersion>> {
        let pinned = [self.key.public()];
        let shown = self.shown(asset, label, |bytes, expected| {
            open_label(bytes, &pinned, expected).map(|label| label.version)
        });
        shown.await
    }

    async fn shown_sequence(&self, asset: &StoredAsset, order: &Envelope) -> Result<Option<u64>> {
        let pinned = [self.key.public()];
        let shown = self.shown(asset, order, |bytes, expected| {
            open_order(bytes, &pinned, expected, 0).map(|order| order.sequence)
        });
        shown.await
    }

    /// Opens a presented document if it is for that host: for its asset, or for one unknown to this
    /// database because the host registered after the backup.
    async fn shown<T>(
        &self,
        asset: &StoredAsset,
        envelope: &Envelope,
        open: impl FnOnce(&[u8], &AssetId) -> std::result::Result<T, EnvelopeError>,
    ) -> Result<Option<T>> {
        let refuse = |error: &EnvelopeError| {
            metrics::counter!("xshield_refused_total", "reason" => "evidence").increment(1);
            tracing::warn!(asset = %asset.id, %error, "version numbers presented by a host are not accepted");
        };
        let addressee = match addressee(envelope) {
            Ok(addressee) => addressee,
            Err(error) => {
                refuse(&error);
                return Ok(None);
            }
        };
        let known = assets::by_id(&mut *self.store.read().await?, addressee.as_str()).await?;
        let expected = if known.is_some() { &asset.id } else { &addressee };
        match open(&envelope.to_bytes(), expected) {
            Ok(opened) => Ok(Some(opened)),
            Err(error) => {
                refuse(&error);
                Ok(None)
            }
        }
    }

    /// Makes the asset's ruleset newer than one that its host has seen.
    async fn number_above(
        self: &Arc<Self>,
        asset: &StoredAsset,
        held: RulesetVersion,
    ) -> Result<()> {
        // Run to the end even when the host disconnects: the committed policy and the compiler's input
        // belong together.
        let (recovery, asset) = (self.clone(), asset.clone());
        let raised = tokio::spawn(async move {
            if recovery.raise(&asset, held).await? {
                // Assets whose ruleset can't be compiled are logged as usual.
                recovery.compiler.inventory_changed();
            }
            recovery.compiler.compile_one(&asset.id).await.map(drop)
        });
        raised.await.doing("raise the number of a ruleset")?
    }

    /// Whether the version numbers of all were raised.
    async fn raise(&self, asset: &StoredAsset, held: RulesetVersion) -> Result<bool> {
        let turn = self.compiler.turn().await;
        let (policy, stored, last, inventory) = {
            let mut conn = self.store.read().await?;
            let policy = store::policy::committed(&mut conn).await?;
            let stored = rulesets::get(&mut conn, &asset.id).await?;
            let last = rulesets::last_compilation(&mut conn).await?;
            (policy, stored, last, assets::inventory(&mut conn).await?)
        };
        // Without a policy, nothing is desired of hosts; the first commit will meet the same situation
        // again.
        let Some(policy) = policy else { return Ok(false) };
        if stored.is_some_and(|stored| stored.version >= held) {
            return Ok(false);
        }
        let now = Timestamp::now();
        if held <= (RulesetVersion { revision: policy.revision, compilation: last }) {
            // The others are higher already; this one is compiled again under a new number.
            let mut tx = self.store.write().await?;
            rulesets::forget_number(&mut tx, &asset.id).await?;
            commit(tx).await?;
            return Ok(false);
        }
        let checked = read_stored(&policy.documents).map_err(|errors| {
            let reasons: Vec<_> = errors.into_iter().map(|error| error.reason).collect();
            StoreError::damaged("read the committed policy", reasons.join("; "))
        })?;
        let revision = Revision(held.revision.0.max(policy.revision.0) + 1);
        let fresh = Committed { revision, policy: checked.policy };
        let permit = Permit::unlimited();
        let fresh = self.compiler.compile_policy(None, fresh, inventory, permit).await?;
        let mut tx = self.store.write().await?;
        rulesets::count_from(&mut tx, held.compilation).await?;
        let raised = CommittedPolicy {
            revision,
            documents: policy.documents,
            note: format!("recommitted revision {} after a restore from a backup", policy.revision),
            committed_at: now,
            committed_by: "platform".to_owned(),
        };
        store::policy::insert_revision(&mut tx, &raised).await?;
        fresh.store(&mut tx, now).await?;
        let before = format!("revision {}", policy.revision);
        let after = format!("revision {revision}, because the host of {} has {held}", asset.name);
        note(&mut tx, "policy.restored", "policy", before, after, now).await?;
        commit(tx).await?;
        tracing::warn!(
            from = %policy.revision, to = %revision, asset = %asset.id, %held,
            "restored from a backup: raised the policy's revision above that of a host"
        );
        fresh.digests().iter().for_each(|(asset, _)| self.held_polls.wake(asset));
        self.compiler.adopt(turn, fresh);
        self.configuring.changed();
        self.threat.changed();
        Ok(true)
    }
}

/// Records that a number was raised.
async fn note(
    conn: &mut Conn,
    action: &'static str,
    target: &str,
    before: String,
    after: String,
    now: Timestamp,
) -> StoreResult<()> {
    let new_entry = NewAuditEntry { actor: "platform", action, target, before, after };
    audit::record(conn, new_entry, now).await
}

/// Whether a host received a response that this platform does not remember: it was restored from a backup
/// since. `asset`: as before the check-in.
#[must_use]
pub(crate) fn has_forgotten(asset: &StoredAsset, previous: Option<u64>) -> bool {
    asset.last_check_in.is_some() && previous.is_some_and(|previous| previous > asset.sequence)
}
