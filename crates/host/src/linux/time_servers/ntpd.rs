//! ntp.conf(5), of ntpd and ntpsec.

use super::{Include, Keys, ParsedFile, TimeServer};

/// Parses ntp.conf, or a file that it includes. Invalid lines and other commands are ignored.
#[must_use]
pub fn parse_ntpd(text: &str) -> ParsedFile {
    let mut said = ParsedFile::default();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        match words.next().map(str::to_ascii_lowercase).as_deref() {
            Some("server" | "pool" | "peer") => {
                let mut words =
                    words.filter(|word| !matches!(*word, "-4" | "-6" | "ipv4" | "ipv6"));
                let Some(name) = words.next() else { continue };
                let nts = words.any(|option| option.eq_ignore_ascii_case("nts"));
                let keys = if nts { Keys::Nts } else { Keys::None };
                said.servers.extend(TimeServer::new(name, keys));
            }
            Some("includefile") => {
                let path = words.next().map(|path| path.trim_matches('"').to_owned());
                said.more.extend(path.map(Include::Files));
            }
            _ => {}
        }
    }
    said
}
