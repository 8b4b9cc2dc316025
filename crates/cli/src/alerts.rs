//! `xshield alert`: alert rules and the alerts they raised.

use std::io::Read as _;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use xshield_api::Timestamp;
use xshield_api::alerts::{
    AlertQuery, AlertRule, Condition, Counted, Delivery, NamedRule, NumberedAlert, Per, RuleState,
    Scope, Severity, ViaProxy,
};
use xshield_api::open::Open;
use xshield_policy::Direction;
use xshield_policy::criteria::Criteria;
use xshield_threat::{Confidence, FeedId};
use xshield_wire::threat::ThreatAction;

use crate::choice::{confidence, direction, words_of};
use crate::client::{Client, Path, view};
use crate::error::CliError;
use crate::session::failed;
use crate::terminal::{self, Output, Table, bad, cell, good, number, warning};
use crate::threat_events::{action, via_proxy};
use crate::times::{Since, Span, relative};
use crate::words::{count_field, field, time_field};

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
    #[arg(long, default_value = "packets", value_parser = words_of(counted))]
    count: Counted,
    /// With --when threshold: the time within which they are counted.
    #[arg(long, value_name = "SPAN", default_value = "1h")]
    within: Span,
    /// Only on assets that match, e.g. "business_value = 'high'".
    #[arg(long = "where", value_name = "CRITERIA")]
    criteria: Option<Criteria>,
    /// Only matches that were blocked, or only those that were recorded.
    #[arg(long, value_parser = words_of(action))]
    action: Option<ThreatAction>,
    /// Only inbound or outbound flows.
    #[arg(long, value_parser = words_of(direction))]
    direction: Option<Direction>,
    /// Only when a feed lists the address with at least this confidence, in percent.
    #[arg(long, value_name = "PERCENT", value_parser = confidence)]
    confidence: Option<Confidence>,
    /// Only addresses that this feed lists; may be repeated.
    #[arg(long = "feed")]
    feeds: Vec<FeedId>,
    /// Whether matches behind proxies count: only (no others) or never.
    #[arg(long, value_parser = words_of(via_proxy))]
    via_proxy: Option<ViaProxy>,
    /// What alerts are throttled by.
    #[arg(long, default_value = "asset-and-address", value_parser = words_of(per))]
    per: Per,
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

/// What a threshold counts.
fn counted(count: &Counted) -> Option<&'static str> {
    Some(match count {
        Counted::Packets => "Packets; requests behind proxies",
        Counted::Matches => "Matching flows",
    })
}

/// What alerts are throttled by.
fn per(per: &Per) -> Option<&'static str> {
    Some(match per {
        Per::AssetAndAddress => "At most one for the same asset and address",
        Per::Asset => "At most one for the same asset",
        Per::Address => "At most one for the same address",
        Per::Rule => "At most one for the whole rule",
    })
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
    let header = &["NUMBER", "WHEN", "SEVERITY", "RULE", "WITHHELD", "DESCRIPTION"];
    let mut table = Table::new(header, "No alerts.");
    for NumberedAlert { number: which, alert } in alerts {
        let alert = match alert {
            Open::Known(alert) => alert,
            Open::Unknown(alert) => {
                table.row(vec![
                    cell(which.to_string()),
                    cell(time_field(&alert, "at", now)),
                    cell(field(&alert, "severity")),
                    cell(field(&alert, "rule")),
                    number(count_field(&alert, "withheld")),
                    cell(field(&alert, "summary")),
                ]);
                continue;
            }
        };
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
                let answer = client.put("save the alert rule", &path, &set.rule()?)?;
                written(&set.name, &answer)
            }
            Self::Put { name, file } => {
                let rule: AlertRule = read_json(&file)?;
                let path = Path::of(&[RULES, &name]);
                written(&name, &client.put("save the alert rule", &path, &rule)?)
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

/// Reads a JSON file.
///
/// # Errors
/// Names the file, the line and column, the field, and what was expected.
fn read_json<T: DeserializeOwned>(file: &std::path::Path) -> Result<T, CliError> {
    let name = if file == std::path::Path::new("-") {
        "<stdin>".to_owned()
    } else {
        file.display().to_string()
    };
    parse_json(&name, &read(file)?)
}

fn parse_json<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, CliError> {
    let placed = |field: Option<String>, error: &serde_json::Error| {
        let text = error.to_string();
        // Line and column are at the beginning, where editors look for them.
        let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
        let field = field.map(|field| format!("{field}: ")).unwrap_or_default();
        let (line, column) = (error.line(), error.column());
        CliError::Documents(vec![format!("{name}:{line}:{column}: {field}{reason}")])
    };
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let field =
            Some(error.path().to_string()).filter(|path| !matches!(path.as_str(), "." | "?"));
        placed(field, error.inner())
    })?;
    reader.end().map_err(|error| placed(None, &error))?;
    Ok(value)
}

