//! `ctagent`: resident enforcement. Only the command line.
#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::error::Error;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use xshield_agent::config_file::{self, Edit};
use xshield_agent::control::{Request, client};
use xshield_agent::log::Level;
use xshield_agent::os::{self, DEFAULT_SOCKET, manager};
use xshield_agent::register::{self, GivenKey, GivenProxies, Registration};
use xshield_agent::{restart, service, show};
use xshield_enforce::problems::chain;
use xshield_enforce::state::StateDirectory;
use xshield_enforce::verbs;

/// The longest key, in bytes.
const MOST_KEY: u64 = 4096;

/// Enforces this host's policy for as long as it runs.
#[derive(Parser)]
#[command(name = "ctagent", version)]
struct CommandLine {
    /// The configuration file.
    #[arg(long, global = true, value_name = "FILE", default_value_os_t = os::configuration_file())]
    config: PathBuf,
    /// The socket of the running agent.
    #[arg(long, global = true, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run in the foreground until SIGTERM or Ctrl-C (the default); the service does this.
    Run(Run),
    /// Register this host with a platform: write the configuration and start the service.
    Register(Register),
    /// Change the list of proxies and restart the service.
    #[command(name = "updateProxy")]
    UpdateProxy(UpdateProxy),
    /// Start the service, now and at every boot.
    Start,
    /// Stop the service; the policy stays in force.
    Stop,
    /// Show the agent's status.
    Status,
    /// Remove service, tables and state; with --clean also the configuration.
    Remove(Remove),
    /// Put the last-known-good ruleset into the kernel without contacting the platform.
    Restore,
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Args)]
struct Run {
    /// The level of detail of the log: error, warning, info or debug.
    #[arg(long, default_value = "info")]
    log_level: Level,
}

#[derive(Args)]
struct Register {
    /// The platform: NAME, NAME:PORT or https://NAME:PORT.
    #[arg(long)]
    domain: Option<String>,
    /// The deployment key from the platform, which also contains the trust information; -: read it from
    /// standard input. An enforcement key requires --ca and --policy-key.
    #[arg(long = "deploymentKey", value_name = "KEY")]
    deployment_key: Option<String>,
    /// The name of this host on the platform, instead of its host name.
    #[arg(long)]
    name: Option<String>,
    /// The proxies: `http://ADDRESS:PORT,http://[ADDRESS]:PORT`.
    #[arg(long, value_name = "LIST")]
    proxy: Option<String>,
    /// Their users, in the same order.
    #[arg(long = "proxyUser", value_name = "LIST", default_value = "", requires = "proxy")]
    proxy_user: String,
    /// Their passwords in base64, in the same order.
    #[arg(long = "proxyPassword", value_name = "LIST", default_value = "", requires = "proxy")]
    proxy_password: String,
    /// The file that `xshield key create --host-config` wrote; it contains everything.
    #[arg(long, value_name = "FILE")]
    onboarding: Option<PathBuf>,
    /// The CA that must have issued the platform's certificate (PEM).
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// A key that may sign rulesets; may be given several times.
    #[arg(long = "policy-key", value_name = "KEY")]
    policy_keys: Vec<String>,
    /// Do not start the service.
    #[arg(long = "skipStart")]
    skip_start: bool,
}

#[derive(Args)]
struct UpdateProxy {
    /// In the order in which they are tried: `http://ADDRESS:PORT,http://[ADDRESS]:PORT`; empty: none.
    #[arg(long, value_name = "LIST")]
    proxy: String,
    /// Their users, in the same order.
    #[arg(long = "proxyUser", value_name = "LIST", default_value = "")]
    user: String,
    /// Their passwords in base64, in the same order.
    #[arg(long = "proxyPassword", value_name = "LIST", default_value = "")]
    password: String,
    /// Change the file only.
    #[arg(long = "skipRestart")]
    skip_restart: bool,
}

#[derive(Args)]
struct Remove {
    /// Also remove the configuration.
    #[arg(long)]
    clean: bool,
}

