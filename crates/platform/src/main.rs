//! `xshield`: the platform (`xshield serve`) and the client of its API (all other commands).
#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use xshield_server::intake::budget::Grant;
use xshield_server::lost_keys::make_again;
use xshield_server::passwords::Passwords;
use xshield_server::platform_key::PlatformKey;
use xshield_server::rotation::{self, Step};
use xshield_server::serve::{EndSignal, EndSignals, PasswordTarget, reset_password, start};
use xshield_server::settings::{AdminPassword, PasswordCost, PublicUrl, Settings};

/// Returns memory after a burst. The system's allocator keeps it in an arena for each thread that ever had a
/// large block, and passwords, reports and simulations are processed on many.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// mimalloc's number of the option `purge_delay`: how many milliseconds free memory is kept before it is
/// returned to the system.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Returns the memory of a burst to the system at once: reduces the peak by a third. The environment
/// (`MIMALLOC_PURGE_DELAY`) takes precedence.
#[allow(
    unsafe_code,
    reason = "mimalloc's options have no safe form; this sets a number of its own"
)]
fn give_memory_back_at_once() {
    // SAFETY: mimalloc checks the number against its options, and knows whether the environment has set it.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, 0) }
}

/// Microsegmentation: who may communicate with whom, enforced in each host's own firewall.
#[derive(Debug, Parser)]
#[command(name = "xshield", version, arg_required_else_help = true, after_help = xshield_cli::after_help())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the platform.
    Serve(ServeArgs),
    /// Repair access to a platform from its own machine.
    #[command(subcommand)]
    Admin(AdminCommand),
    #[command(flatten)]
    Client(xshield_cli::ClientCommand),
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// The directory of keys, certificates and the database; created at the first start (mode 0700).
    #[arg(long, env = "XSHIELD_DATA_DIR", default_value = "/var/lib/xshield-platform")]
    data_dir: PathBuf,
    /// The listen address.
    #[arg(long, env = "XSHIELD_LISTEN", default_value = "[::]:8443")]
    listen: SocketAddr,
    /// The URL at which hosts and people reach the platform, e.g. https://xshield.example.com:8443. May be
    /// given several times: the certificate contains all, host configurations use the first, and no policy
    /// can block any.
    #[arg(long = "public-url", env = "XSHIELD_PUBLIC_URLS", value_delimiter = ',')]
    public_urls: Vec<PublicUrl>,
    /// A file with the first admin's password (or use the environment variable XSHIELD_ADMIN_PASSWORD);
    /// otherwise it is generated and printed once.
    #[arg(long, value_name = "FILE")]
    admin_password_file: Option<PathBuf>,
    /// The network of proxies through which hosts connect, e.g. 10.9.0.0/28; may be given several times. More
    /// unauthenticated connections are accepted from these addresses.
    #[arg(
        long = "proxy-network",
        env = "XSHIELD_PROXY_NETWORKS",
        value_delimiter = ',',
        value_name = "CIDR"
    )]
    proxy_networks: Vec<ipnet::IpNet>,
    /// A network that may read /metrics without an API token; may be given several times. This machine's own
    /// addresses when left out.
    #[arg(
        long = "metrics-network",
        env = "XSHIELD_METRICS_NETWORKS",
        value_delimiter = ',',
        value_name = "CIDR"
    )]
    metrics_networks: Vec<ipnet::IpNet>,
    /// Seconds between a host's check-ins.
    #[arg(long, env = "XSHIELD_CHECK_IN_EVERY", default_value_t = 240,
          value_parser = clap::value_parser!(u32).range(1..=86_400))]
    check_in_every: u32,
    /// Days before the expiry of an enforcement key at which warnings start.
    #[arg(long, env = "XSHIELD_KEY_EXPIRY_WARNING_DAYS", default_value_t = 14, value_name = "DAYS",
          value_parser = clap::value_parser!(u32).range(0..=3650))]
    key_expiry_warning_days: u32,
    /// Rows per second that one host may report on average; beyond that it is told to wait.
    #[arg(long, env = "XSHIELD_HOST_ROWS_PER_SECOND", default_value_t = 200, value_name = "ROWS",
          value_parser = clap::value_parser!(u32).range(1..))]
    host_rows_per_second: u32,
    /// Rows that one host may report at once, after a time without reports.
    #[arg(long, env = "XSHIELD_HOST_ROWS_AT_ONCE", default_value_t = 200_000, value_name = "ROWS",
          value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    host_rows_at_once: u64,
}

