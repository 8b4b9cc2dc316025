//! Proxies as operators write them: three texts of comma-separated entries that correspond by their position.
//!
//! ```text
//! addresses  http://10.10.6.4:3128,http://[fd00::1]:4128,10.10.4.5:3128
//! users      u1,,u3
//! passwords  c2VjcmV0,,c2VjcmV0        (base64)
//! ```

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::address::Endpoint;
use crate::config::{Proxy, Secret};

/// Which of the three texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyText {
    /// The addresses of the proxies.
    Addresses,
    /// Their users.
    Users,
    /// Their passwords, in base64.
    Passwords,
}

impl ProxyText {
    /// Its name for this number of entries.
    fn counted(self, count: usize) -> &'static str {
        match (self, count) {
            (Self::Addresses, 1) => "address",
            (Self::Addresses, _) => "addresses",
            (Self::Users, 1) => "user",
            (Self::Users, _) => "users",
            (Self::Passwords, 1) => "password",
            (Self::Passwords, _) => "passwords",
        }
    }
}

impl fmt::Display for ProxyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Addresses => "addresses",
            Self::Users => "users",
            Self::Passwords => "passwords",
        })
    }
}

/// Why a list of proxies was refused. Entries are named by their position, counted from 1, and never shown:
/// an operator who mixes up the texts may have written a password there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ProxyListError {
    /// The text to be changed.
    pub text: ProxyText,
    /// The reason.
    pub reason: ProxyListReason,
}

/// Why a list of proxies was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProxyListReason {
    /// Nothing between two commas.
    #[error("proxy {0} is empty; remove the extra comma")]
    Empty(usize),
    /// `user:password@` in the address.
    #[error("proxy {0} carries credentials in its address; give user and password on their own")]
    Credentials(usize),
    /// Not `http://`.
    #[error("proxy {0} is not an HTTP proxy; expected http://ADDRESS:PORT")]
    Scheme(usize),
    /// A host name: the connection to the platform must not depend on a resolver.
    #[error(
        "proxy {0} is a host name; expected an IP address and port, e.g. http://10.10.6.4:3128"
    )]
    HostName(usize),
    /// No port.
    #[error("proxy {0} has no port; expected an IP address and port, e.g. http://10.10.6.4:3128")]
    NoPort(usize),
    /// IPv6 without brackets.
    #[error("proxy {0} is an IPv6 address without brackets; expected e.g. http://[fd00::1]:3128")]
    Brackets(usize),
    /// Not an address and port.
    #[error(
        "proxy {0} is not an address; expected an IP address and port, e.g. \
         http://10.10.6.4:3128 or http://[fd00::1]:3128"
    )]
    Address(usize),
    /// Listed already.
    #[error("proxy {0} is listed twice")]
    Twice(Endpoint),
    /// More credentials than proxies.
    #[error(
        "{given} {} for {proxies} {}; they must be in the order of the proxies, with an empty \
         entry for a proxy without one",
        .text.counted(*.given), if *.proxies == 1 { "proxy" } else { "proxies" }
    )]
    TooMany {
        /// Users or passwords.
        text: ProxyText,
        /// The number of entries.
        given: usize,
        /// The number of proxies.
        proxies: usize,
    },
    /// HTTP Basic authentication can't carry it (RFC 7617, section 2).
    #[error("user {0} has a colon or a control character, which HTTP proxies can't accept")]
    User(usize),
    /// A password without a user.
    #[error("password {0} has no user; give the users in the order of the proxies")]
    NoUser(usize),
    /// Not base64.
    #[error(
        "password {0} is not base64; encode it with: printf %s 'PASSWORD' | base64, or take it from \
         the console's installation page"
    )]
    NotBase64(usize),
    /// Base64 of something that is not text.
    #[error("password {0} decodes to something that is not UTF-8 text; check that it is base64")]
    NotText(usize),
    /// A control character, usually the line break that `echo` adds.
    #[error(
        "password {0} holds a line break or another control character; encode it without: \
         printf %s 'PASSWORD' | base64"
    )]
    ControlCharacter(usize),
}

