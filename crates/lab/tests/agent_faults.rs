//! Failures around commands, uploads and clocks, with the agent and Spark.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xshield_enforce::step::Step;
use xshield_lab::privilege::in_lab;
use xshield_lab::proxy::{Behaviour, Proxy};
use xshield_lab::shop::Shop;
use xshield_lab::{Host, Running, agent, spark, wait};

const SOON: Duration = Duration::from_secs(90);
const HOST: &str = "db";
/// A port that no policy opens.
const CLOSED: u16 = 9999;
/// The file with the error of the agent's clock.
const CLOCK: &str = "/etc/xshield/clock";

struct Scenario {
    shop: Shop,
}

impl Scenario {
    /// The shop with db registered for an agent.
    fn begin() -> Result<Self> {
        let shop = Shop::start()?;
        let configuration = shop.platform.host_configuration(&shop.lab)?;
        agent::register(&shop.lab, shop.lab.host(HOST)?, &configuration, "heartbeat-seconds: 2")?;
        Ok(Self { shop })
    }

    fn db(&self) -> Result<&Host> {
        self.shop.lab.host(HOST)
    }

    /// Starts the agent with these environment variables, without waiting for it.
    fn start_with(&self, variables: &[(&str, &str)]) -> Result<Running> {
        let mut command = self.db()?.command(self.shop.lab.programs().agent()?);
        command.args(["run", "--log-level", "debug"]).envs(variables.iter().copied());
        self.db()?.spawn("ctagent", command)
    }

    fn last_outcome(&self) -> Result<Value> {
        let status = agent::status(&self.shop.lab, self.db()?).unwrap_or_default();
        Ok(status["last_cycle"]["outcome"].clone())
    }

    fn is_reached(&self) -> Result<()> {
        wait::until("the platform is reached", SOON, || {
            let outcome = self.last_outcome()?;
            let refused = outcome["status"] == "refused";
            Ok((outcome["platform"] == "reached" && !refused).then_some(()))
        })
    }

    /// Creates a command for db; returns its id.
    fn give(&self, kind: &str, more: &[&str]) -> Result<String> {
        let mut arguments = vec!["command", kind, "--asset", HOST];
        arguments.extend(more);
        let made = self.shop.platform.json(&self.shop.lab, &arguments)?;
        Ok(made["id"].as_str().context("a command has an id")?.to_owned())
    }

    /// The state of a command at an asset.
    fn state_of(&self, command: &str, asset: &str) -> Result<String> {
        let shown = self.shop.platform.json(&self.shop.lab, &["command", "show", command])?;
        let outcomes = shown["outcomes"].as_array().context("outcomes")?;
        let outcome = outcomes.iter().find(|outcome| outcome["asset"] == asset);
        let state = outcome.and_then(|outcome| outcome["state"].as_str());
        Ok(state.with_context(|| format!("{shown:#}"))?.to_owned())
    }

    fn ends_as(&self, command: &str, asset: &str, states: &[&str]) -> Result<String> {
        wait::until(&format!("{command} ends as {states:?}"), SOON, || {
            let state = self.state_of(command, asset)?;
            Ok(states.contains(&state.as_str()).then_some(state))
        })
        .with_context(|| self.state_of(command, asset).unwrap_or_default())
    }

    fn uploads(&self) -> Result<Vec<Value>> {
        let list = self.shop.platform.json(&self.shop.lab, &["diagnostics", "list"])?;
        Ok(list["items"].as_array().or(list.as_array()).context("a list")?.clone())
    }

    fn agent_events(&self) -> Result<String> {
        self.shop.platform.cli(&self.shop.lab, &["agent-events", "--asset", HOST])
    }

