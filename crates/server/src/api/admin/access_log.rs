//! Addresses in bulk, and access logs of servers behind proxies: whom the host's firewall can't see.

use std::collections::BTreeMap;
use std::net::IpAddr;

use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::access_log::{AccessLog, Entry, Lines, RefusedLine, Taken};
use xshield_api::threat_events::{Listed, LookUp, LookedUp};
use xshield_model::Timestamp;
use xshield_model::threat_match::ReadFrom;
use xshield_operations::lookup::asset as named;
use xshield_policy::{Direction, Protocol};
use xshield_store::threat_events::ThreatEvent;
use xshield_store::{commit, reports};
use xshield_threat::access_log::{self, Reading};
use xshield_wire::threat::ThreatAction;

use crate::auth::{Allowed, Operator, Viewer};
use crate::problem::{Answer, JsonBody, Problem};
use crate::state::App;
use xshield_alerting::matches;

/// Addresses of one question, at most.
const MOST_ADDRESSES: usize = 10_000;
/// Lines or entries of one batch, at most.
const MOST_LINES: usize = 50_000;
/// Trusted proxies, at most.
const MOST_TRUSTED: usize = 1000;
/// Refused lines that are named.
const SAMPLES: usize = 5;
/// Characters of a line in a sample.
const SAMPLE: usize = 200;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(look_up)).routes(routes!(take))
}

/// Which of these addresses are on the threat list
#[utoipa::path(post, path = "/api/v1/threat/look-up", tag = "threat events",
    request_body = LookUp, responses((status = 200, body = LookedUp)))]
async fn look_up(
    State(app): State<App>,
    _: Allowed<Viewer>,
    JsonBody(question): JsonBody<LookUp>,
) -> Answer<Json<LookedUp>> {
    at_most("/addresses", question.addresses.len(), MOST_ADDRESSES)?;
    let listed = |address: IpAddr| {
        let known = app.threat.intelligence(address.to_canonical());
        Some(Listed {
            address: address.to_string(),
            entry: known.entry?.to_string(),
            confidence: known.confidence.map(|sure| sure.percent()),
            feeds: known.feeds,
        })
    };
    Ok(Json(LookedUp { items: question.addresses.into_iter().filter_map(listed).collect() }))
}

fn at_most(field: &str, count: usize, most: usize) -> Answer<()> {
    if count > most {
        return Err(Problem::invalid(
            field,
            format!("{count} of them, {most} at most; send several"),
        ));
    }
    Ok(())
}

/// Take in the access log of a server behind proxies
#[utoipa::path(post, path = "/api/v1/threat/access-log", tag = "threat events",
    request_body = AccessLog, responses((status = 200, body = Taken)))]
async fn take(
    State(app): State<App>,
    _: Allowed<Operator>,
    JsonBody(log): JsonBody<AccessLog>,
) -> Answer<Json<Taken>> {
    let now = Timestamp::now();
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
    let asset = named(&mut *app.store.read().await?, &log.asset).await?;
    let mut events = Vec::new();
    for entry in entries {
        taken.requests = taken.requests.saturating_add(entry.requests);
        let intelligence = app.threat.intelligence(entry.client.to_canonical());
        if intelligence.entry.is_none() {
            continue;
        }
        taken.matched = taken.matched.saturating_add(entry.requests);
        let last_seen = entry.last_seen.min(now.plus(300));
        events.push(ThreatEvent {
            action: ThreatAction::Recorded,
            direction: Direction::Inbound,
            remote: entry.client.to_canonical(),
            local: None,
            protocol: Protocol::Tcp,
            port: log.port,
            process: None,
            service: None,
            via: Some(entry.via.to_canonical()),
            rule: None,
            policy: None,
            request: entry.request.map(matches::bounded),
            read_from: ReadFrom::AccessLog,
            revision: 0,
            intelligence,
            packets: entry.requests,
            bytes: 0,
            first_seen: entry.first_seen.min(last_seen),
            last_seen,
        });
    }
    let mut tx = app.store.write().await?;
    taken.counted = reports::first_time(&mut tx, &asset.id, log.batch, now).await?;
    if taken.counted {
        matches::take(
            app.settings.threat_flows_per_asset,
            &mut tx,
            &asset.id,
            events.into_iter(),
            now,
        )
        .await?;
    }
    commit(tx).await?;
    app.alerts.fresh.notify_one();
    Ok(Json(taken))
}

/// The requests behind proxies, added up by client and proxy.
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
