//! Programs of users that look like the program of a rule: none gets its packets, each is reported, and the
//! real one is not affected.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use xshield_lab::matrix::{Expectation, Matrix};
use xshield_lab::privilege::{in_lab, is_real_root};
use xshield_lab::probe::Port;
use xshield_lab::service::{SEEN, SERVICES};
use xshield_lab::shop::Shop;
use xshield_lab::{Host, Running, wait};

const SOON: Duration = Duration::from_secs(20);
/// A login user and a service user.
const PERSON: &str = "4000";
const SERVICE: &str = "871";
/// A directory of the host that every user can write to.
const CROWD: &str = "/var/crowd";
/// Ports of the program itself, and of its lookalikes.
const REAL: u16 = 5432;
const CALLED: u16 = 6001;
const PLACED: u16 = 6002;
const MOUNTED: u16 = 6003;
const BESIDE: u16 = 6004;

/// A command on the host, run as that user.
fn as_user(host: &Host, user: &str) -> std::process::Command {
    let mut command = host.command("setpriv");
    command.args(["--reuid", user, "--regid", user, "--clear-groups", "--"]);
    command
}

/// Lets users of the host record what they receive, and copies programs to directories where they may write.
fn open_to_users(shop: &Shop, host: &Host) -> Result<()> {
    let reachable = fs::Permissions::from_mode(0o711);
    fs::set_permissions(shop.lab.directory(), reachable.clone())?;
    fs::set_permissions(host.dir(), reachable)?;
    fs::set_permissions(host.dir().join(SEEN), fs::Permissions::from_mode(0o666))?;
    host.run("mkdir", ["-m", "1777", CROWD])?;
    let lab = shop.lab.programs().lab().display().to_string();
    for name in ["own", "postgres"] {
        let copy = format!("{CROWD}/{name}");
        host.run("cp", [lab.as_str(), &copy])?;
        host.run("chown", [PERSON, &copy])?;
    }
    Ok(())
}

/// Starts lookalikes of `postgres` on db, each in another way; waits until all listen.
fn lookalikes(shop: &Shop, host: &Host) -> Result<Vec<Running>> {
    let real = format!("{SERVICES}/postgres");
    let (own, placed) = (format!("{CROWD}/own"), format!("{CROWD}/postgres"));
    let over = "mount --bind \"$1\" \"$2\" && shift && exec \"$@\"";
    #[rustfmt::skip]
    let ways: [(u16, Vec<&str>, &[&str]); 4] = [
        (CALLED, vec![&own], &["--pretend"]),
        (PLACED, vec![&placed], &[]),
        (MOUNTED, vec!["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", over, "sh", &own, &real], &[]),
        (BESIDE, vec![&real], &[]),
    ];
    let mut running = Vec::new();
    for (port, program, more) in ways {
        let mut command = as_user(host, PERSON);
        command.args(program).args(["service", "--process", "postgres", "--tcp"]);
        command.arg(port.to_string()).args(more).arg("--seen").arg(host.dir().join(SEEN));
        let mut started = host.spawn(&format!("impostor-{port}"), command)?;
        wait::until(&format!("what listens on {port}"), SOON, || {
            started.still_runs()?;
            Ok(started.output()?.contains("open").then_some(()))
        })?;
        running.push(started);
    }
    ensure!(shop.lab.host("db")?.name() == host.name());
    Ok(running)
}

/// From app to db: the ports that pass, and those that are dropped.
fn reach(shop: &Shop, passing: &[u16]) -> Result<()> {
    let ports = [REAL, CALLED, PLACED, MOUNTED, BESIDE].map(Port::Tcp);
    let cells = Matrix::of(&["app", "db"], &ports, |flow| match flow.port {
        Port::Tcp(port) if passing.contains(&port) => Expectation::passes("the rule's program"),
        _ => Expectation::drops("not the rule's program"),
    });
    let mut cells = cells.only(|flow| flow.to == "db");
    cells.probe(&shop.lab)?;
    cells.verify()
}

/// The problems of an asset's last run.
fn problems(shop: &Shop, asset: &str) -> Result<String> {
    Ok(shop.platform.json(&shop.lab, &["asset", "show", asset])?.to_string())
}

/// Commits the example with db's rule for app restricted to `program`, and allows all traffic from app.
fn commit_for(shop: &Shop, program: &str) -> Result<()> {
    shop.commit_edited(|text| {
        text.replace("to: [segment:db], services: [tcp/5432]", "to: [segment:db], services: [tcp]")
            .replace("services: [tcp], process: postgres", &format!("services: [tcp], {program}"))
    })?;
    shop.enforce().map(drop)
}

