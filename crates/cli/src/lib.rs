//! The command line for administrators: commands on the admin API, with tables for people and `--json` for
//! programs. It has no more rights than an API token.
#![allow(rustdoc::bare_urls, reason = "the comments of options are their help texts at a terminal")]
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod accounts;
mod agents;
mod alerts;
mod assets;
mod audit;
mod channels;
mod choice;
mod client;
mod commands;
mod error;
mod events;
mod files;
mod health;
mod host_config;
mod host_telemetry;
mod kept;
mod keys;
mod login;
mod policy;
mod policy_files;
mod policy_impact;
mod progress;
mod protocols;
mod questions;
mod scan_log;
mod session;
mod tags;
mod telemetry;
mod terminal;
mod threat;
mod threat_events;
mod times;
mod trust;
mod words;

use std::process::ExitCode;

use clap::Subcommand;
use clap_complete::Shell;

use error::{CliError, EXIT_CODES};
use session::ENVIRONMENT;
pub use session::exposed;

/// The client commands.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "what a verb does is said where it is: its help text")]
pub enum ClientCommand {
    Login(login::Login),
    Logout(login::Logout),
    Whoami(login::Whoami),
    Key(keys::KeyCommand),
    Asset(assets::AssetCommand),
    Policy(policy::PolicyCommand),
    Ruleset(telemetry::RulesetCommand),
    Programmed(telemetry::ProgrammedCommand),
    Events(events::EventsCommand),
    Ports(telemetry::PortsCommand),
    Software(host_telemetry::SoftwareCommand),
    Paths(host_telemetry::PathsCommand),
    Command(commands::CommandCommand),
    Diagnostics(agents::DiagnosticsCommand),
    DebugLog(agents::DebugLogCommand),
    AgentEvents(agents::AgentEventsCommand),
    Live(agents::LiveCommand),
    HostConfig(host_config::HostConfigCommand),
    Threat(threat::ThreatCommand),
    Alert(alerts::AlertCommand),
    Channel(channels::ChannelCommand),
    Delivery(channels::DeliveryCommand),
    Audit(audit::AuditCommand),
    Health(health::HealthCommand),
    Password(accounts::PasswordCommand),
    Token(accounts::TokenCommand),
    User(accounts::UserCommand),
    /// Print a shell's completions, e.g. for /etc/bash_completion.d.
    Completions {
        /// Which shell.
        shell: Shell,
    },
}

/// Reports a failure on standard error.
pub fn complain(text: &str) {
    terminal::note(text);
}

/// Prints a line.
///
/// # Errors
/// When standard output can't be written.
pub fn say(text: &str) -> anyhow::Result<()> {
    Ok(terminal::print(&xshield_wire::foreign::one_line(text))?)
}

/// The end of `--help`: exit codes and environment.
#[must_use]
pub fn after_help() -> String {
    format!("{EXIT_CODES}\n\n{ENVIRONMENT}")
}

/// Runs a command. `program` is the description of the whole command line, for completions.
#[must_use]
pub fn run(command: ClientCommand, program: clap::Command) -> ExitCode {
    let done = match command {
        ClientCommand::Login(login) => login.run(),
        ClientCommand::Logout(logout) => logout.run(),
        ClientCommand::Whoami(whoami) => whoami.run(),
        ClientCommand::Key(command) => command.run(),
        ClientCommand::Asset(command) => command.run(),
        ClientCommand::Policy(command) => command.run(),
        ClientCommand::Ruleset(command) => command.run(),
        ClientCommand::Programmed(command) => command.run(),
        ClientCommand::Events(command) => command.run(),
        ClientCommand::Ports(command) => command.run(),
        ClientCommand::Software(command) => command.run(),
        ClientCommand::Paths(command) => command.run(),
        ClientCommand::Command(command) => command.run(),
        ClientCommand::Diagnostics(command) => command.run(),
        ClientCommand::DebugLog(command) => command.run(),
        ClientCommand::AgentEvents(command) => command.run(),
        ClientCommand::Live(command) => command.run(),
        ClientCommand::HostConfig(command) => command.run(),
        ClientCommand::Threat(command) => command.run(),
        ClientCommand::Alert(command) => command.run(),
        ClientCommand::Channel(command) => command.run(),
        ClientCommand::Delivery(command) => command.run(),
        ClientCommand::Audit(command) => command.run(),
        ClientCommand::Health(command) => command.run(),
        ClientCommand::Password(command) => command.run(),
        ClientCommand::Token(command) => command.run(),
        ClientCommand::User(command) => command.run(),
        ClientCommand::Completions { shell } => completions(shell, program),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            terminal::note(&error.report());
            error.exit_code()
        }
    }
}

fn completions(shell: Shell, mut program: clap::Command) -> Result<(), CliError> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut program, "xshield", &mut text);
    terminal::print(&String::from_utf8_lossy(&text))
}
