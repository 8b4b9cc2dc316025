//! `xshield alert`: alert rules and the alerts they raised.

use std::io::Read as _;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use serde_json::{Map, Value, json};
use xshield_api::Timestamp;
use xshield_api::alerts::{AlertQuery, NamedRule, NumberedAlert, RuleState, Severity};

use crate::client::{Client, Path, view};
use crate::error::CliError;
use crate::session::failed;
use crate::terminal::{self, Output, Table, bad, cell, good, number, warning};
use crate::times::{Since, Span, relative};

/// Alerts that were sent, and the rules that send them.
#[derive(Debug, Args)]
pub struct AlertCommand {
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(List),
    /// Rules: what raises an alert, and which channels it goes to.
    #[command(subcommand)]
    Rule(RuleAction),
}

/// Show alerts, the newest first.
#[derive(Debug, Args)]
struct List {
    /// Only this rule's.
    #[arg(long)]
    rule: Option<String>,
    /// Only about this asset, by name.
    #[arg(long)]
    asset: Option<String>,
    /// Only about this remote address.
    #[arg(long)]
    address: Option<std::net::IpAddr>,
    /// Only since then: 1h or 7d ago, or a time as in RFC 3339.
    #[arg(long, value_name = "WHEN")]
    since: Option<Since>,
    /// How many to show at most.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

#[derive(Debug, Subcommand)]
enum RuleAction {
    Set(Box<Set>),
    /// Create or replace a rule from JSON, in the form that the API takes.
    Put {
        /// The rule's name.
        name: String,
        /// A file; - for standard input.
        #[arg(long, short, value_name = "FILE")]
        file: PathBuf,
    },
    /// List rules.
    List,
    /// Show a rule as JSON.
    Show {
        /// The rule's name.
        name: String,
    },
    /// Delete a rule.
    Delete {
        /// The rule's name.
        name: String,
    },
}

/// Create a rule, or replace the one of that name.
#[derive(Debug, Args)]
struct Set {
    /// The rule's name.
    name: String,
    /// What raises an alert.
    #[arg(long)]
    when: When,
    /// A channel to which alerts go; may be repeated.
    #[arg(long = "channel", required = true)]
    channels: Vec<String>,
    /// With --when threshold: how many raise an alert.
    #[arg(long, value_name = "N", required_if_eq("when", "threshold"))]
    at_least: Option<u64>,
    /// With --when threshold: what is counted.
    #[arg(long, default_value = "packets")]
    count: Counted,
    /// With --when threshold: the time within which they are counted.
    #[arg(long, value_name = "SPAN", default_value = "1h")]
    within: Span,
    /// Only on assets that match, e.g. "business_value = 'high'".
    #[arg(long = "where", value_name = "CRITERIA")]
    criteria: Option<String>,
    /// Only matches that were blocked, or only those that were recorded.
    #[arg(long)]
    action: Option<String>,
    /// Only inbound or outbound flows.
    #[arg(long)]
    direction: Option<String>,
    /// Only when a feed lists the address with at least this confidence, in percent.
    #[arg(long, value_name = "PERCENT")]
    confidence: Option<u8>,
    /// Only addresses that this feed lists; may be repeated.
    #[arg(long = "feed")]
    feeds: Vec<String>,
    /// Whether matches behind proxies count: only (no others) or never.
    #[arg(long)]
    via_proxy: Option<String>,
    /// What alerts are throttled by: asset-and-address, asset, address or rule.
    #[arg(long, default_value = "asset-and-address")]
    per: String,
    /// At most one alert in this time for the same asset, address or both (see --per).
    #[arg(long, value_name = "SPAN", default_value = "15min")]
    throttle: Span,
    /// Collect alerts and send them together at this interval; at once when left out.
    #[arg(long, value_name = "SPAN")]
    digest: Option<Span>,
    /// Keep the rule, but raise no alerts by it.
    #[arg(long)]
    disabled: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum When {
    /// A match with a listed address.
    AnyMatch,
    /// The first match of an asset with an address.
    FirstTimeForAsset,
    /// The first match of any asset with an address.
    FirstTimeForPlatform,
    /// Many matches within a time: see --at-least, --count, --within.
    Threshold,
    /// A feed that could not be read for too long.
    FeedStale,
    /// A feed whose new list waits for a decision.
    FeedHeld,
    /// A host that could not record all matches.
    RecorderLosses,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Counted {
    /// Packets; requests behind proxies.
    Packets,
    /// Matching flows.
    Matches,
}

const RULES: &str = "alert-rules";

impl AlertCommand {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let client = Client::of_this_call()?;
        match self.action {
            Action::List(list) => list.run(&client, self.output),
            Action::Rule(action) => action.run(&client, self.output),
        }
    }
}

impl List {
    fn run(self, client: &Client, output: Output) -> Result<(), CliError> {
        let (action, now) = ("list alerts", Timestamp::now());
        let path = Path::of(&["alerts"]).of_query(&AlertQuery {
            rule: self.rule,
            asset: self.asset,
            address: self.address,
            kind: None,
            since: self.since.map(|since| since.at(now)),
        })?;
        let answer = client.list(action, &path, Some(self.limit))?;
        output.show(&answer, |screen| {
            Ok(alerts_table(view(action, &answer["items"])?, now).render(screen))
        })
    }
}

fn alerts_table(alerts: Vec<NumberedAlert>, now: Timestamp) -> Table {
    let header = &["NUMBER", "WHEN", "SEVERITY", "RULE", "WITHHELD", "WHAT"];
    let mut table = Table::new(header, "No alerts.");
    for NumberedAlert { number: which, alert } in alerts {
        let severity = match alert.severity {
            Severity::High => bad("high"),
            Severity::Medium => warning("medium"),
            Severity::Low => cell("low"),
        };
        table.row(vec![
            cell(which.to_string()),
            cell(relative(alert.at, now)),
            severity,
            cell(&alert.rule),
            number(alert.withheld),
            cell(&alert.summary),
        ]);
    }
    table
}

impl RuleAction {
    fn run(self, client: &Client, output: Output) -> Result<(), CliError> {
        let written = |name: &str, answer: &Value| {
            output.show(answer, |_| Ok(format!("Saved alert rule {name}.")))
        };
        match self {
            Self::Set(set) => {
                let path = Path::of(&[RULES, &set.name]);
                let answer = client.put("save the alert rule", &path, &set.document())?;
                written(&set.name, &answer)
            }
            Self::Put { name, file } => {
                let document: Value = serde_json::from_str(&read(&file)?)
                    .map_err(|error| CliError::input(format!("{}: {error}", file.display())))?;
                let path = Path::of(&[RULES, &name]);
                written(&name, &client.put("save the alert rule", &path, &document)?)
            }
            Self::List => {
                let action = "list alert rules";
                let answer = client.get(action, &Path::of(&[RULES]))?;
                output.show(&answer, |screen| {
                    Ok(rules_table(view(action, &answer["items"])?).render(screen))
                })
            }
            Self::Show { name } => {
                let answer = client.get("show the alert rule", &Path::of(&[RULES, &name]))?;
                output.show(&answer, |_| terminal::pretty(&answer))
            }
            Self::Delete { name } => {
                let answer = client.delete("delete the alert rule", &Path::of(&[RULES, &name]))?;
                output.show(&answer, |_| Ok(format!("Deleted alert rule {name}.")))
            }
        }
    }
}

/// Reads a file, or standard input.
pub(super) fn read(file: &std::path::Path) -> Result<String, CliError> {
    if file == std::path::Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(failed("read", file))?;
        return Ok(text);
    }
    std::fs::read_to_string(file).map_err(failed("read", file))
}

impl Set {
    /// The rule in the form of the API.
    fn document(&self) -> Value {
        let condition = match self.when {
            When::AnyMatch => json!({"condition": "any-match"}),
            When::FirstTimeForAsset => json!({"condition": "first-time", "scope": "asset"}),
            When::FirstTimeForPlatform => json!({"condition": "first-time", "scope": "platform"}),
            When::Threshold => json!({
                "condition": "threshold",
                "count": match self.count { Counted::Packets => "packets", Counted::Matches => "matches" },
                "at_least": self.at_least,
                "window_seconds": self.within.seconds(),
            }),
            When::FeedStale => json!({"condition": "feed-stale"}),
            When::FeedHeld => json!({"condition": "feed-held"}),
            When::RecorderLosses => json!({"condition": "recorder-losses"}),
        };
        let mut rule = Map::new();
        rule.insert("when".to_owned(), condition);
        rule.insert("channels".to_owned(), json!(self.channels));
        rule.insert("per".to_owned(), json!(self.per));
        rule.insert("throttle_seconds".to_owned(), json!(self.throttle.seconds()));
        let state = if self.disabled { "disabled" } else { "enabled" };
        rule.insert("state".to_owned(), json!(state));
        rule.insert(
            "delivery".to_owned(),
            match self.digest {
                Some(every) => json!({"mode": "digest", "every_seconds": every.seconds()}),
                None => json!({"mode": "immediate"}),
            },
        );
        for (name, value) in [
            ("where", json!(self.criteria)),
            ("action", json!(self.action)),
            ("direction", json!(self.direction)),
            ("least_confidence", json!(self.confidence)),
            ("via_proxy", json!(self.via_proxy)),
        ] {
            if !value.is_null() {
                rule.insert(name.to_owned(), value);
            }
        }
        if !self.feeds.is_empty() {
            rule.insert("feeds".to_owned(), json!(self.feeds));
        }
        Value::from(rule)
    }
}

fn rules_table(rules: Vec<NamedRule>) -> Table {
    let header = &["NAME", "STATE", "WHEN", "WHERE", "CHANNELS", "DELIVERY", "WITHHELD"];
    let mut table = Table::new(header, "There are no alert rules, so no alerts are sent.");
    for NamedRule { name, rule, withheld, .. } in rules {
        let state = match rule.state {
            RuleState::Enabled => good("enabled"),
            RuleState::Disabled => warning("disabled"),
        };
        table.row(vec![
            cell(name),
            state,
            cell(words(&rule.when)),
            cell(rule.criteria.map_or_else(|| "-".to_owned(), |criteria| criteria.to_string())),
            cell(rule.channels.join(" ")),
            cell(words(&rule.delivery)),
            number(withheld),
        ]);
    }
    table
}

/// A tagged value in words: its tag, then its fields.
fn words(tagged: &impl Serialize) -> String {
    let Ok(Value::Object(tagged)) = serde_json::to_value(tagged) else { return String::new() };
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let tag = |name: &&String| matches!(name.as_str(), "condition" | "mode");
    let first = tagged.iter().filter(|(name, _)| tag(name)).map(|(_, value)| plain(value));
    let rest = tagged.iter().filter(|(name, _)| !tag(name));
    let rest = rest.map(|(name, value)| format!("{}={}", name.replace('_', "-"), plain(value)));
    first.chain(rest).collect::<Vec<_>>().join(" ")
}
