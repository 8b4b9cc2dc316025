//! The lab itself, without Xshield: if these tests fail, no other result is valid.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Result;
use xshield_lab::kernel::Kernel;
use xshield_lab::matrix::{Expectation, Matrix};
use xshield_lab::privilege::in_lab;
use xshield_lab::probe::Port;
use xshield_lab::service::Service;
use xshield_lab::{Lab, Programs, wait};

const PORTS: [Port; 4] = [Port::Tcp(80), Port::Tcp(22), Port::Udp(53), Port::Ping];

fn two_hosts() -> Result<Lab> {
    let mut lab = Lab::start(&Programs::of_this_build()?)?;
    for (number, name) in [(11, "web"), (12, "db")] {
        lab.add_host(name, number)?;
        lab.serve(name, &Service { process: "nginx", tcp: &[80], udp: &[53] })?;
        lab.serve(name, &Service { process: "sshd", tcp: &[22], udp: &[] })?;
    }
    Ok(lab)
}

#[test]
fn the_matrix_detects_a_firewall() -> Result<()> {
    in_lab("the_matrix_detects_a_firewall", || {
        let lab = two_hosts()?;
        let hosts = ["web", "db"];
        let mut open = Matrix::of(&hosts, &PORTS, |_| Expectation::passes("no firewall"));
        open.probe(&lab)?;
        open.verify()?;

        let db = lab.host("db")?;
        assert!(Kernel::read(db)?.tables().is_empty());
        db.run("nft", ["add table inet t"])?;
        db.run("nft", ["add chain inet t in { type filter hook input priority 0; }"])?;
        db.run("nft", ["add rule inet t in tcp dport 80 drop"])?;
        db.run("nft", ["add rule inet t in icmp type echo-request drop"])?;
        assert_eq!(Kernel::read(db)?.tables(), ["inet t"]);
        assert!(Kernel::read(lab.host("web")?)?.tables().is_empty());

        open.probe(&lab)?;
        let wrong: Vec<String> = open
            .wrong()
            .iter()
            .map(|f| format!("{} -> {} {} {:?}", f.from, f.to, f.port, f.family))
            .collect();
        let expected = ["web -> db tcp/80 V4", "web -> db tcp/80 V6", "web -> db ping V4"];
        assert_eq!(wrong, expected, "{open}");

        let mut closed = Matrix::of(&hosts, &PORTS, |flow| match (flow.to.as_str(), flow.port) {
            ("db", Port::Tcp(80)) => Expectation::drops("port 80 is closed"),
            _ => Expectation::passes("open"),
        });
        db.run("nft", ["flush chain inet t in; add rule inet t in tcp dport 80 drop"])?;
        closed.probe(&lab)?;
        closed.verify()
    })
}

#[test]
fn a_host_has_its_own_name_files_and_processes() -> Result<()> {
    in_lab("a_host_has_its_own_name_files_and_processes", || {
        let lab = two_hosts()?;
        let web = lab.host("web")?;
        assert_eq!(web.run("hostname", [""; 0])?.trim(), "web");
        assert_eq!(std::fs::read_to_string(web.file("/etc/hostname"))?.trim(), "web");
        web.run("sh", ["-c", "mkdir -p /etc/xshield /var/lib/xshield && echo x > /etc/xshield/x"])?;
        assert!(web.file("/etc/xshield/x").exists());
        assert!(!lab.host("db")?.file("/etc/xshield/x").exists());
        assert_ne!(std::fs::read_to_string("/etc/hostname")?.trim(), "web");
        let names = web.run("sh", ["-c", "cat /proc/[0-9]*/comm"])?;
        assert!(names.contains("nginx") && names.contains("sshd"), "{names}");
        assert_eq!(web.run("sh", ["-c", "exit 3"]).unwrap_err().to_string(), "on host web");
        Ok(())
    })
}

#[test]
fn killing_a_command_kills_its_program() -> Result<()> {
    in_lab("killing_a_command_kills_its_program", || {
        let lab = two_hosts()?;
        let web = lab.host("web")?;
        let mut command = web.command("sleep");
        command.arg("1000");
        let running = web.spawn("sleep", command)?;
        let sleeps = || -> Result<bool> {
            Ok(web.run("sh", ["-c", "cat /proc/[0-9]*/comm"])?.lines().any(|name| name == "sleep"))
        };
        wait::until("sleep runs", Duration::from_secs(5), || Ok(sleeps()?.then_some(())))?;
        drop(running);
        wait::until("sleep is gone", Duration::from_secs(5), || Ok((!sleeps()?).then_some(())))
    })
}

#[test]
fn dropping_a_lab_removes_everything() -> Result<()> {
    in_lab("dropping_a_lab_removes_everything", || {
        let lab = two_hosts()?;
        let (pid, dir) = (lab.host("web")?.pid()?, lab.host("web")?.dir().to_owned());
        assert!(dir.exists());
        drop(lab);
        assert!(!dir.exists());
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        Ok(())
    })
}

/// A killed lab can't clean up. Its hosts end with it; its files are removed when the next lab starts.
#[test]
fn leftovers_of_a_killed_lab_are_removed_by_the_next() -> Result<()> {
    const NAME: &str = "leftovers_of_a_killed_lab_are_removed_by_the_next";
    in_lab(NAME, || {
        if std::env::var_os("XSHIELD_LAB_VICTIM").is_some() {
            let lab = two_hosts()?;
            let web = lab.host("web")?;
            println!("\nvictim {} {}", web.pid()?, web.dir().display());
            loop {
                std::thread::park();
            }
        }
        let mut victim = Command::new(std::env::current_exe()?)
            .args([NAME, "--exact", "--nocapture"])
            .env("XSHIELD_LAB_VICTIM", "1")
            .stdout(Stdio::piped())
            .spawn()?;
        let output = BufReader::new(victim.stdout.take().unwrap());
        let line = output.lines().map_while(Result::ok).find(|line| line.starts_with("victim"));
        let line = line.unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        let (process, dir) = (format!("/proc/{}/stat", words[1]), Path::new(words[2]));
        assert!(Path::new(&process).exists() && dir.exists());
        victim.kill()?;
        victim.wait()?;
        wait::until("the hosts are gone", Duration::from_secs(10), || {
            let state = std::fs::read_to_string(&process).unwrap_or_default();
            Ok((state.is_empty() || state.contains(") Z ")).then_some(()))
        })?;
        assert!(dir.exists());
        drop(Lab::start(&Programs::of_this_build()?)?);
        assert!(!dir.exists(), "{} is still there", dir.display());
        Ok(())
    })
}