    /// A file in the diagnostics of an asset.
    fn unpacked(&self, asset: &str, name: &str) -> Result<String> {
        let archive = self.shop.lab.host("platform")?.dir().join(format!("{asset}.tar.gz"));
        let path = archive.to_string_lossy().into_owned();
        if archive.exists() {
            std::fs::remove_file(&archive)?;
        }
        self.shop.platform.cli(&self.shop.lab, &["diagnostics", "get", asset, "-o", &path])?;
        let output = std::process::Command::new("tar").args(["-xzOf", &path, name]).output()?;
        ensure!(output.status.success(), "{output:?}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The archive on the host that waits for its upload.
    fn archive_here(&self, command: &str) -> Result<Option<Vec<u8>>> {
        let path = self.db()?.file("/var/lib/xshield/diagnostics").join(command);
        Ok(path.exists().then(|| std::fs::read(&path)).transpose()?)
    }
}

fn has_died(agent: &mut Running) -> Result<()> {
    wait::until("the agent kills itself", SOON, || Ok(agent.still_runs().is_err().then_some(())))
}

/// Waits until the clock has advanced.
fn passes(time: Duration) -> Result<()> {
    let until = SystemTime::now() + time;
    wait::until("time passes", SOON, || Ok((SystemTime::now() >= until).then_some(())))
}

#[test]
fn an_upload_resumes_after_kills_and_interruptions() -> Result<()> {
    in_lab("an_upload_resumes_after_kills_and_interruptions", || {
        let mut scenario = Scenario::begin()?;
        scenario.shop.lab.add_host("proxy", 50)?;
        let pieces = ("XSHIELD_UPLOAD_PIECE", "200");
        let killed = [pieces, ("XSHIELD_KILL_AT", Step::UploadedPiece.name())];
        let mut agent = scenario.start_with(&killed)?;
        scenario.is_reached()?;
        let command = scenario.give("diagnostics", &[])?;
        has_died(&mut agent)?;
        drop(agent);
        let archive = scenario.archive_here(&command)?.context("the archive waits")?;
        for pieces in 1..=3_u64 {
            let [upload] = &scenario.uploads()?[..] else { anyhow::bail!("one upload") };
            ensure!(upload["complete"] == false && upload["received"] == 200 * pieces, "{upload}");
            ensure!(scenario.archive_here(&command)?.as_ref() == Some(&archive), "it has changed");
            let mut agent = scenario.start_with(&killed)?;
            has_died(&mut agent)?;
        }

        // No connection lasts long now.
        scenario.db()?.run("ip", ["route", "add", "blackhole", "10.77.0.1/32"])?;
        let (lab, cut) = (&scenario.shop.lab, Behaviour::Cut { after: 4_000 });
        let proxy = Proxy::start(lab.host("proxy")?, lab.programs(), 3001, cut, None)?;
        let list = "--proxy=http://10.77.0.50:3001";
        scenario.db()?.run(lab.programs().agent()?, ["updateProxy", list, "--skipRestart"])?;
        let _agent = scenario.start_with(&[("XSHIELD_UPLOAD_PIECE", "60")])?;
        scenario.ends_as(&command, HOST, &["done"])?;
        ensure!(proxy.requests()?.len() > 3, "{:?}", proxy.requests()?);
        let [upload] = &scenario.uploads()?[..] else { anyhow::bail!("one upload") };
        ensure!(upload["complete"] == true, "{upload}");
        let summary = scenario.unpacked(HOST, "summary.txt")?;
        ensure!(summary.contains("ctagent"), "{summary}");
        wait::until("the archive is forgotten", SOON, || {
            Ok(scenario.archive_here(&command)?.is_none().then_some(()))
        })
    })
}

#[test]
fn diagnostics_saved_before_a_kill_are_reported_once() -> Result<()> {
    in_lab("diagnostics_saved_before_a_kill_are_reported_once", || {
        let scenario = Scenario::begin()?;
        let mut agent = scenario.start_with(&[("XSHIELD_KILL_AT", Step::Diagnosed.name())])?;
        scenario.is_reached()?;
        let command = scenario.give("diagnostics", &[])?;
        has_died(&mut agent)?;
        drop(agent);
        let _agent = scenario.start_with(&[])?;
        scenario.ends_as(&command, HOST, &["done"])?;
        let uploads = scenario.uploads()?;
        ensure!(uploads.len() == 1 && uploads[0]["complete"] == true, "{uploads:?}");
        Ok(())
    })
}

#[test]
fn commands_expired_while_offline_are_not_carried_out() -> Result<()> {
    in_lab("commands_expired_while_offline_are_not_carried_out", || {
        let scenario = Scenario::begin()?;
        // Received in time, but not carried out before the host is gone.
        let mut agent =
            scenario.start_with(&[("XSHIELD_KILL_AT", Step::CollectedDiagnostics.name())])?;
        scenario.is_reached()?;
        let heard = scenario.give("diagnostics", &["--expires", "5s"])?;
        has_died(&mut agent)?;
        drop(agent);
        ensure!(scenario.archive_here(&heard)?.is_some(), "it was not heard in time");
        // Created while the host is offline.
        let unheard = scenario.give("debug-on", &["--expires", "3s"])?;
        passes(Duration::from_secs(6))?;

        let _agent = scenario.start_with(&[])?;
        scenario.is_reached()?;
        scenario.ends_as(&heard, HOST, &["failed", "expired"])?;
        scenario.ends_as(&unheard, HOST, &["expired"])?;
        // A valid one shows that commands are received.
        let later = scenario.give("run-now", &[])?;
        scenario.ends_as(&later, HOST, &["done"])?;
        ensure!(scenario.uploads()?.is_empty(), "{:?}", scenario.uploads()?);
        ensure!(scenario.archive_here(&heard)?.is_none(), "the archive still waits");
        let events = scenario.agent_events()?;
        ensure!(!events.contains("diagnostics-collected"), "{events}");
        ensure!(!events.contains("debug-logging"), "{events}");
        Ok(())
    })
}

#[test]
fn spark_uploads_diagnostics_in_its_next_run() -> Result<()> {
    in_lab("spark_uploads_diagnostics_in_its_next_run", || {
        let shop = Shop::start()?;
        shop.register()?;
        let scenario = Scenario { shop };
        let both = ["--asset", "web", "--expires", "10m"];
        let command = scenario.give("diagnostics", &both)?;
        ensure!(scenario.state_of(&command, "web")? == "waiting", "nobody has run");
        let run = spark::run(&scenario.shop.lab, scenario.shop.lab.host("web")?)?;
        ensure!(run.exit.success(), "{run:?}");
        ensure!(scenario.state_of(&command, "web")? == "done", "web has run");
        ensure!(scenario.state_of(&command, HOST)? == "waiting", "db has not run");
        let summary = scenario.unpacked("web", "summary.txt")?;
        ensure!(summary.contains("ctspark") && summary.contains("reached "), "{summary}");

        spark::run(&scenario.shop.lab, scenario.db()?)?;
        spark::run(&scenario.shop.lab, scenario.db()?)?;
        spark::run(&scenario.shop.lab, scenario.shop.lab.host("web")?)?;
        ensure!(scenario.state_of(&command, HOST)? == "done", "db has run");
        let uploads = scenario.uploads()?;
        ensure!(uploads.len() == 2, "each once: {uploads:?}");
        ensure!(uploads.iter().all(|upload| upload["complete"] == true), "{uploads:?}");
        Ok(())
    })
}

/// The flow counts of the denied packets from attacker.
fn counted(scenario: &Scenario) -> Result<u64> {
    let port = CLOSED.to_string();
    let list = ["events", "--asset", HOST, "--kind", "denied", "--port", &port];
    let events = scenario.shop.platform.json(&scenario.shop.lab, &list)?;
    let items = events["items"].as_array().or(events.as_array()).context("a list of events")?;
    Ok(items.iter().filter_map(|event| event["packets"].as_u64()).sum())
}

fn connect(scenario: &Scenario) -> Result<u64> {
    let to = scenario.db()?.v4();
    let script = format!("for i in 1 2 3 4 5; do echo x > /dev/udp/{to}/{CLOSED}; done");
    scenario.shop.lab.host("attacker")?.run("bash", ["-c", &script])?;
    Ok(5)
}

#[test]
fn a_clock_jump_only_delays_reports() -> Result<()> {
    in_lab("a_clock_jump_only_delays_reports", || {
        let scenario = Scenario::begin()?;
        let clock = scenario.db()?.file(CLOCK);
        let set = |seconds: i64| std::fs::write(&clock, seconds.to_string());
        let agent = scenario.start_with(&[("XSHIELD_CLOCK", CLOCK)])?;
        scenario.is_reached()?;
        let tags = scenario.shop.example.hosts.iter().find(|host| host.name == HOST);
        let tags = tags.map(|host| &host.tags);
        scenario.shop.platform.tag(&scenario.shop.lab, HOST, tags.into_iter().flatten())?;
        scenario.shop.commit_edited(str::to_owned)?;
        wait::until("db enforces", SOON, || {
            Ok(agent::revision(&scenario.shop.lab, scenario.db()?)?.is_some().then_some(()))
        })?;
        let mut sent = connect(&scenario)?;
        for jump in [2 * 86_400, -2 * 86_400] {
            set(jump)?;
            wait::until("the platform refuses the wrong time", SOON, || {
                let outcome = scenario.last_outcome()?;
                Ok((outcome["status"] == "refused").then_some(()))
            })?;
            let said = scenario.last_outcome()?.to_string();
            ensure!(said.contains("clock"), "{said}");
            ensure!(scenario.last_outcome()?["in_force"]["revision"] == 1, "the policy is gone");
            sent += connect(&scenario)?;
            let before = agent::status(&scenario.shop.lab, scenario.db()?)?["last_cycle"].clone();
            wait::until("cycles go on", SOON, || {
                let now = agent::status(&scenario.shop.lab, scenario.db()?)?["last_cycle"].clone();
                Ok((now != before).then_some(()))
            })?;
            set(0)?;
            scenario.is_reached()?;
        }
        sent += connect(&scenario)?;
        wait::until("everything is counted", SOON, || {
            Ok((counted(&scenario)? >= sent).then_some(()))
        })?;
        ensure!(counted(&scenario)? == sent, "{} of {sent}", counted(&scenario)?);
        ensure!(!agent.output()?.contains("panicked"), "{}", agent.output()?);
        Ok(())
    })
}

#[test]
fn after_its_asset_was_deleted_a_host_reports_everything_again() -> Result<()> {
    in_lab("after_its_asset_was_deleted_a_host_reports_everything_again", || {
        let scenario = Scenario::begin()?;
        let _agent = scenario.start_with(&[])?;
        let (lab, platform) = (&scenario.shop.lab, &scenario.shop.platform);
        let id = || -> Result<Option<String>> {
            // It is briefly missing.
            let shown = platform.json(lab, &["asset", "show", HOST]).unwrap_or_default();
            Ok(shown["id"].as_str().map(str::to_owned))
        };
        let is_told = || {
            for what in ["ports", "software"] {
                wait::until(&format!("{what} are told"), SOON, || {
                    let told = platform.cli(lab, &[what, HOST, "--json"]).unwrap_or_default();
                    Ok((told.contains("5432") || told.contains("libc")).then_some(()))
                })?;
            }
            Ok::<_, anyhow::Error>(())
        };
        let first = wait::until("db is an asset", SOON, id)?;
        is_told()?;
        platform.cli(lab, &["asset", "delete", HOST])?;
        wait::until("db is an asset again", SOON, || Ok(id()?.filter(|id| *id != first)))?;
        is_told()
    })
}

#[test]
fn registering_again_reports_an_invalid_key() -> Result<()> {
    in_lab("registering_again_reports_an_invalid_key", || {
        let scenario = Scenario::begin()?;
        let (lab, platform) = (&scenario.shop.lab, &scenario.shop.platform);
        let agent = scenario.start_with(&[])?;
        scenario.is_reached()?;
        drop(agent);
        let register = || -> Result<()> {
            let key = platform.deployment_key(lab)?;
            let domain = platform.address().to_string();
            agent::register_by_key(lab, scenario.db()?, &domain, &key, &[], &[])
        };
        register()?;

        let keys = platform.json(lab, &["key", "list"])?;
        for key in keys["items"].as_array().context("a list of keys")? {
            platform.cli(lab, &["key", "revoke", key["id"].as_str().context("an id")?])?;
        }
        let before = std::fs::read(scenario.db()?.file(agent::CONFIG))?;
        let again = ["register", "--domain", &platform.address().to_string()];
        let refused = scenario.db()?.run(lab.programs().agent()?, again).unwrap_err();
        ensure!(format!("{refused:#}").contains("does not accept this key"), "{refused:#}");
        ensure!(
            std::fs::read(scenario.db()?.file(agent::CONFIG))? == before,
            "the file is as it was"
        );
        register()
    })
}
