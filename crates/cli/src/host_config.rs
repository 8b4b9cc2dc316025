//! `xshield host-config`: central settings of hosts.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use xshield_api::Timestamp;
use xshield_api::host_configuration::{Configured, Effective, HostSettings};

use crate::client::{Client, Path, parsed, view};
use crate::error::CliError;
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

/// A change of a setting.
#[derive(Debug, Clone)]
struct Setting {
    name: String,
    value: Value,
}

impl std::str::FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = match (text.split_once('='), text.strip_suffix('-')) {
            (Some((name, value)), _) => {
                let whole = value.parse::<u32>().map(Value::from).ok();
                let number = || value.parse::<f64>().ok().filter(|it| it.is_finite());
                let number = whole.or_else(|| number().map(Value::from));
                (name, number.unwrap_or_else(|| Value::from(value)))
            }
            (None, Some(name)) => (name, Value::Null),
            (None, None) => {
                return Err(format!("{text:?} is neither NAME=VALUE nor NAME-, e.g. heartbeat=60"));
            }
        };
        if !NAMES.contains(&name) {
            return Err(format!("unknown setting {name:?}; expected one of {}", NAMES.join(", ")));
        }
        Ok(Self { name: name.replace('-', "_"), value })
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
    let (path, scope, name) = match (asset, segment) {
        (Some(asset), _) => {
            let answer = client.get("find the asset", &Path::of_asset(asset, &[]))?;
            let name = answer["name"].as_str().map(str::to_owned);
            (Path::of_asset(asset, &["host-configuration"]), "asset", name)
        }
        (None, Some(segment)) => (
            Path::of(&["host-configuration", "segments", segment]),
            "segment",
            Some(segment.to_owned()),
        ),
        (None, None) => (Path::of(&["host-configuration"]), "platform", None),
    };
    // As returned by the platform: settings unknown to this version stay as they are.
    let all: Vec<Value> = parsed(SHOW, &configured(client)?)?;
    let is_of = |one: &Value| one["scope"] == scope && one["name"] == json!(name);
    let before = all.into_iter().find(is_of).map(|mut one| one["settings"].take());
    let mut after = match before {
        Some(Value::Object(settings)) => settings,
        _ => Map::new(),
    };
    for setting in settings {
        after.insert(setting.name, setting.value);
    }
    let answer = client.put("configure hosts", &path, &json!(after))?;
    output.show(&answer, |_| {
        let settings = words(&answer.as_object().cloned().unwrap_or_default());
        let whose = name.map_or_else(|| scope.to_owned(), |name| format!("{scope} {name}"));
        Ok(format!("{whose}: {settings}"))
    })
}

fn settings_text(settings: &HostSettings) -> String {
    match json!(settings) {
        Value::Object(settings) => words(&settings),
        _ => String::new(),
    }
}

fn words(settings: &Map<String, Value>) -> String {
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
        for (text, name, value) in [
            ("heartbeat=60", "heartbeat", json!(60)),
            ("cloud-metadata=off", "cloud_metadata", json!("off")),
            ("cpu-budget-percent=2.5", "cpu_budget_percent", json!(2.5)),
            ("cpu-budget-percent-", "cpu_budget_percent", Value::Null),
        ] {
            let setting: Setting = text.parse().unwrap();
            assert_eq!((setting.name.as_str(), setting.value), (name, value), "{text}");
        }
        for text in ["heartbeat", "hartbeat=60", "", "-", "=1"] {
            assert!(text.parse::<Setting>().is_err(), "{text}");
        }
    }
}
