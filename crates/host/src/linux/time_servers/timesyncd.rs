//! timesyncd.conf(5), and the servers that systemd-networkd received by DHCP.

use super::files::Files;
use super::{Keys, TimeServer};

/// The directories of systemd's configuration, in order of precedence.
const PLACES: [&str; 4] =
    ["/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd"];

/// The content of one file, or of all in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Timesyncd {
    /// `NTP=` and `FallbackNTP=`.
    pub servers: Vec<TimeServer>,
    /// timesyncd's built-in servers, which the file shows in commented lines.
    pub built_in: Vec<TimeServer>,
}

/// Parses timesyncd.conf or a drop-in, in addition to `before`. An empty value removes what came before it.
#[must_use]
pub fn parse_timesyncd(text: &str, mut before: Timesyncd) -> Timesyncd {
    let mut within = false;
    for line in text.lines() {
        let line = line.trim();
        if let Some(section) = line.strip_prefix('[') {
            within = section.trim_end_matches(']') == "Time";
            continue;
        }
        let (list, setting) = match line.strip_prefix(['#', ';']) {
            Some(comment) => (&mut before.built_in, comment.trim_start()),
            None => (&mut before.servers, line),
        };
        let Some((key, value)) = setting.split_once('=') else { continue };
        if !within || !matches!(key.trim_end(), "NTP" | "FallbackNTP") {
            continue;
        }
        if value.trim().is_empty() && !line.starts_with(['#', ';']) {
            list.clear();
        }
        list.extend(value.split_whitespace().filter_map(|name| TimeServer::new(name, Keys::None)));
    }
    before
}

/// Parses a file below `/run/systemd/netif`: the time servers that networkd received.
#[must_use]
pub fn parse_netif(text: &str) -> Vec<TimeServer> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("NTP="));
    let names = lines.flat_map(str::split_whitespace);
    names.filter_map(|name| TimeServer::new(name, Keys::None)).collect()
}

/// Reads all files that timesyncd would read.
pub(super) fn read(files: &mut Files<'_>) {
    let mut said = Timesyncd::default();
    let main = PLACES.iter().map(|place| files.place(&format!("{place}/timesyncd.conf")));
    let main = main.collect::<Vec<_>>().into_iter().find(|path| path.exists());
    let directories = PLACES.map(|place| format!("{place}/timesyncd.conf.d"));
    let directories: Vec<&str> = directories.iter().map(String::as_str).collect();
    for path in main.into_iter().chain(files.in_directories(&directories, ".conf")) {
        if let Some(text) = files.text(&path) {
            said = parse_timesyncd(&text, said);
        }
    }
    files.add(said.servers);
    let link_files = files.in_directories(&["/run/systemd/netif/links"], "");
    for path in [files.place("/run/systemd/netif/state")].into_iter().chain(link_files) {
        if let Some(text) = files.text(&path) {
            files.add(parse_netif(&text));
        }
    }
    if files.is_empty() {
        files.add(said.built_in);
    }
}
