//! From a policy on the platform to packets dropped in the kernel, and back: real binaries, real kernels.
//! Every port that must be closed was open before ([`Shop::start`] fails otherwise).

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Result;
use xshield_lab::hold::{Held, Link};
use xshield_lab::kernel::Kernel;
use xshield_lab::matrix::{Expectation, Matrix};
use xshield_lab::privilege::in_lab;
use xshield_lab::probe::Port;
use xshield_lab::service::Service;
use xshield_lab::shop::{self, Shop};
use xshield_lab::spark::{self, SparkRun};
use xshield_lab::{host, wait};

fn run_on(shop: &Shop, host: &str) -> Result<SparkRun> {
    spark::run(&shop.lab, shop.lab.host(host)?)
}

#[test]
fn a_policy_becomes_dropped_packets() -> Result<()> {
    in_lab("a_policy_becomes_dropped_packets", || {
        let shop = Shop::start()?;
        shop.register()?;
        shop.commit()?;
        shop.enforce()?;
        shop.check_kernels()?;
        shop.verify()
    })
}

#[test]
fn an_unexpectedly_open_port_is_detected() -> Result<()> {
    in_lab("an_unexpectedly_open_port_is_detected", || {
        let shop = Shop::start_enforced()?;
        shop.commit_edited(|text| {
            text.replace(
                "from: [segment:web], services: [tcp/8080]",
                "from: [segment:web], services: [tcp/8080, icmp/echo-request]",
            )
        })?;
        shop.enforce()?;
        // Only app is open; web still answers pings.
        shop.verify()?;
        shop.commit_edited(|text| {
            text.replace(
                "to: [segment:app], services: [tcp/8080]",
                "to: [segment:app], services: [tcp/8080, icmp/echo-request]",
            )
            .replace(
                "from: [segment:web], services: [tcp/8080]",
                "from: [segment:web], services: [tcp/8080, icmp/echo-request]",
            )
        })?;
        shop.enforce()?;
        let error = shop.verify().unwrap_err().to_string();
        assert!(error.starts_with("2 of 280 cells are wrong"), "{error}");
        assert!(error.contains("ping over IPv6: expected drop, got pass   <---- WRONG"), "{error}");
        Ok(())
    })
}

#[test]
fn a_process_rule_opens_the_ports_of_that_process_and_no_others() -> Result<()> {
    in_lab("a_process_rule_opens_the_ports_of_that_process_and_no_others", || {
        let mut shop = Shop::start_enforced()?;
        shop.lab.serve("db", &Service { process: "postgres", tcp: &[5433], udp: &[] })?;
        shop.lab.serve("db", &Service { process: "impostor", tcp: &[5434], udp: &[] })?;
        // Allow app to reach every port of db, so that db's rules decide.
        shop.commit_edited(|text| {
            text.replace(
                "to: [segment:db], services: [tcp/5432]",
                "to: [segment:db], services: [tcp]",
            )
        })?;
        shop.enforce()?;
        let ports = [5432, 5433, 5434, 22].map(Port::Tcp);
        let mut matrix =
            Matrix::of(&["app", "db"], &ports, |flow| match (flow.to.as_str(), flow.port) {
                ("db", Port::Tcp(5432 | 5433)) => Expectation::passes("postgres listens there"),
                _ => Expectation::drops("another process"),
            });
        matrix.probe(&shop.lab)?;
        matrix.verify()
    })
}

