//! The addresses that the platform holds: each belongs to one asset.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use sqlx::QueryBuilder;
use xshield_model::Timestamp;
use xshield_model::claim::{Holder, SILENT_AFTER};
use xshield_policy::AssetId;

use super::rows::Columns as _;
use super::{Conn, Db, Doing as _, Row, StoreResult, from_json, rows};

/// Seconds after which another check-in from the same address is recorded.
const SEEN_AGAIN: i64 = 3600;

/// The addresses of every asset that has some, by the asset's id; none for an asset with an unreadable
/// address.
///
/// # Errors
/// When the database fails.
pub async fn all(conn: &mut Conn) -> StoreResult<BTreeMap<String, Option<Vec<IpAddr>>>> {
    let rows = sqlx::query("SELECT address, asset_id FROM asset_address")
        .fetch_all(conn)
        .await
        .doing("read the addresses of assets")?;
    Ok(rows::grouped("addresses of assets", &rows, address_of))
}

/// Rows that are read or written by one statement: fewer than the parameter limit of any database.
const AT_ONCE: usize = 1_000;

/// The other assets that hold some of these addresses.
///
/// # Errors
/// When the database fails.
pub async fn holders(
    conn: &mut Conn,
    besides: &AssetId,
    addresses: &[IpAddr],
    now: Timestamp,
) -> StoreResult<BTreeMap<IpAddr, Holder>> {
    let mut held = Vec::new();
    for some in addresses.chunks(AT_ONCE) {
        let mut query = QueryBuilder::<Db>::new(
            "SELECT h.address, h.asset_id, h.seen_at, \
             EXISTS (SELECT 1 FROM asset_claim c WHERE c.asset_id = h.asset_id AND \
             c.kind = 'address' AND c.value = h.address AND c.standing = 'accepted') AS accepted \
             FROM asset_address h WHERE h.asset_id <> ",
        );
        query.push_bind(besides.as_str().to_owned()).push(" AND h.address IN (NULL");
        for address in some {
            query.push(", ").push_bind(address.to_string());
        }
        query.push(")");
        let rows = query.build().fetch_all(&mut *conn).await;
        for row in &rows.doing("read the owners of addresses")? {
            let is_sure = row.maybe_time("seen_at")?.is_some() || row.col("accepted")?;
            held.push((address_of(row)?, asset_of(row)?, is_sure));
        }
    }
    let mut assets: BTreeMap<AssetId, Other> = BTreeMap::new();
    let mut holders = BTreeMap::new();
    for (address, asset, is_sure) in held {
        if !assets.contains_key(&asset) {
            let other = other(&mut *conn, &asset, now).await?;
            assets.insert(asset.clone(), other);
        }
        let Some(other) = assets.get(&asset) else { continue };
        let (is_silent, is_out) = (other.is_silent, other.is_out);
        let says_so = other.said.contains(&address);
        holders.insert(address, Holder { asset, is_sure, says_so, is_silent, is_out });
    }
    Ok(holders)
}

/// An asset that holds addresses, as of its last check-in.
struct Other {
    said: BTreeSet<IpAddr>,
    is_silent: bool,
    is_out: bool,
}

async fn other(conn: &mut Conn, asset: &AssetId, now: Timestamp) -> StoreResult<Other> {
    let row =
        sqlx::query("SELECT addresses, last_check_in, decommissioned_at FROM asset WHERE id = $1")
            .bind(asset.as_str())
            .fetch_one(conn)
            .await
            .doing("read the owner of an address")?;
    let last = row.maybe_time("last_check_in")?;
    Ok(Other {
        said: from_json(row.col("addresses")?)?,
        is_silent: last.is_none_or(|last| last.plus(SILENT_AFTER) < now),
        is_out: row.maybe_time("decommissioned_at")?.is_some(),
    })
}

/// Makes these the asset's addresses. Those that another asset holds are taken from it.
///
/// # Errors
/// When the database fails.
pub async fn put(
    conn: &mut Conn,
    asset: &AssetId,
    before: &[IpAddr],
    addresses: &[IpAddr],
    now: Timestamp,
) -> StoreResult<()> {
    let (held, holds): (BTreeSet<_>, BTreeSet<_>) =
        (before.iter().copied().collect(), addresses.iter().copied().collect());
    let gone: Vec<IpAddr> = held.difference(&holds).copied().collect();
    for some in gone.chunks(AT_ONCE) {
        let mut query = QueryBuilder::<Db>::new("DELETE FROM asset_address WHERE asset_id = ");
        query.push_bind(asset.as_str().to_owned()).push(" AND address IN (NULL");
        for address in some {
            query.push(", ").push_bind(address.to_string());
        }
        query.push(")");
        query.build().execute(&mut *conn).await.doing("take addresses from an asset")?;
    }
    let new: Vec<IpAddr> = holds.difference(&held).copied().collect();
    for some in new.chunks(AT_ONCE) {
        let mut query =
            QueryBuilder::<Db>::new("INSERT INTO asset_address (address, asset_id, since) ");
        query.push_values(some, |mut row, address| {
            row.push_bind(address.to_string())
                .push_bind(asset.as_str().to_owned())
                .push_bind(now.0);
        });
        query.push(
            " ON CONFLICT (address) DO UPDATE SET asset_id = excluded.asset_id, \
             since = excluded.since, seen_at = NULL",
        );
        query.build().execute(&mut *conn).await.doing("store the addresses of an asset")?;
    }
    Ok(())
}

/// Records that a check-in came from an address; does nothing if the asset does not hold it.
///
/// # Errors
/// When the database fails.
pub async fn seen(
    conn: &mut Conn,
    asset: &AssetId,
    address: IpAddr,
    now: Timestamp,
) -> StoreResult<()> {
    sqlx::query(
        "UPDATE asset_address SET seen_at = $3 WHERE address = $1 AND asset_id = $2 \
         AND (seen_at IS NULL OR seen_at < $4)",
    )
    .bind(address.to_string())
    .bind(asset.as_str())
    .bind(now.0)
    .bind(now.plus(-SEEN_AGAIN).0)
    .execute(conn)
    .await
    .doing("record from where an asset checks in")?;
    Ok(())
}

fn address_of(row: &Row) -> StoreResult<IpAddr> {
    row.col::<&str>("address")?.parse().doing("read a stored address")
}

fn asset_of(row: &Row) -> StoreResult<AssetId> {
    row.col::<&str>("asset_id")?.parse().doing("read a stored id")
}
