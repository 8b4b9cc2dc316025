//! `xshield agent-events`, `debug-log`, `diagnostics`, `live`: events of host programs and what they
//! collected.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::Value;
use xshield_api::Timestamp;
use xshield_api::agents::{
    AgentEvent, AgentEventQuery, Diagnostics, DiagnosticsQuery, LiveQuery, LogPiece, LogQuery,
};
use xshield_api::open::Open;
use xshield_api::words::counted;
use xshield_wire::foreign::{self, tamed};
use xshield_wire::telemetry::{AgentEventKind, LogEnd};

use crate::choice::words_of;
use crate::client::{Client, Path, parsed, view};
use crate::error::CliError;
use crate::files::{self, Before};
use crate::progress::Waiting;
use crate::protocols::protocol;
use crate::terminal::{Output, Table, bad, cell, good, note, number, print};
use crate::times::{Since, of_day, relative};
use crate::words::{count_field, field, word};

/// The polling interval for log lines.
const LOG_STEP: Duration = Duration::from_secs(2);
/// The polling interval for live events, which should be visible within a second.
const LIVE_STEP: Duration = Duration::from_millis(250);
/// The number of live events in one response.
const LIVE_AT_ONCE: usize = 200;

/// Show what agents did and noticed: policy applied, tampering, repairs, restarts, reachable again.
#[derive(Debug, Args)]
pub struct AgentEventsCommand {
    #[command(flatten)]
    output: Output,
    /// Only this asset's, by name or id.
    #[arg(long)]
    asset: Option<String>,
    /// Only of this kind, e.g. policy-applied, tampered, restarted, reachable-again.
    #[arg(long, value_parser = words_of(kind))]
    kind: Option<AgentEventKind>,
    /// Only since then: 1h or 7d ago, or a time as in RFC 3339.
    #[arg(long, value_name = "WHEN")]
    since: Option<Since>,
    /// How many to show at most.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

/// The help text of each kind of event. Kinds of a later version can't be requested.
fn kind(kind: &AgentEventKind) -> Option<&'static str> {
    use AgentEventKind as Kind;
    Some(match kind {
        Kind::Started => "The program was started",
        Kind::Stopped => "The program was stopped",
        Kind::Restarted => "The program came back after it had ended unexpectedly",
        Kind::PolicyApplied => "A new ruleset is in force",
        Kind::PolicyReverted => "A new ruleset was reverted",
        Kind::Tampered => "Another program changed the rules",
        Kind::Repaired => "The rules were restored",
        Kind::DiagnosticsCollected => "Diagnostics were collected and uploaded",
        Kind::ReachableAgain => "The platform is reachable again",
        Kind::RouteChanged => "The platform is reached by another route",
        Kind::ConfigurationChanged => "Another configuration is in use",
        Kind::ConfigurationRefused => "A configuration was refused; the previous one stays in use",
        Kind::SpoolDamaged => "A damaged record of the spool was skipped",
        Kind::Throttled => {
            "The program reduced its work to stay within its budget, or resumed \
             all of it"
        }
        Kind::DebugLogging => "Detailed logging was switched on or off",
        Kind::AddressesLeft => "Addresses left the rules because their names no longer have them",
        Kind::Unknown => return None,
    })
}

impl AgentEventsCommand {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let action = "read agent events";
        let path = match &self.asset {
            Some(asset) => Path::of_asset(asset, &["agent-events"]),
            None => Path::of(&["agent-events"]),
        };
        let since = self.since.map(|since| since.at(Timestamp::now()));
        let path = path.of_query(&AgentEventQuery { kind: self.kind, since })?;
        let answer = Client::of_this_call()?.list(action, &path, Some(self.limit))?;
        self.output.show(&answer, |screen| {
            let now = Timestamp::now();
            let mut table =
                Table::new(&["WHEN", "ASSET", "EVENT", "DESCRIPTION"], "No such events.");
            for event in view::<Vec<AgentEvent>>(action, &answer["items"])? {
                let kind = match event.kind.known() {
                    Some(
                        AgentEventKind::Tampered
                        | AgentEventKind::PolicyReverted
                        | AgentEventKind::ConfigurationRefused
                        | AgentEventKind::SpoolDamaged,
                    ) => bad(word(&event.kind)),
                    _ => cell(word(&event.kind)),
                };
                table.row(vec![
                    cell(relative(event.at, now)),
                    cell(event.asset),
                    kind,
                    cell(event.text),
                ]);
            }
            Ok(table.render(screen))
        })
    }
}

