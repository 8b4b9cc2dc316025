//! README.md as a walkthrough: its commands are run on hosts with its names and addresses, and their output
//! is compared with the page.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use xshield_lab::host::{Host, Running};
use xshield_lab::lab::Lab;
use xshield_lab::privilege::in_lab;
use xshield_lab::probe::{self, Port, Probe, ProbeResult};
use xshield_lab::programs::Programs;
use xshield_lab::service::Service;
use xshield_lab::terminal::Terminal;
use xshield_lab::walk::{Step, blocks, compare, named, steps};
use xshield_lab::{external_host, spark, wait};

const PLATFORM: &str = "platform";
const LIMIT: Duration = Duration::from_secs(60);

/// Commands in the text that are not part of the walkthrough, and why.
const ELSEWHERE: [(&str, &str); 11] = [
    (
        "cargo build --release -p xshield",
        "builds for minutes; the walk runs what is built for tests",
    ),
    ("cargo xtask dist", "builds for minutes; its packages are installed in packages.rs"),
    (
        "cargo xtask dist --windows",
        "builds for minutes; what it is made of is compiled by `cargo xtask windows`",
    ),
    ("cargo xtask demo --check", "builds, then does what a test of its own does here"),
    ("cargo xtask ci", "runs all tests, this one too"),
    ("cargo xtask demo", "the same as with --check, until Ctrl-C"),
    ("cargo xtask test", "runs all tests, this one too"),
    ("ctagent register --domain 10.77.0.1:8443 --deploymentKey xdk1_…", "agent.rs"),
    ("man -l packages/man/ctspark.1", "needs man; the pages are checked against --help elsewhere"),
    (
        "xshield login https://10.77.0.1:8443 --user admin",
        "is answered at a terminal in the platform's waiting.rs",
    ),
    ("xshield policy apply -f policy/ --synchronize", "stands in a block, too"),
];

fn readme() -> Result<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
    fs::read_to_string(path).context("could not read README.md")
}

/// The hosts of the walkthrough.
struct Walk {
    lab: Lab,
    page: String,
    ahead: std::vec::IntoIter<Step>,
    /// The directory in which each host's commands are run.
    desk: PathBuf,
    /// Shortened or made-up values on the page, and the actual ones.
    known: Vec<(String, String)>,
    /// Commands of the text that were run.
    named: Vec<String>,
}

impl Walk {
    fn begin() -> Result<Self> {
        let page = readme()?;
        let mut lab = Lab::start(&Programs::of_this_build()?)?;
        for (name, number) in [(PLATFORM, 1), ("db-1", 2), ("app", 7), ("web", 11)] {
            lab.add_host(name, number)?;
        }
        external_host::add(&mut lab)?;
        lab.serve("db-1", &Service { process: "postgres", tcp: &[5432], udp: &[] })?;
        lab.serve("db-1", &Service { process: "sshd", tcp: &[22], udp: &[] })?;
        lab.serve("web", &Service { process: "nginx", tcp: &[80], udp: &[] })?;
        let desk = lab.directory().join("desk");
        fs::create_dir_all(desk.join("policy"))?;
        let ahead = steps(&page).into_iter();
        Ok(Self { lab, page, ahead, desk, known: Vec::new(), named: Vec::new() })
    }

    fn host(&self, name: &str) -> Result<&Host> {
        self.lab.host(name)
    }

    /// A command with the programs of the walkthrough in PATH.
    fn on(&self, host: &str, program: &str) -> Result<Command> {
        let programs = self.lab.programs().platform()?;
        let programs = programs.parent().unwrap_or(Path::new("/"));
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = self.host(host)?.command(program);
        command.env("HOME", self.desk.join("home"));
        command.env("PATH", format!("{}:{path}", programs.display())).env("TERM", "xterm");
        command.env_remove("XSHIELD_LOG").env_remove("XDG_CONFIG_HOME");
        Ok(command)
    }

    /// The page's next command with this beginning.
    fn next(&mut self, begins: &str) -> Result<Step> {
        let step = self.ahead.next().context("the page has no more commands")?;
        ensure!(step.command.starts_with(begins), "the page's next command is {:?}", step.command);
        Ok(step)
    }

    /// A command of the page for a shell, with the actual values.
    fn typed(&self, command: &str) -> String {
        let known = self.known.iter();
        let typed = known.fold(command.to_owned(), |text, (page, here)| text.replace(page, here));
        format!("cd {} && {typed}", self.desk.display())
    }

    /// Output with the page's values.
    fn printed(&self, text: &str) -> String {
        let home = self.desk.join("home").display().to_string();
        let text = text.replace(&home, "/root");
        // Log lines begin with the time.
        let lines = text.lines().map(|line| match line.split_once(char::is_whitespace) {
            Some((time, rest)) if time.ends_with('Z') && time.contains('T') => rest.trim_start(),
            _ => line,
        });
        // The limit of open files depends on the machine.
        let lines = lines.filter(|line| !line.contains("few files may be open"));
        lines.map(|line| format!("{line}\n")).collect()
    }

