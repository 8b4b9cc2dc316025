//! Addresses, prefixes and ranges in feeds, parsed strictly: anything ambiguous is refused with a reason.

use std::net::{IpAddr, Ipv6Addr};

use thiserror::Error;

use crate::entry::{Net, Prefix, split};

/// Addresses `first..=last` of one family; `first` is not above `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// IPv4.
    V4(u32, u32),
    /// IPv6.
    V6(u128, u128),
}

impl Range {
    /// Calls `each` with the fewest prefixes that cover the range, ascending.
    pub fn each_prefix(self, mut each: impl FnMut(Prefix)) {
        match self {
            Self::V4(first, last) => split(first, last, |net| each(Prefix::V4(net))),
            Self::V6(first, last) => split(first, last, |net| each(Prefix::V6(net))),
        }
    }
}

impl From<Prefix> for Range {
    fn from(prefix: Prefix) -> Self {
        match prefix {
            Prefix::V4(net) => Self::V4(net.first(), net.last()),
            Prefix::V6(net) => Self::V6(net.first(), net.last()),
        }
    }
}

/// Why something in a feed is not an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Error)]
pub enum Reason {
    /// There is no address.
    #[error("no address where one was expected")]
    Missing,
    /// A number with leading zeros, which some programs read as octal.
    #[error("a number with leading zeros may be octal; write it without")]
    Octal,
    /// A hexadecimal number in an IPv4 address.
    #[error("hexadecimal numbers are not read as IPv4 addresses")]
    Hex,
    /// A host or domain name.
    #[error("a name, not an address; names are not resolved")]
    Hostname,
    /// Not four numbers of 0 to 255, nor an IPv6 address.
    #[error("not an IPv4 or IPv6 address")]
    NotAnAddress,
    /// The length of a prefix is not a number, or longer than an address.
    #[error("the prefix length is not a number within the address")]
    PrefixLength,
    /// `1.2.3.4/24`.
    #[error("bits after the prefix length are set; give the first address of the prefix")]
    HostBits,
    /// `0.0.0.0/0` or `::/0`.
    #[error("every address of a family can't be listed")]
    Everything,
    /// A prefix or range that is wider than the limit of the feed.
    #[error("wider than this feed may list")]
    TooWide,
    /// A range whose ends are of two families, or whose first address is above its last.
    #[error("the ends of the range are in the wrong order or of two families")]
    RangeOrder,
    /// Other text follows the address.
    #[error("unexpected text after the address")]
    TrailingText,
    /// A count or confidence that is not a number within its range.
    #[error("the confidence or count is not a number within its range")]
    Confidence,
    /// Bytes that are not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// A quoted CSV field without its closing quote, or text around the quotes.
    #[error("the quotes of a field don't match")]
    Quotes,
    /// A record without the named column.
    #[error("the record has no such column")]
    NoColumn,
    /// A line that is not one JSON object.
    #[error("not one JSON object")]
    NotJson,
    /// A pattern that consists of more than addresses.
    #[error("the pattern has conditions besides addresses (AND, NOT, order or time)")]
    Pattern,
    /// An incomplete pattern.
    #[error("the pattern is incomplete: a bracket or quote in it is not closed")]
    OpenPattern,
    /// An invalid time.
    #[error("not a time such as 2026-11-21T06:00:00Z")]
    Time,
    /// An invalid duration.
    #[error("not a duration such as 3h59m4s")]
    Duration,
}

/// Parses `address`, `address/length`, `address-address` or `address - address`.
///
/// # Errors
/// When it is anything else, or lists every address of a family.
pub fn range(text: &[u8]) -> Result<Range, Reason> {
    let Some(dash) = text.iter().position(|&byte| byte == b'-') else {
        return prefix(text).map(Range::from);
    };
    let first = text[..dash].trim_ascii();
    let last = text[dash + 1..].trim_ascii();
    match (address(first)?, address(last)?) {
        (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
            bounded(Range::V4(first.into(), last.into()))
        }
        (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
            bounded(Range::V6(first.into(), last.into()))
        }
        _ => Err(Reason::RangeOrder),
    }
}

