//! Reads events of the Security log as JSON, one per line of standard input, as a host would; for
//! measurements on recordings. Prints events per second, flows with one of the host's addresses as the peer
//! but not as the local end, flows with none of them, and refused lines.
//!
//! A recording does not contain the addresses of its hosts. They are taken from events in which only an own
//! address can appear: sockets, and the opener's end of outbound flows.

use std::collections::HashMap;
use std::error::Error;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde::Deserialize;
use xshield_host::windows_logs::{Ends, Event, Fields, OwnAddresses, Repeats};

/// The least duration of a measurement.
const LONG_ENOUGH: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
struct Host {
    #[serde(rename = "Hostname")]
    name: String,
}

fn main() -> Result<(), Box<dyn Error>> {
    let text = std::io::read_to_string(std::io::stdin())?;
    let mut lines: Vec<(String, &str)> = Vec::new();
    let mut own: HashMap<String, Vec<IpAddr>> = HashMap::new();
    for line in text.lines() {
        let host: Host = serde_json::from_str(line)?;
        own.entry(host.name.clone()).or_default().extend(own_address(line));
        lines.push((host.name, line));
    }
    let own: HashMap<String, OwnAddresses> =
        own.into_iter().map(|(name, addresses)| (name, addresses.into_iter().collect())).collect();

    let (mut inverted, mut unplaced, mut refused) = (0, 0, 0);
    for (host, line) in &lines {
        let own = &own[host];
        match read(line, own) {
            Ok(Some(Event::Flow(flow))) => match flow.ends {
                Ends::Peer { local, remote } => {
                    inverted += usize::from(own.contains(remote.0) && !own.contains(local.0));
                }
                Ends::Unplaced { .. } => unplaced += 1,
                Ends::ThisHost => {}
            },
            Ok(_) => {}
            Err(error) => {
                refused += 1;
                eprintln!("{error}");
            }
        }
    }

    let (begin, mut events) = (Instant::now(), 0_usize);
    let mut counted = 0_usize;
    while begin.elapsed() < LONG_ENOUGH {
        let mut repeats = Repeats::default();
        for (host, line) in &lines {
            if let Ok(Some(Event::Flow(flow))) = read(line, &own[host]) {
                counted += usize::from(!repeats.is_repeat(&flow));
            }
        }
        events += lines.len();
    }
    let per_second = events as f64 / begin.elapsed().as_secs_f64();
    if counted == 0 {
        return Err("no flow was in the recording".into());
    }
    println!("{per_second} {inverted} {unplaced} {refused}");
    Ok(())
}

fn read(line: &str, own: &OwnAddresses) -> Result<Option<Event>, Box<dyn Error>> {
    Ok(Event::read(&Fields::from_json(line)?, own)?)
}

fn own_address(line: &str) -> Option<IpAddr> {
    let fields = Fields::from_json(line).ok()?;
    let is_outbound = fields.direction.as_deref() == Some("%%14593");
    let is_local = matches!(fields.event_id, 5154 | 5158) || is_outbound;
    let address: IpAddr = fields.source_address.as_deref()?.parse().ok()?;
    (is_local && !address.is_unspecified()).then_some(address)
}
