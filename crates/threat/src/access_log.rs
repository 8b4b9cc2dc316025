//! Access logs of servers behind proxies: the client of each request, according to trusted proxies.
//!
//! A host's firewall only sees the last proxy's address; the server's log has the header to which proxies
//! append. A client can write anything into that header, so only what a trusted proxy appended counts: read
//! from the right, the first address that does not belong to a trusted proxy is the client. Everything left
//! of it is ignored.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::entry::Prefix;

mod combined;
mod envoy;
mod forwarded;
mod haproxy;
mod json;
mod prefix;
mod times;

pub use forwarded::Header;

/// The longest line, in bytes; longer ones are refused.
pub const MAX_LINE: usize = 64 << 10;
/// The most hops that are read, from the right.
pub const MAX_HOPS: usize = 64;
/// The most characters of a request that are kept as a sample.
pub const MAX_REQUEST: usize = 200;

/// The format of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// The common and combined formats of Apache and nginx, with the forwarding header as a quoted field at
    /// the end (nginx's `main`), optionally preceded by the server's name.
    Combined,
    /// A JSON object per line, with the names of nginx, Caddy, Traefik, Envoy or Cloudflare.
    Json,
    /// HAProxy's HTTP log, with the forwarding header captured.
    Haproxy,
    /// The default formats of Envoy and Istio, of an Envoy with `use_remote_address`.
    Envoy,
}

/// How a log is interpreted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Its format.
    pub format: LogFormat,
    /// The header to which the trusted proxies append. Only this one is read: proxies forward others as the
    /// client wrote them.
    pub header: Header,
    /// The trusted proxies.
    pub trusted: Vec<Prefix>,
}

/// A request in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The client.
    pub client: IpAddr,
    /// The proxy next to the client; `None` if the client connected directly.
    pub via: Option<IpAddr>,
    /// The time, in seconds since 1970.
    pub at: u64,
    /// Method and path, shortened.
    pub request: Option<String>,
}

/// Why a line has no client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LineError {
    /// It is too long.
    #[error("longer than {MAX_LINE} bytes")]
    TooLong,
    /// It is not UTF-8.
    #[error("not UTF-8")]
    Encoding,
    /// It is of another format.
    #[error("no address where the format expects one")]
    Format,
    /// It has no time.
    #[error("no time in a known format")]
    Time,
    /// A container runtime split it.
    #[error("a part of a line")]
    Piece,
    /// A proxy hides its client (`unknown`, `_name`), or wrote something that is not an address.
    #[error("a trusted proxy names a client that is not an address")]
    NoAddress,
    /// There are more hops than are read, all of them trusted.
    #[error("more than {MAX_HOPS} trusted proxies in a row")]
    TooManyHops,
}

/// The fields that a format finds in a line.
struct Fields<'a> {
    peer: IpAddr,
    forwarded: Vec<std::borrow::Cow<'a, str>>,
    at: Option<u64>,
    request: Option<String>,
}

/// Parses a line without its line break; a prefix added by syslog or a container runtime is skipped.
///
/// # Errors
/// See [`LineError`].
pub fn read(line: &[u8], reading: &Reading) -> Result<Request, LineError> {
    if line.len() > MAX_LINE {
        return Err(LineError::TooLong);
    }
    let line = std::str::from_utf8(line).map_err(|_| LineError::Encoding)?;
    let line = prefix::stripped(line).ok_or(LineError::Piece)?;
    let fields = match reading.format {
        LogFormat::Combined => combined::fields(&line),
        LogFormat::Json => json::fields(&line, reading.header),
        LogFormat::Haproxy => haproxy::fields(&line, reading.header),
        LogFormat::Envoy => envoy::fields(&line),
    };
    let fields = fields.ok_or(LineError::Format)?;
    let at = fields.at.ok_or(LineError::Time)?;
    let (client, via) = client(&fields, reading)?;
    let request = fields.request.map(|request| request.chars().take(MAX_REQUEST).collect());
    Ok(Request { client, via, at, request })
}

/// The first address from the right that does not belong to a trusted proxy, and the hop after it.
fn client(fields: &Fields<'_>, reading: &Reading) -> Result<(IpAddr, Option<IpAddr>), LineError> {
    let is_trusted =
        |address: IpAddr| reading.trusted.iter().any(|prefix| prefix.contains(address));
    let mut nearest = fields.peer.to_canonical();
    if !is_trusted(nearest) {
        // An untrusted peer's claims are ignored.
        return Ok((nearest, None));
    }
    let mut via = None;
    // Several headers with the same name are one list, in their order.
    let lists = fields.forwarded.iter().rev();
    let mut hops = lists.flat_map(|list| forwarded::from_right(list, reading.header));
    for _ in 0..MAX_HOPS {
        let Some(hop) = hops.next() else { return Ok((nearest, via)) };
        let address = hop.ok_or(LineError::NoAddress)?.to_canonical();
        via = Some(nearest);
        nearest = address;
        if !is_trusted(nearest) {
            return Ok((nearest, via));
        }
    }
    match hops.next() {
        None => Ok((nearest, via)),
        Some(_) => Err(LineError::TooManyHops),
    }
}

/// A value's text, or its texts if it is a list.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(values) => {
            values.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}