/// Parses `address` or `address/length`.
///
/// # Errors
/// When it is anything else, or lists every address of a family.
pub fn prefix(text: &[u8]) -> Result<Prefix, Reason> {
    if let Some(address) = quad(text) {
        return Ok(Prefix::V4(Net::host(address)));
    }
    let Some(slash) = text.iter().position(|&byte| byte == b'/') else {
        return address(text).map(Prefix::from);
    };
    let address = address(&text[..slash])?;
    // An IPv4 address written as an IPv6 address has 96 bits more.
    let (most, more) = match (address, text.contains(&b':')) {
        (IpAddr::V4(_), false) => (32, 0),
        (IpAddr::V4(_), true) => (128, 96),
        (IpAddr::V6(_), _) => (128, 0),
    };
    let length = decimal(&text[slash + 1..], most).ok_or(Reason::PrefixLength)?;
    if length == 0 {
        return Err(Reason::Everything);
    }
    let length = length.checked_sub(more).ok_or(Reason::HostBits)?;
    if length == 0 {
        return Err(Reason::Everything);
    }
    Prefix::new(address, length as u8).map_err(|_| Reason::HostBits)
}

/// Parses one address; `::ffff:1.2.3.4` is the IPv4 address.
///
/// # Errors
/// When it is anything else.
pub fn address(text: &[u8]) -> Result<IpAddr, Reason> {
    if let Some(address) = quad(text) {
        return Ok(IpAddr::V4(address.into()));
    }
    if !text.contains(&b':') {
        return Err(not_a_quad(text));
    }
    let text = str::from_utf8(text).map_err(|_| Reason::NotUtf8)?;
    let address: Ipv6Addr = text.parse().map_err(|_| Reason::NotAnAddress)?;
    Ok(IpAddr::V6(address).to_canonical())
}

/// The address of `address`, `address:port` or `[address]:port`.
///
/// # Errors
/// When it is anything else.
pub fn without_port(text: &[u8]) -> Result<IpAddr, Reason> {
    if let Some(rest) = text.strip_prefix(b"[") {
        let end = rest.iter().position(|&byte| byte == b']').ok_or(Reason::NotAnAddress)?;
        let port = rest[end + 1..].strip_prefix(b":").ok_or(Reason::TrailingText)?;
        decimal(port, u32::from(u16::MAX)).ok_or(Reason::TrailingText)?;
        return address(&rest[..end]);
    }
    let colons = text.iter().filter(|&&byte| byte == b':').count();
    match text.iter().position(|&byte| byte == b':') {
        Some(colon) if colons == 1 => {
            decimal(&text[colon + 1..], u32::from(u16::MAX)).ok_or(Reason::TrailingText)?;
            address(&text[..colon])
        }
        _ => address(text),
    }
}

/// The address that is the host of `scheme://user@host:port/path`; `None` if the host is a name.
///
/// # Errors
/// When it is not a URL, or its host is an address that is refused, such as an octal one.
pub fn host_of_url(url: &[u8]) -> Result<Option<IpAddr>, Reason> {
    let scheme = url.windows(3).position(|part| part == b"://").ok_or(Reason::NotAnAddress)?;
    let rest = &url[scheme + 3..];
    let end = rest.iter().position(|byte| b"/?#\\".contains(byte)).unwrap_or(rest.len());
    let authority = &rest[..end];
    let user = authority.iter().rposition(|&byte| byte == b'@').map_or(0, |at| at + 1);
    let host = &authority[user..];
    let inner = host.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
    match inner.map_or_else(|| without_port(host), address) {
        Ok(address) => Ok(Some(address)),
        Err(Reason::Hostname) => Ok(None),
        Err(reason) => Err(reason),
    }
}

/// A decimal number of at most `most`, without sign or leading zeros.
pub(crate) fn decimal(text: &[u8], most: u32) -> Option<u32> {
    if text.is_empty() || text.len() > 10 || (text.len() > 1 && text[0] == b'0') {
        return None;
    }
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    let number = text.iter().try_fold(0u64, |sum, byte| Some(sum * 10 + digit(byte)?))?;
    u32::try_from(number).ok().filter(|&number| number <= most)
}

