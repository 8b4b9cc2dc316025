//! Claims of hosts that the platform does not accept automatically.

use std::collections::BTreeMap;

use sqlx::QueryBuilder;
use xshield_model::claim::{Claim, ClaimStanding, Fact};
use xshield_model::lineage::Lineage;
use xshield_policy::AssetId;
use xshield_policy::names::Name;

use super::rows::{Columns as _, push_in};
use super::{
    Conn, Db, Doing as _, Row, StoreError, StoreResult, from_json, from_word, rows, to_json, word,
};

/// The claims of an asset's host, in order.
///
/// # Errors
/// When the database fails.
pub async fn of(conn: &mut Conn, asset: &AssetId) -> StoreResult<Vec<Claim>> {
    let rows = sqlx::query("SELECT * FROM asset_claim WHERE asset_id = $1 ORDER BY kind, value")
        .bind(asset.as_str())
        .fetch_all(conn)
        .await
        .doing("read the claims of a host")?;
    Ok(rows::readable("claims of an asset", &rows, claim))
}

/// The claims of the hosts of these assets.
///
/// # Errors
/// When the database fails.
pub async fn of_many(
    conn: &mut Conn,
    assets: impl Iterator<Item = &AssetId>,
) -> StoreResult<BTreeMap<AssetId, Vec<Claim>>> {
    let mut query = QueryBuilder::<Db>::new("SELECT * FROM asset_claim WHERE asset_id");
    push_in(&mut query, assets);
    query.push(" ORDER BY kind, value");
    let rows = query.build().fetch_all(conn).await.doing("read the claims of hosts")?;
    let mut all: BTreeMap<AssetId, Vec<Claim>> = BTreeMap::new();
    let of_one = |row: &Row| Ok((id(row, "asset_id")?, claim(row)?));
    for (asset, claim) in rows::readable("claims", &rows, of_one) {
        all.entry(asset).or_default().push(claim);
    }
    Ok(all)
}

/// Pending claims of other hosts that concern this asset, with the other host's asset.
///
/// # Errors
/// When the database fails.
pub async fn about(conn: &mut Conn, asset: &AssetId) -> StoreResult<Vec<(Name, Claim)>> {
    let rows = sqlx::query(
        "SELECT a.name, c.* FROM asset_claim c JOIN asset a ON a.id = c.asset_id \
         WHERE c.other_asset = $1 AND c.standing = 'waiting' AND a.decommissioned_at IS NULL \
         ORDER BY a.name, c.kind, c.value LIMIT 50",
    )
    .bind(asset.as_str())
    .fetch_all(conn)
    .await
    .doing("read the claims about an asset")?;
    Ok(rows::readable("claims about an asset", &rows, named))
}

/// The pending claims of all assets in service.
///
/// # Errors
/// When the database fails.
pub async fn waiting(conn: &mut Conn) -> StoreResult<Vec<(Name, Claim)>> {
    let rows = sqlx::query(
        "SELECT a.name, c.* FROM asset_claim c JOIN asset a ON a.id = c.asset_id \
         WHERE c.standing = 'waiting' AND a.decommissioned_at IS NULL \
         ORDER BY a.name, c.kind, c.value LIMIT 10000",
    )
    .fetch_all(conn)
    .await
    .doing("read pending claims")?;
    Ok(rows::readable("claims that wait", &rows, named))
}

/// Replaces the claims of an asset's host.
///
/// # Errors
/// When the database fails.
pub async fn put(
    conn: &mut Conn,
    asset: &AssetId,
    before: &[Claim],
    claims: &[Claim],
) -> StoreResult<()> {
    let is_same = |a: &Claim, b: &Claim| a.fact == b.fact;
    for gone in before.iter().filter(|old| !claims.iter().any(|new| is_same(old, new))) {
        sqlx::query("DELETE FROM asset_claim WHERE asset_id = $1 AND kind = $2 AND value = $3")
            .bind(asset.as_str())
            .bind(gone.fact.kind())
            .bind(gone.fact.value())
            .execute(&mut *conn)
            .await
            .doing("delete a claim")?;
    }
    for new in claims.iter().filter(|claim| !before.contains(claim)) {
        sqlx::query(
            "INSERT INTO asset_claim (asset_id, kind, value, standing, reason, other_asset, since) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (asset_id, kind, value) DO UPDATE SET \
             standing = excluded.standing, reason = excluded.reason, \
             other_asset = excluded.other_asset, since = excluded.since",
        )
        .bind(asset.as_str())
        .bind(new.fact.kind())
        .bind(new.fact.value())
        .bind(word(&new.standing)?)
        .bind(word(&new.reason)?)
        .bind(new.other.as_ref().map(AssetId::as_str))
        .bind(new.since.0)
        .execute(&mut *conn)
        .await
        .doing("write a claim down")?;
    }
    Ok(())
}

/// The machines that check in as this asset.
///
/// # Errors
/// When the database fails.
pub async fn lineage(conn: &mut Conn, asset: &AssetId) -> StoreResult<Lineage> {
    let text: String = sqlx::query_scalar("SELECT lineage FROM asset WHERE id = $1")
        .bind(asset.as_str())
        .fetch_one(conn)
        .await
        .doing("read the machines of an asset")?;
    from_json(&text)
}

/// Stores the machines that check in as this asset.
///
/// # Errors
/// When the database fails.
pub async fn put_lineage(conn: &mut Conn, asset: &AssetId, lineage: &Lineage) -> StoreResult<()> {
    sqlx::query("UPDATE asset SET lineage = $2 WHERE id = $1")
        .bind(asset.as_str())
        .bind(to_json(lineage)?)
        .execute(conn)
        .await
        .doing("write the machines of an asset down")?;
    Ok(())
}

fn named(row: &Row) -> StoreResult<(Name, Claim)> {
    let name = row.col::<&str>("name")?.parse().doing("read a stored name")?;
    Ok((name, claim(row)?))
}

fn claim(row: &Row) -> StoreResult<Claim> {
    let (kind, value) = (row.col::<&str>("kind")?, row.col::<&str>("value")?);
    let unreadable = || StoreError::damaged("read a claim", format!("{kind} {value:?}"));
    let standing: ClaimStanding = from_word(row.col("standing")?)?;
    let other = row.col::<Option<&str>>("other_asset")?.map(str::parse).transpose();
    Ok(Claim {
        fact: Fact::of(kind, value).ok_or_else(unreadable)?,
        standing,
        reason: from_word(row.col("reason")?)?,
        other: other.doing("read a stored id")?,
        since: row.time("since")?,
    })
}

fn id(row: &Row, column: &str) -> StoreResult<AssetId> {
    row.col::<&str>(column)?.parse().doing("read a stored id")
}