    /// Runs a command of the page and compares the output; a question on the page is answered as there.
    fn step(&mut self, host: &str, begins: &str) -> Result<()> {
        let step = self.next(begins)?;
        let typed = self.typed(&step.command);
        let answer = step.prints.iter().find_map(|line| Some(line.split_once("[y/N] ")?.1));
        let printed = match answer {
            Some(answer) => {
                let shell = self.on(host, "sh")?;
                let mut terminal = Terminal::run(shell, "sh", &["-c", &typed])?;
                terminal.wait_for("[y/N] ")?;
                terminal.type_in(&format!("{answer}\r"))?;
                let (code, shown) = terminal.end()?;
                ensure!(code == 0, "{typed:?} ended with {code}:\n{shown}");
                shown
            }
            None => self.run(host, &step.command)?,
        };
        if step.prints.is_empty() {
            return Ok(());
        }
        compare(&step.prints, &self.printed(&printed)).with_context(|| step.command.clone())
    }

    /// Runs a command that the page names in its text; returns its output.
    fn also(&mut self, host: &str, command: &str) -> Result<String> {
        ensure!(
            named(&self.page, &PROGRAMS).contains(&command),
            "the page does not name {command:?}"
        );
        self.named.push(command.to_owned());
        self.run(host, command)
    }

    /// Both outputs of a successful command.
    fn run(&self, host: &str, typed: &str) -> Result<String> {
        let typed = self.typed(typed);
        let mut command = self.on(host, "sh")?;
        command.args(["-c", &format!("{typed} 2>&1")]).stdin(Stdio::null());
        let output = command.output()?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{typed:?} ended with {}:\n{printed}", output.status);
        Ok(printed)
    }

    /// The platform, until dropped; its output when it was up.
    fn platform(&mut self) -> Result<Running> {
        let step = self.next("xshield serve")?;
        let mut command = self.on(PLATFORM, "sh")?;
        command.args(["-c", &format!("exec {}", step.command)]);
        let mut running = self.host(PLATFORM)?.spawn(PLATFORM, command)?;
        let printed = wait::until("the platform is up", LIMIT, || {
            running.still_runs()?;
            let printed = running.output()?;
            Ok(printed.contains("the platform is up").then_some(printed))
        })?;
        compare(&step.prints, &self.printed(&printed)).with_context(|| step.command.clone())?;
        let (_, rest) = printed.split_once("the password: ").context("no password")?;
        let password = rest.lines().next().unwrap_or_default();
        let pw = self.desk.join("pw");
        fs::write(&pw, format!("{password}\n"))?;
        fs::set_permissions(&pw, fs::Permissions::from_mode(0o600))?;
        let (_, rest) = printed.split_once("ca=\"").context("no fingerprint")?;
        let digest = rest.split('"').next().unwrap_or_default().to_owned();
        self.known.push(("sha256:188f874f…".to_owned(), digest));
        Ok(running)
    }

    /// Whether an IPv4 connection works.
    fn reaches(&self, from: &str, to: &str, port: u16) -> Result<bool> {
        let probe = Probe {
            address: self.host(to)?.v4().into(),
            port: Port::Tcp(port),
            timeout: Duration::from_millis(700),
            nonce: format!("{from}-{to}-{port}"),
        };
        let outcomes = probe::send(self.host(from)?, self.lab.programs(), &[probe])?;
        Ok(outcomes == [ProbeResult::Passed])
    }

    /// Edits a policy file as the page says.
    fn write_policy(&self, file: &str, text: &str) -> Result<()> {
        Ok(fs::write(self.desk.join("policy").join(file), text)?)
    }

    fn spark(&self, host: &str) -> Result<()> {
        let run = spark::run(&self.lab, self.host(host)?)?;
        ensure!(run.exit.success(), "Spark on {host} ended with {}: {}", run.exit, run.stderr);
        Ok(())
    }
}

/// Programs whose commands the text names.
const PROGRAMS: [&str; 8] =
    ["cargo", "xshield", "ctspark", "ctagent", "ctagentcmd", "man", "apt-get", "dnf"];

