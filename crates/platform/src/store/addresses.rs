//! The addresses that the platform holds: each belongs to one asset.

use std::collections::BTreeMap;
use std::net::IpAddr;

use sqlx::{QueryBuilder, Row as _};
use xshield_policy::AssetId;

use super::{Conn, Db, Doing as _, Row, StoreResult, from_json};
use crate::claims::{Holder, SILENT_AFTER};
use crate::clock::Timestamp;

/// Seconds after which it is written down again that check-ins come from an address.
const SEEN_AGAIN: i64 = 3600;

/// The addresses of every asset that has some, each in order.
///
/// # Errors
/// When the database fails.
pub async fn all(conn: &mut Conn) -> StoreResult<BTreeMap<AssetId, Vec<IpAddr>>> {
    let rows = sqlx::query("SELECT address, asset_id FROM asset_address")
        .fetch_all(conn)
        .await
        .doing("read the addresses of assets")?;
    let mut all: BTreeMap<AssetId, Vec<IpAddr>> = BTreeMap::new();
    for row in &rows {
        let asset = asset_of(row)?;
        all.entry(asset).or_default().push(address_of(row)?);
    }
    all.values_mut().for_each(|addresses| addresses.sort_unstable());
    Ok(all)
}

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
    let mut query = QueryBuilder::<Db>::new(
        "SELECT h.address, h.asset_id, h.seen_at, a.addresses, a.last_check_in, \
         a.decommissioned_at, \
         EXISTS (SELECT 1 FROM asset_claim c WHERE c.asset_id = h.asset_id AND \
         c.kind = 'address' AND c.value = h.address AND c.standing = 'accepted') AS accepted \
         FROM asset_address h JOIN asset a ON a.id = h.asset_id WHERE h.asset_id <> ",
    );
    query.push_bind(besides.as_str().to_owned()).push(" AND h.address IN (NULL");
    for address in addresses {
        query.push(", ").push_bind(address.to_string());
    }
    query.push(")");
    let rows = query.build().fetch_all(conn).await.doing("read whose addresses these are")?;
    let holder = |row: &Row| {
        let address = address_of(row)?;
        let said: Vec<IpAddr> = from_json(row.get("addresses"))?;
        let last = row.get::<Option<i64>, _>("last_check_in").map(Timestamp);
        let holder = Holder {
            asset: asset_of(row)?,
            is_sure: row.get::<Option<i64>, _>("seen_at").is_some() || row.get("accepted"),
            says_so: said.contains(&address),
            is_out: row.get::<Option<i64>, _>("decommissioned_at").is_some(),
            is_silent: last.is_none_or(|last| last.plus(SILENT_AFTER) < now),
        };
        Ok((address, holder))
    };
    rows.iter().map(holder).collect()
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
    for gone in before.iter().filter(|address| !addresses.contains(address)) {
        sqlx::query("DELETE FROM asset_address WHERE address = $1 AND asset_id = $2")
            .bind(gone.to_string())
            .bind(asset.as_str())
            .execute(&mut *conn)
            .await
            .doing("take an address from an asset")?;
    }
    for new in addresses.iter().filter(|address| !before.contains(address)) {
        sqlx::query(
            "INSERT INTO asset_address (address, asset_id, since) VALUES ($1, $2, $3) \
             ON CONFLICT (address) DO UPDATE SET asset_id = excluded.asset_id, \
             since = excluded.since, seen_at = NULL",
        )
        .bind(new.to_string())
        .bind(asset.as_str())
        .bind(now.0)
        .execute(&mut *conn)
        .await
        .doing("give an address to an asset")?;
    }
    Ok(())
}

/// Notes that a check-in came from an address; from one that the asset does not hold, nothing.
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
    .doing("note from where an asset checks in")?;
    Ok(())
}

fn address_of(row: &Row) -> StoreResult<IpAddr> {
    row.get::<&str, _>("address").parse().doing("read a stored address")
}

fn asset_of(row: &Row) -> StoreResult<AssetId> {
    row.get::<&str, _>("asset_id").parse().doing("read a stored id")
}
