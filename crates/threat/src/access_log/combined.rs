//! `203.0.113.9 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" 200 2326 "ref" "agent" "forwarded"`,
//! optionally preceded by the server's name (Apache's `vhost_combined`).

use std::borrow::Cow;
use std::net::IpAddr;

use super::{Fields, times};

/// The fields of a line; `None` if it does not start with an address, or with a name and an address.
pub(super) fn fields(line: &str) -> Option<Fields<'_>> {
    let (first, rest) = line.split_once(' ')?;
    let (peer, rest): (IpAddr, &str) = match first.parse() {
        Ok(peer) => (peer, rest),
        Err(_) => {
            let (second, rest) = rest.split_once(' ')?;
            (second.parse().ok()?, rest)
        }
    };
    // Without a time it is another kind of line that begins with an address.
    let begin = rest.find(['[', '"'])?;
    let (time, rest) = rest[begin..].strip_prefix('[')?.split_once(']')?;
    let quoted = quoted(rest)?;
    let request = quoted.first().map(|request| request.trim().to_owned());
    // Request, referer, agent, and then the header.
    let forwarded = quoted.get(3).map(|value| unescaped(value)).into_iter().collect();
    Some(Fields {
        peer,
        forwarded,
        at: times::of_day(time),
        request: request.filter(|text| !text.is_empty()),
    })
}

/// The quoted texts of a line, still escaped; `None` if a quote is not closed.
pub(super) fn quoted(text: &str) -> Option<Vec<&str>> {
    let mut rest = text;
    let mut quoted = Vec::new();
    while let Some(begin) = rest.find('"') {
        let inner = &rest[begin + 1..];
        let end = closing_quote(inner)?;
        quoted.push(&inner[..end]);
        rest = &inner[end + 1..];
    }
    Some(quoted)
}

/// The position of the closing quote: servers escape quotes of clients as `\"` or `\x22`.
fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at),
            _ => {}
        }
    }
    None
}

/// Unescapes quotes.
fn unescaped(text: &str) -> Cow<'_, str> {
    if text.contains('\\') {
        Cow::Owned(text.replace("\\x22", "\"").replace("\\\"", "\""))
    } else {
        Cow::Borrowed(text)
    }
}
