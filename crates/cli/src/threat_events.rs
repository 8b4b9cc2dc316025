//! `xshield threat events` and `xshield threat address`: traffic with listed peers.

use std::net::IpAddr;

use clap::Args;
use comfy_table::Cell;
use serde_json::{Value, json};
use xshield_api::Timestamp;
use xshield_api::open::Open;
use xshield_api::threat_events::{
    AddressView, AssetContact, EventView, ListedBy, Losses, ThreatEventQuery, ViaProxy,
};
use xshield_api::words::counted;
use xshield_policy::Direction;
use xshield_threat::{FeedId, Prefix};
use xshield_wire::threat::ThreatAction;

use crate::choice::{direction, words_of};
use crate::client::{Client, Path, view};
use crate::error::CliError;
use crate::protocols::protocol;
use crate::terminal::{KeyValueList, Output, Table, bad, cell, note, number, warning};
use crate::times::{Since, relative, relative_or_dash};
use crate::words::{count_field, field, time_field};

/// Show traffic with listed addresses ("Malicious IP Match"), the last seen first.
#[derive(Debug, Args)]
pub(crate) struct EventsCommand {
    /// Only this asset's, by name or id.
    #[arg(long)]
    asset: Option<String>,
    /// Only those of assets in this segment of the committed policy.
    #[arg(long)]
    segment: Option<String>,
    /// Only on assets that match, e.g. "business_value = 'high'".
    #[arg(long = "where", value_name = "CRITERIA")]
    criteria: Option<String>,
    /// Only with this remote address, or with addresses in this prefix.
    #[arg(long, value_name = "ADDRESS|CIDR")]
    address: Option<Prefix>,
    /// Only with addresses that this feed listed at the time.
    #[arg(long)]
    feed: Option<FeedId>,
    /// Only what was blocked, or only what was recorded.
    #[arg(long, value_parser = words_of(action))]
    action: Option<ThreatAction>,
    /// Only flows opened from outside (inbound) or by the asset (outbound).
    #[arg(long, value_parser = words_of(direction))]
    direction: Option<Direction>,
    /// Only matches behind proxies, or none of them.
    #[arg(long, value_parser = words_of(via_proxy))]
    via_proxy: Option<ViaProxy>,
    /// Only when a feed listed the address with at least this confidence, in percent.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(..=100))]
    confidence: Option<u8>,
    /// Only those last seen since then: 1h or 7d ago, or a time as in RFC 3339.
    #[arg(long, value_name = "WHEN")]
    since: Option<Since>,
    /// Only those first seen until then: 1h or 7d ago, or a time as in RFC 3339.
    #[arg(long, value_name = "WHEN")]
    until: Option<Since>,
    /// How many to show at most.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

/// The help text of each action.
pub(crate) fn action(action: &ThreatAction) -> Option<&'static str> {
    Some(match action {
        ThreatAction::Blocked => "Dropped",
        ThreatAction::Recorded => "Only recorded; the policy decided",
    })
}

/// The help text of each choice about proxies.
pub(crate) fn via_proxy(via: &ViaProxy) -> Option<&'static str> {
    Some(match via {
        ViaProxy::Only => "Only matches behind proxies",
        ViaProxy::Never => "No matches behind proxies",
    })
}

const EVENTS: &str = "read threat events";

impl EventsCommand {
    /// Runs the command.
    pub(crate) fn run(self, client: &Client, output: Output) -> Result<(), CliError> {
        let now = Timestamp::now();
        let path = Path::of(&["threat", "events"]).of_query(&ThreatEventQuery {
            asset: self.asset,
            segment: self.segment,
            criteria: self.criteria,
            address: self.address,
            feed: self.feed,
            action: self.action,
            direction: self.direction,
            via_proxy: self.via_proxy,
            confidence: self.confidence,
            since: self.since.map(|since| since.at(now)),
            until: self.until.map(|until| until.at(now)),
        })?;
        let answer = client.list(EVENTS, &path, Some(self.limit))?;
        output.show(&answer, |screen| {
            Ok(table(view(EVENTS, &answer["items"])?, now).render(screen))
        })?;
        if !output.is_json() {
            tell_losses(client)?;
        }
        Ok(())
    }
}

