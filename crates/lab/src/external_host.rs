//! A host on the lab's network that is not an asset, with public addresses that a feed may list, and the feed
//! that lists it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::host::Host;
use crate::lab::Lab;
use crate::matrix::Family;
use crate::platform::Platform;
use crate::probe::{self, Port, Probe, ProbeResult};
use crate::service::Service;
use crate::{spark, wait};

/// Its name.
pub const NAME: &str = "external";
const NUMBER: u8 = 99;
/// Its only IPv4 address (RFC 5737).
pub const V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 66);
/// Its only IPv6 address (RFC 3849).
pub const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x66);
/// The service that it runs.
const SERVICE: Service = Service { process: "c2", tcp: &[4444], udp: &[] };
/// How long a probe waits before it counts as dropped.
const TIMEOUT: Duration = Duration::from_millis(700);
const LIMIT: Duration = Duration::from_secs(60);
/// Other entries of the feed: so many that a delta is smaller than the whole list.
const OTHERS: u32 = 3_000;
/// The feed's name.
pub const FEED: &str = "lab-feed";

/// Adds the external host to a lab.
///
/// # Errors
/// When its network can't be configured.
pub fn add(lab: &mut Lab) -> Result<()> {
    let host = lab.add_host(NAME, NUMBER)?;
    let (v4, v6) = (host.v4(), host.v6());
    let script = format!(
        "ip address add {V4}/32 dev eth0
         ip address add {V6}/128 dev eth0 nodad
         ip address del {v4}/24 dev eth0
         ip address del {v6}/64 dev eth0
         ip route replace 0.0.0.0/0 dev eth0
         ip -6 route replace ::/0 dev eth0"
    );
    host.run("sh", ["-ec", &script])?;
    lab.serve(NAME, &SERVICE)
}

/// The results of connecting from one host to another's TCP port, over both families.
///
/// # Errors
/// When the prober can't run.
pub fn reach(lab: &Lab, from: &str, to: &str, port: u16) -> Result<[ProbeResult; 2]> {
    let target = lab.host(to)?;
    let address = |family: Family| -> IpAddr {
        match (to == NAME, family) {
            (true, Family::V4) => V4.into(),
            (true, Family::V6) => V6.into(),
            (false, Family::V4) => target.v4().into(),
            (false, Family::V6) => target.v6().into(),
        }
    };
    let probes = Family::BOTH.map(|family| Probe {
        address: address(family),
        port: Port::Tcp(port),
        timeout: TIMEOUT,
        nonce: format!("reach-{port}"),
    });
    let outcomes = probe::send(lab.host(from)?, lab.programs(), &probes)?;
    outcomes.try_into().map_err(|_| anyhow::anyhow!("the prober told too little"))
}

/// A feed that the platform reads from a file, and that a test writes.
#[derive(Debug)]
pub struct Feed {
    file: PathBuf,
    /// How many entries it has besides those that a test lists.
    others: u32,
}

impl Feed {
    /// Adds the feed to the platform; it lists no address of the lab.
    ///
    /// # Errors
    /// When the platform refuses it.
    pub fn add(lab: &Lab, platform: &Platform) -> Result<Self> {
        Self::add_with(lab, platform, OTHERS)
    }

    /// The same with a given number of other entries.
    ///
    /// # Errors
    /// As [`Feed::add`].
    pub fn add_with(lab: &Lab, platform: &Platform, others: u32) -> Result<Self> {
        let file = lab.directory().join("feed.txt");
        let feed = Self { file, others };
        feed.write(&[""; 0])?;
        let path = feed.file.to_str().context("the feed's path is not UTF-8")?;
        let add = ["threat", "feed", "add", FEED, "--file", path, "--format", "plain"];
        platform.cli(lab, &add)?;
        Ok(feed)
    }

    /// Lists these entries besides the others; returns the platform's resulting revision. A held listing is
    /// approved.
    ///
    /// # Errors
    /// When the platform can't read it.
    pub fn list(&self, lab: &Lab, platform: &Platform, entries: &[impl AsRef<str>]) -> Result<()> {
        self.write(entries)?;
        let run = platform.json(lab, &["threat", "feed", "run", FEED])?;
        if !run["held"].is_null() {
            platform.cli(lab, &["threat", "feed", "approve", FEED])?;
        }
        Ok(())
    }

    fn write(&self, entries: &[impl AsRef<str>]) -> Result<()> {
        let mut text =
            "# what nobody in the lab has\n198.51.100.0/24\n2001:db8:bad::/48\n".to_owned();
        others(46, self.others).for_each(|entry| text.push_str(&format!("{entry}\n")));
        entries.iter().for_each(|entry| text.push_str(&format!("{}\n", entry.as_ref())));
        let beside = self.file.with_extension("new");
        fs::write(&beside, text)?;
        Ok(fs::rename(&beside, &self.file)?)
    }
}

/// Addresses of an 8-bit network, at most 262,144: no two of them adjacent, and at distances without a
/// pattern that a codec could use.
pub fn others(network: u8, count: u32) -> impl Iterator<Item = IpAddr> {
    (0..count).map(move |number| {
        let [_, b, c, d] = (number * 64 + number.wrapping_mul(0x9e37_79b1) % 61).to_be_bytes();
        IpAddr::from([network, b, c, d])
    })
}

/// Runs Spark on a host until the kernel has or does not have an address on its list, as wanted. The platform
/// creates orders after it has read a feed, so a run immediately after a change can be too early.
///
/// # Errors
/// When a run fails, or the kernel does not reach this state in time.
pub fn enforce_listing(lab: &Lab, host: &str, address: IpAddr, listed: bool) -> Result<Value> {
    let what = format!("{host} has {address} {}", if listed { "listed" } else { "unlisted" });
    wait::until(&what, LIMIT, || {
        let run = spark::run(lab, lab.host(host)?)?;
        if !run.exit.success() {
            bail!("Spark on {host} ended with {}: {}\n{}", run.exit, run.json, run.stderr);
        }
        let is_listed =
            look_up(lab, lab.host(host)?, address)?.is_some_and(|l| !l["entry"].is_null());
        Ok((is_listed == listed).then_some(run.json))
    })
}

/// The output of `ctspark threat lookup`; `None` if there is no list.
///
/// # Errors
/// When Spark can't be started.
pub fn look_up(lab: &Lab, host: &Host, address: IpAddr) -> Result<Option<Value>> {
    let address = address.to_string();
    let arguments = ["threat", "lookup", &address, "--config", spark::CONFIG, "--json"];
    let output = spark::command(lab, host, &arguments)?.output()?;
    if !output.status.success() {
        return Ok(None);
    }
    serde_json::from_slice(&output.stdout).map(Some).context("the lookup printed no JSON")
}
