//! Starting, listening, stopping.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use xshield_intelligence::Threats;
use xshield_intelligence::files::FileError;
use xshield_intelligence::orders::Orders;
use xshield_intelligence::run::Feeds;
use xshield_model::Timestamp;
use xshield_model::role::Role;
use xshield_operations::compiler::{Endpoints, RulesetCompiler};
use xshield_operations::ids::new_id;
use xshield_operations::parsed_policies::ParsedPolicies;
use xshield_policy::names::Name;
use xshield_store::accounts::Account;
use xshield_store::audit::NewAuditEntry;
use xshield_store::{Store, StoreError, accounts, audit, commit};

use crate::api;
use crate::connections::Connections;
use crate::endpoints;
use crate::held_polls::HeldPolls;
use crate::host_access::HostAccess;
use crate::intake::Intake;
use crate::jobs::host_configuration::{self, HostConfigurations};
use crate::jobs::maintenance::{self, Maintenance};
use crate::jobs::recover::Recovery;
use crate::jobs::supervise::Pauses;
use crate::jobs::{compile, threat_compile, threat_feeds};
use crate::keys::{DataDir, KeyError, Keys};
use crate::limits::Limits;
use crate::passwords::{PasswordError, Passwords};
use crate::rotation::Told;
use crate::settings::Settings;
use crate::state::{App, Platform};
use crate::threat_list_inputs::ThreatListInputs;
use crate::tls::{self, Tls};
use xshield_alerting::Wake;
use xshield_alerting::deliver::{self, Delivery};
use xshield_alerting::judge::{self, Judge};

/// Why the platform did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Keys, certificates or the data directory.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Passwords.
    #[error(transparent)]
    Passwords(#[from] PasswordError),
    /// Threat lists.
    #[error(transparent)]
    Threats(#[from] FileError),
    /// A password for an unknown user.
    #[error(
        "could not set the password: there is no user {user:?}; existing users: {users}. To \
         create an admin of that name, add --create-admin"
    )]
    NoUser {
        /// The given name.
        user: String,
        /// The existing users.
        users: String,
    },
    /// The new admin exists already.
    #[error("could not create the admin: user {0:?} exists; omit --create-admin")]
    UserExists(String),
    /// An invalid user name.
    #[error("could not create the admin: {0:?} is not a valid name; expected letters and digits")]
    UserName(String),
    /// The listen address.
    #[error("could not listen on {address}; is it in use? Choose another with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// The number of users to list in the error.
const USERS_NAMED: u32 = 20;

/// A listening platform, until it is dropped or stopped.
#[derive(Debug)]
pub struct Running {
    /// The platform.
    pub app: App,
    /// The first admin's password, if this start generated it.
    pub made_up_password: Option<String>,
    listener: TcpListener,
    acceptor: Arc<rustls::ServerConfig>,
}

/// Opens or creates everything in the data directory and binds the address.
///
/// # Errors
/// See [`ServeError`].
pub async fn start(settings: Settings) -> Result<Running, ServeError> {
    let now = Timestamp::now();
    let dir = DataDir::open(&settings.data_dir)?;
    dir.close_secrets()?;
    // Before anything is created: a failed start leaves the next one to be the first.
    let listener = TcpListener::bind(settings.listen)
        .await
        .map_err(|source| ServeError::Listen { address: settings.listen, source })?;
    let told = Told::open(&dir)?;
    let keys = Arc::new(Keys::open(&dir)?);
    let names = tls::names(&settings.public_urls, settings.listen.ip());
    let tls = Tls::open(&dir, names, now)?;
    let acceptor = Arc::new(tls.server_config()?);
    let store = Store::open(&dir.file(DataDir::DATABASE)).await?;
    let passwords = Passwords::new(settings.password_cost)?;
    let listening = listener
        .local_addr()
        .map_err(|source| ServeError::Listen { address: settings.listen, source })?;
    let endpoints = endpoints::resolved(&settings, listening).await;
    for endpoint in endpoints::translated(&endpoints, listening) {
        tracing::info!(
            %endpoint,
            "hosts reach the platform at an address that does not belong to this machine: if \
             this machine is itself protected, give its own address with --listen, so that no \
             policy closes the port"
        );
    }
    let opened = Opened { settings, dir, keys, told, tls, store, passwords, listening, endpoints };
    let app = App::new(assembled(opened)?);
    app.threat.load().await?;
    // Before anyone is served: hosts must not get "no list" because it was not compiled yet. Errors are in
    // the log and in the list's state.
    drop(app.threat.compile().await);
    // Last of all: the password is shown once, and must not be lost in a failed start.
    let made_up_password = first_admin(&app.store, &app.passwords, &app.settings, now).await?;
    Ok(Running { app, made_up_password, listener, acceptor })
}

