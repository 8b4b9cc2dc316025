//! Hardware, system and software of hosts.

use std::collections::BTreeSet;

use sqlx::QueryBuilder;
use xshield_model::Timestamp;
use xshield_policy::AssetId;
use xshield_wire::message::Digest;
use xshield_wire::telemetry::{
    HostTelemetry, SoftwareContents, SoftwarePackage, SoftwareReport, software_digest,
};

use super::reports::Reported;
use super::rows::Columns as _;
use super::{Conn, Db, Doing as _, Row, StoreError, StoreResult, from_json, rows, to_json};

/// Software changes kept per asset.
const CHANGES_KEPT: i64 = 2000;
/// Packages of an asset, at most.
pub const MOST_PACKAGES: usize = 50_000;
/// The maximum size of packages as JSON of plain text: what is stored can be read again.
const MOST_BYTES: usize = 16 << 20;
/// The maximum uncompressed size of a list of packages, in bytes.
const MAX_UNPACKED: usize = 64 << 20;

/// Stores hardware and system of a host; older data than the stored one is ignored.
///
/// # Errors
/// When the database fails.
pub async fn put_host(
    conn: &mut Conn,
    asset: &AssetId,
    host: &HostTelemetry,
    now: Timestamp,
) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO host_telemetry (asset_id, telemetry, created, received_at) \
         VALUES ($1, $2, $3, $4) ON CONFLICT (asset_id) DO UPDATE SET \
         telemetry = excluded.telemetry, created = excluded.created, \
         received_at = excluded.received_at WHERE excluded.created >= host_telemetry.created",
    )
    .bind(asset.as_str())
    .bind(to_json(host)?)
    .bind(Timestamp::from_unix(host.taken).0)
    .bind(now.0)
    .execute(conn)
    .await
    .doing("store host telemetry")?;
    Ok(())
}

/// Hardware and system of a host.
///
/// # Errors
/// When the database fails.
pub async fn host(
    conn: &mut Conn,
    asset: &AssetId,
) -> StoreResult<Option<Reported<HostTelemetry>>> {
    let row = sqlx::query("SELECT * FROM host_telemetry WHERE asset_id = $1")
        .bind(asset.as_str())
        .fetch_optional(conn)
        .await
        .doing("read host telemetry")?;
    row.map(|row| {
        Ok(Reported {
            value: from_json(row.col("telemetry")?)?,
            created: row.time("created")?,
            received_at: row.time("received_at")?,
        })
    })
    .transpose()
}

/// The software of a host.
#[derive(Debug, Clone)]
pub struct Inventory {
    /// All packages.
    pub packages: BTreeSet<SoftwarePackage>,
    /// Their digest.
    pub digest: Digest,
    /// When the host collected it, by the host's clock.
    pub taken: Timestamp,
    /// When it arrived.
    pub received_at: Timestamp,
}

/// The result of a report on software.
#[derive(Debug)]
pub enum Step {
    /// The new software of the host.
    Put(Box<NewInventory>),
    /// The same as the stored one, or older.
    Kept,
    /// It is based on an inventory that is not stored: a full report is needed.
    BaseMissing,
}

/// Software to be stored.
#[derive(Debug)]
pub struct NewInventory {
    packages: BTreeSet<SoftwarePackage>,
    /// Compressed JSON.
    packed: Vec<u8>,
    digest: Digest,
    taken: Timestamp,
    /// The stored inventory.
    known: Option<Inventory>,
}

/// A change of an asset's software.
#[derive(Debug, Clone)]
pub struct SoftwareChange {
    /// Its position in the order of changes.
    pub number: i64,
    /// `added` or `removed`.
    pub change: String,
    /// The package.
    pub package: SoftwarePackage,
    /// When the host collected it.
    pub at: Timestamp,
}

/// The result of a report, based on the stored inventory. Compresses and hashes, which may take a while.
///
/// # Errors
/// When compressing fails.
pub fn step(known: Option<Inventory>, report: SoftwareReport) -> StoreResult<Step> {
    let taken = Timestamp::from_unix(report.taken);
    if known.as_ref().is_some_and(|known| known.taken > taken) {
        return Ok(Step::Kept);
    }
    let packages: BTreeSet<SoftwarePackage> = match report.contents {
        SoftwareContents::Full { packages } => packages.into_iter().collect(),
        SoftwareContents::Changes { base, added, removed } => {
            let Some(known) = known.as_ref().filter(|known| known.digest == base) else {
                let same = known.is_some_and(|known| known.digest == report.digest);
                return Ok(if same { Step::Kept } else { Step::BaseMissing });
            };
            let removed: BTreeSet<_> = removed.into_iter().collect();
            let mut packages = known.packages.clone();
            packages.retain(|package| !removed.contains(package));
            packages.extend(added);
            if software_digest(&packages) != report.digest {
                return Ok(Step::BaseMissing);
            }
            packages
        }
    };
    let mut left = MOST_BYTES;
    let fits = |package: &SoftwarePackage| {
        let texts = [&package.name, &package.version, &package.architecture, &package.manager];
        let bytes = texts.iter().map(|text| text.len()).sum::<usize>() + 64;
        left = left.checked_sub(bytes)?;
        Some(())
    };
    let most = packages.iter().take(MOST_PACKAGES).map_while(fits).count();
    let packages: BTreeSet<_> = packages.into_iter().take(most).collect();
    let digest = software_digest(&packages);
    let packed = zstd::bulk::compress(to_json(&packages)?.as_bytes(), 3).doing("pack software")?;
    Ok(Step::Put(Box::new(NewInventory { packages, packed, digest, taken, known })))
}

