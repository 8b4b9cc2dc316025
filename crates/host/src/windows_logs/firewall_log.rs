//! Reads `pfirewall.log`, the log of Windows Firewall.

use std::net::IpAddr;

use xshield_policy::Direction;
use xshield_policy::protocol::{ICMP, ICMPV6, TCP, number};

use super::ends::Detail;
use super::event::{address, is_late_answer};

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirewallLine {
    /// A flow.
    Flow {
        /// Whether it was permitted.
        is_allowed: bool,
        /// Whether its packet may be the first of a flow: every one but a TCP packet with other flags than SYN.
        may_open: bool,
        /// The direction of its packet.
        direction: Direction,
        /// The IP protocol.
        protocol: u8,
        /// The address of this host.
        local: IpAddr,
        /// The address of the other end.
        remote: IpAddr,
        /// Ports, or type and code.
        detail: Detail,
        /// The process, on systems that log it.
        process: Option<u32>,
    },
    /// The number of lines that are missing here.
    Lost(u64),
}

impl FirewallLine {
    /// Whether this is a dropped answer of a server whose socket was closed meanwhile; see
    /// [`FlowEvent::is_late_answer`](super::FlowEvent::is_late_answer).
    #[must_use]
    pub fn is_late_answer(&self) -> bool {
        match self {
            Self::Flow { is_allowed: false, direction, protocol, detail, .. } => {
                is_late_answer(*direction, *protocol, *detail)
            }
            Self::Flow { .. } | Self::Lost(_) => false,
        }
    }
}

/// Why a line was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FirewallLogError {
    /// There is no header that names the columns.
    #[error("there is no #Fields line above this one, so its columns are unknown")]
    NoHeader,
    /// A required column is missing, or has an invalid value.
    #[error("column {column} has {value:?}")]
    Column {
        /// The column.
        column: &'static str,
        /// Its value.
        value: String,
    },
}

/// The columns that are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Action,
    Protocol,
    Source,
    Destination,
    SourcePort,
    DestinationPort,
    TcpFlags,
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
            "tcpflags" => Self::TcpFlags,
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
            Self::TcpFlags => "tcpflags",
            Self::IcmpType => "icmptype",
            Self::IcmpCode => "icmpcode",
            Self::Info => "info",
            Self::Path => "path",
            Self::Process => "pid",
        }
    }
}

/// Reads the log line by line. The header may occur again with other columns, since a later version of
/// Windows appends to the same file.
#[derive(Debug, Clone, Default)]
pub struct FirewallLog {
    columns: Option<Vec<Option<Column>>>,
}

impl FirewallLog {
    /// Parses a line; `None` for headers, empty lines, and actions that do not concern a flow.
    ///
    /// # Errors
    /// See [`FirewallLogError`]; the next line can still be read.
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
    /// The value of a column; `-` if there is none.
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
        // The log is about packets, so the destination of a received one is this host, whatever its address.
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
        let flags = self.of(Column::TcpFlags).unwrap_or("-");
        let may_open = protocol != TCP || ["-", "S"].contains(&flags);
        let process = self.of(Column::Process).ok().and_then(|process| process.parse().ok());
        Ok(FirewallLine::Flow {
            is_allowed,
            may_open,
            direction,
            protocol,
            local,
            remote,
            detail,
            process,
        })
    }
}