/// As Debian packages Redis: `redis-server` is a link to a file with another name that contains several
/// programs. The rule refers to the process with the name in the rule.
#[test]
fn a_rule_with_a_symbolic_link_works_and_one_that_opens_nothing_is_reported() -> Result<()> {
    in_lab("a_rule_with_a_symbolic_link_works_and_one_that_opens_nothing_is_reported", || {
        let mut shop = Shop::start_enforced()?;
        let checker = Service { process: "redis-check-rdb", tcp: &[6379], udp: &[] };
        shop.lab.serve("db", &checker)?;
        let db = shop.lab.host("db")?;
        std::os::unix::fs::symlink(checker.process, db.file("/var/lib/services/redis-server"))?;
        let mut server = db.command("/var/lib/services/redis-check-rdb");
        server.args(["service", "--process", "redis-server", "--pretend", "--tcp", "6381"]);
        server.arg("--seen").arg(db.dir().join(xshield_lab::service::SEEN));
        let running = db.spawn("redis-server", server)?;
        wait::until("redis-server listens", Duration::from_secs(20), || {
            Ok(running.output()?.contains("open").then_some(()))
        })?;
        shop.commit_edited(|text| {
            let postgres = "services: [tcp], process: postgres }";
            let rule = |name: &str, ports: &str, process: &str| {
                format!(
                    "    - {{ name: {name}, from: [segment:app], services: [tcp/{ports}], \
                     process: {process} }}"
                )
            };
            let more = [
                postgres,
                &rule("cache", "6379-6389", "redis-server"),
                &rule("queue", "7000", "/var/lib/services/queue-server"),
                &rule("old-port", "6390", "redis-server"),
            ];
            text.replace(postgres, &more.join("\n")).replace(
                "to: [segment:db], services: [tcp/5432]",
                "to: [segment:db], services: [tcp]",
            )
        })?;
        shop.enforce()?;
        let ports = [5432, 6379, 6381].map(Port::Tcp);
        let mut cells = Matrix::of(&["app", "db"], &ports, |flow| match flow.port {
            Port::Tcp(6379) => Expectation::drops("the same file under its own name"),
            _ => Expectation::passes("its program listens"),
        })
        .only(|flow| flow.to == "db");
        cells.probe(&shop.lab)?;
        cells.verify()?;
        let run = run_on(&shop, "db")?;
        let problems = run.json["problems"].as_array().cloned().unwrap_or_default();
        let told: Vec<&str> = problems
            .iter()
            .filter(|problem| problem["code"] == "rule-opens-nothing")
            .filter_map(|problem| problem["text"].as_str())
            .collect();
        let [queue, old_port] = told[..] else { anyhow::bail!("told: {problems:#?}") };
        assert!(queue.contains("db-tier/queue (inbound) opens nothing"), "{queue}");
        assert!(queue.contains("there is no file /var/lib/services/queue-server"), "{queue}");
        assert!(old_port.contains("found: it listens on tcp/6381"), "{old_port}");
        Ok(())
    })
}

#[test]
fn flushed_rules_are_restored_at_the_next_run() -> Result<()> {
    in_lab("flushed_rules_are_restored_at_the_next_run", || {
        let shop = Shop::start_enforced()?;
        shop.lab.host("db")?.run("nft", ["flush", "ruleset"])?;
        let mut open = Matrix::of(&["attacker", "db"], &[Port::Tcp(5432)], |_| {
            Expectation::passes("db's rules are flushed")
        });
        open.probe(&shop.lab)?;
        open.verify()?;

        let run = run_on(&shop, "db")?;
        assert_eq!(run.json["change"], "repaired", "{run:?}");
        assert_eq!(run.exit.code(), Some(0), "{run:?}");
        shop.check_kernels()?;
        shop.verify()
    })
}

#[test]
fn a_second_run_changes_nothing() -> Result<()> {
    in_lab("a_second_run_changes_nothing", || {
        let shop = Shop::start_enforced()?;
        let before = Kernel::read(shop.lab.host("web")?)?.programmed();
        let run = run_on(&shop, "web")?;
        assert_eq!(run.json["change"], "none", "{run:?}");
        assert_eq!(Kernel::read(shop.lab.host("web")?)?.programmed(), before);
        Ok(())
    })
}

#[test]
fn the_last_known_good_ruleset_stays_while_the_platform_is_unreachable() -> Result<()> {
    in_lab("the_last_known_good_ruleset_stays_while_the_platform_is_unreachable", || {
        let mut shop = Shop::start_enforced()?;
        shop.platform.stop()?;
        let run = run_on(&shop, "web")?;
        assert_eq!(run.status(), "platform-unreachable", "{run:?}");
        assert_eq!(run.exit.code(), Some(5), "{run:?}");
        shop.verify()?;

        // Also if the rules are gone at the same time: a reboot without a platform.
        for name in shop.example.host_names() {
            shop.lab.host(name)?.run("nft", ["flush", "ruleset"])?;
            let mut restore = spark::command(
                &shop.lab,
                shop.lab.host(name)?,
                &["restore", "--config", spark::CONFIG],
            )?;
            let output = restore.output()?;
            assert!(output.status.success(), "{name}: {output:?}");
        }
        shop.check_kernels()?;
        shop.verify()?;

        shop.platform.resume(&shop.lab)?;
        shop.enforce().map(drop)
    })
}

