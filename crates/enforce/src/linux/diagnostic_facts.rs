//! The facts about the system and its firewall in diagnostics.

use std::fs;

use xshield_firewall::Firewall;

use crate::problems::chain;
use crate::run::Run;

/// The kernel's files about system and network; those that do not exist are left out.
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
/// The most bytes read from one of these files.
const LONGEST_FACT: u64 = 256 * 1024;

/// All facts, by their name in the archive.
pub(crate) fn facts(run: &Run<'_>) -> Vec<(&'static str, String)> {
    let files = FACTS.iter().filter_map(|(name, path)| Some((*name, fact(run, path)?)));
    files.chain([("firewall/table.nft", firewall_text())]).collect()
}

fn fact(run: &Run<'_>, path: &str) -> Option<String> {
    use std::io::Read as _;
    let file = fs::File::open(run.environment.root.join(path)).ok()?;
    let mut bytes = Vec::new();
    file.take(LONGEST_FACT).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
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