#[derive(Debug, Subcommand)]
enum AdminCommand {
    /// Set a user's password and end the user's sign-ins. The platform must not run.
    SetPassword {
        /// The platform's data directory.
        #[arg(long, env = "XSHIELD_DATA_DIR", default_value = "/var/lib/xshield-platform")]
        data_dir: PathBuf,
        /// The user.
        #[arg(long, default_value = "admin")]
        user: String,
        /// Create the user, with the role admin; it must not exist yet.
        #[arg(long)]
        create_admin: bool,
        /// A file with the new password; standard input when left out.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Replace a lost key with a new one. The platform must not run.
    ///
    /// Restoring a backup loses nothing; the consequences of a new key are printed, and can't be undone.
    NewKey {
        /// The key: policy, ca or storage.
        key: PlatformKey,
        /// The platform's data directory.
        #[arg(long, env = "XSHIELD_DATA_DIR", default_value = "/var/lib/xshield-platform")]
        data_dir: PathBuf,
    },
    /// Replace the policy key and the CA in a way that hosts can follow. The platform must not run.
    ///
    /// Begin, start the platform, wait until every host has checked in (xshield health), stop, finish.
    #[command(subcommand)]
    RotateKeys(Rotate),
}

#[derive(Debug, Subcommand)]
enum Rotate {
    /// Create new keys; hosts learn of them from the old ones, which stay in use.
    Begin(OfPlatform),
    /// Use only the new keys, once every host knows them.
    Finish {
        #[command(flatten)]
        platform: OfPlatform,
        /// Also when hosts do not know them yet: these lose their connection until they get a new
        /// configuration.
        #[arg(long)]
        leave_hosts_behind: bool,
    },
    /// Keep only the old keys.
    Cancel(OfPlatform),
}

#[derive(Debug, Args)]
struct OfPlatform {
    /// The platform's data directory.
    #[arg(long, env = "XSHIELD_DATA_DIR", default_value = "/var/lib/xshield-platform")]
    data_dir: PathBuf,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(args) => return ended(serve(args)),
        Command::Admin(AdminCommand::SetPassword {
            data_dir,
            user,
            create_admin,
            password_file,
        }) => {
            let whom =
                if create_admin { PasswordTarget::NewAdmin } else { PasswordTarget::KnownUser };
            set_password(&data_dir, &user, whom, password_file)
        }
        Command::Admin(AdminCommand::NewKey { key, data_dir }) => new_key(&data_dir, key),
        Command::Admin(AdminCommand::RotateKeys(rotate)) => rotate_keys(rotate),
        Command::Client(command) => return xshield_cli::run(command, Cli::command()),
    };
    ended(done.map(|()| ExitCode::SUCCESS))
}

