//! Reading assets.

use std::collections::BTreeMap;

use xshield_api::assets::{Asset, PastProblem, PendingIdentity, WaitingIdentity};
use xshield_api::page::Page;
use xshield_model::Timestamp;
use xshield_model::asset_filter::AssetStanding;
use xshield_model::claim;
use xshield_policy::AssetId;
use xshield_policy::criteria::Criteria;
use xshield_policy::names::{TagKey, TagValue};
use xshield_store::assets::{AssetFilter, StoredAsset, Tags};
use xshield_store::identities::OtherIdentity;
use xshield_store::problems::StoredProblem;
use xshield_store::{
    Conn, Store, assets, claims as stored_claims, enrolment, identities, problems as told,
    threat_assets,
};
use xshield_wire::fingerprint::IdentityFingerprint;

use crate::asset_threat::asset_threat;
use crate::claims::{findings, shown as shown_claim};
use crate::compiler::RulesetCompiler;
use crate::error::{OperationError, Result};
use crate::paging::{Paging, paged};
use crate::selection::{matching, members};
use crate::standing::spark_of;
use crate::{lookup, management, protection};

/// A filter for assets. All given conditions must hold.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Part of the name.
    pub name: Option<String>,
    /// `key` or `key=value`; several, joined by `,`.
    pub tags: Option<String>,
    /// The state.
    pub standing: Option<AssetStanding>,
    /// A segment of the committed policy.
    pub segment: Option<String>,
    /// A criteria expression.
    pub criteria: Option<String>,
}

/// Assets, by name.
///
/// # Errors
/// When the filter can't be read or names a segment that does not exist, or the database fails.
pub async fn list(
    store: &Store,
    compiler: &RulesetCompiler,
    wanted: Filter,
    paging: Paging<String>,
    now: Timestamp,
) -> Result<Page<Asset>> {
    let ids = match &wanted.segment {
        Some(segment) => Some(members(store, compiler, segment, "?segment").await?),
        None => None,
    };
    let criteria = wanted.criteria.as_deref().map(str::parse::<Criteria>).transpose();
    let criteria =
        criteria.map_err(|error| OperationError::invalid("?where", error.to_string()))?;
    let tags = wanted.tags.as_deref().map(tag_filter).transpose()?.unwrap_or_default();
    let (name, standing) = (wanted.name, wanted.standing);
    let mut filter = AssetFilter { name, tags, standing, ids, ..AssetFilter::default() };
    protection::fill_in(compiler, &mut filter).await?;
    let mut conn = store.read().await?;
    if let Some(criteria) = &criteria {
        let matching = matching(&mut conn, criteria).await?;
        let known = filter.ids.take();
        let both = |id: &AssetId| known.as_ref().is_none_or(|known| known.contains(id));
        filter.ids = Some(matching.into_iter().filter(both).collect());
    }
    let after = paging.after.as_deref();
    let found = assets::list(&mut conn, &filter, after, paging.to_read(), now).await?;
    let mut details = Details::of(&mut conn, &found).await?;
    // Do not hold this while waiting for a compilation.
    drop(conn);
    let standings = compiler.standings(found.iter().map(|asset| asset.id.clone())).await?;
    let show = |asset: StoredAsset| {
        let standing = standings.get(&asset.id);
        let shown = shown(compiler, asset, &mut details, now);
        Asset { protection: Some(protection::of(standing, &shown.spark)), ..shown }
    };
    Ok(paged(found, paging.limit, |asset| asset.name.as_str().to_owned(), show))
}

fn tag_filter(text: &str) -> Result<Vec<(TagKey, Option<TagValue>)>> {
    let refuse = |reason: String| OperationError::invalid("?tag", reason);
    text.split(',')
        .map(|one| {
            let (key, value) = match one.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (one, None),
            };
            let key = key.trim().parse::<TagKey>().map_err(|error| refuse(error.to_string()))?;
            let value = value.map(|value| value.trim().parse::<TagValue>()).transpose();
            Ok((key, value.map_err(|error| refuse(error.to_string()))?))
        })
        .collect()
}

fn waiting_identity(other: OtherIdentity) -> WaitingIdentity {
    WaitingIdentity {
        fingerprint: other.fingerprint(),
        identity: other.identity.to_base64(),
        key: other.key,
        from: other.from,
        since: other.first_seen,
        last_seen: other.last_seen,
        attempts: other.attempts,
    }
}

