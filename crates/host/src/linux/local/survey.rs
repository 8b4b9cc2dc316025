//! The processes, users and files of a host in one run.

use std::path::Path;
use std::sync::Arc;

use xshield_policy::ProcessMatch;

use super::accounts::Accounts;
use super::executable_match::{self, ExecutableMatch};
use super::places::{Place, Places};
use crate::linux::instance::{Instance, MOST_PROCESSES, Reader};

/// Each is read when it is first needed.
pub(super) struct Survey {
    places: Places,
    pub(super) accounts: Accounts,
    instances: Instances,
}

/// All programs of this network namespace.
enum Instances {
    NotYetRead,
    Read(Arc<[Instance]>),
    TooMany,
}

impl Survey {
    pub(super) fn of_this_host() -> Self {
        Self {
            places: Places::of_this_host(),
            accounts: Accounts::read(Path::new("/etc")),
            instances: Instances::NotYetRead,
        }
    }

    pub(super) fn executable_match(
        &mut self,
        wanted: &ProcessMatch,
        instance: &Instance,
    ) -> ExecutableMatch {
        executable_match::executable_match(wanted, instance, &mut |path| self.places.at(path))
    }

    /// What is at a path of this host.
    pub(super) fn at(&mut self, path: &Path) -> Vec<Place> {
        self.places.at(path)
    }

    /// All programs of this network namespace, or why they are not known.
    pub(super) fn instances(&mut self) -> Result<Arc<[Instance]>, String> {
        if matches!(self.instances, Instances::NotYetRead) {
            let read = Reader::new().all();
            self.instances = read.map_or(Instances::TooMany, |all| Instances::Read(all.into()));
        }
        match &self.instances {
            Instances::Read(all) => Ok(Arc::clone(all)),
            _ => Err(format!("more than {} processes are running", MOST_PROCESSES)),
        }
    }
}

#[cfg(test)]
impl Survey {
    /// A survey of these processes and users, with this machine's files.
    pub(super) fn of(accounts: Accounts, instances: Vec<Instance>) -> Self {
        let instances = Instances::Read(instances.into());
        Self { places: Places::of_this_host(), accounts, instances }
    }
}
