//! Assets: identity, reported state, and what is pending for them.

mod check_in;
mod lagging;
mod listing;
mod row;

use std::collections::BTreeMap;

use sqlx::QueryBuilder;
use xshield_policy::AssetId;
use xshield_policy::inventory::{Asset, Inventory, Source};
use xshield_policy::names::{Name, TagKey, TagValue};
use xshield_wire::Bytes;
use xshield_wire::message::ProgramKind;

use super::rows::{Columns as _, parse, push_in};
use super::{Conn, Db, Doing as _, Row, StoreError, StoreResult, addresses, from_word, rows, word};
pub use check_in::{CheckedIn, check_in, put_problems};
pub use lagging::{LaggingAssets, lagging};
pub use listing::{
    ACTIVE_FOR, AssetFilter, MISSED_LATE, Sorting, count, list, missed, sorted, standings,
};
use row::{COLUMNS, stored};
pub use row::{PendingIdentity, StoredAsset};
use xshield_model::Timestamp;

/// Tags of one asset.
pub type Tags = BTreeMap<TagKey, TagValue>;

/// A host that registers.
#[derive(Debug)]
pub struct NewAsset<'a> {
    /// Its id.
    pub id: &'a AssetId,
    /// Its name.
    pub name: &'a Name,
    /// The program that reports for it.
    pub source: Source,
    /// Its identity key.
    pub identity: Bytes<32>,
    /// Its first tags.
    pub tags: &'a Tags,
}

/// Registers a host.
///
/// # Errors
/// When the database fails, or name or identity are taken.
pub async fn insert(conn: &mut Conn, asset: &NewAsset<'_>, now: Timestamp) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO asset (id, name, source, identity, os, kernel, addresses, boot_id, \
         program_version, sequence, state, state_reason, problems, events_lost, created_at) \
         VALUES ($1, $2, $3, $4, '', '', '[]', '', '', 0, 'no-policy', '', '[]', 0, $5)",
    )
    .bind(asset.id.as_str())
    .bind(asset.name.as_str())
    .bind(word(&asset.source)?)
    .bind(asset.identity.0.to_vec())
    .bind(now.0)
    .execute(&mut *conn)
    .await
    .doing("register the asset")?;
    set_tags(conn, asset.id, asset.tags).await
}

/// The asset with this id.
///
/// # Errors
/// When the database fails.
pub async fn by_id(conn: &mut Conn, id: &str) -> StoreResult<Option<StoredAsset>> {
    one(conn, "a.id", id).await
}

/// The asset with this name.
///
/// # Errors
/// When the database fails.
pub async fn by_name(conn: &mut Conn, name: &str) -> StoreResult<Option<StoredAsset>> {
    one(conn, "a.name", name).await
}

/// The asset with this identity key.
///
/// # Errors
/// When the database fails.
pub async fn by_identity(conn: &mut Conn, identity: Bytes<32>) -> StoreResult<Option<StoredAsset>> {
    let mut query = QueryBuilder::<Db>::new(COLUMNS);
    query.push(" WHERE a.identity = ").push_bind(identity.0.to_vec());
    let row = query.build().fetch_optional(conn).await.doing("read an asset")?;
    row.as_ref().map(stored).transpose()
}

async fn one(
    conn: &mut Conn,
    column: &'static str,
    value: &str,
) -> StoreResult<Option<StoredAsset>> {
    let mut query = QueryBuilder::<Db>::new(COLUMNS);
    query.push(" WHERE ").push(column).push(" = ").push_bind(value.to_owned());
    let row = query.build().fetch_optional(conn).await.doing("read an asset")?;
    row.as_ref().map(stored).transpose()
}

/// The tags of these assets.
///
/// # Errors
/// When the database fails.
pub async fn tags_of(
    conn: &mut Conn,
    ids: impl Iterator<Item = &AssetId>,
) -> StoreResult<BTreeMap<AssetId, Tags>> {
    let mut query =
        QueryBuilder::<Db>::new("SELECT asset_id, key, value FROM asset_tag WHERE asset_id");
    push_in(&mut query, ids);
    let rows = query.build().fetch_all(conn).await.doing("read tags")?;
    let mut tags: BTreeMap<AssetId, Tags> = BTreeMap::new();
    for (id, key, value) in rows::readable("tags", &rows, tag) {
        tags.entry(id).or_default().insert(key, value);
    }
    Ok(tags)
}

fn tag(row: &Row) -> StoreResult<(AssetId, TagKey, TagValue)> {
    Ok((parse(row, "asset_id")?, parse(row, "key")?, parse(row, "value")?))
}