/// Stored data about assets besides their rows.
pub(super) struct Details {
    tags: BTreeMap<AssetId, Tags>,
    claims: BTreeMap<AssetId, Vec<claim::Claim>>,
}

impl Details {
    /// Of these assets.
    pub(super) async fn of(conn: &mut Conn, assets: &[StoredAsset]) -> Result<Self> {
        let ids = || assets.iter().map(|asset| &asset.id);
        let tags = assets::tags_of(conn, ids()).await?;
        Ok(Self { tags, claims: stored_claims::of_many(conn, ids()).await? })
    }
}

/// An asset with its details, which are removed from `details`.
pub(super) fn shown(
    compiler: &RulesetCompiler,
    asset: StoredAsset,
    details: &mut Details,
    now: Timestamp,
) -> Asset {
    let tags = details.tags.remove(&asset.id).unwrap_or_default();
    let claims = details.claims.remove(&asset.id).unwrap_or_default();
    Asset {
        spark: spark_of(&asset, compiler.failure(&asset.id), now),
        protection: None,
        threat: None,
        findings: None,
        claims: claims.iter().map(|claim| shown_claim(&asset.name, claim)).collect(),
        id: asset.id,
        name: asset.name,
        source: asset.source.into(),
        tags,
        addresses: asset.addresses,
        os: asset.os,
        kernel: asset.kernel,
        identity: asset.identity.to_base64(),
        fingerprint: IdentityFingerprint::of(&asset.identity),
        waiting_identities: None,
        registered_with: None,
        pending_identity: asset.pending.map(|pending| PendingIdentity {
            identity: pending.identity.to_base64(),
            fingerprint: IdentityFingerprint::of(&pending.identity),
            since: pending.since,
        }),
        created_at: asset.created_at,
        events_lost: asset.events_lost,
        decommissioned_at: asset.decommissioned_at,
    }
}

/// Everything known about an asset, except whether policy protects it.
///
/// # Errors
/// When the database fails.
pub async fn whole(
    conn: &mut Conn,
    compiler: &RulesetCompiler,
    asset: StoredAsset,
    now: Timestamp,
) -> Result<Asset> {
    let mut details = Details::of(conn, std::slice::from_ref(&asset)).await?;
    let threat = asset_threat(&threat_assets::get(conn, &asset.id).await?);
    let waiting = identities::waiting(conn, &asset.id).await?;
    let waiting_identities = Some(waiting.into_iter().map(waiting_identity).collect());
    let registered_with = enrolment::registered_with(conn, &asset.id).await?;
    let findings = Some(findings(conn, &asset, now).await?);
    let shown = shown(compiler, asset, &mut details, now);
    Ok(Asset { threat, findings, waiting_identities, registered_with, ..shown })
}

/// One asset, by id or name.
///
/// # Errors
/// When there is none, or the database fails.
pub async fn get(
    store: &Store,
    compiler: &RulesetCompiler,
    named: &str,
    now: Timestamp,
) -> Result<Asset> {
    let mut conn = store.read().await?;
    let asset = lookup::asset(&mut conn, named).await?;
    let mut shown = whole(&mut conn, compiler, asset, now).await?;
    // Do not hold this while waiting for a compilation.
    drop(conn);
    let standings = compiler.standings([shown.id.clone()]).await?;
    shown.protection = Some(protection::of(standings.get(&shown.id), &shown.spark));
    let unmanaged = management::finding(compiler, &shown.id).await?;
    shown.findings.get_or_insert_default().extend(unmanaged);
    Ok(shown)
}

/// Problems that a host reported, including resolved ones; most recently seen first.
///
/// # Errors
/// When there is no such asset, or the database fails.
pub async fn problems(conn: &mut Conn, named: &str) -> Result<Vec<PastProblem>> {
    let asset = lookup::asset(conn, named).await?;
    let shown = |stored: StoredProblem| PastProblem {
        current: asset
            .problems
            .iter()
            .any(|current| current.code == stored.code && current.text == stored.text),
        code: stored.code,
        text: stored.text,
        first_seen: stored.first_seen,
        last_seen: stored.last_seen,
        times: stored.times,
    };
    let stored = told::list(conn, &asset.id).await?;
    Ok(stored.into_iter().map(shown).collect())
}