/// Reports lost matches: "no events" is only meaningful together with these.
fn tell_losses(client: &Client) -> Result<(), CliError> {
    let action = "read lost threat events";
    let losses: Losses = view(action, &client.get(action, &Path::of(&["threat", "losses"]))?)?;
    let Some(last) = losses.items.first() else { return Ok(()) };
    let lost = losses.items.iter().fold(0_u64, |sum, one| sum.saturating_add(one.lost));
    note(&format!(
        "{} on {} could not be recorded, the last {}.",
        counted(lost, "matching packet"),
        counted(losses.items.len(), "host"),
        relative(last.lost_at, Timestamp::now()),
    ));
    Ok(())
}

fn table(events: Vec<Open<EventView>>, now: Timestamp) -> Table {
    let header =
        &["SEEN", "ASSET", "ACTION", "DIRECTION", "PEER", "LOCAL", "PROCESS", "FEEDS", "PACKETS"];
    let mut table = Table::new(header, "No traffic with listed addresses was reported.");
    for event in events {
        let event = match event {
            Open::Known(event) => event,
            Open::Unknown(event) => {
                table.row(unknown_row(&event, now));
                continue;
            }
        };
        let action = match event.action {
            ThreatAction::Blocked => bad("blocked"),
            ThreatAction::Recorded if event.blockable_at_host => warning("recorded"),
            ThreatAction::Recorded => warning("not blockable by the host"),
        };
        table.row(vec![
            cell(relative(event.last_seen, now)),
            cell(&event.asset),
            action,
            cell(event.direction.to_string()),
            cell(peer(&event)),
            cell(here(&event)),
            cell(program(&event)),
            cell(feeds(&event)),
            number(event.packets),
        ]);
    }
    table
}

/// An event of a newer platform, in the same columns.
fn unknown_row(event: &Value, now: Timestamp) -> Vec<Cell> {
    let remote = field(event, "remote");
    let peer = match event["via"].as_str() {
        Some(via) => format!("{remote} via proxy {via}"),
        None => remote,
    };
    let names = event["feeds"].as_array().into_iter().flatten();
    let names: Vec<&str> = names.filter_map(|feed| feed["feed"].as_str()).collect();
    vec![
        cell(time_field(event, "last_seen", now)),
        cell(field(event, "asset")),
        cell(field(event, "action")),
        cell(field(event, "direction")),
        cell(peer),
        cell(format!("{} to port {}", protocol(&event["protocol"]), field(event, "port"))),
        cell(field(event, "process")),
        cell(names.join(" ")),
        number(count_field(event, "packets")),
    ]
}

fn peer(event: &EventView) -> String {
    match &event.via {
        Some(via) => format!("{} via proxy {via}", event.remote),
        None => event.remote.to_string(),
    }
}

fn here(event: &EventView) -> String {
    let protocol = protocol(&json!(event.protocol));
    match (&event.request, event.local, event.port) {
        (Some(request), _, _) => request.clone(),
        (None, _, 0) => protocol,
        (None, Some(local), port) if event.direction == Direction::Inbound => {
            format!("{protocol} {}", std::net::SocketAddr::new(local, port))
        }
        (None, _, port) => format!("{protocol} to port {port}"),
    }
}

fn program(event: &EventView) -> String {
    match (&event.process, &event.service) {
        (Some(process), Some(service)) => format!("{process} ({service})"),
        (Some(one), None) | (None, Some(one)) => one.clone(),
        (None, None) => "-".to_owned(),
    }
}

fn feeds(event: &EventView) -> String {
    if event.feeds.is_empty() {
        return "not on the platform's list".to_owned();
    }
    let mut names: Vec<&str> = event.feeds.iter().map(|feed| feed.feed.as_str()).collect();
    names.dedup();
    let sure = event.confidence.map(|sure| format!(" ({} %)", sure.percent())).unwrap_or_default();
    format!("{}{sure}", names.join(" "))
}

