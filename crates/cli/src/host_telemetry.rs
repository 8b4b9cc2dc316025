//! `xshield software` and `xshield paths`: installed software and communication paths.

use std::net::IpAddr;

use clap::Args;
use serde_json::json;
use xshield_api::Timestamp;
use xshield_api::host_telemetry::{CommunicationPath, PathQuery, SoftwareChange, SoftwareQuery};
use xshield_policy::{Direction, PortNumber};
use xshield_wire::telemetry::SoftwarePackage;

use crate::choice::{direction, words_of};
use crate::client::{Client, Path, view};
use crate::error::CliError;
use crate::protocols::protocol;
use crate::terminal::{Output, Table, bad, cell, good, number};
use crate::times::{Since, relative};
use crate::words::word;

/// Show the software that is installed on an asset.
#[derive(Debug, Args)]
pub struct SoftwareCommand {
    #[command(flatten)]
    output: Output,
    /// Name or id.
    asset: String,
    /// Only packages with this in their name.
    #[arg(long)]
    name: Option<String>,
    /// Show what was added and removed instead, the latest first.
    #[arg(long, conflicts_with = "name")]
    changes: bool,
}

impl SoftwareCommand {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let client = Client::of_this_call()?;
        if self.changes {
            return changes(&client, &self.asset, self.output);
        }
        let action = "show the software";
        let path = Path::of_asset(&self.asset, &["software"]);
        let path = path.of_query(&SoftwareQuery { name: self.name })?;
        let answer = client.get(action, &path)?;
        self.output.show(&answer, |screen| {
            let header = &["NAME", "VERSION", "ARCHITECTURE", "MANAGER"];
            let mut table = Table::new(header, "No package matches.");
            for package in view::<Vec<SoftwarePackage>>(action, &answer["packages"])? {
                let SoftwarePackage { name, version, architecture, manager, .. } = package;
                let manager = word(&manager);
                table.row([name, version, architecture, manager].iter().map(cell).collect());
            }
            Ok(table.render(screen))
        })
    }
}

fn changes(client: &Client, asset: &str, output: Output) -> Result<(), CliError> {
    let action = "show the changes of software";
    let answer = client.list(action, &Path::of_asset(asset, &["software", "changes"]), None)?;
    output.show(&answer, |screen| {
        let now = Timestamp::now();
        let header = &["WHEN", "CHANGE", "NAME", "VERSION", "ARCHITECTURE"];
        let mut table = Table::new(header, "Nothing has changed since the first report.");
        for change in view::<Vec<SoftwareChange>>(action, &answer["items"])? {
            let what = match change.change.as_str() {
                "added" => good("added"),
                other => bad(other),
            };
            table.row(vec![
                cell(relative(change.at, now)),
                what,
                cell(change.package.name),
                cell(change.package.version),
                cell(change.package.architecture),
            ]);
        }
        Ok(table.render(screen))
    })
}

/// Show communication paths between hosts and their peers, the last seen first.
#[derive(Debug, Args)]
pub struct PathsCommand {
    #[command(flatten)]
    output: Output,
    /// Only this asset's, by name or id.
    #[arg(long)]
    asset: Option<String>,
    /// Only paths opened from outside (inbound) or by the asset (outbound).
    #[arg(long, value_parser = words_of(direction))]
    direction: Option<Direction>,
    /// Only paths with this address at the other end.
    #[arg(long, value_name = "ADDRESS")]
    peer: Option<IpAddr>,
    /// Only paths to this port.
    #[arg(long)]
    port: Option<PortNumber>,
    /// Only programs with this in their path.
    #[arg(long)]
    process: Option<String>,
    /// Only those last seen since then: 1h or 7d ago, or a time as in RFC 3339.
    #[arg(long, value_name = "WHEN")]
    since: Option<Since>,
    /// How many to show at most.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

impl PathsCommand {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let action = "read paths";
        let path = match &self.asset {
            Some(asset) => Path::of_asset(asset, &["paths"]),
            None => Path::of(&["paths"]),
        };
        let path = path.of_query(&PathQuery {
            direction: self.direction,
            peer: self.peer,
            port: self.port.map(|port| port.0),
            protocol: None,
            process: self.process,
            since: self.since.map(|since| since.at(Timestamp::now())),
        })?;
        let answer = Client::of_this_call()?.list(action, &path, Some(self.limit))?;
        self.output.show(&answer, |screen| {
            Ok(table(view(action, &answer["items"])?, Timestamp::now()).render(screen))
        })
    }
}

fn table(paths: Vec<CommunicationPath>, now: Timestamp) -> Table {
    let header = &[
        "SEEN",
        "ASSET",
        "DIRECTION",
        "PATH",
        "PROCESS",
        "USER",
        "SERVICE",
        "CONNECTIONS",
        "BYTES",
        "FROM",
    ];
    let mut table = Table::new(header, "No such paths were reported.");
    for path in paths {
        let or_dash = |text: &Option<String>| cell(text.as_deref().unwrap_or("-"));
        table.row(vec![
            cell(relative(path.last_seen, now)),
            cell(&path.asset),
            cell(word(&path.direction)),
            cell(ends(&path)),
            or_dash(&path.process),
            or_dash(&path.user),
            or_dash(&path.service),
            number(path.connections),
            number(path.bytes_forth.saturating_add(path.bytes_back)),
            cell(word(&path.from)),
        ]);
    }
    table
}

fn ends(path: &CommunicationPath) -> String {
    let protocol = protocol(&json!(path.protocol));
    let CommunicationPath { source, destination, port, .. } = path;
    match destination.contains(':') {
        true => format!("{protocol} {source} -> [{destination}]:{port}"),
        false => format!("{protocol} {source} -> {destination}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::Screen;

    #[test]
    fn paths_in_a_table() {
        let path = |destination: &str| {
            json!({
                "asset": "web", "direction": "outbound", "source": "10.0.0.1",
                "destination": destination, "protocol": "tcp", "port": 5432,
                "process": "/usr/bin/app", "user": "app", "service": null, "connections": 12,
                "bytes_forth": 100, "bytes_back": 900, "first_seen": "2027-01-15T07:00:00Z",
                "last_seen": "2027-01-15T07:59:00Z", "from": "conntrack",
            })
        };
        let paths = serde_json::from_value(json!([path("10.0.0.2"), path("2001:db8::2")])).unwrap();
        let text = table(paths, Timestamp(1_800_000_000)).render(&Screen::plain());
        insta::assert_snapshot!(text, @r"
        SEEN       ASSET  DIRECTION  PATH                                PROCESS       USER  SERVICE  CONNECTIONS  BYTES  FROM
        1 min ago  web    outbound   tcp 10.0.0.1 -> 10.0.0.2:5432       /usr/bin/app  app   -                 12   1000  conntrack
        1 min ago  web    outbound   tcp 10.0.0.1 -> [2001:db8::2]:5432  /usr/bin/app  app   -                 12   1000  conntrack
        ");
    }
}