/// Stores the software of a host, and the changes.
///
/// # Errors
/// When the database fails.
pub async fn put_software(
    conn: &mut Conn,
    asset: &AssetId,
    new: NewInventory,
    now: Timestamp,
) -> StoreResult<()> {
    if let Some(known) = &new.known {
        note_changes(conn, asset, &known.packages, &new.packages, new.taken).await?;
    }
    sqlx::query(
        "INSERT INTO software (asset_id, packages, digest, count, taken, received_at) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (asset_id) DO UPDATE SET \
         packages = excluded.packages, digest = excluded.digest, count = excluded.count, \
         taken = excluded.taken, received_at = excluded.received_at",
    )
    .bind(asset.as_str())
    .bind(new.packed)
    .bind(new.digest.to_base64())
    .bind(i64::try_from(new.packages.len()).unwrap_or(i64::MAX))
    .bind(new.taken.0)
    .bind(now.0)
    .execute(conn)
    .await
    .doing("store software")?;
    Ok(())
}

async fn note_changes(
    conn: &mut Conn,
    asset: &AssetId,
    before: &BTreeSet<SoftwarePackage>,
    after: &BTreeSet<SoftwarePackage>,
    at: Timestamp,
) -> StoreResult<()> {
    let removed = before.difference(after).map(|package| ("removed", package));
    let added = after.difference(before).map(|package| ("added", package));
    let mut changes = 0;
    for (change, package) in removed.chain(added) {
        // A distribution upgrade changes everything: the first changes suffice.
        if changes >= CHANGES_KEPT {
            break;
        }
        changes += 1;
        sqlx::query(
            "INSERT INTO software_change (asset_id, change, name, version, architecture, manager, \
             at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(asset.as_str())
        .bind(change)
        .bind(&package.name)
        .bind(&package.version)
        .bind(&package.architecture)
        .bind(&package.manager)
        .bind(at.0)
        .execute(&mut *conn)
        .await
        .doing("write a change of software down")?;
    }
    if changes > 0 {
        sqlx::query(
            "DELETE FROM software_change WHERE asset_id = $1 AND number <= (SELECT number \
             FROM software_change WHERE asset_id = $1 ORDER BY number DESC LIMIT 1 OFFSET $2)",
        )
        .bind(asset.as_str())
        .bind(CHANGES_KEPT)
        .execute(conn)
        .await
        .doing("delete old changes of software")?;
    }
    Ok(())
}

/// The software of a host.
///
/// # Errors
/// When the database fails.
pub async fn software(conn: &mut Conn, asset: &AssetId) -> StoreResult<Option<Inventory>> {
    let row = sqlx::query("SELECT * FROM software WHERE asset_id = $1")
        .bind(asset.as_str())
        .fetch_optional(conn)
        .await
        .doing("read software")?;
    row.as_ref().map(inventory).transpose()
}

fn inventory(row: &Row) -> StoreResult<Inventory> {
    let unpacked = zstd::bulk::decompress(row.col("packages")?, MAX_UNPACKED)
        .map_err(|error| StoreError::damaged("unpack software", error))?;
    Ok(Inventory {
        packages: serde_json::from_slice(&unpacked).doing("read stored software")?,
        digest: Digest::from_base64(row.col("digest")?).doing("read a stored digest")?,
        taken: row.time("taken")?,
        received_at: row.time("received_at")?,
    })
}

/// Up to `limit` changes of a host's software before the number `before`, newest first.
///
/// # Errors
/// When the database fails.
pub async fn software_changes(
    conn: &mut Conn,
    asset: &AssetId,
    before: Option<i64>,
    limit: u32,
) -> StoreResult<Vec<SoftwareChange>> {
    let query = || {
        let mut query = QueryBuilder::<Db>::new("SELECT * FROM software_change WHERE asset_id = ");
        query.push_bind(asset.as_str().to_owned());
        query.push(" AND number < ").push_bind(before.unwrap_or(i64::MAX));
        query.push(" ORDER BY number DESC");
        Ok(query)
    };
    let change = |row: &Row| {
        Ok(SoftwareChange {
            number: row.col("number")?,
            change: row.col("change")?,
            package: SoftwarePackage {
                name: row.col("name")?,
                version: row.col("version")?,
                architecture: row.col("architecture")?,
                manager: row.col("manager")?,
            },
            at: row.time("at")?,
        })
    };
    rows::page(conn, "changes of software", limit, query, change).await
}
