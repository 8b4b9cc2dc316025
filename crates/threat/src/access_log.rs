//! Access logs of servers behind proxies: who asked, as far as trusted proxies vouch for it.
//!
//! A host's firewall sees the last proxy's address only; the server's log, with the header that the
//! proxies append to, knows more. Whoever sends a request can write anything into that header, so only
//! what a trusted proxy appended counts: read from the right, the first address that is not a trusted
//! proxy's is the client. Nothing left of it is looked at.

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

/// Bytes of a line, at most; longer ones are refused.
pub const MAX_LINE: usize = 64 << 10;
/// Hops that are looked at, from the right.
pub const MAX_HOPS: usize = 64;
/// Characters of a request that are kept as a sample.
pub const MAX_REQUEST: usize = 200;

/// How a log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// The common and combined formats of Apache and nginx, with the forwarding header as a quoted
    /// field at the end (nginx's `main`), also with the server's name in front.
    Combined,
    /// A JSON object a line, with the names of nginx, Caddy, Traefik, Envoy or Cloudflare.
    Json,
    /// HAProxy's HTTP log, with the forwarding header captured.
    Haproxy,
    /// Envoy's own format and Istio's, of an Envoy with `use_remote_address`.
    Envoy,
}

/// How a log is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// How it is written.
    pub format: LogFormat,
    /// The header that the trusted proxies append to. Only this one is looked at: proxies pass others
    /// on as the client wrote them.
    pub header: Header,
    /// The proxies that are believed.
    pub trusted: Vec<Prefix>,
}

/// A request, as the log tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Who asked.
    pub client: IpAddr,
    /// The proxy next to the client; nothing when the client spoke to the server itself.
    pub via: Option<IpAddr>,
    /// When, in seconds since 1970.
    pub at: u64,
    /// Method and path, shortened.
    pub request: Option<String>,
}

/// Why a line tells nothing about a client.
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
    /// It does not say when.
    #[error("no time in a known format")]
    Time,
    /// A container runtime parted it.
    #[error("a piece of a line")]
    Piece,
    /// A proxy hides its client (`unknown`, `_name`), or wrote something that is no address.
    #[error("a trusted proxy names a client that is not an address")]
    NoAddress,
    /// More hops than are looked at, all of them trusted.
    #[error("more than {MAX_HOPS} trusted proxies in a row")]
    TooManyHops,
}

/// What a format finds in a line.
struct Fields<'a> {
    peer: IpAddr,
    forwarded: Vec<std::borrow::Cow<'a, str>>,
    at: Option<u64>,
    request: Option<String>,
}

/// Reads a line, without its end; what syslog or a container runtime put in front of it is passed over.
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

/// The first from the right that is not a trusted proxy's, and the hop before it.
fn client(fields: &Fields<'_>, reading: &Reading) -> Result<(IpAddr, Option<IpAddr>), LineError> {
    let is_trusted =
        |address: IpAddr| reading.trusted.iter().any(|prefix| prefix.contains(address));
    let mut nearest = fields.peer.to_canonical();
    if !is_trusted(nearest) {
        // Whatever it claims: it is not believed.
        return Ok((nearest, None));
    }
    let mut via = None;
    // Several headers of one name are one list, in their order.
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

/// A value's text, or its texts when it is a list.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(values) => {
            values.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}
