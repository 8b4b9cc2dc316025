//! `xshield events`: the flows that hosts' firewalls denied, would deny or accepted.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use xshield_api::Timestamp;
use xshield_api::telemetry::EventQuery;
use xshield_api::words::counted;
use xshield_policy::{Direction, PortNumber};
use xshield_wire::foreign::one_line;
use xshield_wire::message::EventKind;

use crate::choice::{direction, words_of};
use crate::client::{Client, Path, parsed, view};
use crate::error::CliError;
use crate::progress::Waiting;
use crate::protocols::{has_ports, protocol};
use crate::terminal::{self, Output, Table, bad, cell, good, note, number, print, warning};
use crate::times::{Since, Span, of_day, relative};

/// Show flows that hosts' firewalls denied, would deny or accepted, the last seen first.
#[derive(Debug, Args)]
pub struct EventsCommand {
    #[command(flatten)]
    output: Output,
    /// Only this asset's, by name or id; every asset's when left out.
    #[arg(long)]
    asset: Option<String>,
    /// Only flows with this result.
    #[arg(long, value_parser = words_of(kind))]
    kind: Option<EventKind>,
    /// Only flows opened from outside (inbound) or by the asset (outbound).
    #[arg(long, value_parser = words_of(direction))]
    direction: Option<Direction>,
    /// Only flows with this address at the other end.
    #[arg(long, value_name = "ADDRESS")]
    peer: Option<IpAddr>,
    /// Only flows to this port.
    #[arg(long)]
    port: Option<PortNumber>,
    /// Only what this rule decided.
    #[arg(long)]
    rule: Option<String>,
    /// Only those last seen since then: 1h or 7d ago, or a time as in RFC 3339.
    #[arg(long, value_name = "WHEN")]
    since: Option<Since>,
    /// How many to show at most.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Keep printing new flows, one a line, until Ctrl-C (with --json: one object a line).
    #[arg(long, short)]
    follow: bool,
    /// How often to ask with --follow.
    #[arg(long, value_name = "SPAN", default_value = "2s", requires = "follow")]
    every: Span,
}

/// What each kind of event means.
fn kind(kind: &EventKind) -> Option<&'static str> {
    Some(match kind {
        EventKind::Denied => "Dropped",
        EventKind::WouldDeny => "Let through because the mode is test",
        EventKind::Accepted => "Accepted",
    })
}

/// A flow as returned by the platform.
type Flow = Map<String, Value>;

/// The displayed part of a flow; values may be unknown ones of a newer platform.
#[derive(Deserialize)]
struct Event {
    asset: String,
    kind: String,
    direction: String,
    source: String,
    destination: String,
    /// A name, or a number for protocols without one.
    protocol: Value,
    port: u16,
    rule: Option<String>,
    packets: u64,
    last_seen: Timestamp,
    process: Option<String>,
}

/// How far back `--follow` looks in each poll: hosts report late, and their flows must not be missed because
/// another host's was later.
const REPORTED_WITHIN: i64 = 900;

const ACTION: &str = "read events";

