//! Observations of hosts as shown by the platform: counted exactly once, each with the rule that decided.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xshield_enforce::step::Step;
use xshield_lab::matrix::{Expectation, Matrix};
use xshield_lab::privilege::in_lab;
use xshield_lab::probe::Port;
use xshield_lab::shop::Shop;
use xshield_lab::spark;
use xshield_lab::wait;

const LIMIT: Duration = Duration::from_secs(60);

/// Sends datagrams from attacker, each from another port.
fn send(shop: &Shop, to: &str, port: u16, datagrams: u32) -> Result<()> {
    let to = shop.lab.host(to)?.v4();
    let script = format!("for i in $(seq {datagrams}); do echo x > /dev/udp/{to}/{port}; done");
    shop.lab.host("attacker")?.run("bash", ["-c", &script]).map(drop)
}

fn run_on(shop: &Shop, host: &str) -> Result<()> {
    let run = spark::run(&shop.lab, shop.lab.host(host)?)?;
    ensure!(run.status() == "enforcing", "{run:?}");
    Ok(())
}

/// The denied flows from attacker to one port of a host, by IPv4.
fn denied(shop: &Shop, host: &str, port: u16) -> Result<Vec<Value>> {
    let port_text = port.to_string();
    let list = ["events", "--asset", host, "--kind", "denied", "--port", &port_text];
    let events = shop.platform.json(&shop.lab, &list)?;
    let attacker = shop.lab.host("attacker")?.v4().to_string();
    let items = events["items"].as_array().or(events.as_array()).context("a list of events")?;
    Ok(items.iter().filter(|event| event["source"] == attacker.as_str()).cloned().collect())
}

fn packets(events: &[Value]) -> u64 {
    events.iter().filter_map(|event| event["packets"].as_u64()).sum()
}

#[test]
fn denied_packets_become_events_that_name_the_rule() -> Result<()> {
    in_lab("denied_packets_become_events_that_name_the_rule", || {
        let shop = Shop::start_enforced()?;
        send(&shop, "db", 9999, 7)?;
        send(&shop, "web", 9999, 5)?;
        run_on(&shop, "db")?;
        run_on(&shop, "web")?;
        let on_db = denied(&shop, "db", 9999)?;
        ensure!(packets(&on_db) == 7 && on_db[0]["direction"] == "inbound", "{on_db:?}");
        let on_web = denied(&shop, "web", 9999)?;
        ensure!(packets(&on_web) == 5, "{on_web:?}");
        ensure!(on_web[0]["rule"] == "quarantine/known-bad", "{on_web:?}");

        let programmed = shop.platform.json(&shop.lab, &["programmed", "web"])?;
        let hits = programmed["hits"].as_array().context("hit counts")?;
        let blocked = hits.iter().find(|hit| hit["rule"] == "quarantine/known-bad");
        let blocked = blocked.context("the block rule was hit")?;
        ensure!(blocked["packets"].as_u64() >= Some(5), "{blocked}");

        let ports = shop.platform.json(&shop.lab, &["ports", "db"])?.to_string();
        ensure!(ports.contains("postgres") && ports.contains("5432"), "{ports}");
        Ok(())
    })
}

