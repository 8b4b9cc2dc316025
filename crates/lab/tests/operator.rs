//! What an operator sees: events, ports, programmed rules, explanations, refusals.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xshield_lab::dns::Dns;
use xshield_lab::kernel::Kernel;
use xshield_lab::matrix::{Expectation, Matrix};
use xshield_lab::platform;
use xshield_lab::privilege::{in_lab, is_real_root};
use xshield_lab::probe::Port;
use xshield_lab::shop::Shop;
use xshield_lab::spark::{self, SparkRun};
use xshield_lab::wait;

fn run_on(shop: &Shop, host: &str) -> Result<SparkRun> {
    spark::run(&shop.lab, shop.lab.host(host)?)
}

/// The items that a listing command of the platform prints.
fn items(shop: &Shop, arguments: &[&str]) -> Result<Vec<Value>> {
    let page = shop.platform.json(&shop.lab, arguments)?;
    let items = page.get("items").unwrap_or(&page).as_array().cloned();
    items.with_context(|| format!("xshield {arguments:?} printed {page}"))
}

#[test]
fn a_denied_packet_becomes_an_event_that_names_the_rule() -> Result<()> {
    in_lab("a_denied_packet_becomes_an_event_that_names_the_rule", || {
        let shop = Shop::start_enforced()?;
        shop.verify()?;
        assert_eq!(run_on(&shop, "web")?.status(), "enforcing");
        assert_eq!(run_on(&shop, "app")?.status(), "enforcing");

        let attacker = shop.lab.host("attacker")?;
        for address in attacker.addresses() {
            let address = address.to_string();
            let denied = items(
                &shop,
                &["events", "--asset", "web", "--kind", "denied", "--peer", &address],
            )?;
            let of_port = |port: u64| {
                denied.iter().find(|event| event["port"] == port && event["direction"] == "inbound")
            };
            for port in [22, 80, 443, 514, 5432, 8080] {
                let event = of_port(port)
                    .with_context(|| format!("no event of port {port}: {denied:#?}"))?;
                assert_eq!(event["rule"], "quarantine/known-bad", "{event}");
                assert!(event["packets"].as_u64().is_some_and(|packets| packets > 0), "{event}");
            }
        }
        // No rule matched, so none is named.
        let db = shop.lab.host("db")?.v4().to_string();
        let outbound =
            items(&shop, &["events", "--asset", "web", "--kind", "denied", "--peer", &db])?;
        let wanted = outbound.iter().find(|e| e["direction"] == "outbound" && e["port"] == 5432);
        assert!(wanted.is_some_and(|event| event["rule"].is_null()), "{outbound:#?}");
        // Allowed and counted.
        let web = shop.lab.host("web")?.v4().to_string();
        let accepted =
            items(&shop, &["events", "--asset", "app", "--kind", "accepted", "--peer", &web])?;
        let inbound = accepted.iter().find(|e| e["direction"] == "inbound" && e["port"] == 8080);
        assert_eq!(inbound.context("no accepted event")?["rule"], "app-tier/from-web");
        Ok(())
    })
}

#[test]
fn the_platform_knows_each_kernels_rules_and_listening_ports() -> Result<()> {
    in_lab("the_platform_knows_each_kernels_rules_and_listening_ports", || {
        let shop = Shop::start_enforced()?;
        let assets = items(&shop, &["asset", "list"])?;
        let mut names: Vec<&str> = assets.iter().filter_map(|a| a["name"].as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["app", "attacker", "db", "laptop", "web"]);

        let ports = shop.platform.json(&shop.lab, &["ports", "db"])?;
        let listening = |port: u64| {
            let all = ports["ports"].as_array().into_iter().flatten();
            all.filter(|p| p["port"] == port).filter_map(|p| p["process"].as_str()).next()
        };
        for (port, process) in [(22, "sshd"), (80, "nginx"), (5432, "postgres"), (514, "syslogd")] {
            assert_eq!(listening(port), Some(process), "port {port} of {ports:#}");
        }
        let programmed = shop.platform.json(&shop.lab, &["programmed", "db"])?.to_string();
        for rule in ["db-tier/from-app", "diagnostics/ping", "quarantine/known-bad"] {
            assert!(programmed.contains(rule), "{rule} is not in {programmed}");
        }
        Ok(())
    })
}

