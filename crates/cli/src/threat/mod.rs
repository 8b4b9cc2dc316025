//! `xshield threat`: feeds of malicious addresses, the list compiled from them, and why an address is on it.

mod feed;
mod feed_options;
mod list;
mod modes;
mod why;

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::client::Client;
use crate::error::CliError;
use crate::scan_log::ScanLog;
use crate::terminal::Output;
use crate::threat_events::{self, EventsCommand};

/// Threat intelligence: feeds, the list of malicious addresses, exceptions, modes.
#[derive(Debug, Args)]
pub struct ThreatCommand {
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Feed(feed::FeedCommand),
    Exception(list::ExceptionCommand),
    /// Show the state of the threat list, on the platform and on the hosts.
    Status,
    /// List the revisions of the threat list, the newest first.
    Revisions,
    /// Show what was added and removed between two revisions.
    Diff {
        /// The earlier revision.
        from: u64,
        /// The later revision; the newest when left out.
        to: Option<u64>,
        /// Print every change, one a line: + or - and the entry.
        #[arg(long)]
        all: bool,
        /// Write all changes to this file instead.
        #[arg(long, value_name = "FILE", requires = "all")]
        to_file: Option<PathBuf>,
    },
    /// Export the whole list, one entry a line.
    Export {
        /// The revision to export; the newest when left out.
        #[arg(long)]
        revision: Option<u64>,
        /// Write it to this file instead of standard output.
        #[arg(long, value_name = "FILE")]
        to_file: Option<PathBuf>,
    },
    /// Go back to an earlier revision; feeds are ignored until 'resume'.
    Restore {
        /// The revision.
        revision: u64,
    },
    /// Use the feeds again, after a restore.
    Resume,
    Mode(modes::ModeCommand),
    /// Limit the memory that the list may take on an asset.
    Budget {
        /// Name or id.
        asset: String,
        /// E.g. 64MiB; auto is an eighth of its memory.
        memory: modes::Memory,
    },
    Settings(modes::SettingsCommand),
    /// Show whether an address is blocked, since when, and which feeds list it.
    Why {
        /// IPv4 or IPv6.
        address: IpAddr,
    },
    Events(EventsCommand),
    /// Show which assets had traffic with an address and when, and which feeds list it now.
    Address {
        /// IPv4 or IPv6.
        address: IpAddr,
    },
    ScanLog(ScanLog),
}

impl ThreatCommand {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let client = Client::of_this_call()?;
        let output = self.output;
        match self.action {
            Action::Feed(command) => command.run(&client, output),
            Action::Exception(command) => command.run(&client, output),
            Action::Status => modes::status(&client, output),
            Action::Revisions => list::revisions(&client, output),
            Action::Diff { from, to, all: false, .. } => list::diff(from, to, &client, output),
            Action::Diff { from, to, all: true, to_file } => {
                list::whole_diff(from, to, to_file.as_deref(), &client)
            }
            Action::Export { revision, to_file } => {
                list::export(revision, to_file.as_deref(), &client)
            }
            Action::Restore { revision } => list::restore(revision, &client, output),
            Action::Resume => list::resume(&client, output),
            Action::Mode(command) => command.run(&client, output),
            Action::Budget { asset, memory } => modes::budget(&asset, memory, &client, output),
            Action::Settings(command) => command.run(&client, output),
            Action::Why { address } => why::run(address, &client, output),
            Action::Events(command) => command.run(&client, output),
            Action::ScanLog(command) => command.run(&client, output),
            Action::Address { address } => threat_events::address(address, &client, output),
        }
    }
}
