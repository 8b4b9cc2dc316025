//! `xshield command`: commands for hosts and their outcomes.

use std::time::Duration;

use clap::{Args, Subcommand};
use xshield_api::Timestamp;
use xshield_api::assets::AssetStanding;
use xshield_api::commands::{
    Command, NewCommand, OutcomeQuery, Selection, TargetOutcome, TargetState,
};
use xshield_api::words::counted;
use xshield_policy::criteria::Criteria;
use xshield_policy::inventory::Source;
use xshield_wire::message::CommandKind;

use crate::assets::standing;
use crate::choice::words_of;
use crate::client::{Client, NoBody, Path, view};
use crate::error::CliError;
use crate::progress::{AfterInterrupt, Shown, Waiting};
use crate::terminal::{
    KeyValueList, Output, Screen, Table, bad, cell, good, note, number, warning,
};
use crate::times::{Span, relative, relative_or_dash};
use crate::words::word;

/// Send hosts a command; agents carry it out at once, Spark at its next run, each of them once.
#[derive(Debug, Args)]
pub struct CommandCommand {
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Run a full cycle now: check in, enforce, report.
    RunNow(CommandTargets),
    /// Send again all reports that are otherwise sent only when they change.
    Resend(CommandTargets),
    /// Collect diagnostics and upload them (then: xshield diagnostics get ASSET).
    Diagnostics(CommandTargets),
    /// Log in detail for a limited time (then: xshield debug-log ASSET --follow).
    DebugOn {
        #[command(flatten)]
        give: CommandTargets,
        /// For how long; then it ends automatically.
        #[arg(long = "for", value_name = "SPAN", default_value = "1h")]
        duration: Span,
    },
    /// Stop logging in detail.
    DebugOff(CommandTargets),
    /// List commands, the newest first.
    List {
        /// Only commands for this asset, by name or id.
        #[arg(long)]
        asset: Option<String>,
        /// How many to show at most.
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
    },
    /// Show a command and its result on each asset.
    Show {
        /// Its id.
        id: String,
        /// Only assets in this state.
        #[arg(long, value_parser = words_of(state))]
        state: Option<TargetState>,
    },
    /// Cancel a command: hosts that have not received it yet never do.
    Cancel {
        /// Its id.
        id: String,
    },
}

/// What each state of a command at an asset means.
fn state(state: &TargetState) -> Option<&'static str> {
    Some(match state {
        TargetState::Waiting => "The host has not received it yet",
        TargetState::Told => "The host has received it",
        TargetState::Done => "Carried out",
        TargetState::Failed => "Tried, and failed",
        TargetState::Expired => "Not started in time",
        TargetState::Unknown => "The host's program does not know this command",
        TargetState::Cancelled => "Cancelled before the host received it",
    })
}

/// What each kind of program means. Connected products take no commands.
fn source(source: &Source) -> Option<&'static str> {
    match source {
        Source::Agent => Some("Hosts with the resident agent"),
        Source::Spark => Some("Hosts on which Spark runs"),
        Source::Edr => None,
    }
}

/// Which hosts, and for how long the command is valid. Choices are combined: all of them must match.
#[derive(Debug, Args)]
struct CommandTargets {
    /// This asset, by name or id; may be repeated.
    #[arg(long = "asset", value_name = "ASSET")]
    assets: Vec<String>,
    /// Assets that match, e.g. "environment = 'prod' and role in ('web', 'db')".
    #[arg(long = "where", value_name = "CRITERIA")]
    criteria: Option<Criteria>,
    /// Assets in this segment of the committed policy.
    #[arg(long)]
    segment: Option<String>,
    /// Assets with this program.
    #[arg(long, value_parser = words_of(source))]
    source: Option<Source>,
    /// Assets with this status, e.g. failed, outdated, offline; see: xshield asset list --help.
    #[arg(long, value_parser = words_of(standing))]
    status: Option<AssetStanding>,
    /// Every asset.
    #[arg(long, conflicts_with_all = ["assets", "criteria", "segment", "source", "status"])]
    all: bool,
    /// Hosts that have not started within this time do not carry it out.
    #[arg(long, value_name = "SPAN", default_value = "24h")]
    expires: Span,
    /// Wait until every host has a result; the exit code is 1 unless all of them are "done".
    #[arg(long)]
    wait: bool,
}

/// The polling interval of `--wait`.
const ASK_EVERY: Duration = Duration::from_secs(1);