#[test]
fn packets_are_counted_once_despite_killed_runs() -> Result<()> {
    in_lab("packets_are_counted_once_despite_killed_runs", || {
        let mut shop = Shop::start_enforced()?;
        let mut sent = 0;
        for step in [Step::Collected, Step::CheckedIn, Step::Saved, Step::Spooled, Step::Delivered]
        {
            send(&shop, "db", 9999, 3)?;
            sent += 3;
            let mut command = shop.lab.host("db")?.command("env");
            command.arg(format!("XSHIELD_KILL_AT={step}")).arg(shop.lab.programs().spark()?);
            command.args(["run", "--config", spark::CONFIG]);
            let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
            ensure!(!matches!(status.code(), Some(0..=8)), "not killed at {step}: {status}");
        }
        // Observations during an outage of the platform are kept, too.
        shop.platform.stop()?;
        send(&shop, "db", 9999, 4)?;
        sent += 4;
        let run = spark::run(&shop.lab, shop.lab.host("db")?)?;
        ensure!(run.status() == "platform-unreachable", "{run:?}");
        shop.platform.resume(&shop.lab)?;
        wait::until("every report is delivered", LIMIT, || {
            let run = spark::run(&shop.lab, shop.lab.host("db")?)?;
            Ok((run.json["waiting"] == 0 && run.status() == "enforcing").then_some(()))
        })?;
        let events = denied(&shop, "db", 9999)?;
        ensure!(packets(&events) == sent, "sent {sent}: {events:?}");
        Ok(())
    })
}

#[test]
fn reports_refused_for_overload_wait_on_the_host_and_are_counted_once() -> Result<()> {
    in_lab("reports_refused_for_overload_wait_on_the_host_and_are_counted_once", || {
        let mut shop = Shop::start_enforced()?;
        // The initial reports exceed the budget by some 30 rows: half a minute.
        let granted = [("XSHIELD_HOST_ROWS_PER_SECOND", "1"), ("XSHIELD_HOST_ROWS_AT_ONCE", "20")];
        shop.platform.restart_with(&shop.lab, &granted)?;
        let db = shop.lab.host("db")?;
        let scan = |shop: &Shop, from: u32, ports: u32| -> Result<()> {
            let script = format!(
                "for port in $(seq {from} {}); do echo x > /dev/udp/{}/$port; done",
                from + ports - 1,
                shop.lab.host("db")?.v4()
            );
            shop.lab.host("attacker")?.run("bash", ["-c", &script]).map(drop)
        };
        let seen = |shop: &Shop| -> Result<(u64, u64)> {
            let list = ["events", "--asset", "db", "--kind", "denied", "--limit", "500"];
            let events = shop.platform.json(&shop.lab, &list)?;
            let items = events["items"].as_array().or(events.as_array()).context("a list")?;
            let attacker = shop.lab.host("attacker")?.v4().to_string();
            let of_scans: Vec<Value> = items
                .iter()
                .filter(|event| {
                    event["source"] == attacker.as_str()
                        && event["port"].as_u64().is_some_and(|port| (9000..9600).contains(&port))
                })
                .cloned()
                .collect();
            Ok((of_scans.len() as u64, packets(&of_scans)))
        };
        scan(&shop, 9000, 50)?;
        run_on(&shop, "db")?;
        ensure!(
            seen(&shop)? == (50, 50),
            "more than is granted at once is taken once: {:?}",
            seen(&shop)?
        );

        scan(&shop, 9500, 10)?;
        let refused = spark::run(&shop.lab, db)?;
        ensure!(refused.status() == "enforcing", "{refused:?}");
        ensure!(refused.json["waiting"].as_u64() > Some(0), "nothing waits: {refused:?}");
        let problems = refused.json["problems"].to_string();
        let (_, seconds) = problems.split_once("try again in ").context(problems.clone())?;
        let (seconds, _) = seconds.split_once(" s").context(problems.clone())?;
        let again = Instant::now() + Duration::from_secs(seconds.parse()?);
        ensure!(problems.contains("report-undelivered"), "{problems}");
        ensure!(seen(&shop)? == (50, 50), "{:?}", seen(&shop)?);
        // Until the time named by the platform, the host does not retry, and loses nothing.
        let waiting = spark::run(&shop.lab, db)?;
        ensure!(waiting.json["waiting"].as_u64() > Some(0), "{waiting:?}");
        let problems = waiting.json["problems"].to_string();
        ensure!(!problems.contains("report-undelivered"), "it asked again: {problems}");

        // Other hosts have their own budgets.
        send(&shop, "web", 9999, 5)?;
        run_on(&shop, "web")?;
        ensure!(packets(&denied(&shop, "web", 9999)?) == 5);

        wait::until("the time that the platform named comes", LIMIT, || {
            Ok((Instant::now() >= again).then_some(()))
        })?;
        // The next runs follow without a pause, and each has some rows to report.
        let granted =
            [("XSHIELD_HOST_ROWS_PER_SECOND", "1000"), ("XSHIELD_HOST_ROWS_AT_ONCE", "100000")];
        shop.platform.restart_with(&shop.lab, &granted)?;
        let db = shop.lab.host("db")?;
        wait::until("what waited is delivered", 2 * LIMIT, || {
            let run = spark::run(&shop.lab, db)?;
            Ok((run.json["waiting"] == 0).then_some(()))
        })?;
        ensure!(seen(&shop)? == (60, 60), "each is there once: {:?}", seen(&shop)?);
        Ok(())
    })
}