#[test]
fn lookalikes_do_not_get_the_packets_of_the_program() -> Result<()> {
    in_lab("lookalikes_do_not_get_the_packets_of_the_program", || {
        if !is_real_root()? {
            eprintln!("SKIPPED: needs a real root to run programs as other users");
            return Ok(());
        }
        let shop = Shop::start()?;
        shop.register()?;
        let db = shop.lab.host("db")?;
        open_to_users(&shop, db)?;
        let running = lookalikes(&shop, db)?;
        reach(&shop, &[REAL, CALLED, PLACED, MOUNTED, BESIDE])?;

        shop.commit()?;
        commit_for(&shop, "process: postgres")?;
        reach(&shop, &[REAL])?;
        let told = problems(&shop, "db")?;
        for part in [
            "process-impostor",
            "db-tier/from-app",
            "only calls itself that",
            "users other than root can write to /var/crowd",
            "its own mount namespace",
            "it runs as a login user",
        ] {
            ensure!(told.contains(part), "{part}: {told}");
        }

        commit_for(&shop, &format!("process: {SERVICES}/postgres"))?;
        reach(&shop, &[REAL])?;
        let told = problems(&shop, "db")?;
        ensure!(told.contains("its own mount namespace"), "{told}");
        ensure!(!told.contains("only calls itself that"), "a path is not a name: {told}");

        // A rule for the user's instance names the user; a user alone matches all its programs.
        commit_for(&shop, &format!("process: postgres, user: {PERSON}"))?;
        reach(&shop, &[BESIDE])?;
        commit_for(&shop, &format!("user: {PERSON}"))?;
        reach(&shop, &[CALLED, PLACED, MOUNTED, BESIDE])?;

        // When they are gone, they are not reported any more, and the rule works as before.
        commit_for(&shop, "process: postgres")?;
        drop(running);
        shop.enforce()?;
        reach(&shop, &[REAL])?;
        let told = problems(&shop, "db")?;
        ensure!(!told.contains("process-impostor"), "{told}");
        Ok(())
    })
}

#[test]
fn an_instance_run_by_a_user_neither_sends_nor_blocks_the_program() -> Result<()> {
    in_lab("an_instance_run_by_a_user_neither_sends_nor_blocks_the_program", || {
        if !is_real_root()? {
            eprintln!("SKIPPED: needs a real root to run programs as other users");
            return Ok(());
        }
        let shop = Shop::start_enforced()?;
        let web = shop.lab.host("web")?;
        let fetcher = format!("{SERVICES}/fetcher");
        web.run("cp", ["/bin/bash", &fetcher])?;
        web.run("mkfifo", ["-m", "666", "/var/lib/services/never"])?;
        let connect = format!("exec 3<>/dev/tcp/{}/8080", shop.lab.host("app")?.v4());
        let gets_out = |user: &str| -> Result<bool> {
            let mut command = as_user(web, user);
            command.args(["timeout", "1", &fetcher, "-c", &connect]);
            Ok(command.output()?.status.success())
        };
        let stays = |user: &str| -> Result<Running> {
            let mut command = as_user(web, user);
            command.args([&fetcher, "-c", "exec 4<>/var/lib/services/never; read -u 4"]);
            web.spawn(&format!("fetcher-{user}"), command)
        };
        for user in [SERVICE, PERSON, "0"] {
            ensure!(gets_out(user)?, "user {user} gets out before the rule");
        }
        let _service = stays(SERVICE)?;
        let person = stays(PERSON)?;
        let commit = |program: &str| -> Result<()> {
            shop.commit_edited(|text| {
                text.replace(
                    "to: [segment:app], services: [tcp/8080]",
                    &format!("to: [segment:app], services: [tcp/8080], {program}"),
                )
            })?;
            shop.enforce().map(drop)
        };
        commit(&format!("process: {fetcher}"))?;
        for (user, passes) in [(SERVICE, true), (PERSON, false), ("0", false)] {
            ensure!(gets_out(user)? == passes, "user {user}, with a person's instance beside it");
        }
        let told = problems(&shop, "web")?;
        ensure!(told.contains("process-impostor"), "{told}");
        ensure!(!told.contains("rule-unenforceable"), "{told}");

        commit(&format!("user: {PERSON}"))?;
        for (user, passes) in [(SERVICE, false), (PERSON, true), ("0", false)] {
            ensure!(gets_out(user)? == passes, "user {user}, the rule is for {PERSON}");
        }
        drop(person);
        let kernel = web.run("nft", ["-j", "list", "table", "inet", "xshield"])?;
        ensure!(kernel.contains("skuid"), "the kernel asks for the user: {kernel}");
        Ok(())
    })
    .context("outbound")
}
