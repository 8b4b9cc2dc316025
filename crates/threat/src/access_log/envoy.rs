//! The default formats of Envoy and Istio: `[2016-04-15T20:17:00.310Z] "POST /a HTTP/2" 204 - 154 0 226 100
//! "198.51.100.7,10.0.35.28" "agent" "request id" "authority" "10.0.2.1:80"`.
//!
//! The line does not contain Envoy's peer. With `use_remote_address: true` it is the last address in
//! `X-Forwarded-For`, which Envoy itself appended.

use std::borrow::Cow;

use super::forwarded::{Header, from_right};
use super::{Fields, combined, times};

pub(super) fn fields(line: &str) -> Option<Fields<'_>> {
    let (time, rest) = line.strip_prefix('[')?.split_once(']')?;
    let mut quoted = combined::quoted(rest)?.into_iter();
    let request = quoted.next()?.trim();
    // Istio puts the reason of a failure between the request and the header, quoted where there is one.
    let forwarded = quoted
        .find(|value| matches!(from_right(value, Header::XForwardedFor).first(), Some(Some(_))))?;
    let (before, peer) = forwarded.rsplit_once(',').unwrap_or(("", forwarded));
    let peer = (*from_right(peer, Header::XForwardedFor).first()?)?;
    Some(Fields {
        peer,
        forwarded: vec![Cow::Owned(before.trim().to_owned())],
        at: times::any(time),
        request: Some(request.to_owned()).filter(|text| !text.is_empty()),
    })
}
