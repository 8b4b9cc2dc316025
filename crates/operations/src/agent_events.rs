//! Events of host programs, live denials and matches, and detailed logs.

use xshield_api::agents::{AgentEvent, AgentEventQuery, LiveEvent, LiveQuery, LogPiece, LogQuery};
use xshield_api::page::Page;
use xshield_model::Timestamp;
use xshield_store::Conn;
use xshield_store::agent_events::{self as stored, AgentEventFilter, StoredAgentEvent};
use xshield_wire::telemetry::AgentEventKind;

use crate::caller::{By, Operator};
use crate::error::{OperationError, Result};
use crate::lookup;
use crate::paging::{Paging, paged};

/// The number of log chunks or live events in one response.
const AT_ONCE: u32 = 200;

fn agent_event(stored: StoredAgentEvent) -> AgentEvent {
    AgentEvent {
        asset: stored.asset,
        at: Timestamp::from_unix(stored.event.at),
        received_at: stored.received_at,
        kind: stored.event.kind.into(),
        text: stored.event.text,
        revision: stored.event.revision.map(|revision| revision.0),
        seconds: stored.event.seconds,
    }
}

/// Events of host programs, latest arrival first; of one asset, or of all.
///
/// # Errors
/// When the kind of event or the asset does not exist, or the database fails.
pub async fn list(
    conn: &mut Conn,
    asset: Option<&str>,
    query: &AgentEventQuery,
    paging: Paging<i64>,
) -> Result<Page<AgentEvent>> {
    if query.kind == Some(AgentEventKind::Unknown) {
        return Err(OperationError::invalid("?kind", "unknown kind of event"));
    }
    let asset = lookup::asset_id(conn, asset).await?;
    let filter = AgentEventFilter { asset, kind: query.kind, since: query.since };
    let found = stored::list(conn, &filter, paging.after, paging.to_read()).await?;
    Ok(paged(found, paging.limit, |stored| stored.number, agent_event))
}

/// Live denials and matches, in order of arrival.
///
/// # Errors
/// When there is no such asset, or the database fails.
pub async fn live(conn: &mut Conn, query: &LiveQuery) -> Result<Vec<LiveEvent>> {
    let asset = lookup::asset_id(conn, query.asset.as_deref()).await?;
    let found = stored::live(conn, asset.as_ref(), query.after, AT_ONCE).await?;
    let shown = found.into_iter().map(|stored| LiveEvent {
        number: stored.number,
        asset: stored.asset,
        received_at: stored.received_at,
        event: stored.event,
    });
    Ok(shown.collect())
}

/// The detailed log of an asset in chunks, in order.
///
/// # Errors
/// When there is no such asset, or the database fails.
pub async fn debug_log(
    conn: &mut Conn,
    _: &By<Operator>,
    named: &str,
    query: &LogQuery,
) -> Result<Vec<LogPiece>> {
    let asset = lookup::asset(conn, named).await?;
    let found = stored::logs(conn, &asset.id, query.after.unwrap_or(0), AT_ONCE).await?;
    let shown = found.into_iter().map(|stored| LogPiece {
        number: stored.number,
        command: stored.command,
        first: stored.first,
        dropped: stored.dropped,
        end: stored.end.into(),
        received_at: stored.received_at,
        lines: stored.lines.into_iter().map(Into::into).collect(),
    });
    Ok(shown.collect())
}

#[cfg(test)]
mod tests {
    use xshield_store::commit;
    use xshield_wire::telemetry::AgentEvent as Told;

    use super::*;
    use crate::testing::{NOW, by, register, store};

    #[tokio::test]
    async fn events_come_in_pages_of_one_asset_or_of_all() {
        let (_dir, store) = store().await;
        register(&store, &[("web", "web"), ("db", "db")]).await;
        let mut tx = store.write().await.unwrap();
        for (asset, kind) in [
            ("as-web", AgentEventKind::Started),
            ("as-db", AgentEventKind::Started),
            ("as-web", AgentEventKind::Tampered),
        ] {
            let text = "told".to_owned();
            let told = Told { at: 1_800_000_000, kind, text, revision: None, seconds: None };
            stored::add(&mut tx, &asset.parse().unwrap(), &told, NOW).await.unwrap();
        }
        commit(tx).await.unwrap();
        let mut conn = store.read().await.unwrap();
        let kind = |kind| AgentEventQuery { kind, since: None };
        let (all, started, unknown) =
            (kind(None), kind(Some(AgentEventKind::Started)), kind(Some(AgentEventKind::Unknown)));
        for (asset, query, found) in [
            (None, &all, Ok(vec!["web", "db", "web"])),
            (Some("db"), &all, Ok(vec!["db"])),
            (Some("as-web"), &started, Ok(vec!["web"])),
            (Some("none"), &all, Err("there is no asset \"none\"")),
            (None, &unknown, Err("unknown kind of event")),
        ] {
            let (mut cursor, mut seen) = (None::<String>, Vec::new());
            let ended = loop {
                let paging = Paging::new(Some(1), cursor.as_deref()).unwrap();
                match list(&mut conn, asset, query, paging).await {
                    Ok(page) => {
                        seen.extend(page.items.into_iter().map(|event| event.asset));
                        cursor = page.next;
                        if cursor.is_none() {
                            break Ok(seen);
                        }
                    }
                    Err(error) => break Err(error.to_string()),
                }
            };
            let found = found.map(|names| names.into_iter().map(str::to_owned).collect());
            assert_eq!(ended, found.map_err(str::to_owned), "{asset:?} {query:?}");
        }
        let nothing = debug_log(&mut conn, &by(), "web", &LogQuery::default()).await.unwrap();
        assert!(nothing.is_empty());
    }
}
