//! Access logs of servers behind proxies: clients that the host's firewall can't see.

use std::collections::BTreeMap;
use std::net::IpAddr;

use xshield_api::access_log::{AccessLog, Entry, Lines, RefusedLine, Taken};
use xshield_model::Timestamp;
use xshield_model::threat_match::ReadFrom;
use xshield_policy::{AssetId, Direction, Protocol};
use xshield_store::threat_events::{Intelligence, ThreatEvent};
use xshield_store::{Store, Tx, commit, reports};
use xshield_threat::ThreatList;
use xshield_threat::access_log::{self, Reading};
use xshield_wire::bounds;
use xshield_wire::threat::ThreatAction;

use super::lists::ThreatLists;
use crate::caller::{By, Operator};
use crate::error::{OperationError, Result};
use crate::lookup;

/// The maximum number of lines or entries of one batch.
const MOST_LINES: usize = 50_000;
/// The maximum number of trusted proxies.
const MOST_TRUSTED: usize = 1000;
/// The number of rejected lines to show.
const SAMPLES: usize = 5;
/// The length of a line in a sample, in characters.
const SAMPLE: usize = 200;
/// A request is truncated to this many bytes as JSON.
const LONGEST_REQUEST: usize = 512;
/// Seconds by which a server's clock may be ahead.
const AHEAD: i64 = 300;

/// What operations need of match counting and rule evaluation.
pub trait MatchQueue: Send + Sync {
    /// Adds an asset's matches for evaluation.
    ///
    /// # Errors
    /// When the database fails.
    fn add(
        &self,
        tx: &mut Tx,
        asset: &AssetId,
        matches: Vec<ThreatEvent>,
        now: Timestamp,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Matches were added and may be evaluated now.
    fn added(&self);
}

fn at_most(field: &str, count: usize, most: usize) -> Result<()> {
    if count <= most {
        return Ok(());
    }
    let reason = format!("{count} of them; send at most {most} at once");
    Err(OperationError::invalid(field, reason))
}

/// Processes a part of the access log of an asset's server: requests of listed clients become matches. A
/// repeated batch is counted once.
///
/// # Errors
/// When it is too large, there is no such asset, or the database fails.
pub async fn take(
    store: &Store,
    engine: &(impl ThreatLists + MatchQueue),
    _: &By<Operator>,
    log: AccessLog,
    now: Timestamp,
) -> Result<Taken> {
    at_most("/entries", log.entries.len(), MOST_LINES)?;
    let mut taken = Taken {
        counted: false,
        requests: 0,
        matched: 0,
        direct: 0,
        refused: 0,
        samples: Vec::new(),
    };
    let mut entries = log.entries;
    if let Some(lines) = log.lines {
        at_most("/lines/text", lines.text.len(), MOST_LINES)?;
        at_most("/lines/trusted", lines.trusted.len(), MOST_TRUSTED)?;
        entries.extend(read_lines(lines, &mut taken));
    }
    let asset = lookup::asset(&mut *store.read().await?, &log.asset).await?;
    let matches = matches(&engine.list(), entries, log.port, &mut taken, now);
    let mut tx = store.write().await?;
    taken.counted = reports::first_time(&mut tx, &asset.id, log.batch, now).await?;
    if taken.counted {
        engine.add(&mut tx, &asset.id, matches, now).await?;
    }
    commit(tx).await?;
    engine.added();
    Ok(taken)
}

/// The requests of listed clients, as matches.
fn matches(
    list: &ThreatList,
    entries: Vec<Entry>,
    port: u16,
    taken: &mut Taken,
    now: Timestamp,
) -> Vec<ThreatEvent> {
    let mut matches = Vec::new();
    for entry in entries {
        taken.requests = taken.requests.saturating_add(entry.requests);
        let client = entry.client.to_canonical();
        let intelligence = Intelligence::from(&list.why(client));
        if intelligence.entry.is_none() {
            continue;
        }
        taken.matched = taken.matched.saturating_add(entry.requests);
        let last_seen = entry.last_seen.min(now.plus(AHEAD));
        matches.push(ThreatEvent {
            action: ThreatAction::Recorded,
            direction: Direction::Inbound,
            remote: client,
            local: None,
            protocol: Protocol::Tcp,
            port,
            process: None,
            service: None,
            via: Some(entry.via.to_canonical()),
            rule: None,
            policy: None,
            request: entry.request.map(bounded),
            read_from: ReadFrom::AccessLog,
            revision: 0,
            intelligence,
            packets: entry.requests,
            bytes: 0,
            first_seen: entry.first_seen.min(last_seen),
            last_seen,
        });
    }
    matches
}

fn bounded(mut request: String) -> String {
    bounds::text(&mut request, LONGEST_REQUEST);
    request
}

/// The requests behind proxies, aggregated by client and proxy.
fn read_lines(lines: Lines, taken: &mut Taken) -> Vec<Entry> {
    let reading = Reading { format: lines.format, header: lines.header, trusted: lines.trusted };
    let mut entries: BTreeMap<(IpAddr, IpAddr), Entry> = BTreeMap::new();
    for (at, line) in lines.text.iter().enumerate() {
        let found = match access_log::read(line.as_bytes(), &reading) {
            Ok(found) => found,
            Err(error) => {
                taken.refused += 1;
                if taken.samples.len() < SAMPLES {
                    let text = line.chars().take(SAMPLE).collect();
                    let reason = error.to_string();
                    taken.samples.push(RefusedLine { line: at + 1, reason, text });
                }
                continue;
            }
        };
        let Some(via) = found.via else {
            taken.requests += 1;
            taken.direct += 1;
            continue;
        };
        let seen = Timestamp::from_unix(found.at);
        let entry = entries.entry((found.client, via)).or_insert_with(|| Entry {
            client: found.client,
            via,
            requests: 0,
            first_seen: seen,
            last_seen: seen,
            request: None,
        });
        entry.requests += 1;
        entry.first_seen = entry.first_seen.min(seen);
        entry.last_seen = entry.last_seen.max(seen);
        entry.request = found.request.or(entry.request.take());
    }
    entries.into_values().collect()
}

#[cfg(test)]
mod tests {
    use xshield_api::threat_events::ThreatEventQuery;
    use xshield_wire::Bytes;