#[test]
fn tightening_ends_only_the_newly_denied_connections() -> Result<()> {
    in_lab("tightening_ends_only_the_newly_denied_connections", || {
        let shop = Shop::start()?;
        shop.register()?;
        let hold = |from: &str, to: &str, port: u16| -> Result<Held> {
            let to = SocketAddr::new(shop.lab.host(to)?.v4().into(), port);
            Held::open(shop.lab.host(from)?, shop.lab.programs(), to)
        };
        let mut allowed = hold("laptop", "web", 80)?;
        let mut inner = hold("web", "app", 8080)?;
        let mut denied = hold("laptop", "db", 5432)?;
        let mut quarantined = hold("attacker", "web", 80)?;

        shop.commit()?;
        shop.enforce()?;
        assert_eq!(allowed.link()?, Link::Alive, "laptop -> web:80");
        assert_eq!(inner.link()?, Link::Alive, "web -> app:8080");
        assert_eq!(denied.link()?, Link::Cut, "laptop -> db:5432");
        assert_eq!(quarantined.link()?, Link::Cut, "attacker -> web:80");
        Ok(())
    })
}

#[test]
fn test_mode_drops_nothing() -> Result<()> {
    in_lab("test_mode_drops_nothing", || {
        let shop = Shop::start_enforced()?;
        shop.verify()?;
        shop.commit_edited(|text| text.replace("mode: enforce", "mode: test"))?;
        shop.enforce()?;
        let mut open = Matrix::of(&shop.example.host_names(), &shop::ports(), |_| {
            Expectation::passes("mode test")
        });
        open.probe(&shop.lab)?;
        open.verify()
    })
}

/// A stricter segment in mode `test` besides enforced ones, and an allow rule that is only tested.
const TESTED: &str = "
---
segment:
  name: stricter
  criteria: application = 'shop'
  templates: [wide]
  inbound: { level: secure-inbound-paths, mode: test }
  outbound: { level: secure-intranet-paths, mode: test }
---
template:
  name: wide
  action: allow
  inbound: [ { name: all, from: [any], services: [any] } ]
  outbound: [ { name: everything, to: [any], services: [any] } ]
---
segment:
  name: isolation-test
  criteria: role = 'web'
  templates: [isolation]
  inbound: { level: secure-inbound-paths, mode: test }
---
template:
  name: isolation
  action: block
  inbound: [ { name: https, from: [any], services: [tcp/443] } ]
";

#[test]
fn a_segment_in_test_mode_beside_an_enforced_one_changes_no_packet() -> Result<()> {
    in_lab("a_segment_in_test_mode_beside_an_enforced_one_changes_no_packet", || {
        let shop = Shop::start_enforced()?;
        shop.verify()?;
        let add = |text: &str| match text.contains("name: laptops") {
            true => format!("{text}{TESTED}"),
            false => text.to_owned(),
        };
        shop.commit_edited(add)?;
        shop.enforce()?;
        shop.verify()?;
        // What the test would drop passed, and is recorded with its rule.
        wait::until("the would-be denials are reported", Duration::from_secs(30), || {
            run_on(&shop, "web")?;
            let list = ["events", "--asset", "web", "--kind", "would-deny", "--port", "443"];
            let events = shop.platform.json(&shop.lab, &list)?.to_string();
            Ok(events.contains("isolation/https").then_some(()))
        })
    })
}

#[test]
fn with_firewalld_nothing_is_changed_or_enforced() -> Result<()> {
    in_lab("with_firewalld_nothing_is_changed_or_enforced", || {
        let shop = Shop::start()?;
        let web = shop.lab.host("web")?;
        std::fs::write(web.file("/etc/systemd/system/firewalld.service"), "[Unit]\n")?;
        spark::configure(web, &shop.platform.host_configuration(&shop.lab)?)?;
        let run = run_on(&shop, "web")?;
        assert_eq!((run.status(), run.exit.code()), ("blocked", Some(4)), "{run:?}");
        let restore =
            spark::command(&shop.lab, web, &["restore", "--config", spark::CONFIG])?.output()?;
        let said = String::from_utf8_lossy(&restore.stderr);
        assert!(!restore.status.success() && said.contains("firewalld"), "{said}");
        assert!(Kernel::read(web)?.tables().is_empty());
        Ok(())
    })
}

#[test]
fn other_tables_are_never_changed_and_remove_deletes_only_ours() -> Result<()> {
    in_lab("other_tables_are_never_changed_and_remove_deletes_only_ours", || {
        let shop = Shop::start()?;
        let web = shop.lab.host("web")?;
        web.run("nft", ["add table ip mine; add chain ip mine c; add rule ip mine c counter"])?;
        shop.register()?;
        shop.commit()?;
        shop.enforce()?;
        assert_eq!(Kernel::read(web)?.tables(), ["ip mine", "inet xshield"]);
        let removed =
            spark::command(&shop.lab, web, &["remove", "--config", spark::CONFIG])?.output()?;
        assert!(removed.status.success(), "{removed:?}");
        let kernel = Kernel::read(web)?;
        assert_eq!(kernel.tables(), ["ip mine"]);
        assert_eq!(kernel.in_table("mine", "rule").count(), 1);
        assert!(!web.file("/var/lib/xshield/identity.key").exists());
        Ok(())
    })
}

