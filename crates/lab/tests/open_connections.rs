//! Connections are judged by their opener, even if connection tracking did not see it: those opened before
//! any rule, and those that tracking lost.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xshield_lab::host::Host;
use xshield_lab::privilege::in_lab;
use xshield_lab::shop::Shop;
use xshield_lab::{agent, spark, wait};

const TIMEOUT: Duration = Duration::from_secs(2);

/// A connection between two hosts without any data yet.
struct EarlierConnection {
    /// Held open: a host finds out who opened the connection by its listener.
    _listener: TcpListener,
    answerer: TcpStream,
    opener: TcpStream,
}

impl EarlierConnection {
    fn open(from: &Host, to: &Host, address: IpAddr, port: u16) -> Result<Self> {
        let address = SocketAddr::new(address, port);
        let listener = on(to, || Ok(TcpListener::bind(address)?))?;
        let opener = on(from, || Ok(TcpStream::connect_timeout(&address, TIMEOUT)?))?;
        let (answerer, _) = listener.accept()?;
        opener.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self { _listener: listener, answerer, opener })
    }

    /// Whether data of the accepting end, which sends first, arrives at the opener.
    fn is_answered(&mut self) -> Result<bool> {
        self.answerer.write_all(b"x")?;
        self.is_heard()
    }

    /// Whether data arrives at the opener; lost data is sent again.
    fn is_heard(&mut self) -> Result<bool> {
        match self.opener.read_exact(&mut [0]) {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Connections that the shop's policy allows, in both directions of app, each with data received.
fn allowed(shop: &Shop) -> Result<Vec<EarlierConnection>> {
    let [app, web, db] = ["app", "web", "db"].map(|name| shop.lab.host(name));
    let (app, web, db) = (app?, web?, db?);
    let mut allowed = Vec::new();
    for (here, there) in app.addresses().into_iter().zip(db.addresses()) {
        allowed.push(EarlierConnection::open(web, app, here, 8090)?);
        allowed.push(EarlierConnection::open(app, db, there, 5433)?);
    }
    for older in &mut allowed {
        ensure!(older.is_answered()?, "{:?}", older.opener);
    }
    Ok(allowed)
}

/// The shop with two more ports.
fn commit(shop: &Shop) -> Result<()> {
    for host in &shop.example.hosts {
        shop.platform.tag(&shop.lab, &host.name, &host.tags)?;
    }
    shop.commit_edited(|text| {
        text.replace("services: [tcp/8080]", "services: [tcp/8080, tcp/8090]")
            .replace("services: [tcp/5432]", "services: [tcp/5432, tcp/5433]")
    })
}

/// Flushes connection tracking on app.
fn flush(shop: &Shop) -> Result<()> {
    shop.lab.host("app")?.run("conntrack", ["-F"]).map(drop)
}

#[test]
fn connections_lost_by_conntrack_work_after_the_next_run() -> Result<()> {
    in_lab("connections_lost_by_conntrack_work_after_the_next_run", || {
        let shop = Shop::start()?;
        shop.register()?;
        commit(&shop)?;
        enforce(&shop)?;
        let mut allowed = allowed(&shop)?;
        flush(&shop)?;
        for older in &mut allowed {
            ensure!(!older.is_answered()?, "nobody knows who opened {:?}", older.opener);
        }
        enforce(&shop)?;
        for older in &mut allowed {
            // What was denied is retransmitted, each time after twice the delay.
            older.opener.set_read_timeout(Some(Duration::from_secs(60)))?;
            ensure!(older.is_heard()?, "{:?}", older.opener);
        }
        Ok(())
    })
}

#[test]
fn the_agent_restores_lost_conntrack_entries_at_once() -> Result<()> {
    in_lab("the_agent_restores_lost_conntrack_entries_at_once", || {
        let shop = Shop::start()?;
        let configuration = shop.platform.host_configuration(&shop.lab)?;
        let app = shop.lab.host("app")?;
        // No cycle of the agent interferes.
        agent::register(&shop.lab, app, &configuration, "heartbeat-seconds: 3600")?;
        let _agent = agent::start(&shop.lab, app)?;
        wait::until("app has registered", Duration::from_secs(60), || {
            let status = agent::status(&shop.lab, app)?;
            Ok((status["last_cycle"]["outcome"]["platform"] == "reached").then_some(()))
        })?;
        for host in shop.example.hosts.iter().filter(|host| host.name != "app") {
            let host = shop.lab.host(&host.name)?;
            spark::configure(host, &configuration)?;
            spark::run(&shop.lab, host)?;
        }
        commit(&shop)?;
        wait::until("app enforces", Duration::from_secs(60), || {
            Ok(agent::revision(&shop.lab, app)?.map(drop))
        })?;
        let mut allowed = allowed(&shop)?;
        let cycles = |status: &Value| status["cycles"].clone();
        let before = cycles(&agent::status(&shop.lab, app)?);
        flush(&shop)?;
        for older in &mut allowed {
            older.answerer.write_all(b"x")?;
        }
        wait::until("what the other ends say is heard", Duration::from_secs(30), || {
            for older in &mut allowed {
                if !older.is_heard()? {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })?;
        ensure!(cycles(&agent::status(&shop.lab, app)?) == before, "a cycle came between");
        Ok(())
    })
}

/// Runs a closure in the network of a host.
fn on<T: Send>(host: &Host, job: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let network = host.network();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            network.enter()?;
            job()
        });
        thread.join().map_err(|_| anyhow::anyhow!("a thread on {} panicked", host.name()))?
    })
}

