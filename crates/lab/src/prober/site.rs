//! The probed lab: assets with several addresses each, the platform, and the world, a host that has all other
//! addresses.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::station::{Station, WORLD};
use crate::host::Host;
use crate::lab::Lab;
use crate::platform::{self, Platform};
use crate::programs::Programs;
use crate::spark;

/// The assets: name, number in the lab, and additional addresses.
const ASSETS: &[(&str, u8, &[&str])] = &[
    ("web-1", 11, &["203.0.113.12/32", "2001:db8:7::12/128"]),
    ("web-2", 12, &[]),
    ("app-1", 13, &["192.168.7.13/32", "10.1.2.130/32"]),
    ("db-1", 14, &["fd77:1::14/128"]),
];
const WORLD_NUMBER: u8 = 250;
/// The assets' name servers, which are not assets.
const RESOLVERS: [&str; 2] = ["203.0.113.53", "2001:db8:7::53"];
/// Tags used by policies; each policy sets or removes every one.
const TAGS: &[&str] = &["role", "environment", "location", "business_value", "rack.row"];

/// Hosts and platform.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) lab: Lab,
    platform: Platform,
}

impl Site {
    /// Starts everything and registers the assets. Nothing is enforced.
    pub(super) fn start() -> Result<Self> {
        let mut lab = Lab::start(&Programs::of_this_build()?)?;
        lab.add_host(WORLD, WORLD_NUMBER)?;
        for (name, number, _) in ASSETS {
            lab.add_host(name, *number)?;
        }
        let platform = Platform::start(&mut lab, "a password for tests alone", &[])?;
        let site = Self { lab, platform };
        site.connect()?;
        site.register()?;
        site.describe()?;
        Ok(site)
    }