/// Four decimal numbers of 0 to 255 without leading zeros, and nothing else.
fn quad(text: &[u8]) -> Option<u32> {
    let (mut address, mut part, mut digits, mut dots) = (0u32, 0u32, 0u8, 0u8);
    for &byte in text {
        match byte {
            b'0'..=b'9' => {
                let leading_zero = digits > 0 && part == 0;
                part = part * 10 + u32::from(byte - b'0');
                digits += 1;
                if leading_zero || part > 255 {
                    return None;
                }
            }
            b'.' if digits > 0 && dots < 3 => {
                address = address << 8 | part;
                (part, digits) = (0, 0);
                dots += 1;
            }
            _ => return None,
        }
    }
    (dots == 3 && digits > 0).then_some(address << 8 | part)
}

/// Why a text without a colon is not an IPv4 address.
fn not_a_quad(text: &[u8]) -> Reason {
    if text.is_empty() {
        return Reason::Missing;
    }
    if str::from_utf8(text).is_err() {
        return Reason::NotUtf8;
    }
    let parts = || text.split(|&byte| byte == b'.');
    let hex = |part: &[u8]| {
        part.len() > 2
            && part[..2].eq_ignore_ascii_case(b"0x")
            && part[2..].iter().all(u8::is_ascii_hexdigit)
    };
    let number = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    let octal = |part: &[u8]| number(part) && part.len() > 1 && part[0] == b'0';
    if parts().all(|part| number(part) || hex(part)) {
        return if parts().any(hex) {
            Reason::Hex
        } else if parts().any(octal) {
            Reason::Octal
        } else {
            Reason::NotAnAddress
        };
    }
    let in_names =
        |&byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) || byte > 127;
    let letter = |byte: &u8| byte.is_ascii_alphabetic() || *byte > 127;
    if text.iter().all(in_names) && text.iter().any(letter) {
        Reason::Hostname
    } else {
        Reason::NotAnAddress
    }
}

