//! A small DNS server (RFC 1035) whose answers a test can change at any time.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv6Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::host::{Host, Running};
use crate::programs::Programs;
use crate::wait;

const TYPE_A: u16 = 1;
const TYPE_CNAME: u16 = 5;
const TYPE_AAAA: u16 = 28;
const CLASS_IN: u16 = 1;
/// Response, recursion desired and available (RFC 1035, section 4.1.1).
const FLAGS_ANSWER: u16 = 0x8180;
const FLAGS_NO_SUCH_NAME: u16 = 0x8183;
/// In seconds. Zero, so that no run relies on a cached answer.
const TTL: u32 = 0;

/// A running DNS server.
#[derive(Debug)]
pub struct Dns {
    zone: PathBuf,
    _process: Running,
}

impl Dns {
    /// Starts the server on a host with an empty zone.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(host: &Host, programs: &Programs) -> Result<Self> {
        let zone = host.dir().join("zone");
        fs::write(&zone, "")?;
        let mut command = host.command(programs.lab());
        command.arg("dns").arg(&zone);
        let mut process = host.spawn("dns", command)?;
        wait::until("the DNS server is up", Duration::from_secs(20), || {
            process.still_runs()?;
            Ok(process.output()?.contains("open").then_some(()))
        })?;
        Ok(Self { zone, _process: process })
    }

    /// Replaces all answers. A record is `NAME ADDRESS` or `NAME -> OTHERNAME`.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn answer(&self, records: &[&str]) -> Result<()> {
        // Replaced atomically: the server reads the file at every query.
        let new = self.zone.with_extension("new");
        fs::write(&new, records.join("\n"))?;
        Ok(fs::rename(&new, &self.zone)?)
    }
}

/// Arguments of the server's process.
#[derive(Debug, clap::Args)]
pub struct DnsArgs {
    /// The file with the records.
    zone: PathBuf,
}

/// Answers until it is killed.
///
/// # Errors
/// When the port can't be opened.
pub fn run(args: &DnsArgs) -> Result<()> {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 53)).context("could not open port 53")?;
    println!("open");
    let mut buffer = [0; 1500];
    loop {
        let (length, from) = socket.recv_from(&mut buffer)?;
        match reply(&buffer[..length], &Zone::read(&args.zone)?) {
            Ok(message) => {
                let _asker_gone = socket.send_to(&message, from);
            }
            Err(error) => eprintln!("not answered: {error:#}"),
        }
    }
}

/// The records of a zone file, in order.
struct Zone {
    records: Vec<(String, Record)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Record {
    Address(IpAddr),
    Alias(String),
}

impl Zone {
    fn read(path: &Path) -> Result<Self> {
        Self::parse(&fs::read_to_string(path).context("could not read the zone")?)
    }

    fn parse(text: &str) -> Result<Self> {
        let records =
            text.lines().map(|line| match line.split_whitespace().collect::<Vec<_>>().as_slice() {
                [name, "->", other] => Ok(((*name).to_owned(), Record::Alias((*other).to_owned()))),
                [name, address] => Ok(((*name).to_owned(), Record::Address(address.parse()?))),
                _ => bail!("{line:?} is neither NAME ADDRESS nor NAME -> OTHERNAME"),
            });
        Ok(Self { records: records.collect::<Result<_>>()? })
    }

    /// The chain of aliases and the addresses at its end.
    fn look_up(&self, name: &str) -> Vec<(String, Record)> {
        let (mut found, mut wanted) = (Vec::new(), name.to_owned());
        let mut visited = BTreeSet::new();
        while visited.insert(wanted.clone()) {
            let here: Vec<_> = self.records.iter().filter(|(n, _)| *n == wanted).cloned().collect();
            let next = here.iter().find_map(|(_, record)| match record {
                Record::Alias(other) => Some(other.clone()),
                Record::Address(_) => None,
            });
            found.extend(here);
            match next {
                Some(next) => wanted = next,
                None => break,
            }
        }
        found
    }
}

/// The answer to one query.
fn reply(query: &[u8], zone: &Zone) -> Result<Vec<u8>> {
    let id = query.get(..2).context("no header")?;
    let (name, end) = question(query)?;
    let kind = query.get(end..end + 2).context("no type")?;
    let kind = u16::from_be_bytes([kind[0], kind[1]]);
    let found = zone.look_up(&name);
    let fits = |record: &Record| match record {
        Record::Alias(_) => true,
        Record::Address(address) => kind == if address.is_ipv4() { TYPE_A } else { TYPE_AAAA },
    };
    let answers: Vec<_> = found.iter().filter(|(_, record)| fits(record)).collect();

    let flags = if found.is_empty() { FLAGS_NO_SUCH_NAME } else { FLAGS_ANSWER };
    let count = u16::try_from(answers.len())?;
    let mut message = id.to_vec();
    for number in [flags, 1, count, 0, 0] {
        message.extend(number.to_be_bytes());
    }
    message.extend(query.get(12..end + 4).context("the question is cut off")?);
    for (owner, record) in answers {
        let (kind, data) = match record {
            Record::Address(IpAddr::V4(address)) => (TYPE_A, address.octets().to_vec()),
            Record::Address(IpAddr::V6(address)) => (TYPE_AAAA, address.octets().to_vec()),
            Record::Alias(other) => (TYPE_CNAME, labels(other)?),
        };
        message.extend(labels(owner)?);
        message.extend(kind.to_be_bytes());
        message.extend(CLASS_IN.to_be_bytes());
        message.extend(TTL.to_be_bytes());
        message.extend(u16::try_from(data.len())?.to_be_bytes());
        message.extend(data);
    }
    Ok(message)
}

/// The queried name in lower case, and the position of its type.
fn question(query: &[u8]) -> Result<(String, usize)> {
    let (mut labels, mut at) = (Vec::new(), 12);
    loop {
        let length = usize::from(*query.get(at).context("the name is cut off")?);
        at += 1;
        if length == 0 {
            return Ok((labels.join("."), at));
        }
        let label = query.get(at..at + length).context("a label is cut off")?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += length;
    }
}

fn labels(name: &str) -> Result<Vec<u8>> {
    let mut encoded = Vec::new();
    for label in name.split('.') {
        encoded.push(u8::try_from(label.len())?);
        encoded.extend(label.as_bytes());
    }
    encoded.push(0);
    Ok(encoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(name: &str, kind: u16, zone: &str) -> Vec<u8> {
        let mut query = vec![7, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        query.extend(labels(name).unwrap());
        query.extend(kind.to_be_bytes());
        query.extend(CLASS_IN.to_be_bytes());
        reply(&query, &Zone::parse(zone).unwrap()).unwrap()
    }

    #[test]
    fn answers_follow_aliases_and_keep_the_family() {
        let zone = "a.test -> b.test\nb.test 10.0.0.1\nb.test 10.0.0.2\nb.test fd00::1";
        let v4 = ask("A.test", TYPE_A, zone);
        assert_eq!((&v4[..4], v4[7]), (&[7, 9, 0x81, 0x80][..], 3));
        assert!(v4.ends_with(&[10, 0, 0, 2]));
        assert_eq!(ask("b.test", TYPE_AAAA, zone)[7], 1);
        let none = ask("c.test", TYPE_A, zone);
        assert_eq!((none[3], none[7]), (0x83, 0));
        assert_eq!(ask("loop.test", TYPE_A, "loop.test -> loop.test")[7], 1);
    }
}