/// Proxies in the order in which they are tried: by IP address, without duplicates, passwords only with
/// users. `Debug` does not show passwords.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxyList(Vec<Proxy>);

impl ProxyList {
    /// Parses the three texts. There may be fewer users or passwords than proxies, and an empty entry means
    /// none; an empty text is an empty list. Passwords are standard base64 with padding (RFC 4648, section
    /// 4).
    ///
    /// # Errors
    /// See [`ProxyListReason`].
    pub fn parse(addresses: &str, users: &str, passwords: &str) -> Result<Self, ProxyListError> {
        let addresses = entries(addresses);
        let users = credentials(ProxyText::Users, users, addresses.len())?;
        let passwords = credentials(ProxyText::Passwords, passwords, addresses.len())?;
        let mut proxies: Vec<Proxy> = Vec::with_capacity(addresses.len());
        for (index, text) in addresses.into_iter().enumerate() {
            let place = index + 1;
            let address = address(place, text).map_err(refuse(ProxyText::Addresses))?;
            let user = users.get(index).copied().filter(|user| !user.is_empty());
            let password = passwords.get(index).copied().filter(|password| !password.is_empty());
            let password = password.map(|text| password_of(place, text)).transpose();
            let password = password.map_err(refuse(ProxyText::Passwords))?;
            check_credentials(place, user, password.as_ref())?;
            if proxies.iter().any(|proxy| proxy.address == address) {
                return Err(refuse(ProxyText::Addresses)(ProxyListReason::Twice(address)));
            }
            proxies.push(Proxy { address, user: user.map(str::to_owned), password });
        }
        Ok(Self(proxies))
    }

    /// Identifies this list including credentials without storing it: SHA-256 over `salt` and the whole list.
    #[must_use]
    pub fn fingerprint(&self, salt: &[u8; 16]) -> [u8; 32] {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        context.update(salt);
        for proxy in &self.0 {
            let address = proxy.address.to_string();
            let user = proxy.user.as_deref().unwrap_or_default();
            let password = proxy.password.as_ref().map_or("", Secret::expose);
            for text in [address.as_str(), user, password] {
                context.update(&(text.len() as u64).to_be_bytes());
                context.update(text.as_bytes());
            }
        }
        let mut sum = [0; 32];
        sum.copy_from_slice(context.finish().as_ref());
        sum
    }

    /// The text with every password replaced by `instead`: plain, in base64, and as encoded in HTTP.
    #[must_use]
    pub fn redact(&self, text: &str, instead: &str) -> String {
        let mut clean = text.to_owned();
        for proxy in &self.0 {
            let Some(password) = &proxy.password else { continue };
            let password = password.expose();
            let user = proxy.user.as_deref().unwrap_or_default();
            let basic = STANDARD.encode(format!("{user}:{password}"));
            for secret in [basic.as_str(), &STANDARD.encode(password), password] {
                // The empty text would match everywhere.
                if !secret.is_empty() {
                    clean = clean.replace(secret, instead);
                }
            }
        }
        clean
    }

    /// The proxies in their order.
    #[must_use]
    pub fn as_slice(&self) -> &[Proxy] {
        &self.0
    }
}

impl From<ProxyList> for Vec<Proxy> {
    fn from(list: ProxyList) -> Self {
        list.0
    }
}

impl TryFrom<Vec<Proxy>> for ProxyList {
    type Error = ProxyListError;

    fn try_from(proxies: Vec<Proxy>) -> Result<Self, ProxyListError> {
        for (index, proxy) in proxies.iter().enumerate() {
            if proxy.address.address().is_none() {
                return Err(refuse(ProxyText::Addresses)(ProxyListReason::HostName(index + 1)));
            }
            if proxies[..index].iter().any(|other| other.address == proxy.address) {
                let reason = ProxyListReason::Twice(proxy.address.clone());
                return Err(refuse(ProxyText::Addresses)(reason));
            }
            check_credentials(index + 1, proxy.user.as_deref(), proxy.password.as_ref())?;
        }
        Ok(Self(proxies))
    }
}

