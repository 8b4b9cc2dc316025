//! The assets that a command is for.

use std::collections::BTreeSet;

use xshield_api::commands::Selection;
use xshield_model::Timestamp;
use xshield_policy::AssetId;
use xshield_policy::criteria::Criteria;
use xshield_store::assets::AssetFilter;
use xshield_store::{Conn, Store, StoreResult, assets};

use crate::compiler::RulesetCompiler;
use crate::error::{OperationError, Result};
use crate::lookup;
use crate::protection;

/// The maximum number of assets listed individually.
const MOST_NAMED: usize = 10_000;

/// The assets that a selection matches, without decommissioned ones.
///
/// # Errors
/// When it is empty, or refers to something that does not exist, or the database fails.
pub async fn selected(
    store: &Store,
    compiler: &RulesetCompiler,
    selection: &Selection,
    now: Timestamp,
) -> Result<Vec<AssetId>> {
    let Selection { assets: names, name, criteria, segment, source, status, all } = selection;
    let narrowed = names.is_some()
        || name.is_some()
        || criteria.is_some()
        || segment.is_some()
        || source.is_some()
        || status.is_some();
    match (narrowed, all) {
        (false, false) => {
            let reason = "no selection; name assets, give a filter, or set 'all'";
            return Err(OperationError::invalid("/target", reason));
        }
        (true, true) => {
            let reason = "'all' can't be combined with another selection";
            return Err(OperationError::invalid("/target/all", reason));
        }
        _ => {}
    }
    if name.as_ref().is_some_and(String::is_empty) {
        return Err(OperationError::invalid(
            "/target/name",
            "an empty name would match every asset",
        ));
    }
    if names.as_ref().is_some_and(|names| names.is_empty() || names.len() > MOST_NAMED) {
        let reason = format!("expected 1 to {MOST_NAMED} assets");
        return Err(OperationError::invalid("/target/assets", reason));
    }
    let in_segment: Option<BTreeSet<AssetId>> = match segment {
        Some(segment) => {
            let members = members(store, compiler, segment, "/target/segment").await?;
            Some(members.into_iter().collect())
        }
        None => None,
    };
    let mut wanted = AssetFilter { standing: *status, ..AssetFilter::default() };
    protection::fill_in(compiler, &mut wanted).await?;
    let open_by_policy = wanted.open;
    let mut conn = store.read().await?;
    let mut by_name = None;
    if let Some(names) = names {
        let mut ids = BTreeSet::new();
        for name in names {
            ids.insert(lookup::asset(&mut conn, name).await?.id);
        }
        by_name = Some(ids);
    }
    let listed = if name.is_some() || status.is_some() {
        let filter = AssetFilter {
            name: name.clone(),
            standing: *status,
            open: open_by_policy,
            ..AssetFilter::default()
        };
        let found = assets::list(&mut conn, &filter, None, u32::MAX, now).await?;
        Some(found.into_iter().map(|asset| asset.id).collect::<BTreeSet<_>>())
    } else {
        None
    };
    let among = |ids: &Option<BTreeSet<AssetId>>, id: &AssetId| {
        ids.as_ref().is_none_or(|ids| ids.contains(id))
    };
    let inventory = assets::inventory(&mut conn).await?;
    let meant = inventory.assets.into_iter().filter(|asset| {
        among(&by_name, &asset.id)
            && among(&in_segment, &asset.id)
            && among(&listed, &asset.id)
            && source.is_none_or(|source| source == asset.source)
            && criteria.as_ref().is_none_or(|criteria| criteria.matches(asset))
    });
    Ok(meant.map(|asset| asset.id).collect())
}

/// The assets in a segment of the committed policy. `field`: where the segment is named.
///
/// # Errors
/// When there is no such segment, or the database fails.
pub async fn members(
    store: &Store,
    compiler: &RulesetCompiler,
    segment: &str,
    field: &str,
) -> Result<Vec<AssetId>> {
    let unknown = || OperationError::invalid(field, "the committed policy has no such segment");
    let committed = compiler.committed().await?.ok_or_else(unknown)?;
    let segment = committed
        .policy
        .segments()
        .find(|known| known.name.as_str() == segment)
        .ok_or_else(unknown)?;
    let inventory = assets::inventory(&mut *store.read().await?).await?;
    let members = inventory.assets.into_iter().filter(|asset| segment.criteria.matches(asset));
    Ok(members.map(|asset| asset.id).collect())
}

/// The assets that match an expression, without decommissioned ones.
///
/// # Errors
/// When the database fails.
pub async fn matching(conn: &mut Conn, criteria: &Criteria) -> StoreResult<Vec<AssetId>> {
    let inventory = assets::inventory(conn).await?;
    let met = inventory.assets.into_iter().filter(|asset| criteria.matches(asset));
    Ok(met.map(|asset| asset.id).collect())
}