fn bounded(range: Range) -> Result<Range, Reason> {
    match range {
        Range::V4(0, u32::MAX) | Range::V6(0, u128::MAX) => Err(Reason::Everything),
        _ => Ok(range),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_read_strictly() {
        for (text, expected) in [
            ("1.2.3.4", Ok("1.2.3.4")),
            ("0.0.0.1", Ok("0.0.0.1")),
            ("255.255.255.255", Ok("255.255.255.255")),
            ("1.2.3.0/24", Ok("1.2.3.0/24")),
            ("1.2.3.4/32", Ok("1.2.3.4")),
            ("2001:db8::/32", Ok("2001:db8::/32")),
            ("2001:DB8::1", Ok("2001:db8::1")),
            ("::1/128", Ok("::1")),
            ("", Err(Reason::Missing)),
            ("/24", Err(Reason::Missing)),
            ("01.2.3.4", Err(Reason::Octal)),
            ("1.2.3.010", Err(Reason::Octal)),
            ("0x1.2.3.4", Err(Reason::Hex)),
            ("0x01020304", Err(Reason::Hex)),
            ("16909060", Err(Reason::NotAnAddress)),
            ("1.2.3", Err(Reason::NotAnAddress)),
            ("1.2.3.4.5", Err(Reason::NotAnAddress)),
            ("1.2.3.256", Err(Reason::NotAnAddress)),
            ("1.2.3.+4", Err(Reason::NotAnAddress)),
            ("1.2.3.4:80", Err(Reason::NotAnAddress)),
            ("fe80::1%eth0", Err(Reason::NotAnAddress)),
            ("example.com", Err(Reason::Hostname)),
            ("bücher.example", Err(Reason::Hostname)),
            ("localhost", Err(Reason::Hostname)),
            ("1.2.3.4/24", Err(Reason::HostBits)),
            ("2001:db8::1/64", Err(Reason::HostBits)),
            ("1.2.3.0/33", Err(Reason::PrefixLength)),
            ("1.2.3.0/024", Err(Reason::PrefixLength)),
            ("1.2.3.0/", Err(Reason::PrefixLength)),
            ("1.2.3.0/255.255.255.0", Err(Reason::PrefixLength)),
            ("0.0.0.0/0", Err(Reason::Everything)),
            ("::/0", Err(Reason::Everything)),
            ("::ffff:1.2.3.4", Ok("1.2.3.4")),
            ("::FFFF:102:304", Ok("1.2.3.4")),
            ("::ffff:1.2.3.0/120", Ok("1.2.3.0/24")),
            ("::ffff:1.2.3.4/128", Ok("1.2.3.4")),
            ("::ffff:1.2.3.4/120", Err(Reason::HostBits)),
            ("::ffff:0.0.0.0/96", Err(Reason::Everything)),
            ("::ffff:0.0.0.0/95", Err(Reason::HostBits)),
            ("::1.2.3.4", Ok("::102:304")),
        ] {
            let got = prefix(text.as_bytes()).map(|prefix| prefix.to_string());
            assert_eq!(got, expected.map(str::to_owned), "{text:?}");
        }
    }

    #[test]
    fn ranges_are_read_strictly() {
        for (text, expected) in [
            ("1.2.3.4-1.2.3.6", Ok(Range::V4(0x0102_0304, 0x0102_0306))),
            ("1.2.3.4 - 1.2.3.6", Ok(Range::V4(0x0102_0304, 0x0102_0306))),
            ("::5 - ::7", Ok(Range::V6(5, 7))),
            ("::ffff:1.2.3.4-::ffff:1.2.3.6", Ok(Range::V4(0x0102_0304, 0x0102_0306))),
            ("1.2.3.6-1.2.3.4", Err(Reason::RangeOrder)),
            ("1.2.3.4-::1", Err(Reason::RangeOrder)),
            ("1.2.3.4-", Err(Reason::Missing)),
            ("1.2.3.4-6", Err(Reason::NotAnAddress)),
            ("1.2.3.0/24-1.2.4.0/24", Err(Reason::NotAnAddress)),
            ("0.0.0.0-255.255.255.255", Err(Reason::Everything)),
            ("my-host.example", Err(Reason::Hostname)),
            ("bad-host.example", Err(Reason::Hostname)),
        ] {
            assert_eq!(range(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn ports_are_taken_off() {
        for (text, expected) in [
            ("1.2.3.4:443", Ok("1.2.3.4")),
            ("1.2.3.4", Ok("1.2.3.4")),
            ("[2001:db8::1]:443", Ok("2001:db8::1")),
            ("2001:db8::1", Ok("2001:db8::1")),
            ("1.2.3.4:99999", Err(Reason::TrailingText)),
            ("[::1]", Err(Reason::TrailingText)),
            ("example.com:80", Err(Reason::Hostname)),
        ] {
            let got = without_port(text.as_bytes()).map(|address| address.to_string());
            assert_eq!(got, expected.map(str::to_owned), "{text:?}");
        }
    }

    #[test]
    fn hosts_of_urls_are_addresses_or_names() {
        for (text, expected) in [
            ("http://1.2.3.4/x", Ok(Some("1.2.3.4"))),
            ("https://1.2.3.4:8080/a:b@c", Ok(Some("1.2.3.4"))),
            ("http://user:pass@1.2.3.4?x", Ok(Some("1.2.3.4"))),
            ("ftp://[2001:db8::1]:21/", Ok(Some("2001:db8::1"))),
            ("http://[2001:db8::1]", Ok(Some("2001:db8::1"))),
            ("http://example.com/1.2.3.4", Ok(None)),
            ("http://example.com:81#http://1.2.3.4", Ok(None)),
            ("http://1.2.3.4@example.com/", Ok(None)),
            ("http://01.2.3.4/", Err(Reason::Octal)),
            ("http://0x7f000001/", Err(Reason::Hex)),
            ("http:///x", Err(Reason::Missing)),
            ("1.2.3.4", Err(Reason::NotAnAddress)),
            ("", Err(Reason::NotAnAddress)),
        ] {
            let got = host_of_url(text.as_bytes()).map(|host| host.map(|host| host.to_string()));
            assert_eq!(got, expected.map(|host| host.map(str::to_owned)), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn the_standard_library_agrees(text in "[0-9]{1,3}(\\.[0-9]{1,3}){2,4}") {
            let standard = text.parse::<std::net::Ipv4Addr>().ok().map(u32::from);
            prop_assert_eq!(quad(text.as_bytes()), standard);
        }

        #[test]
        fn any_bytes_are_refused_or_read(bytes: Vec<u8>) {
            let _ = (range(&bytes), without_port(&bytes), host_of_url(&bytes));
        }
    }
}
