//! Names of the platform, for the transport: resolved as this host is configured to.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use xshield_host::linux::resolver::{Patience, Resolver};
use xshield_transport::Resolve;

/// The host's resolver, as the transport asks it.
#[derive(Debug)]
pub(crate) enum HostResolver {
    /// For one run: what a name resolved to holds until the end of it. So the addresses that the rules
    /// let through are the ones that are connected to, also when every answer is another one.
    OfARun {
        /// Asks.
        resolver: Resolver,
        /// By name.
        answers: Mutex<BTreeMap<String, Vec<IpAddr>>>,
    },
    /// For a program that stays: which servers to ask is read each time, since it may change.
    OfAResident {
        /// `/` but for tests.
        root: PathBuf,
    },
}

impl HostResolver {
    pub(crate) fn of_a_run(resolver: &Resolver) -> Self {
        Self::OfARun { resolver: resolver.clone(), answers: Mutex::default() }
    }

    pub(crate) fn of_a_resident(root: &Path) -> Self {
        Self::OfAResident { root: root.to_owned() }
    }
}

impl Resolve for HostResolver {
    /// The resolver has a patience of its own, which is shorter than any timeout of the transport.
    fn resolve(&self, host: &str, _timeout: Duration) -> io::Result<Vec<IpAddr>> {
        match self {
            Self::OfARun { resolver, answers } => {
                let mut answers =
                    answers.lock().map_err(|error| io::Error::other(error.to_string()))?;
                if let Some(known) = answers.get(host) {
                    return Ok(known.clone());
                }
                let found = resolver.resolve_host(host).map_err(io::Error::other)?;
                answers.insert(host.to_owned(), found.clone());
                Ok(found)
            }
            Self::OfAResident { root } => {
                let resolver = Resolver::of_system(root, Patience::default());
                resolver.resolve_host(host).map_err(io::Error::other)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_keeps_its_answer_and_a_resident_hears_of_every_change() {
        let root = tempfile::tempdir().unwrap();
        let etc = root.path().join("etc");
        std::fs::create_dir_all(&etc).unwrap();
        let says = |address: &str| {
            std::fs::write(etc.join("hosts"), format!("{address} platform.example")).unwrap();
        };
        let asked = |resolver: &HostResolver| {
            resolver.resolve("platform.example", Duration::from_secs(1)).unwrap()[0].to_string()
        };
        says("10.0.0.1");
        let resident = HostResolver::of_a_resident(root.path());
        let run = HostResolver::of_a_run(&Resolver::of_system(root.path(), Patience::default()));
        assert_eq!((asked(&run), asked(&resident)), ("10.0.0.1".into(), "10.0.0.1".into()));
        says("10.0.0.2");
        assert_eq!((asked(&run), asked(&resident)), ("10.0.0.1".into(), "10.0.0.2".into()));
    }
}
