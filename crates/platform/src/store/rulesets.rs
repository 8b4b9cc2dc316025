//! The compiled, signed ruleset that each asset should have.

use std::collections::BTreeMap;

use sqlx::Row as _;
use xshield_policy::{AssetId, Revision};
use xshield_wire::message::{Digest, InForce};

use super::assets::unsigned;
use super::{Conn, Doing as _, Row, StoreResult};
use crate::clock::Timestamp;

/// A signed ruleset.
#[derive(Debug, Clone)]
pub struct StoredRuleset {
    /// Which one it is.
    pub wanted: InForce,
    /// The envelope's JSON.
    pub envelope: String,
    /// When it was compiled.
    pub compiled_at: Timestamp,
}

/// The ruleset of an asset.
///
/// # Errors
/// When the database fails.
pub async fn get(conn: &mut Conn, asset: &AssetId) -> StoreResult<Option<StoredRuleset>> {
    let row = sqlx::query("SELECT * FROM ruleset WHERE asset_id = $1")
        .bind(asset.as_str())
        .fetch_optional(conn)
        .await
        .doing("read a ruleset")?;
    row.map(|row| {
        Ok(StoredRuleset {
            wanted: which(&row)?,
            envelope: row.get("envelope"),
            compiled_at: Timestamp(row.get("compiled_at")),
        })
    })
    .transpose()
}

/// Which ruleset an asset should have.
///
/// # Errors
/// When the database fails.
pub async fn wanted(conn: &mut Conn, asset: &AssetId) -> StoreResult<Option<InForce>> {
    let row = sqlx::query("SELECT revision, digest FROM ruleset WHERE asset_id = $1")
        .bind(asset.as_str())
        .fetch_optional(conn)
        .await
        .doing("read which ruleset is wanted")?;
    row.as_ref().map(which).transpose()
}

/// Which ruleset every asset should have.
///
/// # Errors
/// When the database fails.
pub async fn all_wanted(conn: &mut Conn) -> StoreResult<BTreeMap<String, InForce>> {
    let rows = sqlx::query("SELECT asset_id, revision, digest FROM ruleset")
        .fetch_all(conn)
        .await
        .doing("read which rulesets are wanted")?;
    rows.iter().map(|row| Ok((row.get("asset_id"), which(row)?))).collect()
}

/// Stores the ruleset that an asset should have from now on. An asset that is gone by now is left
/// out.
///
/// # Errors
/// When the database fails.
pub async fn put(conn: &mut Conn, asset: &AssetId, ruleset: &StoredRuleset) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO ruleset (asset_id, revision, digest, envelope, compiled_at) \
         SELECT id, $2, $3, $4, $5 FROM asset WHERE id = $1 \
         ON CONFLICT (asset_id) DO UPDATE SET revision = excluded.revision, \
         digest = excluded.digest, envelope = excluded.envelope, \
         compiled_at = excluded.compiled_at",
    )
    .bind(asset.as_str())
    .bind(i64::try_from(ruleset.wanted.revision.0).unwrap_or(i64::MAX))
    .bind(ruleset.wanted.digest.to_base64())
    .bind(&ruleset.envelope)
    .bind(ruleset.compiled_at.0)
    .execute(conn)
    .await
    .doing("store a ruleset")?;
    Ok(())
}

fn which(row: &Row) -> StoreResult<InForce> {
    Ok(InForce {
        revision: Revision(unsigned(row.get("revision"))),
        digest: Digest::from_base64(row.get("digest")).doing("read a stored digest")?,
    })
}