#[test]
fn remove_leaves_a_mounted_state_directory_empty() -> Result<()> {
    in_lab("remove_leaves_a_mounted_state_directory_empty", || {
        const STATE: &str = "/var/lib/xshield";
        let shop = Shop::start()?;
        let web = shop.lab.host("web")?;
        web.run("mkdir", ["-p", STATE])?;
        web.run("mount", ["-t", "tmpfs", "-o", "mode=700", "tmpfs", STATE])?;
        shop.register()?;
        shop.commit()?;
        shop.enforce()?;
        assert!(web.run("ls", [STATE])?.contains("identity.key"));
        let removed =
            spark::command(&shop.lab, web, &["remove", "--config", spark::CONFIG])?.output()?;
        assert!(removed.status.success(), "{removed:?}");
        assert_eq!(web.run("ls", ["-A", STATE])?.trim(), "");
        assert!(Kernel::read(web)?.tables().is_empty());
        Ok(())
    })
}

#[test]
fn a_damaged_state_file_is_survived_and_reported() -> Result<()> {
    in_lab("a_damaged_state_file_is_survived_and_reported", || {
        let shop = Shop::start_enforced()?;
        let db = shop.lab.host("db")?;
        for name in ["enforced", "progress", "session"] {
            std::fs::write(db.file(&format!("/var/lib/xshield/{name}")), "\u{1}half written")?;
            let run = run_on(&shop, "db")?;
            assert_eq!(run.exit.code(), Some(0), "{name}: {run:?}");
            // A lost session costs a handshake and is nothing that an operator could act on.
            if name != "session" {
                let problems = run.json["problems"].to_string();
                assert!(problems.contains(name), "{name}: {problems}");
            }
        }
        shop.verify()
    })
}

#[test]
fn a_platform_with_another_ca_is_refused() -> Result<()> {
    in_lab("a_platform_with_another_ca_is_refused", || {
        let shop = Shop::start_enforced()?;
        let db = shop.lab.host("db")?;
        let config = std::fs::read_to_string(db.file(spark::CONFIG))?;
        let tampered = config.replacen("MII", "MIJ", 1);
        assert_ne!(config, tampered);
        std::fs::write(db.file(spark::CONFIG), tampered)?;
        let run = run_on(&shop, "db")?;
        assert_ne!(run.exit.code(), Some(0), "{run:?}");
        std::fs::write(db.file(spark::CONFIG), config)?;
        shop.verify()
    })
}

#[test]
fn a_policy_that_would_block_the_platform_is_refused() -> Result<()> {
    in_lab("a_policy_that_would_block_the_platform_is_refused", || {
        let shop = Shop::start_enforced()?;
        let cut = "\n---\ntemplate:\n  name: cut\n  action: block\n  outbound:\n    - { name: all, to: [any], services: [any] }\n";
        let error = shop
            .commit_edited(|text| {
                if text.contains("name: web-tier\n") {
                    format!("{text}{cut}")
                } else {
                    text.replace("[web-tier, ", "[web-tier, cut, ")
                }
            })
            .unwrap_err();
        assert!(format!("{error:#}").contains("cut/all"), "{error:#}");
        shop.enforce()?;
        shop.verify()
    })
}