/// Everything that a start has opened.
struct Opened {
    settings: Settings,
    dir: DataDir,
    keys: Arc<Keys>,
    told: Option<Told>,
    tls: Tls,
    store: Store,
    passwords: Passwords,
    listening: SocketAddr,
    endpoints: Vec<SocketAddr>,
}

/// Wires the parts together.
fn assembled(opened: Opened) -> Result<Platform, ServeError> {
    let Opened { settings, dir, keys, told, tls, store, passwords, listening, endpoints } = opened;
    let endpoints = Endpoints::new(endpoints);
    let policies = Arc::<ParsedPolicies>::default();
    let (held_polls, alerts) = (Arc::<HeldPolls>::default(), Arc::<Wake>::default());
    let surroundings =
        ThreatListInputs { policies: policies.clone(), endpoints: endpoints.clone() };
    let threat_dir = settings.data_dir.join("threat");
    let threat = Arc::new(Threats::open(&threat_dir, store.clone(), Arc::new(surroundings))?);
    let feeds = Feeds {
        threats: threat.clone(),
        secrets: keys.seal.clone(),
        data_dir: settings.data_dir.clone(),
    };
    let orders = Orders { threats: threat.clone(), key: keys.policy.clone() };
    let configuring = HostConfigurations::new(store.clone(), policies.clone(), held_polls.clone());
    let delivery = Delivery {
        store: store.clone(),
        wake: alerts.clone(),
        secrets: keys.seal.clone(),
        platform: settings.public_url(listening),
        retry_first: settings.delivery_retry_first,
    };
    let intake = Intake::new(store.clone(), threat.past.clone(), alerts.clone(), &settings);
    let (settings, dir, tls) = (Arc::new(settings), Arc::new(dir), Arc::new(tls));
    let (limits, intake) = (Arc::new(Limits::new(&settings)), Arc::new(intake));
    let (orders, configuring) = (Arc::new(orders), Arc::new(configuring));
    let compiler = Arc::new(RulesetCompiler::new(store.clone(), endpoints.clone()));
    let recovery = Recovery {
        store: store.clone(),
        key: keys.policy.clone(),
        orders: orders.clone(),
        compiler: compiler.clone(),
        held_polls: held_polls.clone(),
        configuring: configuring.clone(),
        threat: threat.clone(),
    };
    let host_access =
        HostAccess { settings: settings.clone(), keys: keys.clone(), tls: tls.clone(), listening };
    let metrics = recorder();
    let maintenance = Maintenance {
        settings: settings.clone(),
        dir: dir.clone(),
        tls: tls.clone(),
        store: store.clone(),
        threat: threat.clone(),
        limits: limits.clone(),
        intake: intake.clone(),
        endpoints: endpoints.clone(),
        compiler: compiler.clone(),
        metrics: metrics.clone(),
        listening,
    };
    Ok(Platform {
        limits,
        intake,
        recovery: Arc::new(recovery),
        maintenance: Arc::new(maintenance),
        settings,
        dir,
        keys,
        told: told.map(Arc::new),
        tls,
        passwords,
        compiler,
        store,
        simulations: Arc::default(),
        parsed_policies: policies,
        threat,
        feeds: Arc::new(feeds),
        orders,
        held_polls,
        configuring,
        alerts,
        delivery,
        jobs: Arc::default(),
        readiness: Arc::default(),
        host_access,
        endpoints,
        metrics,
        metrics_page: Arc::default(),
    })
}

