//! `ctspark`: agentless enforcement. One cycle, then it exits.
//!
//! Only the command line; the cycle is `xshield_enforce::cycle`.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod interruption;
mod show;
#[cfg(windows)]
mod signature;
#[cfg(windows)]
mod system_log;

use std::io::IsTerminal as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use xshield_enforce::explain::Question;
#[cfg(target_os = "linux")]
use xshield_enforce::linux as system;
#[cfg(windows)]
use xshield_enforce::windows as system;
use xshield_enforce::{
    Config, Cycle, CycleError, Program, ProgramKind, RunEnvironment, RunOptions, explain, places,
    threat, verbs,
};

const EXIT_CODES: &str = "\
Exit codes of `run`:
  0  the wanted ruleset is in force; or there is no policy yet; or another run is in progress
  1  something failed, or the threat order is not carried out, see the message
  2  the command line or the configuration is wrong
  3  this host can't be enforced: not root or not elevated, unsupported operating system, no filter engine
  4  firewalld is on this host; nothing was changed, nothing is enforced
  5  the platform could not be reached; the last-known-good ruleset stays in force
  6  the platform refused this host: enforcement key, identity or clock
  7  the platform sent a ruleset that can't be trusted; the last-known-good one stays in force
  8  the new ruleset blocked the connection to the platform, or was not confirmed in time, and was reverted
The other commands exit with 0 or 1, and with 2 when the command line or the configuration is wrong.";

/// Enforces this host's policy once: check in, fetch, verify, apply, confirm, report.
#[derive(Parser)]
#[command(name = "ctspark", version, after_help = EXIT_CODES)]
struct CommandLine {
    /// The configuration file.
    #[arg(long, global = true, value_name = "FILE", default_value_os_t = places::configuration_file())]
    config: PathBuf,
    /// Print one JSON object instead of text.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// One enforcement cycle (the default).
    Run,
    /// Show this host's state: the kernel, the last-known-good ruleset, the last run.
    Status,
    /// Put the last-known-good ruleset and the threat list into the kernel without contacting the platform;
    /// the boot unit does this.
    Restore,
    /// Remove our tables, unit and state, and nothing else.
    Remove,
    /// Which rule in the kernel decides about a packet, and why.
    Explain(Explain),
    /// Show what the kernel holds of the threat list.
    #[command(subcommand)]
    Threat(Threat),
    /// Show who signed this program, and fail unless Windows trusts the signature.
    #[cfg(windows)]
    Verify,
}

#[derive(Subcommand)]
enum Threat {
    /// Show whether an address is on the threat list in force, what happens to its flows, and how many of
    /// them the kernel has recorded.
    Lookup {
        /// IPv4 or IPv6.
        address: IpAddr,
    },
}

#[derive(Args)]
struct Explain {
    /// E.g. 'in tcp 10.0.0.5:40000 -> :22', 'out udp -> 10.0.0.9:53', 'in icmp 10.0.0.5 type 8'; of forwarded
    /// traffic 'forward published tcp 10.0.0.5:40000 -> :18080', 'forward in tcp 10.0.0.5:40000 -> :80',
    /// 'forward out tcp -> 192.0.2.1:443'. A flow as `xshield events` shows it is also accepted; for one that
    /// this host opens, its program can be given: 'out tcp -> 10.0.0.9:5432' as user:postgres,
    /// unit:app.service, process:/usr/bin/app.
    #[arg(required = true)]
    packet: Vec<String>,
}

fn main() -> ExitCode {
    let line = CommandLine::parse();
    if let Some(Command::Explain(Explain { packet })) = &line.command {
        return match Question::read(&packet.join(" ")) {
            Ok(question) => verb(explain::answer(&question), line.json, show::explanation),
            Err(error) => fail(&error, line.json, 2),
        };
    }
    #[cfg(windows)]
    if let Some(Command::Verify) = &line.command {
        return signature::verify(line.json);
    }
    match Config::load(&system::this_system(), &line.config) {
        Ok(config) => configured(&config, &line),
        Err(error) => fail(&error, line.json, 2),
    }
}

fn configured(config: &Config, line: &CommandLine) -> ExitCode {
    let path = std::path::absolute(&line.config).unwrap_or_else(|_| line.config.clone());
    let mut environment = system::this_host(path);
    if std::io::stderr().is_terminal() {
        environment.watch = show::downloaded;
    }
    match &line.command {
        None | Some(Command::Run) => run(config, &environment, line.json),
        Some(Command::Status) => verb(verbs::status(config), line.json, show::status),
        Some(Command::Restore) => {
            verb(verbs::restore(config, &environment), line.json, show::restored)
        }
        Some(Command::Remove) => {
            verb(verbs::remove(config, &environment), line.json, |(): &()| show::removed())
        }
        Some(Command::Threat(Threat::Lookup { address })) => {
            verb(threat::verbs::lookup(config, *address), line.json, show::lookup)
        }
        Some(Command::Explain(_)) => unreachable!("was carried out without a configuration"),
        #[cfg(windows)]
        Some(Command::Verify) => unreachable!("was carried out without a configuration"),
    }
}

fn run(config: &Config, environment: &RunEnvironment, json: bool) -> ExitCode {
    interruption::say_what_it_leaves();
    #[cfg(windows)]
    interruption::say_what_expires(json);
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let program = Program { kind: ProgramKind::Spark, version };
    match (Cycle { config, program, environment, options: RunOptions::default() }).run() {
        Ok(outcome) => {
            #[cfg(windows)]
            system_log::write_outcome(&outcome);
            if json {
                show::json(&outcome)
            } else {
                show::outcome(&outcome)
            }
            ExitCode::from(outcome.status.exit_code())
        }
        Err(error) => {
            #[cfg(windows)]
            system_log::write_error(&error);
            fail(&error, json, if matches!(error, CycleError::Preflight(_)) { 3 } else { 1 })
        }
    }
}

/// Prints the result of a command.
fn verb<T: serde::Serialize>(
    result: Result<T, verbs::VerbError>,
    json: bool,
    text: fn(&T),
) -> ExitCode {
    match result {
        Ok(found) => {
            if json {
                show::json(&found)
            } else {
                text(&found)
            }
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error, json, 1),
    }
}

fn fail(error: &dyn std::error::Error, json: bool, code: u8) -> ExitCode {
    show::error(error, json);
    ExitCode::from(code)
}