/// Runs `xshield threat address`.
pub(crate) fn address(address: IpAddr, client: &Client, output: Output) -> Result<(), CliError> {
    let action = "look up the address";
    let path = Path::of(&["threat", "addresses", &address.to_string()]);
    let answer = client.get(action, &path)?;
    output.show(&answer, |screen| {
        let now = Timestamp::now();
        let shown: AddressView = view(action, &answer)?;
        let mut sheet = KeyValueList::new();
        sheet.line("address", &shown.address);
        sheet.line(
            "on the list",
            shown
                .entry
                .as_deref()
                .map_or_else(|| "no".to_owned(), |entry| format!("yes, as {entry}")),
        );
        let named =
            |by: &ListedBy| format!("{}: {} ({} %)", by.feed, by.entry, by.confidence.percent());
        let feeds: Vec<String> = shown.feeds.iter().map(named).collect();
        sheet.line("feeds now", if feeds.is_empty() { "-".to_owned() } else { feeds.join("\n") });
        sheet.line("seen since", relative_or_dash(shown.first_seen, now));
        sheet.line("last seen", relative_or_dash(shown.last_seen, now));
        sheet.line("packets", format!("{}, of these {} dropped", shown.packets, shown.blocked));
        let more = if shown.more_assets { "\nThere are more assets than these.\n" } else { "" };
        let met = met_table(shown.assets, now).render(screen);
        Ok(format!("{}\n{met}\n{more}", sheet.render()))
    })
}

fn met_table(assets: Vec<AssetContact>, now: Timestamp) -> Table {
    let header = &["ASSET", "SEEN SINCE", "LAST SEEN", "FLOWS", "PACKETS", "DROPPED"];
    let mut table = Table::new(header, "No asset had traffic with it.");
    for met in assets {
        table.row(vec![
            cell(&met.asset),
            cell(relative(met.first_seen, now)),
            cell(relative(met.last_seen, now)),
            number(met.flows),
            number(met.packets),
            number(met.blocked),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::terminal::Screen;

    #[test]
    fn events_in_a_table() {
        let event = json!({
            "id": 1, "name": "Malicious IP Match", "asset_id": "as-1", "rule": null, "policy": null,
            "entry": null, "revision": 1, "bytes": 1, "reports": 1, "from": "recorder",
            "first_seen": "2027-01-15T07:00:00Z", "asset": "web", "action": "blocked", "blockable_at_host": true,
            "direction": "inbound", "remote": "198.51.100.7", "local": "192.0.2.10",
            "protocol": "tcp", "port": 443, "process": "nginx", "service": "nginx.service",
            "via": null, "request": null, "confidence": 90, "packets": 12,
            "feeds": [{"feed": "drop", "entry": "198.51.100.0/24", "confidence": 90}],
            "last_seen": "2027-01-15T07:59:00Z",
        });
        let mut proxied = event.clone();
        proxied["action"] = json!("recorded");
        proxied["blockable_at_host"] = json!(false);
        proxied["via"] = json!("10.0.0.1");
        proxied["request"] = json!("GET /login");
        proxied["feeds"] = json!([]);
        let events: Vec<Open<EventView>> = serde_json::from_value(json!([event, proxied])).unwrap();
        let text = table(events, Timestamp(1_800_000_000)).render(&Screen::plain());
        insta::assert_snapshot!(text, @r"
        SEEN       ASSET  ACTION                     DIRECTION  PEER                             LOCAL               PROCESS                FEEDS                       PACKETS
        1 min ago  web    blocked                    inbound    198.51.100.7                     tcp 192.0.2.10:443  nginx (nginx.service)  drop (90 %)                      12
        1 min ago  web    not blockable by the host  inbound    198.51.100.7 via proxy 10.0.0.1  GET /login          nginx (nginx.service)  not on the platform's list       12
        ");
    }
}