/// The recorder is one per process, even with several platforms (in tests).
fn recorder() -> PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    RECORDER
        .get_or_init(|| {
            let recorder = builder().build_recorder();
            let handle = recorder.handle();
            if metrics::set_global_recorder(recorder).is_err() {
                tracing::warn!("another metrics recorder is installed; /metrics stays empty");
            }
            handle
        })
        .clone()
}

/// Buckets in seconds, from a look-up to a compilation for thousands of assets. If they are rejected, the
/// exporter's default summaries remain.
fn builder() -> PrometheusBuilder {
    const SECONDS: [f64; 11] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0];
    let plain = PrometheusBuilder::new();
    plain.set_buckets(&SECONDS).unwrap_or_else(|_| PrometheusBuilder::new())
}

fn made_up() -> Result<String, KeyError> {
    Ok(new_id("")?)
}

async fn first_admin(
    store: &Store,
    passwords: &Passwords,
    settings: &Settings,
    now: Timestamp,
) -> Result<Option<String>, ServeError> {
    if accounts::count(&mut *store.read().await?).await? > 0 {
        return Ok(None);
    }
    let (password, made_up) = match &settings.admin_password {
        Some(given) => (given.0.clone(), None),
        None => {
            let password = format!("{}-{}", made_up()?, made_up()?);
            (password.clone(), Some(password))
        }
    };
    let account = Account {
        name: "admin".to_owned(),
        role: Role::Admin,
        password: passwords.hash(&password)?,
        created_at: now,
    };
    let mut tx = store.write().await?;
    accounts::put(&mut tx, &account).await?;
    let new_entry = NewAuditEntry {
        actor: "platform",
        action: "user.create",
        target: "admin",
        before: String::new(),
        after: "role admin, at the first start".to_owned(),
    };
    audit::record(&mut tx, new_entry, now).await?;
    commit(tx).await?;
    Ok(made_up)
}

impl Running {
    /// Serves until `stop` completes, then finishes requests in flight, within the configured grace time.
    pub async fn until(self, stop: impl Future<Output = ()>) {
        let Self { app, listener, acceptor, .. } = self;
        let jobs = started(&app);
        // Changes that were not compiled before a crash.
        app.compiler.inventory_changed();
        let connections =
            Connections::new(api::router(app.clone()), acceptor, &app.settings, open_files());
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, from)) => {
                        // Without it the first response of a TLS session waits behind the session tickets
                        // until the client acknowledges those: some 40 ms.
                        if let Err(error) = stream.set_nodelay(true) {
                            tracing::debug!(%error, "responses on a connection may be late");
                        }
                        connections.serve(stream, from);
                    }
                    Err(error) => {
                        // Out of file descriptors, mostly: others must close first.
                        tracing::warn!(%error, "could not accept a connection");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
                () = &mut stop => break,
            }
        }
        drop(listener);
        app.held_polls.close();
        let grace = Duration::from_secs(app.settings.shutdown_grace);
        if timeout(grace, connections.shut_down()).await.is_err() {
            tracing::warn!("requests in flight took too long and were cut");
        }
        jobs.iter().for_each(JoinHandle::abort);
        maintenance::tell_of_refusals(&app.store, &app.limits).await;
        app.store.close().await;
    }
}

/// The maximum number of open files.
fn open_files() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