/// Show what a host logs in detail (after: xshield command debug-on).
#[derive(Debug, Args)]
pub struct DebugLogCommand {
    /// Name or id.
    asset: String,
    /// Keep printing new lines until the log ends or Ctrl-C.
    #[arg(long, short)]
    follow: bool,
}

impl DebugLogCommand {
    /// Runs the command, once or with polling.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let action = "read the detailed log";
        let client = Client::of_this_call()?;
        let _waiting = self.follow.then(Waiting::until_stopped);
        let mut after = 0;
        loop {
            let path = Path::of_asset(&self.asset, &["debug-log"]);
            let path = path.of_query(&LogQuery { after: Some(after) })?;
            let pieces: Vec<LogPiece> = match client.get(action, &path) {
                Ok(answer) => view(action, &answer)?,
                Err(error) if self.follow && after > 0 && error.may_pass() => Vec::new(),
                Err(error) => return Err(error),
            };
            let mut ended = false;
            for piece in &pieces {
                after = piece.number;
                ended = piece.end == LogEnd::Closed;
                show_piece(piece)?;
            }
            match (pieces.is_empty(), self.follow) {
                (false, _) if !(ended && self.follow) => continue,
                (_, true) if !ended => pause(LOG_STEP),
                _ => return Ok(()),
            }
        }
    }
}

fn show_piece(piece: &LogPiece) -> Result<(), CliError> {
    if piece.dropped > 0 {
        note(&format!(
            "{} of the log missing here: the host's buffer was full",
            counted(piece.dropped, "line")
        ));
    }
    let mut text = String::new();
    for line in &piece.lines {
        let (at_ms, area, said) = match line {
            Open::Known(line) => (line.at_ms, word(&line.area), line.text.clone()),
            Open::Unknown(line) => {
                (count_field(line, "at_ms"), field(line, "area"), field(line, "text"))
            }
        };
        let at = Timestamp(i64::try_from(at_ms / 1000).unwrap_or(i64::MAX));
        let line = format!("{}.{:03} {area:9} {said}", of_day(at), at_ms % 1000);
        text.push_str(&foreign::one_line(&line));
        text.push('\n');
    }
    if piece.end == LogEnd::Closed {
        text.push_str("-- the log ends here --\n");
    }
    print(&text)
}

#[allow(clippy::disallowed_methods, reason = "long polling failed; polling at intervals")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Diagnostics that hosts collected (after: xshield command diagnostics).
#[derive(Debug, Args)]
pub struct DiagnosticsCommand {
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    action: DiagnosticsAction,
}

#[derive(Debug, Subcommand)]
enum DiagnosticsAction {
    /// List archives, the newest first.
    List {
        /// Only this asset's, by name or id.
        #[arg(long)]
        asset: Option<String>,
    },
    /// Download an archive.
    Get {
        /// The archive's id, or an asset, for its newest archive.
        #[arg(value_name = "ASSET|ID")]
        which: String,
        /// The file to write; it must not exist yet.
        #[arg(long, short, value_name = "FILE")]
        output_file: PathBuf,
    },
    /// Remove an archive before it expires.
    Remove {
        /// Its id.
        id: String,
    },
}

impl DiagnosticsCommand {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let client = Client::of_this_call()?;
        match self.action {
            DiagnosticsAction::List { asset } => list(&client, asset, self.output),
            DiagnosticsAction::Get { which, output_file } => get(&client, &which, &output_file),
            DiagnosticsAction::Remove { id } => {
                let path = Path::of(&["diagnostics", &id]);
                let answer = client.delete("remove the diagnostics", &path)?;
                self.output.show(&answer, |_| Ok(format!("Removed archive {id}.")))
            }
        }
    }
}

fn list(client: &Client, asset: Option<String>, output: Output) -> Result<(), CliError> {
    let action = "list diagnostics";
    let query = DiagnosticsQuery { asset, command: None };
    let answer = client.list(action, &Path::of(&["diagnostics"]).of_query(&query)?, None)?;
    output.show(&answer, |screen| {
        let now = Timestamp::now();
        let header = &["ID", "ASSET", "COMMAND", "COLLECTED", "BYTES", "STATE", "REMOVED"];
        let mut table = Table::new(header, "There are no diagnostics.");
        for one in view::<Vec<Diagnostics>>(action, &answer["items"])? {
            let percent = one.received.saturating_mul(100) / one.size.max(1);
            let state = if one.complete { good("complete") } else { cell(format!("{percent} %")) };
            table.row(vec![
                cell(one.id),
                cell(one.asset),
                cell(one.command),
                cell(relative(one.created_at, now)),
                number(one.size),
                state,
                cell(relative(one.kept_until, now)),
            ]);
        }
        Ok(table.render(screen))
    })
}

