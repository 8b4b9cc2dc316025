//! The host's resolver for the transport, as this host is configured.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use xshield_host::operating_system::OperatingSystem;
use xshield_host::resolver::{Resolver, ResolverTimeouts};
use xshield_transport::Resolve;

/// The host's resolver.
#[derive(Debug)]
pub(crate) enum HostResolver {
    /// For one run: the answer for a name is kept until its end. So the addresses that the rules admit are
    /// those to which the run connects, even if every answer differs.
    OfARun {
        /// Resolves names.
        resolver: Resolver,
        /// The answers by name.
        answers: Mutex<BTreeMap<String, Vec<IpAddr>>>,
    },
    /// For a resident program: the list of DNS servers is read each time, since it may change.
    OfAResident {
        /// Reads the list.
        os: Arc<dyn OperatingSystem>,
    },
}

impl HostResolver {
    pub(crate) fn of_a_run(resolver: &Resolver) -> Self {
        Self::OfARun { resolver: resolver.clone(), answers: Mutex::default() }
    }

    pub(crate) fn of_a_resident(os: &Arc<dyn OperatingSystem>) -> Self {
        Self::OfAResident { os: Arc::clone(os) }
    }
}

impl Resolve for HostResolver {
    /// The resolver has its own timeout, which is shorter than any timeout of the transport.
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
            Self::OfAResident { os } => {
                let resolver = os.resolver(ResolverTimeouts::default());
                resolver.resolve_host(host).map_err(io::Error::other)
            }
        }
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use xshield_host::linux::Linux;

    #[test]
    fn a_run_caches_its_answer_and_a_resident_program_sees_changes() {
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
        let os: Arc<dyn OperatingSystem> = Arc::new(Linux::new(root.path().to_owned()));
        let resident = HostResolver::of_a_resident(&os);
        let run = HostResolver::of_a_run(&os.resolver(ResolverTimeouts::default()));
        assert_eq!((asked(&run), asked(&resident)), ("10.0.0.1".into(), "10.0.0.1".into()));
        says("10.0.0.2");
        assert_eq!((asked(&run), asked(&resident)), ("10.0.0.1".into(), "10.0.0.2".into()));
    }
}