#[test]
fn without_grace_a_changed_dns_answer_changes_the_rules_in_the_same_run() -> Result<()> {
    in_lab("without_grace_a_changed_dns_answer_changes_the_rules_in_the_same_run", || {
        let shop = Shop::start()?;
        let dns = Dns::start(shop.lab.host(platform::HOST)?, shop.lab.programs())?;
        let address = |host: &str| -> Result<[String; 2]> {
            Ok(shop.lab.host(host)?.addresses().map(|address| format!("repo.shop.test {address}")))
        };
        let answer = |host: &str| -> Result<()> {
            let [v4, v6] = address(host)?;
            dns.answer(&["www.shop.test -> repo.shop.test", &v4, &v6])
        };
        answer("laptop")?;
        shop.register()?;
        for host in &shop.example.hosts {
            shop.platform.tag(&shop.lab, &host.name, &host.tags)?;
        }
        let to_app = "- { name: to-app, to: [segment:app], services: [tcp/8080] }";
        let to_domain = "- { name: repo, to: [\"domain:www.shop.test\"], services: [tcp/443] }";
        shop.commit_edited(|text| {
            // Receivers without inbound rules, so that web's outbound rules decide.
            text.replace(to_app, &format!("{to_app}\n    {to_domain}"))
                .replace(
                    "settings:\n",
                    "settings:\n  domains: [{ name: www.shop.test, grace: 0s }]\n",
                )
                .replace("inbound: { level: secure-all-ports, mode: enforce }", "")
        })?;
        shop.enforce()?;

        for target in ["laptop", "attacker", "laptop"] {
            answer(target)?;
            let run = run_on(&shop, "web")?;
            assert_eq!(run.status(), "enforcing", "{run:?}");
            let mut matrix =
                Matrix::of(&["web", "laptop", "attacker"], &[Port::Tcp(443)], |flow| {
                    match (flow.from.as_str(), flow.to.as_str()) {
                        ("web", to) if to == target => {
                            Expectation::passes("the domain's address now")
                        }
                        ("web", _) => Expectation::drops("not the domain's address now"),
                        ("attacker", "web") => Expectation::drops("quarantined"),
                        _ => Expectation::passes("not closed"),
                    }
                });
            matrix.probe(&shop.lab)?;
            matrix.verify().with_context(|| format!("www.shop.test is {target}"))?;
        }

        // A resolver that fails: the last good answer stays, and the problem is reported.
        drop(dns);
        let run = run_on(&shop, "web")?;
        assert_eq!(run.status(), "enforcing", "{run:?}");
        assert!(run.json["problems"].to_string().contains("www.shop.test"), "{run:?}");
        let mut still =
            Matrix::of(&["web", "laptop"], &[Port::Tcp(443)], |_| Expectation::passes("as before"));
        still.probe(&shop.lab)?;
        still.verify()
    })
}

#[test]
fn a_full_disk_neither_opens_ports_nor_damages_state() -> Result<()> {
    in_lab("a_full_disk_neither_opens_ports_nor_damages_state", || {
        let shop = Shop::start_enforced()?;
        let db = shop.lab.host("db")?;
        let fill = "cp -a /var/lib/xshield /tmp/state.$$ && mount -t tmpfs -o size=256k none /var/lib/xshield \
                    && cp -a /tmp/state.$$/. /var/lib/xshield/ && rm -r /tmp/state.$$ \
                    && (cat /dev/zero > /var/lib/xshield/filler 2>/dev/null || true)";
        db.run("sh", ["-c", fill])?;
        db.run("nft", ["flush", "ruleset"])?;
        let run = run_on(&shop, "db")?;
        shop.verify().with_context(|| format!("{run:?}"))?;
        assert!(run.json.to_string().contains("disk is full"), "{run:?}");
        db.run("rm", ["/var/lib/xshield/filler"])?;
        let run = run_on(&shop, "db")?;
        assert_eq!((run.status(), run.exit.code()), ("enforcing", Some(0)), "{run:?}");
        shop.verify()
    })
}