fn main() -> ExitCode {
    let line = CommandLine::parse();
    match carry_out(&line) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn complain(text: &str) {
    show::complaint("ctagent", text);
}

fn carry_out(line: &CommandLine) -> Result<(), Box<dyn Error>> {
    match &line.command {
        None => Ok(service::run(&absolute(&line.config), &line.socket, Level::Info)?),
        Some(Command::Run(Run { log_level })) => {
            Ok(service::run(&absolute(&line.config), &line.socket, *log_level)?)
        }
        Some(Command::Register(given)) => register(line, given),
        Some(Command::UpdateProxy(given)) => update_proxy(line, given),
        Some(Command::Start) => Ok(manager::start()?),
        Some(Command::Stop) => Ok(manager::stop()?),
        Some(Command::Status) => {
            let status = client::ask(&line.socket, &Request::Status)?;
            show::page(&show::status(&status));
            Ok(())
        }
        Some(Command::Remove(Remove { clean })) => remove(line, *clean),
        Some(Command::Restore) => {
            let config = config_file::load(&line.config)?.config;
            let environment = os::this_host(absolute(&line.config));
            let restored = verbs::restore(&config, &environment)?;
            if let Some(policy) = restored.policy {
                show::line(&format!("restored revision {}", policy.revision));
            }
            if let Some(list) = restored.threat {
                show::line(&format!("restored threat list revision {}", list.revision));
            }
            Ok(())
        }
        Some(Command::Completions { shell }) => {
            let mut command = CommandLine::command();
            clap_complete::generate(*shell, &mut command, "ctagent", &mut std::io::stdout());
            Ok(())
        }
    }
}

fn register(line: &CommandLine, given: &Register) -> Result<(), Box<dyn Error>> {
    let (users, passwords) = (&given.proxy_user, &given.proxy_password);
    let proxies = given.proxy.as_ref().map(|list| GivenProxies::parse(list, users, passwords));
    let registration = Registration {
        domain: given.domain.clone(),
        key: given.deployment_key.as_deref().map(key).transpose()?,
        onboarding: given.onboarding.clone(),
        ca: given.ca.clone(),
        policy_keys: given.policy_keys.clone(),
        name: given.name.clone(),
        proxies: proxies.transpose()?,
    };
    register::register(&line.config, &registration, Path::new("/"))?;
    if let Some(problem) = registration.exposed() {
        complain(&problem.text);
    }
    show::line(&format!("{} is written", line.config.display()));
    if given.skip_start {
        return Ok(());
    }
    if manager::runs_here() {
        manager::enable_and_restart()?;
        show::line("the service runs; see `ctagent status`");
    } else {
        show::line(restart::restart(&line.socket)?);
        show::line(
            "this host has no service manager that runs the agent: start `ctagent run` by other means",
        );
    }
    Ok(())
}

/// A key from the command line, or from standard input, where other processes can't see it.
fn key(given: &str) -> Result<GivenKey, Box<dyn Error>> {
    if given != "-" {
        return Ok(GivenKey::parse(given)?);
    }
    let mut text = String::new();
    std::io::stdin().take(MOST_KEY).read_to_string(&mut text)?;
    Ok(GivenKey::parse(&text)?)
}

fn update_proxy(line: &CommandLine, given: &UpdateProxy) -> Result<(), Box<dyn Error>> {
    let texts =
        [("proxy", &given.proxy), ("proxy-user", &given.user), ("proxy-password", &given.password)];
    let changes: Result<Vec<_>, _> =
        texts.into_iter().map(|(key, value)| Edit::new(key, value)).collect();
    config_file::change(&line.config, &changes?)?;
    show::line(&format!("{} is changed", line.config.display()));
    if !given.skip_restart {
        show::line(restart::restart(&line.socket)?);
    }
    Ok(())
}

fn remove(line: &CommandLine, clean: bool) -> Result<(), Box<dyn Error>> {
    if manager::runs_here() {
        // A unit that is not installed can't be disabled, and need not be.
        if let Err(error) = manager::disable() {
            complain(&chain(&error));
        }
    }
    match config_file::load(&line.config) {
        Ok(loaded) => {
            let state = StateDirectory::open(&loaded.config.state_directory)?;
            if state.is_kept_by_a_resident()? {
                return Err("the agent is still running: stop it first, then remove it".into());
            }
            let environment = os::this_host(absolute(&line.config));
            verbs::remove(&loaded.config, &environment)?;
            show::line("removed our tables, the boot unit and the state directory");
        }
        Err(error) if !line.config.exists() => {
            complain(&format!("{}: there is no state to remove", chain(&error)));
        }
        Err(error) => return Err(error.into()),
    }
    if clean {
        for suffix in ["", ".previous", ".lock"] {
            let path = PathBuf::from(format!("{}{suffix}", line.config.display()));
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error.into());
                }
                _ => {}
            }
        }
        show::line(&format!("removed {}", line.config.display()));
    }
    Ok(())
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
