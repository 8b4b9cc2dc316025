//! `xshield host-config`: central settings of hosts.

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use xshield_api::Timestamp;
use xshield_api::assets::Asset;
use xshield_api::host_configuration::{Configured, Effective, HostSettings, Scope};
use xshield_api::open::Open;
use xshield_wire::control::Switch;

use crate::client::{Client, Path, parsed, view};
use crate::error::CliError;
use crate::kept;
use crate::terminal::{KeyValueList, Output, Table, cell};
use crate::times::relative;
use crate::words::word;

/// Settings of agents: for all of them, for a segment, or for an asset, the most specific first.
#[derive(Debug, Args)]
pub struct HostConfigCommand {
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the settings of all scopes, or those in effect for one asset.
    Show {
        /// Those in effect for this asset, by name or id.
        #[arg(long)]
        asset: Option<String>,
    },
    /// Set settings (NAME=VALUE) and remove settings (NAME-); others stay as they are.
    #[command(after_help = SETTINGS)]
    Set {
        /// Only for this asset, by name or id.
        #[arg(long, conflicts_with = "segment")]
        asset: Option<String>,
        /// For this segment of the committed policy.
        #[arg(long)]
        segment: Option<String>,
        /// E.g. heartbeat=60, live-events=off, cpu-budget-percent-.
        #[arg(required = true, value_name = "NAME=VALUE|NAME-")]
        settings: Vec<Setting>,
    },
}

const SETTINGS: &str = "\
Settings:
  heartbeat           seconds between two check-ins of an agent (10 to 86400)
  telemetry           seconds between two reports of communication paths (10 to 86400)
  inventory           seconds between two inventories of the software (60 to 604800)
  cloud-metadata      on or off: whether agents ask the cloud's metadata service
  live-events         on or off: whether agents report denials and matches at once
  cpu-budget-percent  percent of one core that an agent may use (0.1 to 100)
  memory-budget       MiB of memory that an agent may use (16 to 4096)";

const NAMES: [&str; 7] = [
    "heartbeat",
    "telemetry",
    "inventory",
    "cloud-metadata",
    "live-events",
    "cpu-budget-percent",
    "memory-budget",
];

/// A setting with its new value; `None` removes it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Setting {
    Heartbeat(Option<u32>),
    Telemetry(Option<u32>),
    Inventory(Option<u32>),
    CloudMetadata(Option<Switch>),
    LiveEvents(Option<Switch>),
    CpuBudgetPercent(Option<f64>),
    MemoryBudget(Option<u32>),
}

impl std::str::FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = match (text.split_once('='), text.strip_suffix('-')) {
            (Some((name, value)), _) => (name, Some(value)),
            (None, Some(name)) => (name, None),
            (None, None) => {
                return Err(format!("{text:?} is neither NAME=VALUE nor NAME-, e.g. heartbeat=60"));
            }
        };
        Ok(match name {
            "heartbeat" => Self::Heartbeat(whole(name, value)?),
            "telemetry" => Self::Telemetry(whole(name, value)?),
            "inventory" => Self::Inventory(whole(name, value)?),
            "cloud-metadata" => Self::CloudMetadata(switch(name, value)?),
            "live-events" => Self::LiveEvents(switch(name, value)?),
            "cpu-budget-percent" => Self::CpuBudgetPercent(percent(name, value)?),
            "memory-budget" => Self::MemoryBudget(whole(name, value)?),
            _ => {
                let names = NAMES.join(", ");
                return Err(format!("unknown setting {name:?}; expected one of {names}"));
            }
        })
    }
}

fn whole(name: &str, value: Option<&str>) -> Result<Option<u32>, String> {
    let parse = |text: &str| {
        text.parse().map_err(|_| format!("{name}: {text:?} is not a whole number, e.g. {name}=60"))
    };
    value.map(parse).transpose()
}

fn percent(name: &str, value: Option<&str>) -> Result<Option<f64>, String> {
    let parse = |text: &str| {
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
        number.ok_or_else(|| format!("{name}: {text:?} is not a number, e.g. {name}=2.5"))
    };
    value.map(parse).transpose()
}

fn switch(name: &str, value: Option<&str>) -> Result<Option<Switch>, String> {
    let parse = |text: &str| match text {
        "on" => Ok(Switch::On),
        "off" => Ok(Switch::Off),
        _ => Err(format!("{name}: {text:?} is neither on nor off")),
    };
    value.map(parse).transpose()
}

impl Setting {
    fn apply(self, settings: &mut HostSettings) {
        match self {
            Self::Heartbeat(value) => settings.heartbeat = value,
            Self::Telemetry(value) => settings.telemetry = value,
            Self::Inventory(value) => settings.inventory = value,
            Self::CloudMetadata(value) => settings.cloud_metadata = value,
            Self::LiveEvents(value) => settings.live_events = value,
            Self::CpuBudgetPercent(value) => settings.cpu_budget_percent = value,
            Self::MemoryBudget(value) => settings.memory_budget = value,
        }
    }
}

impl HostConfigCommand {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let client = Client::of_this_call()?;
        match self.action {
            Action::Show { asset: None } => show_all(&client, self.output),
            Action::Show { asset: Some(asset) } => show_one(&client, &asset, self.output),
            Action::Set { asset, segment, settings } => {
                set(&client, asset.as_deref(), segment.as_deref(), settings, self.output)
            }
        }
    }
}