fn refuse(text: ProxyText) -> impl Fn(ProxyListReason) -> ProxyListError {
    move |reason| ProxyListError { text, reason }
}

/// The entries; an empty text has none.
fn entries(text: &str) -> Vec<&str> {
    match text.trim() {
        "" => Vec::new(),
        text => text.split(',').map(str::trim).collect(),
    }
}

fn credentials(kind: ProxyText, text: &str, proxies: usize) -> Result<Vec<&str>, ProxyListError> {
    let found = entries(text);
    let given = found.len();
    if given > proxies {
        return Err(refuse(kind)(ProxyListReason::TooMany { text: kind, given, proxies }));
    }
    Ok(found)
}

fn address(place: usize, text: &str) -> Result<Endpoint, ProxyListReason> {
    if text.is_empty() {
        return Err(ProxyListReason::Empty(place));
    }
    if text.contains('@') {
        return Err(ProxyListReason::Credentials(place));
    }
    let bare = match text.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
        Some(_) => return Err(ProxyListReason::Scheme(place)),
        None => text,
    };
    let bare = bare.strip_suffix('/').unwrap_or(bare);
    match bare.parse::<SocketAddr>() {
        // A zone (fe80::1%2) can't be expressed in a URL.
        Ok(SocketAddr::V6(v6)) if v6.scope_id() != 0 => Err(ProxyListReason::Address(place)),
        Ok(address) if address.port() == 0 || address.ip().is_unspecified() => {
            Err(ProxyListReason::Address(place))
        }
        Ok(address) => Ok(Endpoint::from(address)),
        Err(_) => Err(why_no_address(place, bare)),
    }
}

/// What the operator may have meant by a text that is not an address and port.
fn why_no_address(place: usize, text: &str) -> ProxyListReason {
    let named = |text: &str| text.parse::<Endpoint>().is_ok_and(|it| it.name().is_some());
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => ProxyListReason::NoPort(place),
        // Its last group may be intended as the port.
        Ok(IpAddr::V6(_)) => ProxyListReason::Brackets(place),
        Err(_) if bracketed.is_some_and(|inner| inner.parse::<IpAddr>().is_ok()) => {
            ProxyListReason::NoPort(place)
        }
        Err(_) if named(text) || named(&format!("{text}:1")) => ProxyListReason::HostName(place),
        Err(_) if looks_like_ipv6(text) => ProxyListReason::Brackets(place),
        Err(_) => ProxyListReason::Address(place),
    }
}

fn looks_like_ipv6(text: &str) -> bool {
    let of_ipv6 = |byte: u8| byte.is_ascii_hexdigit() || byte == b':';
    text.bytes().all(of_ipv6) && text.matches(':').count() > 1
}

fn password_of(place: usize, text: &str) -> Result<Secret, ProxyListReason> {
    let bytes = STANDARD.decode(text).map_err(|_| ProxyListReason::NotBase64(place))?;
    let text = String::from_utf8(bytes).map_err(|_| ProxyListReason::NotText(place))?;
    Ok(Secret::new(text))
}

fn check_credentials(
    place: usize,
    user: Option<&str>,
    password: Option<&Secret>,
) -> Result<(), ProxyListError> {
    if user.is_some_and(|user| user.contains(|c: char| c == ':' || c.is_control())) {
        return Err(refuse(ProxyText::Users)(ProxyListReason::User(place)));
    }
    let Some(password) = password else { return Ok(()) };
    let refuse = refuse(ProxyText::Passwords);
    if password.expose().contains(char::is_control) {
        return Err(refuse(ProxyListReason::ControlCharacter(place)));
    }
    if user.is_none() {
        return Err(refuse(ProxyListReason::NoUser(place)));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