impl EventsCommand {
    /// Runs the command, once or with polling.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let client = Client::of_this_call()?;
        if self.follow {
            return self.follow(&client);
        }
        let since = self.since.map(|since| since.at(Timestamp::now()));
        let items = self.events(&client, since)?;
        let answer = json!({ "items": items, "next": null });
        self.output.show(&answer, |screen| {
            Ok(table(view(ACTION, &answer["items"])?, Timestamp::now()).render(screen))
        })
    }

    /// The last flows, with the asset's name in each.
    fn events(&self, client: &Client, since: Option<Timestamp>) -> Result<Vec<Flow>, CliError> {
        let mut found = Vec::new();
        for asset in self.assets(client)? {
            let path = self.path(&asset, since)?;
            let answer = match client.list(ACTION, &path, Some(self.limit)) {
                // It was deleted since it was listed.
                Err(CliError::Refused { refusal, .. })
                    if refusal.is("not-found") && self.asset.is_none() =>
                {
                    continue;
                }
                answer => answer?,
            };
            for mut flow in parsed::<Vec<Flow>>(ACTION, &answer["items"])? {
                flow.insert("asset".to_owned(), Value::from(asset.as_str()));
                found.push(flow);
            }
        }
        // RFC 3339 in UTC sorts as text.
        let seen = |flow: &Flow| flow.get("last_seen").and_then(Value::as_str).map(str::to_owned);
        found.sort_by_cached_key(|flow| Reverse(seen(flow)));
        found.truncate(self.limit);
        Ok(found)
    }

    fn assets(&self, client: &Client) -> Result<Vec<String>, CliError> {
        if let Some(asset) = &self.asset {
            return Ok(vec![asset.clone()]);
        }
        #[derive(Deserialize)]
        struct Named {
            name: String,
        }
        let answer = client.list("list assets", &Path::of(&["assets"]), None)?;
        let assets: Vec<Named> = parsed("list assets", &answer["items"])?;
        Ok(assets.into_iter().map(|asset| asset.name).collect())
    }

    fn path(&self, asset: &str, since: Option<Timestamp>) -> Result<Path, CliError> {
        Path::of_asset(asset, &["events"]).of_query(&EventQuery {
            kind: self.kind,
            direction: self.direction,
            peer: self.peer,
            port: self.port.map(|port| port.0),
            protocol: None,
            rule: self.rule.clone(),
            since,
        })
    }

    fn follow(&self, client: &Client) -> Result<(), CliError> {
        let _waiting = Waiting::until_stopped();
        let started = Timestamp::now();
        let from = self.since.map_or(started, |since| since.at(started));
        let mut seen = Seen::default();
        let mut found = self.events(client, Some(from.min(started.plus(-REPORTED_WITHIN))))?;
        loop {
            let all = found.len();
            let mut news = seen.news(found);
            // Earlier flows are only recorded, not shown.
            news.retain(|flow| is_since(flow, from));
            if news.len() == all && all >= self.limit {
                note(
                    "There may be more new flows than these. Raise --limit to read more at a time.",
                );
            }
            news.reverse();
            for flow in news {
                let flow = Value::from(flow);
                if self.output.is_json() {
                    terminal::json_line(&flow)?;
                } else {
                    print(&line(&view(ACTION, &flow)?))?;
                }
            }
            found = self.next_turn(client, from)?;
        }
    }

    /// Polls again, until the platform answers: it may be restarting.
    fn next_turn(&self, client: &Client, from: Timestamp) -> Result<Vec<Flow>, CliError> {
        let mut told = None;
        loop {
            pause(self.every);
            let window = Timestamp::now().plus(-REPORTED_WITHIN);
            match self.events(client, Some(from.min(window))) {
                Err(error) if error.may_pass() => {
                    told.get_or_insert_with(|| note(&format!("{}; still trying", error.report())));
                }
                answer => return answer,
            }
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "long polling failed; polling at intervals")]
fn pause(span: Span) {
    let seconds = u64::try_from(span.seconds()).unwrap_or_default().max(1);
    std::thread::sleep(Duration::from_secs(seconds));
}

fn is_since(flow: &Flow, from: Timestamp) -> bool {
    let seen = flow.get("last_seen").map(Timestamp::deserialize);
    seen.is_some_and(|seen| seen.is_ok_and(|seen| seen >= from))
}

/// The flows shown so far, with their counts.
#[derive(Default)]
struct Seen(HashMap<String, u64>);

impl Seen {
    /// Those that are new or have grown, with the growth as count.
    fn news(&mut self, flows: Vec<Flow>) -> Vec<Flow> {
        const COUNTS: [&str; 5] = ["packets", "bytes", "reports", "first_seen", "last_seen"];
        let mut news = Vec::new();
        for mut flow in flows {
            let named = flow.iter().filter(|(field, _)| !COUNTS.contains(&field.as_str()));
            let key = named.map(|(field, value)| format!("{field}={value} ")).collect();
            let packets = flow.get("packets").and_then(Value::as_u64).unwrap_or_default();
            let before = self.0.insert(key, packets).unwrap_or_default();
            if packets > before {
                flow.insert("packets".to_owned(), Value::from(packets - before));
                news.push(flow);
            }
        }
        news
    }
}

fn table(events: Vec<Event>, now: Timestamp) -> Table {
    let header = &["SEEN", "ASSET", "VERDICT", "DIRECTION", "FLOW", "RULE", "PROCESS", "PACKETS"];
    let mut table = Table::new(header, "No flow matches.");
    for event in events {
        let verdict = match event.kind.as_str() {
            "accepted" => good("accepted"),
            "denied" => bad("denied"),
            other => warning(other.replace('-', " ")),
        };
        table.row(vec![
            cell(relative(event.last_seen, now)),
            cell(&event.asset),
            verdict,
            cell(&event.direction),
            cell(flow(&event)),
            cell(rule(&event)),
            cell(event.process.as_deref().unwrap_or("-")),
            number(event.packets),
        ]);
    }
    table
}

fn flow(event: &Event) -> String {
    let protocol = protocol(&event.protocol);
    let Event { source, destination, port, .. } = event;
    match protocol.as_str() {
        with_ports if has_ports(with_ports) && destination.contains(':') => {
            format!("{protocol} {source} -> [{destination}]:{port}")
        }
        with_ports if has_ports(with_ports) => {
            format!("{protocol} {source} -> {destination}:{port}")
        }
        "icmp" => format!("icmp/{port} {source} -> {destination}"),
        _ => format!("{protocol} {source} -> {destination}"),
    }
}