const SHOW: &str = "show the settings of agents";

fn configured(client: &Client) -> Result<Value, CliError> {
    client.get(SHOW, &Path::of(&["host-configuration"]))
}

fn show_all(client: &Client, output: Output) -> Result<(), CliError> {
    let answer = configured(client)?;
    output.show(&answer, |screen| {
        let now = Timestamp::now();
        let header = &["SCOPE", "SETTINGS", "CHANGED", "BY"];
        let mut table =
            Table::new(header, "Nothing is configured here; hosts use their own settings.");
        for one in view::<Vec<Configured>>(SHOW, &answer)? {
            let name = one.name.map(|name| format!(" {name}")).unwrap_or_default();
            table.row(vec![
                cell(format!("{}{name}", word(&one.scope))),
                cell(settings_text(&one.settings)),
                cell(relative(one.updated_at, now)),
                cell(one.updated_by),
            ]);
        }
        Ok(table.render(screen))
    })
}

fn show_one(client: &Client, asset: &str, output: Output) -> Result<(), CliError> {
    let path = Path::of_asset(asset, &["host-configuration"]);
    let answer = client.get(SHOW, &path)?;
    output.show(&answer, |_| {
        let Effective { version, settings } = view(SHOW, &answer)?;
        let mut sheet = KeyValueList::new();
        sheet.line("version", version.to_string());
        sheet.line("settings", settings_text(&settings).replace(' ', "\n"));
        Ok(sheet.render())
    })
}

fn set(
    client: &Client,
    asset: Option<&str>,
    segment: Option<&str>,
    settings: Vec<Setting>,
    output: Output,
) -> Result<(), CliError> {
    let action = "configure hosts";
    let (path, scope, name) = match (asset, segment) {
        (Some(asset), _) => {
            let action = "find the asset";
            let answer = client.get(action, &Path::of_asset(asset, &[]))?;
            let name = view::<Asset>(action, &answer)?.name.to_string();
            (Path::of_asset(asset, &["host-configuration"]), Scope::Asset, Some(name))
        }
        (None, Some(segment)) => (
            Path::of(&["host-configuration", "segments", segment]),
            Scope::Segment,
            Some(segment.to_owned()),
        ),
        (None, None) => (Path::of(&["host-configuration"]), Scope::Platform, None),
    };
    let all: Vec<Configured> = parsed(SHOW, &configured(client)?)?;
    let before = all.iter().find(|one| one.scope == scope && one.name == name);
    let (mut wanted, unknown) = match before {
        Some(before) => kept::read::<HostSettings>(action, &json!(before.settings))?,
        None => Default::default(),
    };
    settings.into_iter().for_each(|setting| setting.apply(&mut wanted));
    let answer = client.put(action, &path, &unknown.with(action, &wanted, &[])?)?;
    output.show(&answer, |_| {
        let settings = settings_text(&view(action, &answer)?);
        let whose = name.map_or_else(|| word(&scope), |name| format!("{} {name}", word(&scope)));
        Ok(format!("{whose}: {settings}"))
    })
}

fn settings_text(settings: &Open<HostSettings>) -> String {
    let Value::Object(settings) = json!(settings) else { return String::new() };
    let set = settings.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("{}={value}", name.replace('_', "-"))
    });
    let set: Vec<_> = set.collect();
    if set.is_empty() { "nothing".to_owned() } else { set.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_parsed() {
        let before = HostSettings {
            heartbeat: Some(300),
            cpu_budget_percent: Some(5.0),
            ..HostSettings::default()
        };
        let changed = |change: fn(&mut HostSettings)| {
            let mut settings = before.clone();
            change(&mut settings);
            settings
        };
        for (text, expected) in [
            ("heartbeat=60", changed(|it| it.heartbeat = Some(60))),
            ("heartbeat-", changed(|it| it.heartbeat = None)),
            ("telemetry=30", changed(|it| it.telemetry = Some(30))),
            ("inventory=3600", changed(|it| it.inventory = Some(3600))),
            ("cloud-metadata=off", changed(|it| it.cloud_metadata = Some(Switch::Off))),
            ("live-events=on", changed(|it| it.live_events = Some(Switch::On))),
            ("cpu-budget-percent=2.5", changed(|it| it.cpu_budget_percent = Some(2.5))),
            ("cpu-budget-percent-", changed(|it| it.cpu_budget_percent = None)),
            ("memory-budget=64", changed(|it| it.memory_budget = Some(64))),
        ] {
            let mut settings = before.clone();
            text.parse::<Setting>().unwrap().apply(&mut settings);
            assert_eq!(settings, expected, "{text}");
        }
        for text in [
            "heartbeat",
            "hartbeat=60",
            "",
            "-",
            "=1",
            "heartbeat=2.5",
            "heartbeat=-1",
            "live-events=60",
            "live-events=ON",
            "cpu-budget-percent=inf",
            "memory-budget=64MiB",
        ] {
            assert!(text.parse::<Setting>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_setting_of_the_api_can_be_typed() {
        let typed: Vec<String> = NAMES.iter().map(|name| name.replace('-', "_")).collect();
        assert_eq!(typed, xshield_api::names::fields::<HostSettings>());
        for name in NAMES {
            assert!(format!("{name}-").parse::<Setting>().is_ok(), "{name}");
            assert!(SETTINGS.contains(name), "{name} is not in the help");
        }
    }
}
