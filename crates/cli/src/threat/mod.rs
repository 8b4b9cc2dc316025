//! `xshield threat`: feeds of malicious addresses, the list made of them, and why an address is on it.

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

/// Threat intelligence: feeds, the list, exceptions, modes.
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
    /// Show how the list stands, here and on the hosts.
    Status,
    /// List the list's revisions, the newest first.
    Revisions,
    /// Show what came and went between two revisions.
    Diff {
        /// A revision.
        from: u64,
        /// Another one; the newest when left out.
        to: Option<u64>,
        /// Every change, a line each: + or - and the entry.
        #[arg(long)]
        all: bool,
        /// Write all changes to this file instead.
        #[arg(long, value_name = "FILE", requires = "all")]
        to_file: Option<PathBuf>,
    },
    /// Write the whole list, an entry a line.
    Export {
        /// At this revision; the newest when left out.
        #[arg(long)]
        revision: Option<u64>,
        /// Write it to this file instead of standard output.
        #[arg(long, value_name = "FILE")]
        to_file: Option<PathBuf>,
    },
    /// Go back to the listings of a revision; feeds don't count until 'resume'.
    Restore {
        /// The revision.
        revision: u64,
    },
    /// Let feeds count again.
    Resume,
    Mode(modes::ModeCommand),
    /// Say how much of an asset's memory the list may take.
    Budget {
        /// Name or id.
        asset: String,
        /// E.g. 64MiB; auto is an eighth of its memory.
        memory: modes::Memory,
    },
    Settings(modes::SettingsCommand),
    /// Tell whether an address is blocked, why, since when and by whom.
    Why {
        /// IPv4 or IPv6.
        address: IpAddr,
    },
    Events(EventsCommand),
    /// Show which assets met an address and when, and which feeds list it now.
    Address {
        /// IPv4 or IPv6.
        address: IpAddr,
    },
    ScanLog(ScanLog),
}

impl ThreatCommand {
    /// Carries the command out.
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
