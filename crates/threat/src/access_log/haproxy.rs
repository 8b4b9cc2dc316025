//! HAProxy's HTTP log: `10.0.1.2:33317 [06/Feb/2009:12:14:14.655] http-in static/srv1 10/0/30/69/109 200 2750
//! - - ---- 1/1/1/1/0 0/0 {198.51.100.7} {} "GET / HTTP/1.1"`. The header is present if it is captured
//! (`capture request header X-Forwarded-For len 200`).

use std::borrow::Cow;
use std::net::SocketAddr;

use super::forwarded::{Header, from_right};
use super::{Fields, times};

pub(super) fn fields(line: &str, header: Header) -> Option<Fields<'_>> {
    let (address, rest) = line.split_once(' ')?;
    let peer = address.parse::<SocketAddr>().ok()?.ip();
    let (time, rest) = rest.strip_prefix('[')?.split_once(']')?;
    let (before, request) = rest.split_once('"').unwrap_or((rest, ""));
    let request = request.trim_end().strip_suffix('"').unwrap_or(request).trim();
    let captured = before.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
    let forwarded = captured.and_then(|(captured, _)| of_header(captured, header));
    Some(Fields {
        peer,
        forwarded: forwarded.map(Cow::Borrowed).into_iter().collect(),
        at: times::of_day(time),
        request: Some(request.to_owned()).filter(|text| !text.is_empty()),
    })
}

/// Several headers are captured in the order of the configuration, which the line does not show: the wanted
/// one is the only one with an address at its right end.
fn of_header(captured: &str, header: Header) -> Option<&str> {
    if !captured.contains('|') {
        return Some(captured);
    }
    let ends_with_an_address =
        |value: &&str| matches!(from_right(value, header).first(), Some(Some(_)));
    let mut found = captured.split('|').filter(ends_with_an_address);
    found.next().filter(|_| found.next().is_none())
}
