//! `ctagentcmd`: queries the running agent and changes its configuration. Only the command line.
#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use serde_json::Value;
use xshield_agent::config_file::{self, Edit};
use xshield_agent::control::{Request, client};
use xshield_agent::log::Level;
use xshield_agent::os::{self, DEFAULT_SOCKET};
use xshield_agent::{restart, show};
use xshield_enforce::foreign;
use xshield_enforce::problems::chain;

/// Queries the agent that runs on this host, and changes its configuration.
#[derive(Parser)]
#[command(name = "ctagentcmd", version)]
struct CommandLine {
    /// The configuration file.
    #[arg(long, global = true, value_name = "FILE", default_value_os_t = os::configuration_file())]
    config: PathBuf,
    /// The socket of the running agent.
    #[arg(long, global = true, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// Print JSON instead of text.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the agent's status: policy, last cycle, routes, usage.
    Status,
    /// Show the agent's resource usage and what waits to be sent.
    Telemetry,
    /// Show the ruleset in the kernel, as read back.
    Policy,
    /// The flows that the kernel recorded, most packets first.
    Flows {
        /// The number of flows to show at most.
        #[arg(long, default_value_t = 20)]
        most: usize,
    },
    /// Explain which rule in the kernel decides about a packet.
    Explain {
        /// E.g. 'in tcp 10.0.0.5:40000 -> :22', 'out udp -> 10.0.0.9:53', a flow as `xshield events`
        /// shows it; 'out tcp -> 10.0.0.9:5432' as user:postgres, unit:app.service, process:/path.
        #[arg(required = true)]
        packet: Vec<String>,
    },
    /// Collect diagnostics into a file on this host.
    Diag,
    /// Run a cycle now.
    Run,
    /// Set the level of detail of the agent's log; without LEVEL, print it.
    LogLevel {
        /// error, warning, info or debug.
        level: Option<Level>,
    },
    /// Change values of the configuration and restart the service.
    #[command(name = "updateConfig")]
    UpdateConfig(UpdateConfig),
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Args)]
struct UpdateConfig {
    /// E.g. configuration.proxy=http://10.10.6.4:3128; may be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// In quotes: 'configuration.proxy;configuration.proxy-user;configuration.proxy-password'.
    #[arg(long, value_name = "NAMES")]
    param: Option<String>,
    /// As many values, in quotes: 'http://10.10.6.4:3128;u1;BASE64'.
    #[arg(long, value_name = "VALUES", allow_hyphen_values = true)]
    value: Option<String>,
    /// Change the file only.
    #[arg(long = "skipRestart")]
    skip_restart: bool,
}

fn main() -> ExitCode {
    let line = CommandLine::parse();
    match carry_out(&line) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            show::complaint("ctagentcmd", &chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn carry_out(line: &CommandLine) -> Result<(), Box<dyn Error>> {
    let (request, text): (Request, fn(&Value) -> String) = match &line.command {
        Command::Status => (Request::Status, show::status),
        Command::Telemetry => (Request::Telemetry, show::telemetry),
        Command::Policy => (Request::Policy, |policy| show::several(&policy["text"])),
        Command::Flows { most } => (Request::Flows { most: *most }, show::flows),
        Command::Explain { packet } => {
            (Request::Explain { packet: packet.join(" ") }, show::explanation)
        }
        Command::Diag => (Request::Diagnostics, |answer| show::plain(&answer["path"])),
        Command::Run => (Request::Run, |_| "a cycle runs".to_owned()),
        Command::LogLevel { level } => {
            (Request::LogLevel { level: *level }, |answer| show::plain(&answer["level"]))
        }
        Command::UpdateConfig(given) => return update_config(line, given),
        Command::Completions { shell } => {
            let mut command = CommandLine::command();
            clap_complete::generate(*shell, &mut command, "ctagentcmd", &mut std::io::stdout());
            return Ok(());
        }
    };
    let answer = client::ask(&line.socket, &request)?;
    show::page(&if line.json { foreign::json(&answer)? } else { text(&answer) });
    Ok(())
}

fn update_config(line: &CommandLine, given: &UpdateConfig) -> Result<(), Box<dyn Error>> {
    let changes = Edit::given(given.param.as_deref(), given.value.as_deref(), &given.set)?;
    config_file::change(&line.config, &changes)?;
    show::line(&format!("{} is changed", line.config.display()));
    if !given.skip_restart {
        show::line(restart::restart(&line.socket)?);
    }
    Ok(())
}
