//! The programs of rules on this host: users, services, executables.

use std::collections::BTreeSet;
use std::path::Path;

use xshield_firewall::wfp::windows::app_id;
use xshield_host::windows::paths::drives;
use xshield_host::windows::services::OwnIdentity;
use xshield_host::windows::{accounts, guarded, services};
use xshield_host::windows_formats::paths::Drives;
use xshield_host::windows_formats::service_identity::service_sid;
use xshield_policy::{LocalProgram, Owner, Ruleset};

use super::{Capabilities, ListeningSocket};
use crate::problems::chain;
use crate::recognised::Recognised;
use crate::windows_programs::{self, Lookup, ProgramSocket};

/// This host, asked when a rule names a program.
struct ThisHost {
    drives: Drives,
}

impl ThisHost {
    fn now() -> Self {
        Self { drives: drives() }
    }
}

impl Lookup for ThisHost {
    fn executable(&self, path: &str) -> Result<String, String> {
        // Of a file that exists, Windows' own answer is exact; of one that will be installed later, its
        // path is.
        match app_id(path) {
            Ok(app) => Ok(app.to_string()),
            Err(_) => self.drives.device_path(path).map_err(|error| chain(&error)),
        }
    }

    fn user(&self, name: &str) -> Result<Option<String>, String> {
        accounts::user(name).map_err(|error| format!("looking up the user {name} failed: {error}"))
    }

    fn service(&self, name: &str) -> Result<String, String> {
        match services::own_identity(name) {
            Ok(OwnIdentity::Present) => Ok(service_sid(name)),
            Ok(OwnIdentity::Absent) => Err(format!(
                "the processes of the service {name} do not have its identity; run 'sc sidtype {name} \
                 unrestricted', then restart the service"
            )),
            Ok(OwnIdentity::NoService) => Err(format!("this host has no service {name}")),
            Err(error) => Err(format!("looking up the service {name} failed: {error}")),
        }
    }

    fn guarded(&self, path: &str) -> Result<(), String> {
        guarded::ours_alone(Path::new(path)).map_err(|error| chain(&error))
    }
}

/// Finds the ports of inbound programs and the owners of outbound ones.
pub(crate) fn recognise(
    _: &Ruleset,
    (inbound, outbound): (&BTreeSet<LocalProgram>, &BTreeSet<LocalProgram>),
    sockets: &[ListeningSocket],
    _: &Capabilities,
) -> Recognised {
    if inbound.is_empty() && outbound.is_empty() {
        return Recognised::default();
    }
    let sockets: Vec<ProgramSocket> = sockets.iter().map(program_socket).collect();
    windows_programs::recognise((inbound, outbound), &sockets, &ThisHost::now())
}

fn program_socket(socket: &ListeningSocket) -> ProgramSocket {
    let process = socket.process.as_deref();
    ProgramSocket {
        listener: socket.listener(),
        path: process.and_then(|process| process.path.clone()),
        user: process.and_then(|process| process.user.clone()),
        services: process.map(|process| process.services.clone()).unwrap_or_default(),
    }
}

/// A program as the filter engine sees its packets.
pub(crate) struct Identity {
    /// For people.
    pub(crate) shown: String,
    pub(crate) owners: Vec<Owner>,
}

/// How the filter engine sees the packets of a program.
pub(crate) fn identities(program: &LocalProgram) -> Result<Vec<Identity>, String> {
    let owners = windows_programs::owners(program, &ThisHost::now())?;
    Ok(vec![Identity { shown: program.to_string(), owners }])
}