impl CommandCommand {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let client = Client::of_this_call()?;
        let output = self.output;
        match self.action {
            Action::RunNow(give) => give.run(CommandKind::RunNow, None, &client, output),
            Action::Resend(give) => give.run(CommandKind::Resend, None, &client, output),
            Action::Diagnostics(give) => give.run(CommandKind::Diagnostics, None, &client, output),
            Action::DebugOn { give, duration } => {
                give.run(CommandKind::DebugOn, Some(duration), &client, output)
            }
            Action::DebugOff(give) => give.run(CommandKind::DebugOff, None, &client, output),
            Action::List { asset, limit } => {
                let action = "list commands";
                let path = match &asset {
                    Some(asset) => Path::of(&["assets", asset, "commands"]),
                    None => Path::of(&["commands"]),
                };
                let answer = client.list(action, &path, Some(limit))?;
                output.show(&answer, |screen| {
                    Ok(table(view(action, &answer["items"])?, Timestamp::now()).render(screen))
                })
            }
            Action::Show { id, state } => show(&client, &id, state, output),
            Action::Cancel { id } => {
                let path = Path::of(&["commands", &id, "cancel"]);
                let action = "cancel the command";
                let answer = client.post(action, &path, &NoBody {})?;
                output.show(&answer, |_| {
                    let cancelled: Command = view(action, &answer)?;
                    let hosts = counted(cancelled.progress.told, "host");
                    Ok(format!("Cancelled {id}; {hosts} had received it before."))
                })
            }
        }
    }
}

impl CommandTargets {
    fn run(
        self,
        kind: CommandKind,
        duration: Option<Span>,
        client: &Client,
        output: Output,
    ) -> Result<(), CliError> {
        let action = "give the command";
        let target = Selection {
            assets: Some(self.assets).filter(|assets| !assets.is_empty()),
            name: None,
            criteria: self.criteria,
            segment: self.segment,
            source: self.source,
            status: self.status,
            all: self.all,
        };
        if target == Selection::default() {
            return Err(CliError::input(
                "choose the hosts: --asset NAME, --where CRITERIA, --segment, --source, --status or --all",
            ));
        }
        let body = NewCommand {
            kind,
            duration_seconds: duration.map(Span::at_most_seconds),
            expires_in_seconds: Some(self.expires.seconds()),
            target,
        };
        let answer = client.post(action, &Path::of(&["commands"]), &body)?;
        let given: Command = view(action, &answer)?;
        if self.wait {
            return wait(client, given, output);
        }
        output.show(&answer, |_| {
            Ok(format!(
                "{id}: {} for {}; see its progress with: xshield command show {id}",
                word(&given.kind),
                counted(given.progress.assets, "asset"),
                id = given.id
            ))
        })
    }
}

#[allow(clippy::disallowed_methods, reason = "long polling failed; polling at intervals")]
fn wait(client: &Client, mut command: Command, output: Output) -> Result<(), CliError> {
    let action = "read the command";
    let id = &command.id;
    let left = AfterInterrupt::Said(format!(
        "hosts are still carrying out the command; see: xshield command show \
             {id}"
    ));
    let _waiting = Waiting::begin(action, left, Shown::Never);
    let mut told = String::new();
    loop {
        let now = progress(&command);
        if now != told {
            note(&format!("{}: {now}", command.id));
            told = now;
        }
        if command.progress.under_way() == 0 {
            break;
        }
        std::thread::sleep(ASK_EVERY);
        match client.get(action, &Path::of(&["commands", &command.id])) {
            Ok(answer) => command = view(action, &answer)?,
            Err(error) if error.may_pass() => {}
            Err(error) => return Err(error),
        }
    }
    show(client, &command.id, None, output)?;
    let done = command.progress.done;
    let all = command.progress.assets;
    match all - done {
        0 => Ok(()),
        other => {
            Err(CliError::input(format!("not carried out by {other} of {}", counted(all, "host"))))
        }
    }
}

/// The counts that aren't zero.
fn progress(command: &Command) -> String {
    let counts = command.progress.by_state().into_iter().filter(|(count, _)| *count > 0);
    let counts = counts.map(|(count, state)| format!("{count} {}", word(&state)));
    counts.collect::<Vec<_>>().join(", ")
}