#[test]
fn the_walkthrough_works_as_written() -> Result<()> {
    in_lab("the_walkthrough_works_as_written", || {
        let mut walk = Walk::begin()?;
        let _platform = walk.platform()?;
        walk.step(PLATFORM, "xshield login")?;
        walk.step(PLATFORM, "xshield key create")?;
        let configuration = fs::read_to_string(walk.desk.join("spark.yaml"))?;
        spark::configure(walk.host("db-1")?, &configuration)?;
        walk.step("db-1", "ctspark run")?;
        walk.step(PLATFORM, "xshield asset tag")?;

        let page = walk.page.clone();
        let policy = blocks(&page, "yaml").next().context("the page shows no policy")?;
        walk.write_policy("db.yaml", policy)?;
        walk.step(PLATFORM, "xshield policy apply")?;
        walk.step(PLATFORM, "xshield policy synchronize")?;
        walk.step("db-1", "ctspark run")?;
        for (from, port) in [(PLATFORM, 22), (PLATFORM, 5432), ("app", 5432)] {
            ensure!(walk.reaches(from, "db-1", port)?, "{from} reaches {port} in test mode");
        }
        // As the configuration manager does.
        walk.spark("db-1")?;
        walk.step(PLATFORM, "xshield events")?;
        walk.write_policy("db.yaml", &policy.replace("mode: test", "mode: enforce"))?;
        walk.step(PLATFORM, "xshield policy apply")?;
        walk.spark("db-1")?;
        for (from, port, reached) in
            [(PLATFORM, 22, true), (PLATFORM, 5432, false), ("app", 5432, true)]
        {
            ensure!(walk.reaches(from, "db-1", port)? == reached, "{from} to {port}, enforced");
        }
        let explained = walk.also("db-1", "ctspark explain 'in tcp 10.77.0.1:40000 -> :5432'")?;
        ensure!(explained.contains("drop"), "{explained}");
        malicious_addresses(&mut walk)?;
        walk.also("db-1", "ctspark remove")?;
        ensure!(walk.reaches(PLATFORM, "db-1", 5432)?, "everything is taken away");
        let key = walk.also(PLATFORM, "xshield key create --name agents")?;
        ensure!(key.contains("xdk1_"), "it shows a deployment key: {key}");

        if let Some(step) = walk.ahead.next() {
            bail!("nobody runs {:?}", step.command);
        }
        Ok(())
    })
}

/// The page's section about malicious addresses, with a host `web` in a segment.
fn malicious_addresses(walk: &mut Walk) -> Result<()> {
    walk.run(PLATFORM, "xshield key create --name web --tag role=web --host-config web.yaml")?;
    let configuration = fs::read_to_string(walk.desk.join("web.yaml"))?;
    spark::configure(walk.host("web")?, &configuration)?;
    walk.spark("web")?;
    walk.write_policy(
        "web.yaml",
        "segment: { name: web, criteria: role = 'web', templates: [] }\n",
    )?;
    walk.run(PLATFORM, "xshield policy apply -f policy/ --synchronize --yes")?;
    let feeds = walk.host(PLATFORM)?.file("/var/lib/feeds");
    fs::create_dir_all(&feeds)?;
    fs::write(feeds.join("soc.txt"), format!("{}\t8\n", external_host::V4))?;

    walk.step(PLATFORM, "xshield threat feed add soc")?;
    let mode = walk.next("xshield threat mode set event-only --segment web")?.command;
    for (typed, reached) in [(mode.clone(), true), (mode.replace("event-only", "block"), false)] {
        walk.run(PLATFORM, &typed)?;
        // Events are ordered by second.
        let before = second()?;
        wait::until("a second has gone", LIMIT, || Ok((second()? > before).then_some(())))?;
        external_host::enforce_listing(&walk.lab, "web", external_host::V4.into(), true)?;
        wait::until("the mode is the host's", LIMIT, || {
            walk.spark("web")?;
            Ok((walk.reaches(external_host::NAME, "web", 80)? == reached).then_some(()))
        })?;
        walk.spark("web")?;
    }
    walk.step(PLATFORM, "xshield threat events")
}

fn second() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}

/// The output of the demo, except for times, and for rows that the page leaves out and counts.
#[test]
fn the_demo_prints_what_the_page_shows() -> Result<()> {
    let page = readme()?;
    let shown = blocks(&page, "").find(|block| block.contains("cells as expected"));
    let shown = shown.context("the page does not show the demo")?;
    let mut demo = Command::new(Programs::of_this_build()?.lab());
    demo.args(["demo", "--check"]).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let output = demo.output()?;
    let printed = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    let untimed = |line: &str| match line.split_once("] ") {
        Some((time, rest)) if time.starts_with('[') => rest.to_owned(),
        _ => line.trim_end().to_owned(),
    };
    let is_row = |line: &str| line.contains(" -> ");
    let rows: Vec<&str> = shown.lines().filter(|line| is_row(line)).collect();
    let (mut as_shown, mut left_out) = (Vec::new(), 0);
    for line in printed.lines() {
        if is_row(line) && !rows.contains(&line.trim_end()) {
            left_out += 1;
            continue;
        }
        if line.is_empty() && left_out > 0 {
            as_shown.push(format!("    ({left_out} more)"));
            left_out = 0;
        }
        as_shown.push(untimed(line));
    }
    let shown: Vec<String> = shown.lines().map(untimed).collect();
    ensure!(as_shown == shown, "the page:\n{shown:#?}\nprinted:\n{as_shown:#?}");
    Ok(())
}

/// Commands in the text are part of the walkthrough, or listed here with the reason.
#[test]
fn every_command_of_the_text_is_run_or_has_a_reason() -> Result<()> {
    const RUN: [&str; 3] = [
        "ctspark explain 'in tcp 10.77.0.1:40000 -> :5432'",
        "ctspark remove",
        "xshield key create --name agents",
    ];
    let page = readme()?;
    let reasons: BTreeMap<&str, &str> = ELSEWHERE.into();
    let unknown: Vec<&str> = named(&page, &PROGRAMS)
        .into_iter()
        .filter(|command| !RUN.contains(command) && !reasons.contains_key(command))
        .collect();
    ensure!(unknown.is_empty(), "neither run nor left out with a reason: {unknown:#?}");
    Ok(())
}
