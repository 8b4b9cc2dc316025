//! The resident agent: enforcement within seconds, repair, and survival of failures.

use std::time::Duration;

use anyhow::Result;
use xshield_lab::agent;
use xshield_lab::kernel::Kernel;
use xshield_lab::matrix::{Expectation, Matrix};
use xshield_lab::privilege::in_lab;
use xshield_lab::probe::Port;
use xshield_lab::shop::Shop;
use xshield_lab::{Running, wait};

/// Far longer than any of it takes; the heartbeat interval is longer still, so that only a notification can
/// be the cause.
const SOON: Duration = Duration::from_secs(60);
const RARE_HEARTBEAT: &str = "heartbeat-seconds: 3600";

/// Agents on all hosts of the shop, registered and tagged.
fn agents(shop: &Shop, more: &str) -> Result<Vec<Running>> {
    let configuration = shop.platform.host_configuration(&shop.lab)?;
    let mut agents = Vec::new();
    for name in shop.example.host_names() {
        let host = shop.lab.host(name)?;
        agent::register(&shop.lab, host, &configuration, more)?;
        agents.push(agent::start(&shop.lab, host)?);
    }
    wait::until("every agent has registered", SOON, || {
        for name in shop.example.host_names() {
            let status = agent::status(&shop.lab, shop.lab.host(name)?)?;
            if status["last_cycle"]["outcome"]["platform"] != "reached" {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })?;
    Ok(agents)
}

fn all_enforce(shop: &Shop, least: u64) -> Result<()> {
    wait::until("every agent enforces", SOON, || {
        for name in shop.example.host_names() {
            let revision = agent::revision(&shop.lab, shop.lab.host(name)?)?;
            if revision.is_none_or(|revision| revision < least) {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
}

#[test]
fn a_policy_is_enforced_by_notification_without_a_heartbeat() -> Result<()> {
    in_lab("a_policy_is_enforced_by_notification_without_a_heartbeat", || {
        let shop = Shop::start()?;
        let mut agents = agents(&shop, RARE_HEARTBEAT)?;
        shop.commit()?;
        all_enforce(&shop, 1)?;
        shop.check_kernels()?;
        shop.verify()?;
        agents.iter_mut().try_for_each(Running::still_runs)
    })
}

#[test]
fn flushed_rules_are_restored_and_reported() -> Result<()> {
    in_lab("flushed_rules_are_restored_and_reported", || {
        let shop = Shop::start()?;
        let _agents = agents(&shop, RARE_HEARTBEAT)?;
        shop.commit()?;
        all_enforce(&shop, 1)?;
        let db = shop.lab.host("db")?;
        db.run("nft", ["flush", "ruleset"])?;
        let mut open = Matrix::of(&["attacker", "db"], &[Port::Tcp(5432)], |_| {
            Expectation::passes("db's rules are flushed")
        });
        // The agent may already have enforced it.
        open.probe(&shop.lab)?;
        wait::until("the rules are back", SOON, || {
            Ok((!Kernel::read(db)?.tables().is_empty()).then_some(()))
        })?;
        shop.verify()?;
        wait::until("the platform hears of it", SOON, || {
            let told = shop.platform.cli(&shop.lab, &["agent-events", "--json"])?;
            Ok((told.contains("tampered") && told.contains("repaired")).then_some(()))
        })
    })
}

#[test]
fn a_new_address_is_allowed_by_other_hosts_without_a_heartbeat() -> Result<()> {
    in_lab("a_new_address_is_allowed_by_other_hosts_without_a_heartbeat", || {
        let shop = Shop::start()?;
        let _agents = agents(&shop, RARE_HEARTBEAT)?;
        shop.commit()?;
        all_enforce(&shop, 1)?;
        let new = "10.77.0.77";
        let app_knows = || -> Result<bool> {
            Ok(shop.lab.host("app")?.run("nft", ["list", "ruleset"])?.contains(new))
        };
        assert!(!app_knows()?);
        let address = format!("{new}/24");
        shop.lab.host("web")?.run("ip", ["address", "add", &address, "dev", "eth0"])?;
        wait::until("the platform knows it", SOON, || {
            let shown = shop.platform.json(&shop.lab, &["asset", "show", "web"])?;
            Ok(shown["addresses"].to_string().contains(new).then_some(()))
        })?;
        wait::until("app, which web may reach, has it in its rules", SOON, || {
            Ok(app_knows()?.then_some(()))
        })
    })
}

#[test]
fn commands_run_at_once_and_diagnostics_contain_no_secrets() -> Result<()> {
    in_lab("commands_run_at_once_and_diagnostics_contain_no_secrets", || {
        let shop = Shop::start()?;
        let _agents = agents(&shop, RARE_HEARTBEAT)?;
        let give = |kind: &str| {
            shop.platform.cli(&shop.lab, &["command", kind, "--asset", "web", "--wait"])
        };
        for kind in ["run-now", "resend", "debug-on", "diagnostics", "debug-off"] {
            give(kind)?;
        }
        let archive = shop.lab.host("platform")?.dir().join("diagnostics.tar.gz");
        let path = archive.to_string_lossy().into_owned();
        shop.platform.cli(&shop.lab, &["diagnostics", "get", "web", "-o", &path])?;
        let unpacked = |name: &str| -> Result<String> {
            let output = std::process::Command::new("tar").args(["-xzOf", &path, name]).output()?;
            anyhow::ensure!(output.status.success(), "{output:?}");
            Ok(String::from_utf8(output.stdout)?)
        };
        let summary = unpacked("summary.txt")?;
        assert!(summary.contains("reached      platform, direct"), "{summary}");
        let configuration = unpacked("own/configuration.txt")?;
        let key = std::fs::read_to_string(shop.lab.host("web")?.file(agent::CONFIG))?;
        let key = key.lines().find_map(|line| line.trim().strip_prefix("enforcement-key: "));
        let key = key.map(|key| key.trim_matches('"')).unwrap_or("xek1_");
        assert!(!configuration.contains(key), "{configuration}");
        let log = shop.platform.cli(&shop.lab, &["debug-log", "web"])?;
        assert!(log.contains("/host/v1/check-in"), "{log}");
        Ok(())
    })
}

#[test]
fn the_last_policy_stays_without_agent_and_platform() -> Result<()> {
    in_lab("the_last_policy_stays_without_agent_and_platform", || {
        let mut shop = Shop::start()?;
        let mut agents = agents(&shop, "heartbeat-seconds: 2")?;
        shop.commit()?;
        all_enforce(&shop, 1)?;
        shop.platform.stop()?;
        // As in a crash: one by SIGKILL, the others regularly.
        drop(agents.pop());
        for agent in agents {
            assert!(agent.stop()?.success());
        }
        shop.verify()?;
        for name in shop.example.host_names() {
            shop.lab.host(name)?.run("nft", ["flush", "ruleset"])?;
        }
        let hosts = shop.example.host_names();
        let started: Result<Vec<_>> =
            hosts.iter().map(|name| agent::start(&shop.lab, shop.lab.host(name)?)).collect();
        let _agents = started?;
        wait::until("every table is back without a platform", SOON, || {
            Ok(shop.check_kernels().ok())
        })?;
        shop.verify()
    })
}

#[test]
fn the_configuration_is_changed_in_place_and_a_bad_one_changes_nothing() -> Result<()> {
    in_lab("the_configuration_is_changed_in_place_and_a_bad_one_changes_nothing", || {
        let shop = Shop::start()?;
        let host = shop.lab.host("web")?;
        let configuration = shop.platform.host_configuration(&shop.lab)?;
        agent::register(&shop.lab, host, &configuration, RARE_HEARTBEAT)?;
        let mut running = agent::start(&shop.lab, host)?;
        let (key, domain) =
            (shop.platform.deployment_key(&shop.lab)?, shop.platform.address().to_string());
        let again = ["register", "--domain", &domain, "--deploymentKey", &key, "--name", "web-9"];
        host.run(shop.lab.programs().agent()?, again)?;
        wait::until("the running agent goes by what register wrote", SOON, || {
            let status = agent::status(&shop.lab, host)?;
            Ok((status["host"]["name"] == "web-9").then_some(()))
        })?;

        let set = ["updateConfig", "--set", "configuration.telemetry-seconds=45"];
        assert!(agent::command(&shop.lab, host, &set)?.status.success());
        // As if a shell had cut off the rest.
        let cut = agent::command(&shop.lab, host, &["updateConfig", "--param", "configuration.a"])?;
        let said = String::from_utf8_lossy(&cut.stderr).into_owned();
        assert!(!cut.status.success() && said.contains("--value is missing; the shell"), "{said}");
        let telemetry = agent::command(&shop.lab, host, &["telemetry"])?;
        let said = String::from_utf8_lossy(&telemetry.stdout).into_owned();
        assert!(said.contains("% of a core, of 10") && !said.contains('{'), "{said}");

        let change = |value: &str| {
            let param = "configuration.heartbeat-seconds;configuration.proxy";
            agent::command(&shop.lab, host, &["updateConfig", "--param", param, "--value", value])
        };
        let refused = change("60;proxy.example.com:3128")?;
        assert!(!refused.status.success());
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains("host name"), "{said}");
        assert_eq!(agent::status(&shop.lab, host)?["heartbeat_seconds"], 3600);

        let taken = change("60;10.77.0.250:3128")?;
        assert!(taken.status.success(), "{taken:?}");
        let status = wait::until("the new route is known", SOON, || {
            let status = agent::status(&shop.lab, host)?;
            let routes = status["last_cycle"]["outcome"]["routes"].as_array().map(Vec::len);
            Ok((routes == Some(2)).then_some(status))
        })?;
        assert_eq!(status["heartbeat_seconds"], 60, "{status}");

        // An invalid file is refused with its position, and nothing else happens.
        let path = host.file(agent::CONFIG);
        let text = std::fs::read_to_string(&path)?;
        std::fs::write(&path, text.replace("  proxy:", "  proxy: ["))?;
        host.run("kill", ["-HUP", &status["pid"].to_string()])?;
        wait::until("the agent says why", SOON, || {
            Ok(running.output()?.contains("config.yaml:").then_some(()))
        })?;
        assert_eq!(agent::status(&shop.lab, host)?["heartbeat_seconds"], 60);
        running.still_runs()
    })
}

/// Connection tracking can't be removed from a kernel; the agent is configured not to use it.
#[test]
fn paths_come_from_the_recorder_where_connection_tracking_does_not_answer() -> Result<()> {
    in_lab("paths_come_from_the_recorder_where_connection_tracking_does_not_answer", || {
        let shop = Shop::start()?;
        let db = shop.lab.host("db")?;
        let configuration = shop.platform.host_configuration(&shop.lab)?;
        agent::register(&shop.lab, db, &configuration, "heartbeat-seconds: 2")?;
        let mut command = db.command(shop.lab.programs().agent()?);
        command.args(["run", "--log-level", "debug"]).env("XSHIELD_WITHOUT", "conntrack");
        let mut agent = db.spawn("ctagent", command)?;
        wait::until("the agent has registered", SOON, || {
            agent.still_runs()?;
            let status = agent::status(&shop.lab, db).unwrap_or_default();
            Ok((status["last_cycle"]["outcome"]["platform"] == "reached").then_some(()))
        })?;
        let tags = shop.example.hosts.iter().find(|host| host.name == "db").map(|host| &host.tags);
        shop.platform.tag(&shop.lab, "db", tags.into_iter().flatten())?;
        shop.commit_edited(|text| {
            text.replace(
                "[segment:app], services: [tcp], process: postgres",
                "[10.77.0.12], services: [tcp/5432]",
            )
        })?;
        wait::until("db enforces", SOON, || {
            Ok(agent::revision(&shop.lab, db)?.is_some().then_some(()))
        })?;
        let mut open = Matrix::of(&["app", "db"], &[Port::Tcp(5432)], |_| {
            Expectation::passes("app may reach db")
        });
        open.probe(&shop.lab)?;
        let app = shop.lab.host("app")?.v4().to_string();
        let path = wait::until("the path is told", SOON, || {
            let told = shop.platform.json(&shop.lab, &["paths", "--asset", "db"])?;
            let items = told["items"].as_array().or(told.as_array()).cloned().unwrap_or_default();
            let fits = |path: &serde_json::Value| {
                path["source"] == app.as_str()
                    && path["port"] == 5432
                    && path["direction"] == "inbound"
            };
            Ok(items.into_iter().find(fits))
        })?;
        anyhow::ensure!(path["from"] == "recorder", "{path:#}");
        anyhow::ensure!(path["connections"].as_u64() > Some(0), "{path:#}");
        let program = path["process"].as_str().unwrap_or_default();
        anyhow::ensure!(program.ends_with("/postgres"), "{path:#}");
        let output = agent::command(&shop.lab, db, &["telemetry", "--json"])?;
        let said = String::from_utf8_lossy(&output.stdout);
        anyhow::ensure!(said.contains("from the flow recorder: "), "{said}");
        Ok(())
    })
}
