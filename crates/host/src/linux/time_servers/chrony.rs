//! chrony.conf(5).

use super::{Include, Keys, ParsedFile, TimeServer};

/// Parses chrony.conf, or a file that it includes. Invalid lines and other directives are ignored.
#[must_use]
pub fn parse_chrony(text: &str) -> ParsedFile {
    let mut said = ParsedFile::default();
    for line in text.lines() {
        let line = line.trim_start();
        if line.starts_with(['!', ';', '#', '%']) {
            continue;
        }
        let mut words = line.split_whitespace();
        let Some(directive) = words.next() else { continue };
        let directory = |suffix| {
            let paths = line.split_whitespace().skip(1).map(str::to_owned).collect();
            Include::Directories { paths, suffix }
        };
        match directive.to_ascii_lowercase().as_str() {
            "server" | "pool" | "peer" => {
                let Some(name) = words.next() else { continue };
                let nts = words.any(|option| option.eq_ignore_ascii_case("nts"));
                let keys = if nts { Keys::Nts } else { Keys::None };
                said.servers.extend(TimeServer::new(name, keys));
            }
            "include" => said.more.extend(words.next().map(|path| Include::Files(path.to_owned()))),
            "confdir" => said.more.push(directory(".conf")),
            "sourcedir" => said.more.push(directory(".sources")),
            _ => {}
        }
    }
    said
}