fn ended(done: anyhow::Result<ExitCode>) -> ExitCode {
    match done {
        Ok(code) => code,
        Err(error) => {
            xshield_cli::complain(&format!("xshield: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("could not start the runtime")
}

fn serve(args: ServeArgs) -> anyhow::Result<ExitCode> {
    give_memory_back_at_once();
    // Files next to the key files (the database) must not be readable by others either.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let filter = tracing_subscriber::EnvFilter::try_from_env("XSHIELD_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    open_many_files();
    let mut settings = Settings::new(args.data_dir, args.listen);
    settings.public_urls = args.public_urls;
    settings.proxy_networks = args.proxy_networks;
    if !args.metrics_networks.is_empty() {
        settings.metrics_networks = args.metrics_networks;
    }
    settings.check_in_every = args.check_in_every;
    settings.report_items =
        Grant { per_second: args.host_rows_per_second, most: args.host_rows_at_once };
    settings.key_expiry_warning = i64::from(args.key_expiry_warning_days) * 24 * 3600;
    settings.admin_password = match args.admin_password_file {
        Some(path) => Some(AdminPassword(password_in(&path)?)),
        None => std::env::var("XSHIELD_ADMIN_PASSWORD")
            .ok()
            .map(|text| checked_password(&text).map(AdminPassword))
            .transpose()?,
    };
    let runtime = runtime()?;
    let done = runtime.block_on(serve_until_asked(settings));
    // Work that a failed start had begun is not waited for.
    runtime.shutdown_background();
    done
}

async fn serve_until_asked(settings: Settings) -> anyhow::Result<ExitCode> {
    // First of all: as soon as the platform is up, it may be asked to shut down.
    let mut end = EndSignals::listen().context("could not listen for SIGTERM and SIGINT")?;
    let running = tokio::select! {
        started = start(settings) => started?,
        signal = end.asked() => {
            tracing::warn!(
                "stopped before the platform was up; each step of a database migration is \
                 atomic, and the next start continues from there"
            );
            return Ok(match signal {
                EndSignal::Terminate => ExitCode::SUCCESS,
                EndSignal::Interrupt => ExitCode::from(130),
            });
        }
    };
    let url = running.app.host_access.public_url();
    if running.app.settings.public_urls.is_empty() {
        tracing::warn!(
            "no --public-url is given: hosts elsewhere can't verify this platform's certificate"
        );
    }
    if let Some(password) = &running.made_up_password {
        let another = format!(
            "stop the platform, then: xshield admin set-password --data-dir {}",
            running.app.settings.data_dir.display()
        );
        let mut out = std::io::stdout().lock();
        writeln!(out, "First start. Sign in as 'admin' with the password: {password}")
            .and_then(|()| writeln!(out, "It is not shown again. To set another one, {another}"))
            .and_then(|()| out.flush())
            .with_context(|| {
                format!("could not print the first admin's password. To set another one, {another}")
            })?;
    }
    let ca = running.app.tls.ca_fingerprint()?;
    tracing::info!(listening = %running.app.host_access.listening(), url, ca, "the platform is up");
    running.until(async { _ = end.asked().await }).await;
    tracing::info!("the platform has stopped");
    Ok(ExitCode::SUCCESS)
}

/// Enough for every agent's poll and its check-ins, files and the database.
const WANTED_FILES: u64 = 32_768;
/// Enough for some thousand agents.
const MANY_FILES: u64 = 4096;

/// Raises the limit of open files as far as the system allows: the default of 1024 is for programs that use
/// `select`.
fn open_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let reach = limit.maximum.map_or(WANTED_FILES, |maximum| maximum.min(WANTED_FILES));
    let raised = Rlimit { current: Some(reach), maximum: limit.maximum };
    if limit.current.is_some_and(|current| current < reach)
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!(%error, "could not raise the limit of open files");
    }
    match advice_on_files(reach) {
        FileAdvice::None => {}
        FileAdvice::Note(text) => tracing::debug!("{text}"),
        FileAdvice::Warning(text) => tracing::warn!("{text}"),
    }
}

/// Advice for operators about the limit of open files.
#[derive(Debug, PartialEq, Eq)]
enum FileAdvice {
    None,
    Note(String),
    Warning(String),
}

/// Every agent uses a connection, and a connection is an open file.
fn advice_on_files(reach: u64) -> FileAdvice {
    let text = format!(
        "at most {reach} files and connections can be open at a time, and every agent uses one; \
         for more agents raise the hard limit (systemd: LimitNOFILE={WANTED_FILES})"
    );
    match reach {
        WANTED_FILES.. => FileAdvice::None,
        MANY_FILES.. => FileAdvice::Note(text),
        _ => FileAdvice::Warning(text),
    }
}

fn password_in(path: &std::path::Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("could not read the password from {}", path.display()))?;
    if let Some(warning) = xshield_cli::exposed(path) {
        writeln!(std::io::stderr(), "warning: {warning}")?;
    }
    checked_password(&text)
}

fn checked_password(text: &str) -> anyhow::Result<String> {
    let password = text.trim_end_matches(['\r', '\n']);
    anyhow::ensure!(
        password.chars().count() >= xshield_server::passwords::SHORTEST_PASSWORD,
        "the password has fewer than {} characters",
        xshield_server::passwords::SHORTEST_PASSWORD
    );
    Ok(password.to_owned())
}

fn new_key(data_dir: &std::path::Path, key: PlatformKey) -> anyhow::Result<()> {
    runtime()?.block_on(make_again(data_dir, key))?;
    xshield_cli::say(&format!("{} is recreated: {}.", key.file(), key.another_means()))
}

fn rotate_keys(rotate: Rotate) -> anyhow::Result<()> {
    let (platform, step) = match rotate {
        Rotate::Begin(platform) => (platform, Step::Begin),
        Rotate::Finish { platform, leave_hosts_behind } => {
            (platform, Step::Finish { leaving_hosts_behind: leave_hosts_behind })
        }
        Rotate::Cancel(platform) => (platform, Step::Cancel),
    };
    let done = runtime()?.block_on(rotation::take(&platform.data_dir, step))?;
    xshield_cli::say(&format!("Done: {done}."))
}

fn set_password(
    data_dir: &std::path::Path,
    user: &str,
    whom: PasswordTarget,
    file: Option<PathBuf>,
) -> anyhow::Result<()> {
    let password = match file {
        Some(path) => password_in(&path)?,
        None => checked_password(&std::io::read_to_string(std::io::stdin())?)?,
    };
    let passwords = Passwords::new(PasswordCost::Full)?;
    runtime()?.block_on(reset_password(data_dir, &passwords, user, whom, &password))?;
    xshield_cli::say(&match whom {
        PasswordTarget::KnownUser => format!("Changed the password of {user}."),
        PasswordTarget::NewAdmin => format!("Created {user} with the role admin."),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]
mod tests {
    use super::*;

    #[test]
    fn a_low_open_file_limit_causes_a_warning_with_a_remedy() {
        assert_eq!(advice_on_files(WANTED_FILES), FileAdvice::None);
        assert!(
            matches!(advice_on_files(20_000), FileAdvice::Note(text) if text.contains("20000"))
        );
        let FileAdvice::Warning(text) = advice_on_files(1024) else { panic!("1024 is too few") };
        assert!(text.contains("LimitNOFILE=32768"), "{text}");
    }

    /// In a separate process: mimalloc reads the environment once.
    #[test]
    fn memory_is_returned_at_once_unless_the_environment_overrides_it() {
        const CHILD: &str = "XSHIELD_TEST_SAYS_PURGE_DELAY";
        let name = "tests::memory_is_returned_at_once_unless_the_environment_overrides_it";
        if std::env::var_os(CHILD).is_some() {
            give_memory_back_at_once();
            #[allow(unsafe_code, reason = "as above")]
            // SAFETY: it only reads.
            let delay = unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
            writeln!(std::io::stdout(), "delay={delay};").unwrap();
            return;
        }
        for (given, delay) in [(None, 0), (Some("4321"), 4321)] {
            let mut child = std::process::Command::new(std::env::current_exe().unwrap());
            child.args(["--exact", name, "--nocapture"]).env(CHILD, "1");
            child.env_remove("MIMALLOC_PURGE_DELAY");
            child.envs(given.map(|given| ("MIMALLOC_PURGE_DELAY", given)));
            let said = String::from_utf8(child.output().unwrap().stdout).unwrap();
            assert!(said.contains(&format!("delay={delay};")), "{given:?}: {said}");
        }
    }
}
