//! What diagnostics hold: enough to see, without access to the host, why it does not do as it should.

use std::fmt::Write as _;
use std::fs;
use std::io;

use xshield_firewall::Firewall;
use xshield_wire::message::{InForce, ProgramKind};

use super::archive::Archive;
use super::reach::reachability;
use super::redact::Redactor;
use crate::core::ports::Standing;
use crate::problems::chain;
use crate::run::Run;

/// What the kernel says about system and network; what is not there is left out.
const FACTS: [(&str, &str); 13] = [
    ("system/os-release", "etc/os-release"),
    ("system/kernel", "proc/version"),
    ("system/uptime", "proc/uptime"),
    ("system/load", "proc/loadavg"),
    ("system/memory", "proc/meminfo"),
    ("system/mounts", "proc/self/mounts"),
    ("system/modules", "proc/modules"),
    ("network/interfaces", "proc/net/dev"),
    ("network/routes", "proc/net/route"),
    ("network/routes-ipv6", "proc/net/ipv6_route"),
    ("network/resolv.conf", "etc/resolv.conf"),
    ("network/sockets", "proc/net/sockstat"),
    ("own/process", "proc/self/status"),
];
/// Longest of these files that is read, in bytes.
const LONGEST_FACT: u64 = 256 * 1024;

/// What a run knows besides.
pub(super) struct Found {
    /// What must appear nowhere.
    pub(super) secrets: Vec<String>,
    pub(super) standing: Standing,
    pub(super) last_known_good: Option<InForce>,
    /// Reports that wait.
    pub(super) waiting: usize,
}

/// Collects everything into one archive.
///
/// # Errors
/// When packing fails. What can't be read is named in the summary.
pub(super) fn collect(run: &Run<'_>, found: &Found) -> io::Result<Vec<u8>> {
    let config = run.config;
    let mut secrets = found.secrets.clone();
    secrets.push(config.enforcement_key.to_text().to_string());
    let redactor = Redactor::new(secrets, &config.proxies);
    let reached = reachability(run);
    let mut archive = Archive::new(run.now());
    let mut add = |name: &str, text: &str| archive.add(name, &redactor.clean(text));
    add("summary.txt", &summary(run, found, &reached))?;
    add("network/reachability.txt", &reached)?;
    for (name, path) in FACTS {
        if let Some(text) = fact(run, path) {
            add(name, &text)?;
        }
    }
    add("network/listening.json", &pretty(&run.ports))?;
    add("firewall/table.nft", &firewall_text())?;
    add("own/configuration.txt", &format!("{config:#?}\n"))?;
    add("own/progress.json", &progress_text(run))?;
    add("own/log.txt", &run.options.recent_log.join("\n"))?;
    archive.finish()
}

fn summary(run: &Run<'_>, found: &Found, reached: &str) -> String {
    let program = run.program;
    let name = match program.kind {
        ProgramKind::Spark => "ctspark",
        ProgramKind::Agent => "ctagent",
    };
    let mut text = String::new();
    let mut line = |key: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(text, "{key:<16} {value}");
    };
    line("host", &run.host.name);
    line("system", &format!("{}, kernel {}", run.host.os, run.host.kernel));
    line("program", &format!("{name} {}", program.version));
    line("collected", &format!("{} (Unix seconds)", run.now()));
    line("platform", &run.config.platform);
    line("status", &format!("{:?}", found.standing.status));
    line(
        "last known good",
        &match found.last_known_good {
            Some(in_force) => format!("revision {}", in_force.revision),
            None => "none".to_owned(),
        },
    );
    line("spool", &format!("{} reports wait", found.waiting));
    text.push_str("\nReachability\n");
    text.push_str(reached);
    text.push_str("\nProblems of this run\n");
    for problem in &run.problems {
        let _ = writeln!(text, "{}: {}", problem.code, problem.text);
    }
    text
}

fn fact(run: &Run<'_>, path: &str) -> Option<String> {
    use std::io::Read as _;
    let file = fs::File::open(run.surroundings.root.join(path)).ok()?;
    let mut bytes = Vec::new();
    file.take(LONGEST_FACT).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Positions and memories, without what was derived from passwords and what still waits.
fn progress_text(run: &Run<'_>) -> String {
    let mut value = serde_json::to_value(&run.progress).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.remove("proxies");
        fields.remove("outbox");
        fields.remove("flows");
    }
    pretty(&value)
}

fn firewall_text() -> String {
    let read = Firewall::open().and_then(|mut firewall| {
        let state = firewall.state()?.to_string();
        Ok((state, firewall.read_back()))
    });
    match read {
        Ok((state, Ok(programmed))) => format!("# {state}\n{programmed}"),
        Ok((state, Err(error))) => format!("# {state}\n# {}\n", chain(&error)),
        Err(error) => format!("# {}\n", chain(&error)),
    }
}

fn pretty(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}