/// Spark on the platform's host, with rules that deny everything and that block every host: clients that
/// could reach the platform still can, with new connections, and nothing else is reachable there.
#[test]
fn no_policy_blocks_the_platform_on_its_own_host() -> Result<()> {
    in_lab("no_policy_blocks_the_platform_on_its_own_host", || {
        const STANCE: &str = "inbound: { level: secure-inbound-paths, mode: enforce }";
        const BLOCK: &str = "\n---\ntemplate:\n  name: cut-off\n  action: block\n  inbound:\n    \
                             - { name: lan, from: [10.77.0.8/29, 10.77.0.64/26], services: [any] }\n";
        let mut shop = Shop::start_enforced()?;
        let own = xshield_lab::platform::HOST;
        shop.lab.serve(own, &Service { process: "nginx", tcp: &[80], udp: &[] })?;
        spark::configure(shop.lab.host(own)?, &shop.platform.host_configuration(&shop.lab)?)?;
        spark::all_succeeded(&[(own, run_on(&shop, own)?)])?;
        shop.platform.cli(&shop.lab, &["asset", "tag", own, "role=platform"])?;
        let dial = ["3", "bash", "-c", "exec 3<>/dev/tcp/10.77.0.1/80"];
        shop.lab.host("attacker")?.run("timeout", dial)?;
        let probe = |why: &str| -> Result<()> {
            for (port, open) in [(xshield_lab::platform::PORT, true), (80, false)] {
                let dial = format!("exec 3<>/dev/tcp/10.77.0.1/{port}");
                let dialled = shop.lab.host("attacker")?.run("timeout", ["3", "bash", "-c", &dial]);
                anyhow::ensure!(dialled.is_ok() == open, "{why}: port {port}: {dialled:?}");
            }
            Ok(())
        };
        let commit = |attach: &str, more: &str| {
            let segment = format!(
                "\n---\nsegment:\n  name: platform\n  criteria: role = 'platform'\n  \
                 templates: [{attach}]\n  {STANCE}\n"
            );
            shop.commit_edited(|text| match text.contains("name: web-tier\n") {
                true => format!("{text}{segment}{more}"),
                false => text.to_owned(),
            })
        };
        for (why, attach, more) in
            [("the level is closed", "", ""), ("its network is blocked", "cut-off", BLOCK)]
        {
            commit(attach, more)?;
            let revision = shop.enforce()?;
            wait::until("the platform's host enforces it", Duration::from_secs(60), || {
                Ok((run_on(&shop, own)?.revision() == Some(revision)).then_some(()))
            })?;
            probe(why)?;
            // Also from every other host.
            shop.enforce()?;
        }
        // Once the platform knows the owner of the address, such a rule is refused.
        shop.platform.cli(&shop.lab, &["asset", "accept", own, "10.77.0.1"])?;
        let error = format!("{:#}", commit("cut-off", BLOCK).unwrap_err());
        assert!(
            error.contains("cut-off/lan would block the platform at 10.77.0.1:8443"),
            "{error}"
        );
        probe("the refused policy changed nothing")
    })
}

/// Killed at many points of a cycle with maximum work: afterwards the packets meet the whole policy or none,
/// never a part of it, and the next run repairs everything.
#[test]
fn a_killed_run_leaves_a_complete_policy_or_none() -> Result<()> {
    in_lab("a_killed_run_leaves_a_complete_policy_or_none", || {
        const POINTS: u32 = 12;
        let shop = Shop::start_enforced()?;
        let db = shop.lab.host("db")?;
        let oracle = shop.oracle()?;
        let mut policy =
            Matrix::of(&["app", "attacker", "db"], &shop::ports(), |flow| oracle.expect(flow));
        let begin = Instant::now();
        run_on(&shop, "db")?;
        let cycle = begin.elapsed();

        for point in 0..=POINTS {
            db.run("nft", ["flush", "ruleset"])?;
            let mut command = spark::command(&shop.lab, db, &["run", "--config", spark::CONFIG])?;
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = command.spawn()?;
            let (_never, moment) = std::sync::mpsc::channel::<()>();
            let _elapsed = moment.recv_timeout(cycle * point / POINTS);
            host::kill(&mut child)?;

            let open = db_is_open(&shop)?;
            if !open {
                policy.probe(&shop.lab)?;
                assert!(
                    policy.wrong().is_empty(),
                    "killed at point {point}: half a policy:\n{policy}"
                );
            }
            let run = run_on(&shop, "db")?;
            assert_eq!(run.status(), "enforcing", "killed at point {point}: {run:?}");
            policy.probe(&shop.lab)?;
            policy.verify()?;
        }
        shop.verify()
    })
}

/// Whether db accepts the attacker, on a port where only db's own rules could deny it.
fn db_is_open(shop: &Shop) -> Result<bool> {
    let mut closed = Matrix::of(&["attacker", "db"], &[Port::Tcp(5432)], |_| {
        Expectation::drops("db's rules, when they are there")
    });
    closed.probe(&shop.lab)?;
    Ok(closed.wrong().iter().any(|flow| flow.to == "db"))
}

#[test]
fn two_runs_never_overlap() -> Result<()> {
    in_lab("two_runs_never_overlap", || {
        let shop = Shop::start_enforced()?;
        let web = shop.lab.host("web")?;
        let mut holder = web.command("flock");
        holder.args(["/var/lib/xshield/lock", "cat"]).stdin(Stdio::piped());
        let mut holder = holder.spawn()?;
        let run = wait::until("the lock is held", Duration::from_secs(10), || {
            let run = run_on(&shop, "web")?;
            Ok((run.status() == "another-run").then_some(run))
        })?;
        assert_eq!(run.exit.code(), Some(0), "{run:?}");
        host::kill(&mut holder)
    })
}
