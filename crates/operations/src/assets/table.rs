//! Assets in a table with numbered pages, and the number of assets per state.

use xshield_api::assets::Asset;
use xshield_model::Timestamp;
use xshield_model::asset_filter::AssetStanding;
use xshield_policy::criteria::Criteria;
use xshield_policy::inventory::Source;
use xshield_store::assets::{AssetFilter, Sorting};
use xshield_store::{Store, assets, threat_assets};

use super::read::{Details, shown};
use crate::asset_threat::asset_threat;
use crate::compiler::RulesetCompiler;
use crate::error::Result;
use crate::protection;
use crate::selection::matching;

/// The assets of a table, and the requested page.
#[derive(Debug, Clone)]
pub struct TableQuery {
    /// The program of the hosts.
    pub source: Source,
    /// Part of the name.
    pub name: Option<String>,
    /// Their state.
    pub standing: Option<AssetStanding>,
    /// The criteria they match.
    pub criteria: Option<Criteria>,
    /// Their order.
    pub sorting: Sorting,
    /// The page, from 1; numbers beyond the last page mean the last one.
    pub page: u64,
    /// Assets on a page.
    pub limit: u32,
}

/// A page of a table of assets.
#[derive(Debug, Clone)]
pub struct Table {
    /// All matching assets, on every page.
    pub total: u64,
    /// The number of pages, at least 1.
    pub pages: u64,
    /// The number of this page, from 1.
    pub page: u64,
    /// The number of assets on the previous pages.
    pub left_out: u64,
    /// The assets, with their protection and threat list state.
    pub items: Vec<Asset>,
}

impl Table {
    /// A table without assets.
    #[must_use]
    pub fn empty() -> Self {
        Self { total: 0, pages: 1, page: 1, left_out: 0, items: Vec::new() }
    }
}

/// A page of the table of assets.
///
/// # Errors
/// When the database fails.
pub async fn table(
    store: &Store,
    compiler: &RulesetCompiler,
    query: TableQuery,
    now: Timestamp,
) -> Result<Table> {
    let TableQuery { source, name, standing, criteria, sorting, page, limit } = query;
    let ids = match &criteria {
        Some(criteria) => Some(matching(&mut *store.read().await?, criteria).await?),
        None => None,
    };
    let source = Some(source);
    let mut filter = AssetFilter { name, standing, source, ids, ..AssetFilter::default() };
    protection::fill_in(compiler, &mut filter).await?;
    let mut conn = store.read().await?;
    let total = assets::count(&mut conn, &filter, now).await?;
    let pages = total.div_ceil(u64::from(limit)).max(1);
    let page = page.clamp(1, pages);
    let left_out = u32::try_from((page - 1) * u64::from(limit)).unwrap_or(u32::MAX);
    let found = assets::sorted(&mut conn, &filter, sorting, (left_out, limit), now).await?;
    let mut threats = threat_assets::some(&mut conn, found.iter().map(|asset| &asset.id)).await?;
    let mut details = Details::of(&mut conn, &found).await?;
    // Do not hold this while waiting for a compilation.
    drop(conn);
    let standings = compiler.standings(found.iter().map(|asset| asset.id.clone())).await?;
    let items = found.into_iter().map(|asset| {
        let threat = threats.remove(asset.id.as_str()).unwrap_or_default();
        let standing = standings.get(&asset.id);
        let shown = shown(compiler, asset, &mut details, now);
        let protection = Some(protection::of(standing, &shown.spark));
        Asset { protection, threat: asset_threat(&threat), ..shown }
    });
    Ok(Table { total, pages, page, left_out: u64::from(left_out), items: items.collect() })
}

/// The number of assets, in total and per state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// All.
    pub total: u64,
    /// By state, in the requested order.
    pub by_standing: Vec<(AssetStanding, u64)>,
}

/// Counts the assets with one program.
///
/// # Errors
/// When the database fails.
pub async fn counts(
    store: &Store,
    compiler: &RulesetCompiler,
    source: Source,
    standings: impl IntoIterator<Item = AssetStanding>,
    now: Timestamp,
) -> Result<Counts> {
    let of = |standing| AssetFilter { source: Some(source), standing, ..AssetFilter::default() };
    let mut filters: Vec<_> = standings.into_iter().map(|one| (one, of(Some(one)))).collect();
    for (_, filter) in &mut filters {
        protection::fill_in(compiler, filter).await?;
    }
    let mut conn = store.read().await?;
    let total = assets::count(&mut conn, &of(None), now).await?;
    let mut by_standing = Vec::with_capacity(filters.len());
    for (standing, filter) in filters {
        by_standing.push((standing, assets::count(&mut conn, &filter, now).await?));
    }
    Ok(Counts { total, by_standing })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compiler::Endpoints;
    use crate::testing::{NOW, register, store};

    #[tokio::test]
    async fn pages_beyond_the_last_show_the_last() {
        let (_dir, store) = store().await;
        register(&store, &[("a", "web"), ("b", "web"), ("c", "db")]).await;
        let compiler = RulesetCompiler::new(store.clone(), Endpoints::default());
        let query = |criteria: Option<&str>, sorting, page| TableQuery {
            source: Source::Spark,
            name: None,
            standing: None,
            criteria: criteria.map(|text| text.parse().unwrap()),
            sorting,
            page,
            limit: 2,
        };
        let web = Some("role = 'web'");
        for (query, total, pages, page, names) in [
            (query(None, Sorting::Name, 1), 3, 2, 1, vec!["a", "b"]),
            (query(None, Sorting::Name, 2), 3, 2, 2, vec!["c"]),
            (query(None, Sorting::Name, 9), 3, 2, 2, vec!["c"]),
            (query(None, Sorting::NameDown, 0), 3, 2, 1, vec!["c", "b"]),
            (query(web, Sorting::NameDown, 1), 2, 1, 1, vec!["b", "a"]),
            (query(Some("role = 'none'"), Sorting::Name, 1), 0, 1, 1, vec![]),
            (
                TableQuery { source: Source::Agent, ..query(None, Sorting::Name, 1) },
                0,
                1,
                1,
                vec![],
            ),
        ] {
            let asked = format!("{query:?}");
            let found = table(&store, &compiler, query, NOW).await.unwrap();
            assert_eq!((found.total, found.pages, found.page), (total, pages, page), "{asked}");
            let shown: Vec<_> = found.items.iter().map(|asset| asset.name.as_str()).collect();
            assert_eq!(shown, names, "{asked}");
            assert!(found.items.iter().all(|asset| asset.protection.is_some()), "{asked}");
        }
        let standings = [AssetStanding::Never, AssetStanding::Unprotected, AssetStanding::Offline];
        let counted = counts(&store, &compiler, Source::Spark, standings, NOW).await.unwrap();
        let by_standing = vec![
            (AssetStanding::Never, 3),
            (AssetStanding::Unprotected, 3),
            (AssetStanding::Offline, 0),
        ];
        assert_eq!(counted, Counts { total: 3, by_standing });
    }
}