impl Set {
    /// The rule in the form of the API.
    fn rule(&self) -> Result<AlertRule, CliError> {
        let when = match self.when {
            When::AnyMatch => Condition::AnyMatch,
            When::FirstTimeForAsset => Condition::FirstTime { scope: Scope::Asset },
            When::FirstTimeForPlatform => Condition::FirstTime { scope: Scope::Platform },
            When::Threshold => Condition::Threshold {
                count: self.count,
                at_least: self.at_least.ok_or_else(|| {
                    CliError::Usage("--when threshold requires --at-least N".to_owned())
                })?,
                window_seconds: self.within.at_most_seconds(),
            },
            When::FeedStale => Condition::FeedStale,
            When::FeedHeld => Condition::FeedHeld,
            When::RecorderLosses => Condition::RecorderLosses,
        };
        let delivery = match self.digest {
            Some(every) => Delivery::Digest { every_seconds: every.at_most_seconds() },
            None => Delivery::Immediate,
        };
        Ok(AlertRule {
            state: if self.disabled { RuleState::Disabled } else { RuleState::Enabled },
            when,
            criteria: self.criteria.clone(),
            action: self.action,
            direction: self.direction,
            least_confidence: self.confidence.unwrap_or_default(),
            feeds: self.feeds.clone(),
            via_proxy: self.via_proxy,
            channels: self.channels.clone(),
            delivery,
            per: self.per,
            throttle_seconds: self.throttle.at_most_seconds(),
        })
    }
}

fn rules_table(rules: Vec<NamedRule>) -> Table {
    let header = &["NAME", "STATE", "WHEN", "WHERE", "CHANNELS", "DELIVERY", "WITHHELD"];
    let mut table = Table::new(header, "There are no alert rules, so no alerts are sent.");
    for NamedRule { name, rule, withheld, .. } in rules {
        let rule = match rule {
            Open::Known(rule) => rule,
            Open::Unknown(rule) => {
                let channels = rule["channels"].as_array().into_iter().flatten();
                let channels: Vec<_> = channels.filter_map(Value::as_str).collect();
                table.row(vec![
                    cell(name),
                    cell(field(&rule, "state")),
                    cell(words(&rule["when"])),
                    cell(field(&rule, "where")),
                    cell(channels.join(" ")),
                    cell(words(&rule["delivery"])),
                    number(withheld),
                ]);
                continue;
            }
        };
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

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        set: Set,
    }

    fn rule(line: &str) -> Value {
        let words = ["x", "r", "--channel", "ops"].into_iter().chain(line.split_whitespace());
        json!(Line::try_parse_from(words).unwrap().set.rule().unwrap())
    }

    #[test]
    fn options_become_the_rule_of_the_api() {
        let usual = json!({"state": "enabled", "when": {"condition": "any-match"},
            "channels": ["ops"], "delivery": {"mode": "immediate"}, "per": "asset-and-address",
            "throttle_seconds": 900});
        for (line, changes) in [
            ("--when any-match", json!({})),
            (
                "--when feed-held --disabled",
                json!({"when": {"condition": "feed-held"}, "state": "disabled"}),
            ),
            (
                "--when first-time-for-platform --per rule --throttle 1h",
                json!({"when": {"condition": "first-time", "scope": "platform"}, "per": "rule",
                       "throttle_seconds": 3600}),
            ),
            (
                "--when threshold --at-least 5 --count matches --within 10min --digest 2h",
                json!({"when": {"condition": "threshold", "count": "matches", "at_least": 5,
                                "window_seconds": 600},
                       "delivery": {"mode": "digest", "every_seconds": 7200}}),
            ),
            (
                "--when any-match --where role='db' --action blocked --direction inbound \
                 --confidence 80 --feed a --feed b --via-proxy never",
                json!({"where": "role='db'", "action": "blocked", "direction": "inbound",
                       "least_confidence": 80, "feeds": ["a", "b"], "via_proxy": "never"}),
            ),
        ] {
            let mut expected = usual.clone();
            let changes = changes.as_object().unwrap().clone();
            expected.as_object_mut().unwrap().extend(changes);
            assert_eq!(rule(line), expected, "{line}");
        }
        for wrong in ["--confidence=101", "--feed=A", "--per=host", "--where=role", "--when=never"]
        {
            let words = ["x", "r", "--channel", "ops", "--when", "any-match", wrong];
            assert!(Line::try_parse_from(words).is_err(), "{wrong}");
        }
        let longest = rule("--when any-match --throttle 200w");
        assert_eq!(longest["throttle_seconds"], 120_960_000, "the platform names its longest");
    }

    #[test]
    fn a_file_that_is_no_rule_is_refused_with_its_place() {
        let good = r#"{"when": {"condition": "any-match"}, "channels": ["ops"]}"#;
        assert!(parse_json::<AlertRule>("r.json", good).is_ok());
        for (text, told) in [
            ("{\n  \"channels\": [],\n  \"wen\": 1}", "r.json:3:7: wen: unknown field `wen`"),
            ("{\"when\": {\"condition\": \"any-match\"}}", "missing field `channels`"),
            (
                "{\"when\": {\"condition\": \"never\"}}",
                "r.json:1:30: when.condition: unknown variant `never`",
            ),
            ("{\"channels\": [\n7]}", "r.json:2:1: channels[0]: invalid type: integer `7`"),
            ("{", "r.json:1:1: EOF"),
            (&format!("{good} {good}"), "trailing characters"),
        ] {
            let refused = parse_json::<AlertRule>("r.json", text).unwrap_err().report();
            assert!(refused.starts_with("r.json:"), "{refused}");
            assert!(refused.contains(told), "{told:?} is not in {refused}");
        }
    }
}