/// Starts the background jobs.
fn started(app: &App) -> [JoinHandle<()>; 8] {
    let interval = |app: &App| Duration::from_millis(app.settings.gather_changes_ms);
    [
        keep(app, "compile", move |app| {
            let (configuring, polls) = (app.configuring.clone(), app.held_polls.clone());
            compile::run(app.compiler.clone(), configuring, polls, interval(&app))
        }),
        keep(app, "maintenance", |app| maintenance::run(app.maintenance.clone())),
        keep(app, "host-configuration", |app| host_configuration::run(app.configuring.clone())),
        keep(app, "threat-compile", move |app| {
            let (threat, compiler) = (app.threat.clone(), app.compiler.clone());
            threat_compile::run(threat, app.store.clone(), compiler, interval(&app))
        }),
        keep(app, "threat-orders", |app| {
            threat_compile::tell_hosts(app.orders.clone(), app.held_polls.clone())
        }),
        keep(app, "threat-feeds", |app| threat_feeds::run(app.feeds.clone())),
        keep(app, "alerts", |app| {
            let (store, wake) = (app.store.clone(), app.alerts.clone());
            judge::run(Judge { store, wake, keep: app.settings.threat_flows_per_asset })
        }),
        keep(app, "deliver", |app| deliver::run(app.delivery.clone())),
    ]
}

/// Runs a job until its handle is aborted, and restarts it after failures.
fn keep<F>(
    app: &App,
    name: &'static str,
    job: impl Fn(App) -> F + Send + Sync + 'static,
) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let app = app.clone();
    tokio::spawn(async move { app.jobs.keep(name, Pauses::USUAL, || job(app.clone())).await })
}

/// A signal to shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndSignal {
    /// SIGTERM, from the service manager.
    Terminate,
    /// SIGINT, from Ctrl-C.
    Interrupt,
}

/// Receives signals to shut down. From its creation, the signals do not end the process by themselves.
#[derive(Debug)]
pub struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl EndSignals {
    /// Installs the handlers; within a runtime.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Completes when a signal has arrived since the start.
    pub async fn asked(&mut self) -> EndSignal {
        tokio::select! {
            _ = self.terminate.recv() => EndSignal::Terminate,
            _ = self.interrupt.recv() => EndSignal::Interrupt,
        }
    }
}

/// Whose password is set on the platform's machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordTarget {
    /// An existing user.
    KnownUser,
    /// A new user with the role admin.
    NewAdmin,
}

/// Sets a user's password while the platform does not run, or creates an admin.
///
/// # Errors
/// When the platform runs, or its data can't be read or written.
pub async fn reset_password(
    data_dir: &std::path::Path,
    passwords: &Passwords,
    user: &str,
    whom: PasswordTarget,
    password: &str,
) -> Result<(), ServeError> {
    let now = Timestamp::now();
    let dir = DataDir::open_existing(data_dir)?;
    let store = Store::open(&dir.file(DataDir::DATABASE)).await?;
    let mut tx = store.write().await?;
    let known = accounts::get(&mut tx, user).await?;
    let role = match (known, whom) {
        (Some(known), PasswordTarget::KnownUser) => known.role,
        (None, PasswordTarget::NewAdmin) if user.parse::<Name>().is_ok() => Role::Admin,
        (None, PasswordTarget::NewAdmin) => return Err(ServeError::UserName(user.to_owned())),
        (Some(_), PasswordTarget::NewAdmin) => return Err(ServeError::UserExists(user.to_owned())),
        (None, PasswordTarget::KnownUser) => {
            let users = accounts::list(&mut tx, "", USERS_NAMED).await?;
            let users: Vec<String> = users.into_iter().map(|user| user.name).collect();
            return Err(ServeError::NoUser { user: user.to_owned(), users: users.join(", ") });
        }
    };
    let password = passwords.hash(password)?;
    let account = Account { name: user.to_owned(), role, password, created_at: now };
    accounts::put(&mut tx, &account).await?;
    accounts::revoke_all(&mut tx, user, now).await?;
    let new_entry = NewAuditEntry {
        actor: "platform",
        action: match whom {
            PasswordTarget::KnownUser => "user.set-password",
            PasswordTarget::NewAdmin => "user.create",
        },
        target: user,
        before: String::new(),
        after: "on the platform's machine".to_owned(),
    };
    audit::record(&mut tx, new_entry, now).await?;
    commit(tx).await?;
    store.close().await;
    Ok(())
}