#[test]
fn explain_names_the_rule_in_the_kernel() -> Result<()> {
    in_lab("explain_names_the_rule_in_the_kernel", || {
        let shop = Shop::start_enforced()?;
        let web = shop.lab.host("web")?;
        let address = |host: &str| -> Result<String> { Ok(shop.lab.host(host)?.v4().to_string()) };
        for (packet, verdict, rule) in [
            (format!("in tcp {}:40000 -> :443", address("laptop")?), "allow", "web-tier/customers"),
            (
                format!("in tcp {}:40000 -> :443", address("attacker")?),
                "deny",
                "quarantine/known-bad",
            ),
            (format!("out tcp -> {}:8080", address("app")?), "allow", "web-tier/to-app"),
            (format!("out tcp -> {}:5432", address("db")?), "deny", "default/"),
            (format!("out tcp -> {}", shop.platform.address()), "allow", "failsafe/"),
        ] {
            let output =
                spark::command(&shop.lab, web, &["explain", "--json", &packet])?.output()?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let said: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
            ensure!(said["verdict"] == verdict, "{packet}: {text}");
            ensure!(
                said["rule"].as_str().unwrap_or_default().starts_with(rule),
                "{packet}: {text}"
            );
        }
        Ok(())
    })
}

#[test]
fn an_unenforceable_rule_is_reported_and_opens_nothing() -> Result<()> {
    in_lab("an_unenforceable_rule_is_reported_and_opens_nothing", || {
        let shop = Shop::start_enforced()?;
        let only_web_to_app = |expected: Expectation| -> Result<()> {
            let cells = Matrix::of(&["web", "app"], &[Port::Tcp(8080)], |_| expected.clone());
            let mut cell = cells.only(|flow| flow.from == "web");
            cell.probe(&shop.lab)?;
            cell.verify()
        };
        only_web_to_app(Expectation::passes("web-tier/to-app"))?;
        shop.commit_edited(|text| {
            text.replace(
                "to: [segment:app], services: [tcp/8080]",
                "to: [segment:app], services: [tcp/8080], process: /usr/bin/no-such-program",
            )
        })?;
        shop.enforce()?;
        only_web_to_app(Expectation::drops("its only rule names a program that does not run"))?;
        let asset = shop.platform.json(&shop.lab, &["asset", "show", "web"])?.to_string();
        ensure!(
            asset.contains("rule-unenforceable") && asset.contains("no-such-program"),
            "{asset}"
        );
        // Even if a run changes nothing and only reports hits.
        for _run in 0..2 {
            let programmed = shop.platform.json(&shop.lab, &["programmed", "web"])?.to_string();
            ensure!(programmed.contains("no-such-program"), "{programmed}");
            send(&shop, "web", 9999, 1)?;
            run_on(&shop, "web")?;
        }
        let programmed = shop.platform.json(&shop.lab, &["programmed", "web"])?.to_string();
        ensure!(programmed.contains("no-such-program"), "{programmed}");
        Ok(())
    })
}
