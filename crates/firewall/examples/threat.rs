//! Loads a list of random addresses into the threat table of the network namespace in which it runs, then
//! changes a tenth of it, and prints what both took. Arguments: how many addresses.

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    linux::run()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("there is no threat table in this system's firewall");
}

#[cfg(target_os = "linux")]
mod linux {
    use std::error::Error;
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Instant;

    use ipnet::IpNet;
    use xshield_firewall::plan::Digest;
    use xshield_firewall::threat::{Counts, ListName, Posture, ThreatMode, ThreatTable};
    use xshield_policy::{AddressMatch, BoundFailsafe};

    pub(super) fn run() -> Result<(), Box<dyn Error>> {
        let count: u32 = std::env::args().nth(1).ok_or("how many addresses?")?.parse()?;
        let failsafe = BoundFailsafe {
            endpoints: Vec::new(),
            resolvers: AddressMatch::Any,
            management: Vec::new(),
        };
        let (inbound, outbound) = (ThreatMode::Block, ThreatMode::Block);
        let posture = Posture { inbound, outbound, failsafe };
        let counts = Counts { hosts4: count, ..Counts::default() };
        let name = |revision: u8| ListName {
            revision: revision.into(),
            digest: Digest([revision; 32]),
            counts,
        };
        let mut table = ThreatTable::open()?;

        let begin = Instant::now();
        table.load(&name(1), &posture, (0..count).map(address))?;
        println!("load {:.3} s, peak {}", begin.elapsed().as_secs_f64(), peak()?);

        let changed = count / 10;
        let removes: Vec<IpNet> = (0..changed).map(address).collect();
        let adds: Vec<IpNet> = (count..count + changed).map(address).collect();
        let begin = Instant::now();
        table.apply_delta(name(1).digest, &name(2), &adds, &removes, &posture)?;
        let milliseconds = begin.elapsed().as_secs_f64() * 1000.0;
        println!("change of {changed} and {changed} {milliseconds:.1} ms, peak {}", peak()?);
        Ok(())
    }

    /// Spread over all addresses, each number another one.
    fn address(n: u32) -> IpNet {
        IpAddr::V4(Ipv4Addr::from(n.wrapping_mul(0x9e37_79b1))).into()
    }

    fn peak() -> Result<String, Box<dyn Error>> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
        Ok(line.split_whitespace().skip(1).collect::<Vec<_>>().join(" "))
    }
}
