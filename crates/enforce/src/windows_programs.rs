//! How Windows recognises the programs of rules: by executable, by the identity of a user or a service.
//!
//! Pure: what is asked of the host is behind [`Lookup`]. What can't be recognised exactly is an error that
//! says why, never more programs than the rule names.

use std::collections::BTreeSet;

use xshield_firewall::wfp::program::{AppId, LocalProgram as WindowsProgram, Sid};
use xshield_policy::facts::{Listener, Owners};
use xshield_policy::{LocalProgram, ProcessMatch};

use crate::recognised::Recognised;

/// Questions to the host.
pub(crate) trait Lookup {
    /// The executable at a full path, as the filter engine names it.
    fn executable(&self, path: &str) -> Result<String, String>;

    /// The security identifier of a user or of a built-in service account; `None` if the host knows no such
    /// user. Groups are not users.
    fn user(&self, name: &str) -> Result<Option<String>, String>;

    /// The security identifier of a service in the access tokens of its processes; an error if its processes
    /// have none.
    fn service(&self, name: &str) -> Result<String, String>;

    /// An error if users other than administrators can change a file or put another in its place.
    fn guarded(&self, path: &str) -> Result<(), String>;
}

/// A socket on which a process listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProgramSocket {
    /// What it opens.
    pub(crate) listener: Listener,
    /// The full path of the process's executable.
    pub(crate) path: Option<String>,
    /// The security identifier of its user.
    pub(crate) user: Option<String>,
    /// The services in the process.
    pub(crate) services: Vec<String>,
}

/// Finds the ports of inbound programs and the owners of outbound ones.
pub(crate) fn recognise(
    (inbound, outbound): (&BTreeSet<LocalProgram>, &BTreeSet<LocalProgram>),
    sockets: &[ProgramSocket],
    host: &impl Lookup,
) -> Recognised {
    let mut found = Recognised::default();
    for program in inbound {
        match listeners(program, sockets, host) {
            Err(reason) => drop(found.unknown.insert(program.clone(), reason)),
            Ok((ports, rejected)) => {
                if ports.is_empty() {
                    let instead = match rejected.is_empty() {
                        true => "no process that listens matches it".to_owned(),
                        false => rejected.join("; "),
                    };
                    found.absent.insert(program.clone(), instead);
                } else {
                    found.listeners.insert(program.clone(), ports);
                }
            }
        }
    }
    for program in outbound {
        found.owners.insert(program.clone(), owners(program, host));
    }
    found
}

/// The name of the service that a rule's unit stands for: Linux' suffix is not part of it.
fn service_name(unit: &str) -> &str {
    unit.strip_suffix(".service").unwrap_or(unit)
}

/// The ports on which a program listens, and why sockets that look like its own are not.
fn listeners(
    program: &LocalProgram,
    sockets: &[ProgramSocket],
    host: &impl Lookup,
) -> Result<(Vec<Listener>, Vec<String>), String> {
    let user = program.user().map(|user| identity(user.as_str(), host)).transpose()?;
    let service = program.unit().map(|unit| service_name(unit.as_str()));
    let mut ports = BTreeSet::new();
    let mut rejected = Vec::new();
    for socket in sockets {
        let is_user = user.as_ref().is_none_or(|user| socket.user.as_ref() == Some(user));
        let is_service = service.is_none_or(|name| match &socket.services[..] {
            [only] => only.eq_ignore_ascii_case(name),
            _ => false,
        });
        let shares = |name: &str| socket.services.iter().any(|s| s.eq_ignore_ascii_case(name));
        if let Some(name) = service.filter(|name| !is_service && shares(name)) {
            rejected.push(format!(
                "{} belongs to a process that runs {name} with other services",
                port(socket)
            ));
        }
        if !is_user || !is_service {
            continue;
        }
        match program.process().map_or(Ok(true), |process| runs(process, socket, host)) {
            Ok(true) => drop(ports.insert((socket.listener.protocol, socket.listener.port))),
            Ok(false) => {}
            Err(reason) => rejected.push(format!("{}: {reason}", port(socket))),
        }
    }
    let ports = ports.into_iter().map(|(protocol, port)| Listener { protocol, port }).collect();
    Ok((ports, rejected))
}

