//! Inventory and communication of assets, as reported by their hosts.

use xshield_api::host_telemetry::{
    CommunicationPath, Host, PathQuery, Software, SoftwareChange, SoftwareQuery,
};
use xshield_api::page::Page;
use xshield_model::Timestamp;
use xshield_policy::AssetId;
use xshield_store::paths::{PathFilter, StoredPath};
use xshield_store::{Conn, paths, telemetry};
use xshield_wire::telemetry::{ActivePath, SoftwarePackage};

use crate::error::{OperationError, Result};
use crate::lookup;
use crate::paging::{LastSeen, Paging, paged, paged_by_last_seen};

/// What an asset's host reported about itself; `None` until it has.
///
/// # Errors
/// When the database fails.
pub async fn reported(conn: &mut Conn, asset: &AssetId) -> Result<Option<Host>> {
    let Some(reported) = telemetry::host(conn, asset).await? else { return Ok(None) };
    Ok(Some(Host {
        taken_at: reported.created,
        received_at: reported.received_at,
        booted_at: Timestamp::from_unix(reported.value.booted),
        host: reported.value,
        paths_lost: paths::lost(conn, asset).await?,
    }))
}

/// System, processors, memory, disks, interfaces and cloud of an asset.
///
/// # Errors
/// When there is no such asset, its host has not reported, or the database fails.
pub async fn host(conn: &mut Conn, named: &str) -> Result<Host> {
    let asset = lookup::asset(conn, named).await?;
    let reported = reported(conn, &asset.id).await?;
    reported.ok_or_else(|| OperationError::not_found("host telemetry of", asset.name.as_str()))
}

/// The software that is installed on an asset.
///
/// # Errors
/// When there is no such asset, its host has not reported any, or the database fails.
pub async fn software(conn: &mut Conn, named: &str, query: SoftwareQuery) -> Result<Software> {
    let asset = lookup::asset(conn, named).await?;
    let inventory = telemetry::software(conn, &asset.id).await?;
    let inventory = inventory
        .ok_or_else(|| OperationError::not_found("software report of", asset.name.as_str()))?;
    let part = query.name.unwrap_or_default().to_lowercase();
    let matches = |package: &SoftwarePackage| package.name.to_lowercase().contains(&part);
    Ok(Software {
        taken_at: inventory.taken,
        received_at: inventory.received_at,
        packages: inventory.packages.into_iter().filter(matches).collect(),
    })
}

/// Packages installed on an asset or removed from it, latest first.
///
/// # Errors
/// When there is no such asset, or the database fails.
pub async fn software_changes(
    conn: &mut Conn,
    named: &str,
    paging: Paging<i64>,
) -> Result<Page<SoftwareChange>> {
    let asset = lookup::asset(conn, named).await?;
    let found =
        telemetry::software_changes(conn, &asset.id, paging.after, paging.to_read()).await?;
    Ok(paged(
        found,
        paging.limit,
        |stored| stored.number,
        |stored| SoftwareChange { change: stored.change, package: stored.package, at: stored.at },
    ))
}

fn communication_path(stored: StoredPath) -> CommunicationPath {
    let ActivePath { direction, protocol, port, process, user, service, .. } = stored.path;
    CommunicationPath {
        asset: stored.asset,
        direction: direction.into(),
        source: stored.path.source.to_string(),
        destination: stored.path.destination.to_string(),
        protocol: protocol.into(),
        port,
        process,
        user,
        service,
        connections: stored.path.connections,
        bytes_forth: stored.path.bytes_forth,
        bytes_back: stored.path.bytes_back,
        first_seen: Timestamp::from_unix(stored.path.first_seen),
        last_seen: Timestamp::from_unix(stored.path.last_seen),
        from: stored.from.into(),
    }
}

/// Communication paths, most recently seen first; of one asset, or of all.
///
/// # Errors
/// When there is no such asset, or the database fails.
pub async fn paths(
    conn: &mut Conn,
    asset: Option<&str>,
    query: PathQuery,
    paging: Paging<LastSeen>,
) -> Result<Page<CommunicationPath>> {
    let filter = PathFilter {
        asset: lookup::asset_id(conn, asset).await?,
        direction: query.direction,
        peer: query.peer.map(|peer| peer.to_string()),
        port: query.port,
        protocol: query.protocol,
        process: query.process,
        since: query.since,
    };
    let found = paths::list(conn, &filter, paging.after, paging.to_read()).await?;
    let seen = |stored: &StoredPath| (Timestamp::from_unix(stored.path.last_seen), stored.id);
    Ok(paged_by_last_seen(found, paging.limit, seen, communication_path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{register, store};

    #[tokio::test]
    async fn missing_reports_are_named() {
        let (_dir, store) = store().await;
        register(&store, &[("web", "web")]).await;
        let mut conn = store.read().await.unwrap();
        for (named, said) in [
            ("as-web", "there is no host telemetry of \"web\""),
            ("none", "there is no asset \"none\""),
        ] {
            assert_eq!(host(&mut conn, named).await.unwrap_err().to_string(), said);
        }
        let query = SoftwareQuery::default();
        let missing = software(&mut conn, "web", query).await.unwrap_err();
        assert_eq!(missing.to_string(), "there is no software report of \"web\"");
        let paging = || Paging::new(None, None).unwrap();
        let nothing = software_changes(&mut conn, "web", paging()).await.unwrap();
        assert!(nothing.items.is_empty() && nothing.next.is_none());
        let all = paths(&mut conn, None, PathQuery::default(), Paging::new(None, None).unwrap());
        assert!(all.await.unwrap().items.is_empty());
        let unknown = Some("none");
        let paging = Paging::new(None, None).unwrap();
        let unknown = paths(&mut conn, unknown, PathQuery::default(), paging).await.unwrap_err();
        assert_eq!(unknown.to_string(), "there is no asset \"none\"", "never all paths");
    }
}