/// Replaces an asset's tags.
///
/// # Errors
/// When the database fails.
pub async fn set_tags(conn: &mut Conn, id: &AssetId, tags: &Tags) -> StoreResult<()> {
    sqlx::query("DELETE FROM asset_tag WHERE asset_id = $1")
        .bind(id.as_str())
        .execute(&mut *conn)
        .await
        .doing("remove tags")?;
    for (key, value) in tags {
        sqlx::query("INSERT INTO asset_tag (asset_id, key, value) VALUES ($1, $2, $3)")
            .bind(id.as_str())
            .bind(key.as_str())
            .bind(value.as_str())
            .execute(&mut *conn)
            .await
            .doing("set tags")?;
    }
    Ok(())
}

/// Changes what the platform stores of an asset besides its addresses: name, system and source.
///
/// # Errors
/// When the database fails or the name is taken.
pub async fn hold(conn: &mut Conn, asset: &Asset) -> StoreResult<()> {
    sqlx::query("UPDATE asset SET name = $2, os = $3, source = $4 WHERE id = $1")
        .bind(asset.id.as_str())
        .bind(asset.name.as_str())
        .bind(&asset.os)
        .bind(word(&asset.source)?)
        .execute(conn)
        .await
        .doing("update the asset")?;
    Ok(())
}

/// Deletes an asset and everything it reported.
///
/// # Errors
/// When the database fails.
pub async fn delete(conn: &mut Conn, id: &AssetId) -> StoreResult<()> {
    sqlx::query("DELETE FROM asset WHERE id = $1")
        .bind(id.as_str())
        .execute(&mut *conn)
        .await
        .doing("delete the asset")?;
    sqlx::query("DELETE FROM host_configuration WHERE scope = $1")
        .bind(format!("asset:{id}"))
        .execute(conn)
        .await
        .doing("delete the asset's configuration")?;
    Ok(())
}

/// Decommissions an asset at a time, or, without one, returns it to service. A decommissioned asset keeps its
/// addresses until another asset claims them.
///
/// # Errors
/// When the database fails.
pub async fn decommission(conn: &mut Conn, id: &AssetId, at: Option<Timestamp>) -> StoreResult<()> {
    sqlx::query("UPDATE asset SET decommissioned_at = $2 WHERE id = $1")
        .bind(id.as_str())
        .bind(at.map(|at| at.0))
        .execute(conn)
        .await
        .doing("decommission or reinstate the asset")?;
    Ok(())
}

/// The compiler's input, ordered by id; decommissioned assets are omitted.
///
/// An asset with an unreadable part is omitted as a whole and logged: its ruleset stays as it was. With only
/// a part of its tags or addresses, policy would treat it as another asset.
///
/// # Errors
/// When the database fails.
pub async fn inventory(conn: &mut Conn) -> StoreResult<Inventory> {
    let rows = sqlx::query("SELECT asset_id, key, value FROM asset_tag")
        .fetch_all(&mut *conn)
        .await
        .doing("read tags")?;
    let mut tags = rows::grouped("tags", &rows, |row| {
        let (_, key, value) = tag(row)?;
        Ok((key, value))
    });
    let mut held = addresses::all(conn).await?;
    let rows = sqlx::query(
        "SELECT id, name, source, os FROM asset \
         WHERE decommissioned_at IS NULL ORDER BY id",
    )
    .fetch_all(conn)
    .await
    .doing("read the inventory")?;
    let asset = |row: &Row| {
        let id = parse::<AssetId>(row, "id")?;
        let whole = |what| move || StoreError::damaged("read all of an asset", what);
        let tags = tags.remove(id.as_str()).unwrap_or_else(|| Some(Vec::new()));
        let held = held.remove(id.as_str()).unwrap_or_else(|| Some(Vec::new()));
        let mut addresses = held.ok_or_else(whole("an address of it can't be read"))?;
        addresses.sort_unstable();
        Ok(Asset {
            name: parse(row, "name")?,
            tags: tags.ok_or_else(whole("a tag of it can't be read"))?.into_iter().collect(),
            addresses,
            os: row.col("os")?,
            source: from_word(row.col("source")?)?,
            id,
        })
    };
    Ok(Inventory { assets: rows::readable("inventory", &rows, asset) })
}

/// An asset as policy sees it; `None` if it is not in service.
///
/// # Errors
/// When the database fails.
pub async fn described(conn: &mut Conn, id: &AssetId) -> StoreResult<Option<Asset>> {
    let Some(asset) = by_id(conn, id.as_str()).await? else { return Ok(None) };
    if asset.decommissioned_at.is_some() {
        return Ok(None);
    }
    let tags = tags_of(conn, std::iter::once(id)).await?.remove(id).unwrap_or_default();
    let StoredAsset { id, name, addresses, os, source, .. } = asset;
    Ok(Some(Asset { id, name, tags, addresses, os, source }))
}

/// The source of assets whose program has this kind.
#[must_use]
pub fn source(program: ProgramKind) -> Source {
    match program {
        ProgramKind::Spark => Source::Spark,
        ProgramKind::Agent => Source::Agent,
    }
}