/// A rule for a user, one of whose processes has an open connection and another has ended.
#[test]
fn flows_of_programs_are_reported_and_explained_with_their_rule() -> Result<()> {
    in_lab("flows_of_programs_are_reported_and_explained_with_their_rule", || {
        if !is_real_root()? {
            eprintln!("SKIPPED: needs a real root to run programs as other users");
            return Ok(());
        }
        const RULE: &str = "app-tier/for-a-user";
        let shop = Shop::start_enforced()?;
        shop.commit_edited(|text| {
            text.replace(
                "{ name: to-db, to: [segment:db], services: [tcp/5432] }",
                "{ name: for-a-user, to: [segment:db], services: [tcp/5432], user: '4321' }",
            )
        })?;
        shop.enforce()?;
        let app = shop.lab.host("app")?;
        let as_user = |user: &str, then: &str| {
            let mut command = app.command("setpriv");
            command.args(["--reuid", user, "--clear-groups", "timeout", "20", "bash", "-c"]);
            command.arg(format!("exec 3<>/dev/tcp/10.77.0.13/5432 && {then}"));
            command
        };
        let ended = as_user("4321", "true").output()?;
        ensure!(ended.status.success(), "the rule's user connects: {ended:?}");
        let listed = |kind: &str| {
            let list = ["events", "--asset", "app", "--kind", kind, "--port", "5432"];
            items(&shop, &list)
        };
        let told = wait::until("the flow is told", Duration::from_secs(30), || {
            run_on(&shop, "app")?;
            let events = listed("accepted")?;
            Ok(events.into_iter().find(|event| event["direction"] == "outbound"))
        })?;
        ensure!(told["rule"] == RULE, "{told:#}");
        // A lasting connection is reported with its program, too.
        let mut stays = as_user("4321", "sleep 15").spawn()?;
        wait::until("its program is told", Duration::from_secs(30), || {
            run_on(&shop, "app")?;
            let events = listed("accepted")?;
            let named = |event: &&Value| event["process"].is_string() && event["rule"] == RULE;
            Ok(events.iter().find(named).map(|_| ()))
        })?;
        xshield_lab::host::kill(&mut stays)?;

        let explained = |words: &[&str]| -> Result<String> {
            let mut arguments = vec!["explain"];
            arguments.extend(words);
            let output = spark::command(&shop.lab, app, &arguments)?.output()?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            Ok(text + &String::from_utf8_lossy(&output.stderr))
        };
        // The flow as `xshield events` prints it.
        let flow = "tcp 10.77.0.12 -> 10.77.0.13:5432";
        for (words, expected) in [
            (&[flow][..], "denied by default/closed"),
            (&[flow, "as", "user:4321"], "allowed by app-tier/for-a-user"),
            (&[flow, "as", "user:4322"], "denied by default/closed"),
            (&[flow, "as", "unit:app.service,user:4321"], "allowed by app-tier/for-a-user"),
            (&[flow, "as", "process:/no/such"], "no such process is running here"),
            (&["tcp 10.77.0.12 -> 10.77.0.12:22 as user:1"], "for flows that this host opens"),
        ] {
            let text = explained(words)?;
            ensure!(text.contains(expected), "{words:?}: {text}");
        }
        Ok(())
    })
}

#[test]
fn explain_status_and_an_invalid_document() -> Result<()> {
    in_lab("explain_status_and_an_invalid_document", || {
        let shop = Shop::start_enforced()?;
        let db = shop.lab.host("db")?;
        let explained = |packet: &str| -> Result<String> {
            let mut command = spark::command(&shop.lab, db, &["explain", packet])?;
            let output = command.stderr(Stdio::piped()).output()?;
            assert!(output.status.success(), "{output:?}");
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        };
        for (packet, names) in [
            ("in tcp 10.77.0.12:40000 -> :5432", "db-tier/from-app"),
            ("in tcp 10.77.0.66:40000 -> :5432", "quarantine/known-bad"),
            ("in tcp 10.77.0.20:40000 -> :22", "management"),
            ("in icmp 10.77.0.20 type 8", "diagnostics/ping"),
        ] {
            let text = explained(packet)?;
            assert!(text.contains(names), "{packet}: {text}");
        }
        let status =
            spark::command(&shop.lab, db, &["status", "--config", spark::CONFIG])?.output()?;
        assert!(status.status.success(), "{status:?}");

        let bad = shop.lab.directory().join("bad");
        std::fs::create_dir_all(&bad)?;
        std::fs::write(bad.join("a.yaml"), "segment:\n  name: web\n  criteria: role = 'web'\n")?;
        std::fs::write(bad.join("b.yaml"), "template:\n  name: t\n  action: permit\n")?;
        let before = shop.platform.json(&shop.lab, &["policy", "get"])?;
        let error = shop.platform.apply(&shop.lab, &bad).unwrap_err();
        assert!(format!("{error:#}").contains("b.yaml:3:"), "{error:#}");
        assert_eq!(shop.platform.json(&shop.lab, &["policy", "get"])?, before);
        assert!(!Kernel::read(db)?.programmed().is_empty());
        Ok(())
    })
}
