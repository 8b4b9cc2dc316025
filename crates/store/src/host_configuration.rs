//! Settings of hosts as configured by operators, and the effective settings of each host.

use std::collections::BTreeMap;

use xshield_model::Timestamp;
use xshield_policy::AssetId;
use xshield_wire::control::HostConfiguration;

use super::rows::Columns as _;
use super::{Conn, Doing as _, Row, StoreResult, from_json, rows, to_json};

/// The scope of a configuration. A narrower one overrides a wider one, setting by setting.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// The platform.
    Platform,
    /// A segment of the committed policy; of several, the first by name takes precedence.
    Segment(String),
    /// One asset.
    Asset(AssetId),
}

impl Scope {
    fn key(&self) -> String {
        match self {
            Self::Platform => "platform".to_owned(),
            Self::Segment(name) => format!("segment:{name}"),
            Self::Asset(id) => format!("asset:{id}"),
        }
    }

    fn read(key: &str) -> StoreResult<Self> {
        if let Some(name) = key.strip_prefix("segment:") {
            return Ok(Self::Segment(name.to_owned()));
        }
        match key.strip_prefix("asset:") {
            Some(id) => Ok(Self::Asset(id.parse().doing("read a stored scope")?)),
            None => Ok(Self::Platform),
        }
    }
}

/// The configuration of a scope.
#[derive(Debug, Clone)]
pub struct StoredConfiguration {
    /// The scope.
    pub scope: Scope,
    /// The settings; their version has no meaning.
    pub settings: HostConfiguration,
    /// The time of the last change.
    pub updated_at: Timestamp,
    /// Who changed it last.
    pub updated_by: String,
}

/// All configurations.
///
/// # Errors
/// When the database fails.
pub async fn all(conn: &mut Conn) -> StoreResult<Vec<StoredConfiguration>> {
    let rows = sqlx::query("SELECT * FROM host_configuration ORDER BY scope")
        .fetch_all(conn)
        .await
        .doing("read host configurations")?;
    let stored = |row: &Row| {
        Ok(StoredConfiguration {
            scope: Scope::read(row.col("scope")?)?,
            settings: from_json(row.col("settings")?)?,
            updated_at: row.time("updated_at")?,
            updated_by: row.col("updated_by")?,
        })
    };
    rows::every("host configurations", &rows, stored)
}

/// Stores a configuration; one without settings is deleted.
///
/// # Errors
/// When the database fails.
pub async fn put(conn: &mut Conn, configured: &StoredConfiguration) -> StoreResult<()> {
    if configured.settings == HostConfiguration::default() {
        sqlx::query("DELETE FROM host_configuration WHERE scope = $1")
            .bind(configured.scope.key())
            .execute(conn)
            .await
            .doing("remove a host configuration")?;
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO host_configuration (scope, settings, updated_at, updated_by) \
         VALUES ($1, $2, $3, $4) ON CONFLICT (scope) DO UPDATE SET settings = excluded.settings, \
         updated_at = excluded.updated_at, updated_by = excluded.updated_by",
    )
    .bind(configured.scope.key())
    .bind(to_json(&configured.settings)?)
    .bind(configured.updated_at.0)
    .bind(&configured.updated_by)
    .execute(conn)
    .await
    .doing("store a host configuration")?;
    Ok(())
}

/// The effective settings of an asset; `None` if nothing was ever configured for it.
///
/// # Errors
/// When the database fails.
pub async fn of(conn: &mut Conn, asset: &AssetId) -> StoreResult<Option<HostConfiguration>> {
    let row = sqlx::query("SELECT version, settings FROM asset_configuration WHERE asset_id = $1")
        .bind(asset.as_str())
        .fetch_optional(conn)
        .await
        .doing("read an asset's configuration")?;
    row.as_ref().map(effective).transpose()
}

/// The effective settings of every asset, by id.
///
/// # Errors
/// When the database fails.
pub async fn of_all(conn: &mut Conn) -> StoreResult<BTreeMap<String, HostConfiguration>> {
    let rows = sqlx::query("SELECT asset_id, version, settings FROM asset_configuration")
        .fetch_all(conn)
        .await
        .doing("read the assets' configurations")?;
    // An unreadable row is written again, since it differs from what is configured.
    let of_one = |row: &Row| Ok((row.col("asset_id")?, effective(row)?));
    Ok(rows::readable("configurations of assets", &rows, of_one).into_iter().collect())
}

fn effective(row: &Row) -> StoreResult<HostConfiguration> {
    let settings: HostConfiguration = from_json(row.col("settings")?)?;
    Ok(HostConfiguration { version: row.count("version")?, ..settings })
}

/// Stores the effective settings of assets. Assets deleted in the meantime are omitted.
///
/// # Errors
/// When the database fails.
pub async fn put_effective(
    conn: &mut Conn,
    asset: &AssetId,
    configuration: &HostConfiguration,
) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO asset_configuration (asset_id, version, settings) \
         SELECT id, $2, $3 FROM asset WHERE id = $1 ON CONFLICT (asset_id) DO UPDATE SET \
         version = excluded.version, settings = excluded.settings",
    )
    .bind(asset.as_str())
    .bind(i64::try_from(configuration.version).unwrap_or(i64::MAX))
    .bind(to_json(configuration)?)
    .execute(conn)
    .await
    .doing("store an asset's configuration")?;
    Ok(())
}
