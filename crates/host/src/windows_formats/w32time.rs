//! The settings of the Windows Time service: the registry values `Type` and `NtpServer`, as Microsoft's
//! "Windows Time service tools and settings" describes them.

use std::collections::BTreeSet;

use crate::time_server::{Keys, MOST, TimeServer};

/// Where the service gets the time from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TimeSettings {
    /// `NoSync`, `NTP`, `NT5DS` (domain controllers) or `AllSync` (both); empty if there is none.
    pub kind: String,
    /// Names and addresses, separated by spaces, each with flags after a comma.
    pub servers: String,
    /// The DNS name of the domain that the host belongs to; empty outside of one.
    pub domain: String,
}

impl TimeSettings {
    /// The servers: sorted, without duplicates, at most [`MOST`]. Domain controllers are the addresses of the
    /// domain's name: each registers its own there.
    #[must_use]
    pub fn time_servers(&self) -> Vec<TimeServer> {
        let is_member = !self.domain.trim().is_empty();
        let (listed, controllers) = match self.kind.trim().to_ascii_lowercase().as_str() {
            "nosync" => (false, false),
            "ntp" => (true, false),
            "nt5ds" => (false, is_member),
            "allsync" => (true, is_member),
            // What the service does without the value.
            _ => (!is_member, is_member),
        };
        let listed = if listed { self.servers.as_str() } else { "" };
        let names = listed.split_whitespace().filter_map(|entry| entry.split(',').next());
        let domain = controllers.then_some(self.domain.trim());
        let servers = names.chain(domain).filter_map(|name| TimeServer::new(name, Keys::None));
        let servers: BTreeSet<TimeServer> = servers.collect();
        servers.into_iter().take(MOST).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time_server::Place;

    #[test]
    fn where_the_time_service_gets_the_time_from() {
        let two = "time.windows.com,0x9 192.0.2.1";
        // Type, NtpServer, domain; the servers.
        #[rustfmt::skip]
        let table = [
            ("NTP", two, "", vec!["192.0.2.1", "time.windows.com"]),
            ("ntp", two, "corp.example", vec!["192.0.2.1", "time.windows.com"]),
            ("NT5DS", two, "corp.example", vec!["corp.example"]),
            ("NT5DS", two, "", vec![]),
            ("AllSync", two, "corp.example", vec!["192.0.2.1", "corp.example", "time.windows.com"]),
            ("NoSync", two, "corp.example", vec![]),
            ("", two, "", vec!["192.0.2.1", "time.windows.com"]),
            ("", two, "corp.example", vec!["corp.example"]),
            ("NTP", "", "", vec![]),
            ("NTP", "  ,0x1 127.0.0.1,0x8 ::1 a\u{0}b \u{1f980} fd00::1,0x1", "", vec!["fd00::1"]),
        ];
        for (kind, servers, domain, expected) in table {
            let [kind, servers, domain] = [kind, servers, domain].map(str::to_owned);
            let settings = TimeSettings { kind, servers, domain };
            let found = settings.time_servers().into_iter().map(|server| match server.place {
                Place::Address(address) => address.to_string(),
                Place::Name(name) => name.to_string(),
            });
            assert_eq!(found.collect::<Vec<_>>(), expected, "{settings:?}");
        }
    }
}