fn table(commands: Vec<Command>, now: Timestamp) -> Table {
    let header = &["ID", "KIND", "CREATED", "BY", "ASSETS", "PROGRESS", "EXPIRES"];
    let mut table = Table::new(header, "No commands.");
    for command in commands {
        let assets = command.progress.assets;
        let expires = match command.cancelled_at {
            Some(_) => "withdrawn".to_owned(),
            None => relative(command.expires_at, now),
        };
        table.row(vec![
            cell(&command.id),
            cell(word(&command.kind)),
            cell(relative(command.created_at, now)),
            cell(&command.created_by),
            number(assets),
            cell(progress(&command)),
            cell(expires),
        ]);
    }
    table
}

fn show(
    client: &Client,
    id: &str,
    state: Option<TargetState>,
    output: Output,
) -> Result<(), CliError> {
    let action = "show the command";
    let mut answer = client.get(action, &Path::of(&["commands", id]))?;
    let path = Path::of(&["commands", id, "outcomes"]).of_query(&OutcomeQuery { state })?;
    let outcomes = client.list(action, &path, None)?;
    answer["outcomes"] = outcomes["items"].clone();
    output.show(&answer, |screen| {
        let outcomes = view(action, &answer["outcomes"])?;
        Ok(text(&view(action, &answer)?, outcomes, Timestamp::now(), screen))
    })
}

fn text(
    command: &Command,
    outcomes: Vec<TargetOutcome>,
    now: Timestamp,
    screen: &Screen,
) -> String {
    let mut sheet = KeyValueList::new();
    sheet.line("id", &command.id);
    let duration = command.duration_seconds.map(|seconds| format!(" for {} min", seconds / 60));
    sheet.line("kind", format!("{}{}", word(&command.kind), duration.unwrap_or_default()));
    sheet.line("target", command.target.to_string());
    sheet.line("given", format!("{} by {}", relative(command.created_at, now), command.created_by));
    sheet.line("expires", relative(command.expires_at, now));
    if let Some(at) = command.cancelled_at {
        sheet.line("withdrawn", relative(at, now));
    }
    sheet.line("progress", progress(command));
    let header = &["ASSET", "STATE", "SENT", "ENDED", "REASON"];
    let mut table = Table::new(header, "No asset matches.");
    for outcome in outcomes {
        let state = word(&outcome.state);
        let state = match outcome.state.known() {
            Some(TargetState::Done) => good(state),
            Some(TargetState::Waiting | TargetState::Told) | None => cell(state),
            Some(TargetState::Expired | TargetState::Cancelled) => warning(state),
            Some(TargetState::Failed | TargetState::Unknown) => bad(state),
        };
        table.row(vec![
            cell(&outcome.asset),
            state,
            cell(relative_or_dash(outcome.told_at, now)),
            cell(relative_or_dash(outcome.ended_at, now)),
            cell(outcome.reason.as_deref().unwrap_or("-")),
        ]);
    }
    format!("{}\n{}", sheet.render(), table.render(screen))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_command_with_its_outcomes() {
        let command = json!({
            "id": "cmd-1", "kind": "debug-on", "duration_seconds": 3600,
            "target": {"where": "role = 'web'"}, "created_at": "2027-01-15T07:58:00Z",
            "created_by": "user:admin", "expires_at": "2027-01-16T07:58:00Z",
            "cancelled_at": null, "progress": {"assets": 2, "waiting": 1, "told": 0, "done": 0, "failed": 1,
                         "expired": 0, "unknown": 0, "cancelled": 0},
        });
        let outcomes = json!([
            {"asset": "a", "state": "failed", "told_at": "2027-01-15T07:59:00Z",
             "ended_at": "2027-01-15T07:59:30Z", "host_at": null, "reason": "disk full"},
            {"asset": "b", "state": "waiting", "told_at": null, "ended_at": null, "host_at": null,
             "reason": null},
        ]);
        let command = serde_json::from_value(command).unwrap();
        let outcomes = serde_json::from_value(outcomes).unwrap();
        let text = text(&command, outcomes, Timestamp(1_800_000_000), &Screen::plain());
        insta::assert_snapshot!(text, @r#"
        id        cmd-1
        kind      debug-on for 60 min
        target    {"where":"role = 'web'"}
        given     2 min ago by user:admin
        expires   in 23 h
        progress  1 waiting, 1 failed

        ASSET  STATE    SENT       ENDED     REASON
        a      failed   1 min ago  30 s ago  disk full
        b      waiting  -          -         -
        "#);
    }
}