    use super::*;
    use crate::compiler::{Endpoints, RulesetCompiler};
    use crate::paging::Paging;
    use crate::testing::{NOW, RecordedSignals, by, register, store, threat_list};
    use crate::threat::events;

    fn entry(client: &str, requests: u64) -> Entry {
        Entry {
            client: client.parse().unwrap(),
            via: "10.0.0.1".parse().unwrap(),
            requests,
            first_seen: NOW,
            last_seen: NOW.plus(3600),
            request: Some("GET /".repeat(1000)),
        }
    }

    fn log(asset: &str, entries: Vec<Entry>, lines: Option<Lines>) -> AccessLog {
        AccessLog { asset: asset.to_owned(), batch: Bytes([7; 16]), port: 443, entries, lines }
    }

    #[tokio::test]
    async fn requests_of_listed_clients_become_matches_once() {
        let (_dir, store) = store().await;
        register(&store, &[("web", "web")]).await;
        let lists = vec![threat_list(&["203.0.113.9"])];
        let engine = RecordedSignals::with(lists);
        let batch = || log("web", vec![entry("203.0.113.9", 3), entry("192.0.2.1", 2)], None);
        for counted in [true, false] {
            let taken = take(&store, &engine, &by(), batch(), NOW).await.unwrap();
            assert_eq!((taken.counted, taken.requests, taken.matched), (counted, 5, 3));
            assert_eq!(engine.take(), ["matches added"]);
        }
        let compiler = RulesetCompiler::new(store.clone(), Endpoints::default());
        let query = ThreatEventQuery::default();
        let paging = Paging::new(None, None).unwrap();
        let found = events::list(&store, &compiler, query, paging).await.unwrap().items;
        let [found] = &found[..] else { panic!("{found:?}") };
        assert_eq!((found.packets, found.last_seen), (3, NOW.plus(AHEAD)), "not in the future");
        let request = found.request.as_deref().unwrap_or_default();
        assert!(request.starts_with("GET /") && request.len() <= LONGEST_REQUEST, "{request}");
    }

    #[tokio::test]
    async fn oversized_or_unknown_requests_are_refused_and_count_nothing() {
        let (_dir, store) = store().await;
        register(&store, &[("web", "web")]).await;
        let engine = RecordedSignals::default();
        let lines = |text: usize, trusted: usize| {
            Some(Lines {
                format: serde_json::from_value("combined".into()).unwrap(),
                header: Default::default(),
                trusted: vec!["10.0.0.1".parse().unwrap(); trusted],
                text: vec!["no line of a log".to_owned(); text],
            })
        };
        for (log, said) in [
            (
                log("web", vec![entry("192.0.2.1", 1); MOST_LINES + 1], None),
                "50001 of them; send at most 50000 at once",
            ),
            (
                log("web", Vec::new(), lines(MOST_LINES + 1, 1)),
                "50001 of them; send at most 50000 at once",
            ),
            (
                log("web", Vec::new(), lines(1, MOST_TRUSTED + 1)),
                "1001 of them; send at most 1000 at once",
            ),
            (log("none", Vec::new(), lines(1, 1)), "there is no asset \"none\""),
        ] {
            let refused = take(&store, &engine, &by(), log, NOW).await.unwrap_err();
            assert_eq!(refused.to_string(), said);
        }
        assert!(engine.take().is_empty());
        let unreadable = log("web", Vec::new(), lines(7, 1));
        let taken = take(&store, &engine, &by(), unreadable, NOW).await.unwrap();
        assert_eq!((taken.refused, taken.samples.len()), (7, SAMPLES));
        assert_eq!(taken.samples[0].line, 1);
    }
}
