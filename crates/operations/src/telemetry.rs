//! Rules and observations of an asset's firewall, as reported by its host.

use xshield_api::page::Page;
use xshield_api::telemetry::{Event, EventQuery, Hits, Listening, Programmed};
use xshield_model::Timestamp;
use xshield_store::events::{EventFilter, StoredEvent};
use xshield_store::reports::StoredHits;
use xshield_store::{Conn, events, reports};
use xshield_wire::message::FirewallEvent;

use crate::error::{OperationError, Result};
use crate::lookup;
use crate::paging::{LastSeen, Paging, paged_by_last_seen};

fn hits(stored: StoredHits) -> Hits {
    Hits { hits: stored.hits, last_hit: stored.last_hit }
}

/// The rules in an asset's kernel, with hit counts.
///
/// # Errors
/// When there is no such asset, its host has not reported any, or the database fails.
pub async fn programmed(conn: &mut Conn, named: &str) -> Result<Programmed> {
    let asset = lookup::asset(conn, named).await?;
    let reported = reports::programmed(conn, &asset.id).await?;
    let reported = reported.ok_or_else(|| {
        OperationError::not_found("report about programmed rules of", asset.name.as_str())
    })?;
    let stored = reports::hits(conn, &asset.id).await?;
    Ok(Programmed {
        read_at: reported.created,
        received_at: reported.received_at,
        report: reported.value,
        hits: stored.into_iter().map(hits).collect(),
    })
}

fn event(stored: StoredEvent) -> Event {
    let FirewallEvent {
        kind,
        direction,
        source,
        destination,
        protocol,
        port,
        rule,
        packets,
        bytes,
        first_seen,
        last_seen,
        from,
        process,
    } = stored.event;
    Event {
        asset: stored.asset,
        kind,
        direction,
        source: source.to_string(),
        destination: destination.to_string(),
        protocol,
        port,
        rule: rule.map(String::from),
        packets,
        bytes,
        reports: stored.batches,
        first_seen: Timestamp::from_unix(first_seen),
        last_seen: Timestamp::from_unix(last_seen),
        from,
        process,
    }
}

/// Flows that firewalls denied, would deny or accepted, most recently seen first; of one asset, or of all.
///
/// # Errors
/// When there is no such asset, or the database fails.
pub async fn events(
    conn: &mut Conn,
    asset: Option<&str>,
    query: EventQuery,
    paging: Paging<LastSeen>,
) -> Result<Page<Event>> {
    let filter = EventFilter {
        asset: lookup::asset_id(conn, asset).await?,
        kind: query.kind,
        direction: query.direction,
        peer: query.peer.map(|peer| peer.to_string()),
        port: query.port,
        protocol: query.protocol,
        rule: query.rule,
        since: query.since,
    };
    let found = events::list(conn, &filter, paging.after, paging.to_read()).await?;
    let seen = |stored: &StoredEvent| (Timestamp::from_unix(stored.event.last_seen), stored.id);
    Ok(paged_by_last_seen(found, paging.limit, seen, event))
}

/// The ports on which an asset's programs listen.
///
/// # Errors
/// When there is no such asset, its host has not reported any, or the database fails.
pub async fn ports(conn: &mut Conn, named: &str) -> Result<Listening> {
    let asset = lookup::asset(conn, named).await?;
    let reported = reports::listening(conn, &asset.id).await?;
    let reported = reported.ok_or_else(|| {
        OperationError::not_found("report about listening ports of", asset.name.as_str())
    })?;
    Ok(Listening {
        read_at: reported.created,
        received_at: reported.received_at,
        ports: reported.value.into_iter().map(Into::into).collect(),
    })
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
        let rules = programmed(&mut conn, "as-web").await.unwrap_err();
        assert_eq!(rules.to_string(), "there is no report about programmed rules of \"web\"");
        let open = ports(&mut conn, "web").await.unwrap_err();
        assert_eq!(open.to_string(), "there is no report about listening ports of \"web\"");
        for (asset, said) in
            [(None, None), (Some("web"), None), (Some("none"), Some("there is no asset \"none\""))]
        {
            let paging = Paging::new(None, None).unwrap();
            let found = events(&mut conn, asset, EventQuery::default(), paging).await;
            assert_eq!(found.err().map(|error| error.to_string()).as_deref(), said, "{asset:?}");
        }
    }
}