fn rule(event: &Event) -> &str {
    event.rule.as_deref().unwrap_or("(level)")
}

fn line(event: &Event) -> String {
    let process = event.process.as_ref().map(|name| format!(" by {name}")).unwrap_or_default();
    one_line(&format!(
        "{} {} {} {} {} by rule {}{process}, {}",
        of_day(event.last_seen),
        event.asset,
        event.kind,
        event.direction,
        flow(event),
        rule(event),
        counted(event.packets, "packet"),
    ))
    .into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::terminal::Screen;

    fn event(destination: &str, protocol: Value, packets: u64) -> Value {
        json!({
            "asset": "web", "kind": "would-deny", "direction": "inbound", "source": "10.0.0.9",
            "destination": destination, "protocol": protocol, "port": 22, "rule": null,
            "packets": packets, "bytes": 1, "reports": 1, "first_seen": "2027-01-15T07:00:00Z",
            "last_seen": "2027-01-15T07:59:00Z", "from": "recorder", "process": "sshd",
        })
    }

    #[test]
    fn events_in_a_table_and_as_a_line() {
        let mut denied = event("2001:db8::1", json!("udp"), 7);
        denied["kind"] = json!("denied");
        denied["rule"] = json!("base/no-telnet");
        let items = json!([
            denied,
            event("10.0.0.1", json!("icmp"), 1),
            event("10.0.0.1", json!(47), 1),
            event("10.0.0.1", json!(132), 1)
        ]);
        let events: Vec<Event> = serde_json::from_value(items).unwrap();
        assert_eq!(
            line(&events[0]),
            "07:59:00 web denied inbound udp 10.0.0.9 -> [2001:db8::1]:22 by rule base/no-telnet \
             by sshd, 7 packets"
        );
        let text = table(events, Timestamp(1_800_000_000)).render(&Screen::plain());
        insta::assert_snapshot!(text, @r"
        SEEN       ASSET  VERDICT     DIRECTION  FLOW                              RULE            PROCESS  PACKETS
        1 min ago  web    denied      inbound    udp 10.0.0.9 -> [2001:db8::1]:22  base/no-telnet  sshd           7
        1 min ago  web    would deny  inbound    icmp/22 10.0.0.9 -> 10.0.0.1      (level)         sshd           1
        1 min ago  web    would deny  inbound    gre 10.0.0.9 -> 10.0.0.1          (level)         sshd           1
        1 min ago  web    would deny  inbound    sctp 10.0.0.9 -> 10.0.0.1:22      (level)         sshd           1
        ");
    }

    proptest! {
        /// Names of processes on hosts can't break the format: each flow has one line, in a table and alone.
        #[test]
        fn texts_of_hosts_add_no_line(word in "(\\PC|[\n\r\t\u{85}\u{2028}\u{9b}\u{1b}]){0,20}") {
            let mut said = event("10.0.0.1", json!("tcp"), 1);
            for field in ["asset", "kind", "direction", "source", "destination", "rule", "process"] {
                said[field] = json!(format!("a{word}"));
            }
            said["protocol"] = json!(format!("b{word}"));
            let shown = line(&view(ACTION, &said).unwrap());
            prop_assert!(!shown.chars().any(xshield_wire::foreign::steers), "{shown:?}");
            let events = view(ACTION, &json!([said, said])).unwrap();
            let text = table(events, Timestamp(1_800_000_000)).render(&Screen::plain());
            prop_assert_eq!(text.split('\n').count(), 3);
            prop_assert!(!text.chars().any(|c| c != '\n' && xshield_wire::foreign::steers(c)));
        }
    }

    #[test]
    fn following_shows_each_packet_once() {
        let mut seen = Seen::default();
        let counts = |flows: Vec<Flow>| -> Vec<u64> {
            flows.iter().map(|flow| flow["packets"].as_u64().unwrap()).collect()
        };
        let event = |destination, protocol, packets| -> Flow {
            serde_json::from_value(event(destination, protocol, packets)).unwrap()
        };
        let two = || vec![event("10.0.0.1", json!("tcp"), 3), event("10.0.0.2", json!("tcp"), 1)];
        assert_eq!(counts(seen.news(two())), [3, 1]);
        assert_eq!(counts(seen.news(two())), [0; 0]);
        let grown = vec![event("10.0.0.2", json!("tcp"), 5), event("10.0.0.1", json!("tcp"), 3)];
        assert_eq!(counts(seen.news(grown)), [4]);
    }
}