fn denied(shop: &Shop) -> Result<Vec<Value>> {
    let events =
        shop.platform.json(&shop.lab, &["events", "--asset", "app", "--kind", "denied"])?;
    let items = events["items"].as_array().or(events.as_array()).context("a list of events")?;
    Ok(items.clone())
}

/// Runs Spark on app until it enforces; the platform compiles after it has answered.
fn enforce(shop: &Shop) -> Result<()> {
    wait::until("app enforces", Duration::from_secs(60), || {
        let run = spark::run(&shop.lab, shop.lab.host("app")?)?;
        ensure!(run.exit.success(), "{run:?}");
        let told = run.json["problems"].to_string();
        ensure!(!told.contains("open-connections-unknown"), "{told}");
        Ok((run.status() == "enforcing").then_some(()))
    })
}

#[test]
fn connections_opened_before_any_rule_are_judged_by_their_opener() -> Result<()> {
    in_lab("connections_opened_before_any_rule_are_judged_by_their_opener", || {
        let shop = Shop::start()?;
        shop.register()?;
        let [app, web, db, attacker] = ["app", "web", "db", "attacker"].map(|n| shop.lab.host(n));
        let (app, web, db, attacker) = (app?, web?, db?, attacker?);
        let mut allowed = Vec::new();
        for (here, there) in app.addresses().into_iter().zip(db.addresses()) {
            allowed.push(EarlierConnection::open(web, app, here, 8090)?);
            allowed.push(EarlierConnection::open(app, db, there, 5433)?);
        }
        let mut refused = EarlierConnection::open(attacker, app, app.v4().into(), 8091)?;
        commit(&shop)?;
        enforce(&shop)?;

        for older in &mut allowed {
            ensure!(older.is_answered()?, "{:?}", older.opener);
        }
        // Its own connection to the platform is one of them.
        enforce(&shop)?;
        let events = denied(&shop)?;
        ensure!(events.is_empty(), "{events:?}");

        ensure!(!refused.is_answered()?, "{:?}", refused.opener);
        refused.opener.write_all(b"x")?;
        enforce(&shop)?;
        let events = denied(&shop)?;
        ensure!(events.iter().all(|event| event["port"] == 8091), "{events:?}");
        ensure!(!events.is_empty(), "the attacker's connection was denied");
        Ok(())
    })
}
