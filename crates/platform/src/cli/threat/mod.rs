//! `xshield threat`: feeds of malicious addresses, the list made of them, and why an address is on it.

mod feed;
mod feed_options;
mod why;

use std::net::IpAddr;

use clap::{Args, Subcommand};

use super::client::Client;
use super::error::CliError;
use super::terminal::Output;
use super::threat_events::{self, EventsCommand};

/// Threat intelligence: feeds, the list, exceptions, modes.
#[derive(Debug, Args)]
pub(crate) struct ThreatCommand {
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Feed(feed::FeedCommand),
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
}

impl ThreatCommand {
    /// Carries the command out.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let client = Client::of_this_call()?;
        let output = self.output;
        match self.action {
            Action::Feed(command) => command.run(&client, output),
            Action::Why { address } => why::run(address, &client, output),
            Action::Events(command) => command.run(&client, output),
            Action::Address { address } => threat_events::address(address, &client, output),
        }
    }
}