fn port(socket: &ProgramSocket) -> String {
    let Listener { protocol, port } = socket.listener;
    format!("{protocol}/{port}")
}

/// Whether the process of a socket runs an executable.
fn runs(
    process: &ProcessMatch,
    socket: &ProgramSocket,
    host: &impl Lookup,
) -> Result<bool, String> {
    let Some(path) = &socket.path else { return Ok(false) };
    match process {
        ProcessMatch::Path(wanted) => {
            Ok(same_text(wanted, path) || host.executable(wanted)? == host.executable(path)?)
        }
        ProcessMatch::Name(wanted) => {
            let name = path.rsplit('\\').next().unwrap_or(path);
            let is_named = same_text(name, wanted) || same_text(name, &format!("{wanted}.exe"));
            // A name is that of a file where only administrators can put files.
            if is_named {
                host.guarded(path)?;
            }
            Ok(is_named)
        }
    }
}

fn same_text(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

fn identity(user: &str, host: &impl Lookup) -> Result<String, String> {
    host.user(user)?.ok_or_else(|| format!("this host has no user {user}"))
}

/// What the filter engine asks of the sockets of a program.
pub(crate) fn owners(program: &LocalProgram, host: &impl Lookup) -> Owners {
    let app = match program.process() {
        None => None,
        Some(ProcessMatch::Path(path)) => {
            let app = AppId::try_from(host.executable(path)?);
            Some(app.map_err(|error| error.to_string())?)
        }
        Some(ProcessMatch::Name(name)) => {
            return Err(format!(
                "outbound, Windows recognises an executable by its full path: write the path of {name}"
            ));
        }
    };
    let sid = match (program.user(), program.unit()) {
        (None, None) => None,
        (Some(user), None) => Some(identity(user.as_str(), host)?),
        (None, Some(unit)) => Some(host.service(service_name(unit.as_str()))?),
        (Some(_), Some(_)) => {
            return Err(
                "outbound, a filter of Windows can ask for a user or for a service, not for \
                        both: leave one out"
                    .to_owned(),
            );
        }
    };
    let sid = sid.map(Sid::try_from).transpose().map_err(|error| error.to_string())?;
    let program = match (app, sid) {
        (Some(app), Some(sid)) => WindowsProgram::Both(app, sid),
        (Some(app), None) => WindowsProgram::App(app),
        (None, Some(sid)) => WindowsProgram::Identity(sid),
        (None, None) => return Err("it names no program".to_owned()),
    };
    Ok(vec![program.owner()])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use xshield_policy::{Owner, Protocol};

    use super::*;

    /// A host with drive `C:`, the users `alice` and `SYSTEM`, the group `Users`, and two services, of which
    /// one has an identity of its own.
    struct Example;

    impl Lookup for Example {
        fn executable(&self, path: &str) -> Result<String, String> {
            let rest = path.strip_prefix(r"C:\").ok_or_else(|| format!("{path}: no such drive"))?;
            Ok(format!(r"\device\harddiskvolume2\{}", rest.to_lowercase()))
        }

        fn user(&self, name: &str) -> Result<Option<String>, String> {
            Ok(match name {
                "alice" => Some("S-1-5-21-1-2-3-1001".to_owned()),
                "SYSTEM" => Some("S-1-5-18".to_owned()),
                "Users" => return Err("Users is a group".to_owned()),
                _ => None,
            })
        }

        fn service(&self, name: &str) -> Result<String, String> {
            match name {
                "nginx" => Ok("S-1-5-80-1".to_owned()),
                _ => Err(format!("the processes of {name} have no identity of their own")),
            }
        }

        fn guarded(&self, path: &str) -> Result<(), String> {
            match path.starts_with(r"C:\Users") {
                true => Err("alice can change it".to_owned()),
                false => Ok(()),
            }
        }
    }

    fn program(words: &str) -> LocalProgram {
        LocalProgram::from_words(words).unwrap()
    }

    fn owned(executable: Option<&str>, identity: Option<&str>) -> Vec<Owner> {
        let text = |text: &str| text.to_owned();
        vec![Owner::Windows { executable: executable.map(text), identity: identity.map(text) }]
    }

    #[test]
    fn outbound_programs_are_identified_exactly_or_refused_with_the_reason() {
        let nginx = r"\device\harddiskvolume2\nginx\nginx.exe";
        for (words, expected) in [
            (r"process:C:\Nginx\nginx.exe", Ok(owned(Some(nginx), None))),
            ("user:alice", Ok(owned(None, Some("S-1-5-21-1-2-3-1001")))),
            ("user:SYSTEM", Ok(owned(None, Some("S-1-5-18")))),
            ("unit:nginx.service", Ok(owned(None, Some("S-1-5-80-1")))),
            (
                r"process:C:\nginx\nginx.exe,unit:nginx.service",
                Ok(owned(Some(nginx), Some("S-1-5-80-1"))),
            ),
            ("process:nginx", Err("write the path of nginx")),
            (r"process:Z:\a.exe", Err("no such drive")),
            ("process:/usr/bin/app", Err("no such drive")),
            ("user:bob", Err("no user bob")),
            ("user:Users", Err("is a group")),
            ("unit:other.service", Err("no identity of their own")),
            ("user:alice,unit:nginx.service", Err("leave one out")),
            // Nothing is left out of what a rule asks for.
            (r"process:C:\nginx\nginx.exe,user:bob", Err("no user bob")),
        ] {
            match (owners(&program(words), &Example), expected) {
                (Ok(owners), Ok(expected)) => assert_eq!(owners, expected, "{words}"),
                (Err(reason), Err(expected)) => assert!(reason.contains(expected), "{reason}"),
                (got, _) => panic!("{words}: {got:?}"),
            }
        }
    }

    #[test]
    fn inbound_programs_open_the_ports_on_which_they_listen() {
        let socket = |port, path: &str, user: &str, services: &str| ProgramSocket {
            listener: Listener { protocol: Protocol::Tcp, port },
            path: (!path.is_empty()).then(|| path.to_owned()),
            user: Some(user.to_owned()),
            services: services.split_whitespace().map(str::to_owned).collect(),
        };
        let (system, alice) = ("S-1-5-18", "S-1-5-21-1-2-3-1001");
        let sockets = [
            socket(80, r"C:\Program Files\nginx\nginx.exe", system, "nginx"),
            socket(81, r"C:\Users\alice\nginx.exe", alice, ""),
            socket(135, r"C:\Windows\System32\svchost.exe", system, "RpcEptMapper RpcSs"),
            socket(445, "", system, ""),
        ];
        let ports = |words: &str| {
            let inbound = BTreeSet::from([program(words)]);
            let found = recognise((&inbound, &BTreeSet::new()), &sockets, &Example);
            let ports = found.listeners.values().flatten().map(|listener| listener.port);
            let text = |texts: &BTreeMap<_, String>| texts.values().cloned().collect::<String>();
            (ports.collect::<Vec<u16>>(), text(&found.absent) + &text(&found.unknown))
        };
        for (words, expected, reason) in [
            ("process:nginx", &[80][..], ""),
            ("process:NGINX.EXE", &[80], ""),
            (r"process:c:\program files\nginx\nginx.exe", &[80], ""),
            // By its path, a file of alice's is what the operator names.
            (r"process:C:\Users\alice\nginx.exe", &[81], ""),
            ("process:nginx,user:alice", &[], "tcp/81: alice can change it"),
            ("unit:NGINX.service", &[80], ""),
            ("user:alice", &[81], ""),
            ("user:SYSTEM", &[80, 135, 445], ""),
            ("unit:RpcSs.service", &[], "runs RpcSs with other services"),
            ("process:apache", &[], "no process that listens matches it"),
            ("user:Users", &[], "is a group"),
        ] {
            let (found, text) = ports(words);
            assert_eq!(found, expected, "{words}: {text}");
            assert!(text.contains(reason), "{words}: {text}");
        }
    }
}