fn get(client: &Client, which: &str, to: &std::path::Path) -> Result<(), CliError> {
    let from = Path::of(&["diagnostics", which]);
    let bytes = files::download(client, "download the diagnostics", &from, to, Before::Kept)?;
    note(&format!("Wrote {} to {}.", counted(bytes, "byte"), to.display()));
    Ok(())
}

/// Show denied packets and matches with listed addresses as agents see them, until Ctrl-C. For exact
/// counts, see: xshield events, xshield threat events.
#[derive(Debug, Args)]
pub struct LiveCommand {
    #[command(flatten)]
    output: Output,
    /// Only this asset's, by name or id.
    #[arg(long)]
    asset: Option<String>,
    /// Print the latest ones and exit.
    #[arg(long)]
    once: bool,
}

/// A live event as displayed; unknown fields of a newer agent are passed on.
#[derive(Deserialize)]
struct LiveEvent {
    number: i64,
    asset: String,
    received_at: Timestamp,
    event: Value,
}

impl LiveCommand {
    /// Polls the platform.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let action = "read live events";
        let client = Client::of_this_call()?;
        let _waiting = (!self.once).then(Waiting::until_stopped);
        let mut after: Option<i64> = None;
        loop {
            let query = LiveQuery { asset: self.asset.clone(), after };
            let path = Path::of(&["live-events"]).of_query(&query)?;
            let answer = match client.get(action, &path) {
                Ok(answer) => answer,
                Err(error) if after.is_some() && error.may_pass() => Value::Array(Vec::new()),
                Err(error) => return Err(error),
            };
            let events = parsed::<Vec<LiveEvent>>(action, &answer)?;
            for event in &events {
                after = Some(event.number);
                print(&live_line(event, self.output))?;
            }
            if self.once {
                return Ok(());
            }
            after = after.or(Some(0));
            if events.len() < LIVE_AT_ONCE {
                pause(LIVE_STEP);
            }
        }
    }
}

fn live_line(live: &LiveEvent, output: Output) -> String {
    if output.is_json() {
        return foreign::json(&live.event).unwrap_or_default();
    }
    let event = &tamed(&live.event);
    let (day, asset) = (of_day(live.received_at), foreign::one_line(&live.asset));
    if let Some(lost) = event["lost"].as_u64() {
        return format!("{day} {asset} lost: {} not shown", counted(lost, "packet"));
    }
    let text = |name: &str| field(event, name);
    let protocol = protocol(&event["protocol"]);
    if event["remote"].is_string() {
        let (action, direction, process) = (text("action"), text("direction"), text("process"));
        let (local, remote) = (text("local"), text("remote"));
        let way = match direction.as_str() {
            "inbound" => format!("{remote} -> {local}"),
            _ => format!("{local} -> {remote}"),
        };
        let (port, packets) = (text("port"), text("packets"));
        return format!(
            "{day} {asset} malicious-{action} {direction} {protocol} {way} port {port} \
             process {process} packets {packets}"
        );
    }
    format!(
        "{day} {asset} {} {} {} {} -> {} port {} rule {} process {} packets {}",
        text("kind"),
        text("direction"),
        protocol,
        text("source"),
        text("destination"),
        text("port"),
        text("rule"),
        text("process"),
        text("packets"),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FORGED: &str = "x\n2027-01-15 db denied\u{85}\u{9b}2J\u{2028}\u{202e}";

    fn live(event: Value) -> LiveEvent {
        LiveEvent {
            number: 1,
            asset: FORGED.to_owned(),
            received_at: Timestamp(1_800_000_000),
            event,
        }
    }

    #[test]
    fn texts_of_an_agent_stay_on_one_line() {
        for event in [
            json!({"lost": 3}),
            json!({"kind": FORGED, "process": FORGED, "rule": FORGED, "protocol": FORGED,
                   "source": FORGED, "destination": FORGED, "direction": FORGED}),
            json!({"remote": FORGED, "local": FORGED, "action": FORGED, "process": FORGED,
                   "direction": FORGED, "protocol": FORGED, "port": 1, "packets": 2}),
            json!({FORGED: [FORGED]}),
        ] {
            for output in [Output::for_people(), Output::for_programs()] {
                let line = live_line(&live(event.clone()), output);
                assert!(!line.chars().any(foreign::steers), "{line:?}");
            }
            let json = live_line(&live(event.clone()), Output::for_programs());
            assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), event);
        }
    }
}