    /// The assets' names.
    pub(super) fn names(&self) -> Vec<&'static str> {
        ASSETS.iter().map(|(name, ..)| *name).collect()
    }

    /// The file that describes hosts and platform for the plan.
    pub(super) fn description(&self) -> PathBuf {
        self.lab.directory().join("site.json")
    }

    /// The world's station, and each asset's.
    pub(super) fn stations(&self) -> Result<(Station, Vec<Station>)> {
        let mut macs = BTreeMap::new();
        for name in self.names() {
            macs.insert(name, mac(self.lab.host(name)?)?);
        }
        let macs = serde_json::to_string(&macs)?;
        let world = Station::start(self.lab.host(WORLD)?, &["--macs", &macs])?;
        let start = |name: &str| Station::start(self.lab.host(name)?, &["--host", name]);
        let stations: Result<_> = self.names().into_iter().map(start).collect();
        Ok((world, stations?))
    }

    /// Sets the tags of every asset from a file.
    pub(super) fn tag(&self, file: &Path) -> Result<()> {
        let tags: BTreeMap<String, BTreeMap<String, String>> =
            serde_json::from_str(&fs::read_to_string(file)?)?;
        for (asset, tags) in &tags {
            let words = TAGS.iter().map(|&key| match tags.get(key) {
                Some(value) => format!("{key}={value}"),
                None => format!("{key}-"),
            });
            let words: Vec<String> = words.collect();
            let mut arguments = vec!["asset", "tag", asset.as_str()];
            arguments.extend(words.iter().map(String::as_str));
            self.platform.cli(&self.lab, &arguments)?;
        }
        Ok(())
    }

    /// Applies and commits the documents of a directory; returns the revision.
    pub(super) fn commit(&self, documents: &Path) -> Result<u64> {
        let path = documents.to_str().context("the plan's path is not UTF-8")?;
        self.platform.cli(&self.lab, &["policy", "apply", "-f", path])?;
        let committed = self.platform.json(&self.lab, &["policy", "synchronize", "--yes"])?;
        let revision = committed["revision"].as_u64();
        revision.with_context(|| format!("no revision was committed: {committed}"))
    }

    /// Addresses and routes. Everything that an asset sends, including to other assets, goes to the world;
    /// only the platform is reached directly. The world owns every other address (a local route), so that its
    /// kernel answers.
    fn connect(&self) -> Result<()> {
        let world = self.lab.host(WORLD)?;
        let world_mac = mac(world)?;
        let mut taken: Vec<String> = Vec::new();
        for host in self.lab.hosts() {
            taken.extend(host.addresses().map(|address| address.to_string()));
        }
        for (name, _, more) in ASSETS {
            let host = self.lab.host(name)?;
            let platform = self.lab.host(platform::HOST)?;
            let (v4, v6, own) = (world.v4(), world.v6(), host.v4());
            let mut lines = vec![
                format!("neighbour replace {v4} lladdr {world_mac} dev eth0 nud permanent"),
                format!("neighbour replace {v6} lladdr {world_mac} dev eth0 nud permanent"),
                format!("route add {}/32 dev eth0 src {own}", platform.v4()),
                format!("route add {v4}/32 dev eth0 src {own}"),
                format!("route add {v6}/128 dev eth0"),
                "route del 10.77.0.0/24 dev eth0".to_owned(),
                "route del fd77::/64 dev eth0".to_owned(),
                format!("route replace 0.0.0.0/0 via {v4} dev eth0 src {own}"),
                format!("route replace ::/0 via {v6} dev eth0"),
            ];
            for address in *more {
                let nodad = if address.contains(':') { " nodad" } else { "" };
                lines.push(format!("address add {address} dev eth0{nodad}"));
                taken.push(address.split('/').next().unwrap_or_default().to_owned());
            }
            crate::lab::ip(host, &lines.join("\n"))?;
            let resolvers = RESOLVERS.map(|server| format!("nameserver {server}\n")).concat();
            fs::write(host.file("/etc/resolv.conf"), resolvers)?;
        }
        let mut routes = super::script("prober.py")?;
        routes.arg("routes").args(&taken);
        crate::lab::ip(world, &crate::host::succeed(&mut routes)?)
    }

    fn register(&self) -> Result<()> {
        let configuration = self.platform.host_configuration(&self.lab)?;
        for name in self.names() {
            spark::configure(self.lab.host(name)?, &configuration)?;
        }
        spark::all_succeeded(&spark::run_everywhere(&self.lab, &self.names())?)?;
        self.accept_addresses()
    }

    /// Public addresses wait for approval by an operator.
    fn accept_addresses(&self) -> Result<()> {
        let claims = self.platform.json(&self.lab, &["asset", "claims"])?;
        for claim in claims.as_array().into_iter().flatten() {
            let (asset, address) = (claim["asset"].as_str(), claim["value"].as_str());
            let (asset, address) = asset.zip(address).context("a claim without asset or value")?;
            self.platform.cli(&self.lab, &["asset", "accept", asset, address])?;
        }
        Ok(())
    }

    /// Addresses are those given here; id, operating system and source come from the platform.
    fn describe(&self) -> Result<()> {
        let mut hosts = Vec::new();
        for (name, _, more) in ASSETS {
            let known = self.platform.json(&self.lab, &["asset", "show", name])?;
            let asset = known.get("asset").unwrap_or(&known);
            let word = |field: &str| -> Result<&Value> {
                asset.get(field).with_context(|| format!("asset {name} has no {field}: {known}"))
            };
            let mut addresses: Vec<String> =
                self.lab.host(name)?.addresses().iter().map(ToString::to_string).collect();
            let more = more.iter().filter_map(|address| address.split('/').next());
            addresses.extend(more.map(str::to_owned));
            hosts.push(json!({
                "name": name, "addresses": addresses,
                "id": word("id")?, "os": word("os")?, "source": word("source")?,
            }));
        }
        let platform = json!([[self.platform.address().ip(), platform::PORT]]);
        let site = json!({ "hosts": hosts, "platform": platform, "resolvers": RESOLVERS });
        Ok(fs::write(self.description(), site.to_string())?)
    }
}

/// The hardware address of a host's interface.
fn mac(host: &Host) -> Result<String> {
    let text = host.run("ip", ["-j", "link", "show", "dev", "eth0"])?;
    let links: Value = serde_json::from_str(&text)?;
    let address = links[0]["address"].as_str();
    Ok(address.with_context(|| format!("eth0 of {} has no address", host.name()))?.to_owned())
}
