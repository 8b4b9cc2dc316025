//! `pfirewall.log`, the log of Windows Firewall itself.

use std::net::IpAddr;

use xshield_policy::Direction;
use xshield_policy::protocol::{ICMP, ICMPV6, number};

use super::ends::Detail;
use super::event::address;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirewallLine {
    /// A flow.
    Flow {
        /// Whether it was let through.
        is_allowed: bool,
        /// Which way its packet went.
        direction: Direction,
        /// The IP protocol.
        protocol: u8,
        /// This host.
        local: IpAddr,
        /// The other end.
        remote: IpAddr,
        /// Ports, or type and code.
        detail: Detail,
        /// The process, on systems that write it.
        process: Option<u32>,
    },
    /// So many lines are missing here.
    Lost(u64),
}

/// Why a line was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FirewallLogError {
    /// Nothing says what the columns are.
    #[error("no #Fields line stands above this one, so nothing says what its columns are")]
    NoHeader,
    /// A column that a flow needs is not there, or has a value that it can't have.
    #[error("column {column} has {value:?}")]
    Column {
        /// Which one.
        column: &'static str,
        /// What stands there.
        value: String,
    },
}

/// The columns that are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Action,
    Protocol,
    Source,
    Destination,
    SourcePort,
    DestinationPort,
    IcmpType,
    IcmpCode,
    Info,
    Path,
    Process,
}

impl Column {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "action" => Self::Action,
            "protocol" => Self::Protocol,
            "src-ip" => Self::Source,
            "dst-ip" => Self::Destination,
            "src-port" => Self::SourcePort,
            "dst-port" => Self::DestinationPort,
            "icmptype" => Self::IcmpType,
            "icmpcode" => Self::IcmpCode,
            "info" => Self::Info,
            "path" => Self::Path,
            "pid" => Self::Process,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Action => "action",
            Self::Protocol => "protocol",
            Self::Source => "src-ip",
            Self::Destination => "dst-ip",
            Self::SourcePort => "src-port",
            Self::DestinationPort => "dst-port",
            Self::IcmpType => "icmptype",
            Self::IcmpCode => "icmpcode",
            Self::Info => "info",
            Self::Path => "path",
            Self::Process => "pid",
        }
    }
}

/// Reads line after line. The header may come again, with other columns: logs are appended to by a later
/// version of Windows.
#[derive(Debug, Clone, Default)]
pub struct FirewallLog {
    columns: Option<Vec<Option<Column>>>,
}

impl FirewallLog {
    /// What a line says; `None` of headers, empty lines, and actions that are about no flow.
    ///
    /// # Errors
    /// See [`FirewallLogError`]; the next line can be read all the same.
    pub fn line(&mut self, line: &str) -> Result<Option<FirewallLine>, FirewallLogError> {
        let line = line.trim();
        if let Some(names) = line.strip_prefix("#Fields:") {
            self.columns = Some(names.split_whitespace().map(Column::named).collect());
            return Ok(None);
        }
        if line.is_empty() || line.starts_with('#') {
            return Ok(None);
        }
        let columns = self.columns.as_ref().ok_or(FirewallLogError::NoHeader)?;
        let values: Vec<&str> = line.split_whitespace().collect();
        let row = Row { columns, values };
        let is_allowed = match row.of(Column::Action)? {
            "ALLOW" => true,
            "DROP" => false,
            "INFO-EVENTS-LOST" => {
                return row.parsed(Column::Info).map(FirewallLine::Lost).map(Some);
            }
            _ => return Ok(None),
        };
        row.flow(is_allowed).map(Some)
    }
}

struct Row<'r> {
    columns: &'r [Option<Column>],
    values: Vec<&'r str>,
}

impl<'r> Row<'r> {
    /// `-` where there is none.
    fn of(&self, column: Column) -> Result<&'r str, FirewallLogError> {
        let at = self.columns.iter().position(|known| *known == Some(column));
        let value = at.and_then(|at| self.values.get(at)).copied();
        value.ok_or(FirewallLogError::Column { column: column.name(), value: String::new() })
    }

    fn wrong(column: Column, value: &str) -> FirewallLogError {
        FirewallLogError::Column { column: column.name(), value: value.to_owned() }
    }

    fn parsed<N: std::str::FromStr>(&self, column: Column) -> Result<N, FirewallLogError> {
        let value = self.of(column)?;
        value.parse().map_err(|_| Self::wrong(column, value))
    }

    fn address(&self, column: Column) -> Result<IpAddr, FirewallLogError> {
        let value = self.of(column)?;
        address(value).ok_or_else(|| Self::wrong(column, value))
    }

    fn flow(&self, is_allowed: bool) -> Result<FirewallLine, FirewallLogError> {
        let (source, destination) =
            (self.address(Column::Source)?, self.address(Column::Destination)?);
        // Of packets, so the destination of what was received is this host, whatever its address.
        let (direction, local, remote) = match self.of(Column::Path)? {
            "RECEIVE" => (Direction::Inbound, destination, source),
            "SEND" => (Direction::Outbound, source, destination),
            other => return Err(Self::wrong(Column::Path, other)),
        };
        let name = self.of(Column::Protocol)?;
        let protocol = match (name.to_ascii_lowercase().as_str(), local.is_ipv4()) {
            ("icmp", true) => ICMP,
            ("icmp" | "icmpv6", false) => ICMPV6,
            (word, _) => number(word)
                .or_else(|| word.parse().ok())
                .ok_or_else(|| Self::wrong(Column::Protocol, name))?,
        };
        let detail = match (protocol, self.of(Column::SourcePort)?) {
            (ICMP | ICMPV6, _) => Detail::Icmp {
                kind: self.parsed(Column::IcmpType)?,
                code: self.parsed(Column::IcmpCode)?,
            },
            (_, "-") => Detail::None,
            _ => {
                let (source, destination) =
                    (self.parsed(Column::SourcePort)?, self.parsed(Column::DestinationPort)?);
                match direction {
                    Direction::Inbound => Detail::Ports { local: destination, remote: source },
                    Direction::Outbound => Detail::Ports { local: source, remote: destination },
                }
            }
        };
        let process = self.of(Column::Process).ok().and_then(|process| process.parse().ok());
        Ok(FirewallLine::Flow { is_allowed, direction, protocol, local, remote, detail, process })
    }
}
