//! The orders to hosts: signed again only when their content changes.

use std::sync::Arc;

use xshield_model::Timestamp;
use xshield_model::threat_settings::memory_budget;
use xshield_policy::AssetId;
use xshield_policy::inventory::Asset;
use xshield_store::assets::{StoredAsset, Tags};
use xshield_store::audit::NewAuditEntry;
use xshield_store::threat_assets::{SignedOrder, StoredThreat};
use xshield_store::{Tx, assets, audit, commit, threat_assets, threat_lists};
use xshield_wire::envelope;
use xshield_wire::threat::{ListName, ThreatOrder, ThreatStanding, ThreatWanted};
use xshield_wire::{Bytes, PolicyKey};

use crate::error::ThreatError;
use crate::parts::Part;
use crate::state::Threats;

/// Determines which list or part each host should use, in which modes.
#[derive(Debug)]
pub struct Orders {
    /// The list in force, and the modes.
    pub threats: Arc<Threats>,
    /// The signing key.
    pub key: Arc<PolicyKey>,
}

/// The order that an asset should have now; `None` before there ever was a list, and for a program that does
/// not support lists.
///
/// # Errors
/// When database or disk fail.
pub async fn wanted(
    orders: &Orders,
    asset: &StoredAsset,
    standing: Option<&ThreatStanding>,
    now: Timestamp,
) -> Result<Option<ThreatWanted>, ThreatError> {
    let Some(standing) = standing else { return Ok(None) };
    let (stored, tags) = {
        let mut conn = orders.threats.store.read().await?;
        let mut tags = assets::tags_of(&mut conn, std::iter::once(&asset.id)).await?;
        let tags = tags.remove(&asset.id).unwrap_or_default();
        (threat_assets::get(&mut conn, &asset.id).await?, tags)
    };
    let described = describe(asset, tags);
    let Some(order) = new_order(orders, &described, &stored, standing).await? else {
        return Ok(stored.order.as_ref().map(SignedOrder::wanted));
    };
    let mut tx = orders.threats.store.write().await?;
    let signed = sign(orders, &mut tx, order, now).await?;
    commit(tx).await?;
    Ok(Some(signed.wanted()))
}

fn describe(asset: &StoredAsset, tags: Tags) -> Asset {
    Asset {
        id: asset.id.clone(),
        name: asset.name.clone(),
        tags,
        addresses: asset.addresses.clone(),
        os: asset.os.clone(),
        source: asset.source,
    }
}

/// The number of orders signed in one transaction.
const AT_ONCE: usize = 200;

/// Signs the orders of all assets whose content changed. `told` is called for each once it is stored.
///
/// # Errors
/// When database or disk fail.
pub async fn sign_all(orders: &Orders, told: impl Fn(&AssetId)) -> Result<(), ThreatError> {
    let (inventory, known) = {
        let mut conn = orders.threats.store.read().await?;
        let inventory = assets::inventory(&mut conn).await?;
        (inventory, threat_assets::by_id(&mut conn).await?)
    };
    let mut news = Vec::new();
    for asset in &inventory.assets {
        let Some(stored) = known.get(asset.id.as_str()) else { continue };
        let Some((standing, _)) = &stored.standing else { continue };
        news.extend(new_order(orders, asset, stored, standing).await?);
    }
    let all = news.len();
    let mut left = news.into_iter().peekable();
    while left.peek().is_some() {
        let mut tx = orders.threats.store.write().await?;
        let mut signed = Vec::new();
        for order in left.by_ref().take(AT_ONCE) {
            signed.push(sign(orders, &mut tx, order, Timestamp::now()).await?.order.asset);
        }
        commit(tx).await?;
        signed.iter().for_each(&told);
    }
    if all > 0 {
        tracing::info!(assets = all, "notified hosts about threats");
    }
    Ok(())
}

/// An unsigned order, with the part of the list that it refers to.
struct NewOrder {
    order: ThreatOrder,
    part: Option<Part>,
}

/// The order for an asset, if it differs from its last one.
async fn new_order(
    orders: &Orders,
    asset: &Asset,
    stored: &StoredThreat,
    standing: &ThreatStanding,
) -> Result<Option<NewOrder>, ThreatError> {
    let current = orders.threats.current();
    if current.revision.is_none() && stored.order.is_none() {
        return Ok(None);
    }
    let budget = memory_budget(stored.budget, standing.memory, standing.budget);
    let (files, used) = (orders.threats.files.clone(), current.clone());
    let part = tokio::task::spawn_blocking(move || used.part(&files, budget)).await??;
    let rules = orders.threats.rules();
    let modes = rules.of(asset, stored.modes);
    let list = match (current.revision, &part) {
        // An empty list counts as none: the host removes its table.
        (Some(whole), Some(part)) if part.entries > 0 => Some(ListName {
            revision: whole.revision,
            digest: Bytes(part.digest.0),
            entries: part.entries,
            least_confidence: part.least_confidence,
            whole_entries: whole.entries,
        }),
        // There was a list, but it could not be compiled since the platform started: hosts keep what they
        // have.
        (None, _) => stored.order.as_ref().and_then(|known| known.order.list.clone()),
        _ => None,
    };
    let order = ThreatOrder {
        asset: asset.id.clone(),
        sequence: stored.sequence,
        inbound: modes.inbound,
        outbound: modes.outbound,
        list,
        verify_every: rules.settings.verify_every,
    };
    let is_known = stored.order.as_ref().is_some_and(|known| known.order == order);
    Ok((!is_known).then_some(NewOrder { order, part }))
}

/// Raises the number of an asset's orders above one that its host has seen and this platform does not
/// remember after a restore from a backup. The content stays the same.
///
/// # Errors
/// When the database fails.
pub async fn number_above(
    orders: &Orders,
    asset: &StoredAsset,
    held: u64,
    now: Timestamp,
) -> Result<(), ThreatError> {
    let mut tx = orders.threats.store.write().await?;
    let stored = threat_assets::get(&mut tx, &asset.id).await?;
    if stored.sequence >= held {
        return Ok(());
    }
    match stored.order {
        Some(known) => {
            let order = ThreatOrder { sequence: held.saturating_add(1), ..known.order };
            threat_assets::put_order(&mut tx, &seal(orders, order, now)?).await?;
        }
        None => threat_assets::put_sequence(&mut tx, &asset.id, held).await?,
    }
    let before = format!("order {}", stored.sequence);
    let after = format!("above order {held}, which its host has");
    let target = asset.name.as_str();
    let new_entry =
        NewAuditEntry { actor: "platform", action: "threat.restored", target, before, after };
    audit::record(&mut tx, new_entry, now).await?;
    commit(tx).await?;
    Ok(())
}

fn seal(orders: &Orders, order: ThreatOrder, now: Timestamp) -> Result<SignedOrder, ThreatError> {
    let envelope = envelope::seal(&orders.key, &order).map_err(ThreatError::Order)?;
    Ok(SignedOrder {
        digest: envelope.digest(),
        envelope: String::from_utf8_lossy(&envelope.to_bytes()).into_owned(),
        ordered_at: now,
        order,
    })
}

/// Signs and stores an order, unless the asset received the same or something newer meanwhile.
async fn sign(
    orders: &Orders,
    tx: &mut Tx,
    new: NewOrder,
    now: Timestamp,
) -> Result<SignedOrder, ThreatError> {
    let NewOrder { order, part } = new;
    let stored = threat_assets::get(tx, &order.asset).await?;
    let revision = |order: &ThreatOrder| order.list.as_ref().map(|list| list.revision);
    if let Some(known) = stored.order {
        let same = ThreatOrder { sequence: known.order.sequence, ..order.clone() } == known.order;
        if same || revision(&known.order) > revision(&order) && order.list.is_some() {
            return Ok(known);
        }
    }
    let order = ThreatOrder { sequence: stored.sequence + 1, ..order };
    let signed = seal(orders, order, now)?;
    if let Some(snapshot) = part.and_then(|part| part.snapshot) {
        threat_lists::put_file(tx, &snapshot).await?;
        orders.threats.paths.add([snapshot]);
    }
    threat_assets::put_order(tx, &signed).await?;
    Ok(signed)
}
