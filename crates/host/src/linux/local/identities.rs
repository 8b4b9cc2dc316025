//! How the kernel identifies the packets of a running program: what outbound rules match.

use xshield_policy::{LocalProgram, Owner};

use super::absent::running;
use super::survey::Survey;
use crate::linux::instance::Instance;

/// What the kernel knows about a socket's program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The process, or the program as it was given.
    pub shown: String,
    /// Its user, and its cgroup with all parents.
    pub owners: Vec<Owner>,
}

/// The different ways in which the kernel identifies a program's packets. For a user, no process needs to
/// run; for a unit that does not run, the cgroup that the service manager would use is assumed.
///
/// # Errors
/// As text: the program does not run, or there is no such user.
pub fn identities(program: &LocalProgram) -> Result<Vec<Identity>, String> {
    of(program, &mut Survey::of_this_host())
}

fn of(program: &LocalProgram, survey: &mut Survey) -> Result<Vec<Identity>, String> {
    let user = program.user().map(|user| survey.accounts.number(user)).transpose()?;
    let user = user.map(Owner::Uid);
    let whole = |owners: Vec<Owner>| vec![Identity { shown: program.to_string(), owners }];
    if program.process().is_none() && program.unit().is_none() {
        return Ok(whole(user.into_iter().collect()));
    }
    let mut found: Vec<Identity> = Vec::new();
    for instance in running(program, survey)? {
        let owners = owners(&instance);
        if !found.iter().any(|known| known.owners == owners) {
            let user = survey.accounts.shown(instance.users[0]);
            let shown = format!("process {} ({}, user {user})", instance.pid, instance.shown());
            found.push(Identity { shown, owners });
        }
    }
    match (found.is_empty(), program.process(), program.unit()) {
        (false, ..) => Ok(found),
        (true, None, Some(unit)) => {
            let cgroup = Owner::Cgroup(format!("system.slice/{unit}"));
            Ok(whole(user.into_iter().chain([cgroup]).collect()))
        }
        _ => Err(format!(
            "{program}: no such process is running here, so it is not known how the kernel would \
             identify its packets; start it, or use 'user:NAME' or 'unit:NAME'"
        )),
    }
}

/// A socket has the file system user of the process that created it (inet_create, net/ipv4/af_inet.c), and
/// its cgroup is matched at every level.
fn owners(instance: &Instance) -> Vec<Owner> {
    let path = instance.cgroups.v2.as_deref().unwrap_or_default();
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    let cgroups = ends.filter(|&end| end > 0).map(|end| Owner::Cgroup(path[..end].to_owned()));
    [Owner::Uid(instance.users[3])].into_iter().chain(cgroups).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::linux::cgroups::Cgroups;
    use crate::linux::local::accounts::Accounts;

    fn instance(pid: u32, user: u32, cgroup: &str) -> Instance {
        Instance {
            pid,
            name: "app".into(),
            executable: None,
            users: [user; 4],
            cgroups: Arc::new(Cgroups { v2: Some(cgroup.to_owned()), v1: None }),
        }
    }

    #[test]
    fn kernel_identities_of_programs() {
        let unit = "system.slice/app.service";
        let of_33 = "33 system.slice system.slice/app.service";
        for (user, wanted, running, expected) in [
            ("www", "", vec![], "33"),
            ("33", "", vec![], "33"),
            ("nobody-here", "", vec![], "nobody-here"),
            ("", "app.service", vec![], unit),
            ("www", "app.service", vec![], "33 system.slice/app.service"),
            ("", "app.service", vec![instance(1, 33, unit), instance(2, 33, unit)], of_33),
            (
                "",
                "app.service",
                vec![instance(1, 33, unit), instance(2, 0, "system.slice/app.service/x")],
                "33 system.slice system.slice/app.service; \
                 0 system.slice system.slice/app.service system.slice/app.service/x",
            ),
            ("www", "app.service", vec![instance(1, 33, unit), instance(2, 0, unit)], of_33),
        ] {
            let user = (!user.is_empty()).then(|| user.to_owned().try_into().unwrap());
            let wanted = (!wanted.is_empty()).then(|| wanted.to_owned().try_into().unwrap());
            let program = LocalProgram::new(None, user, wanted).unwrap();
            let mut survey = Survey::of(Accounts::parse("www:x:33:33\n", ""), running);
            let text = |owner: &Owner| match owner {
                Owner::Uid(user) => user.to_string(),
                Owner::Cgroup(path) => path.clone(),
                Owner::Windows { .. } => unreachable!("not on Linux"),
            };
            let texts = |one: &Identity| one.owners.iter().map(text).collect::<Vec<_>>().join(" ");
            let got = of(&program, &mut survey);
            let got = got.map(|all| all.iter().map(texts).collect::<Vec<_>>().join("; "));
            let got = got.unwrap_or_else(|reason| reason);
            let fits = match expected {
                "nobody-here" => got.contains(expected),
                exactly => got == exactly,
            };
            assert!(fits, "{program}: {got:?}");
        }
        let process =
            LocalProgram::from(xshield_policy::ProcessMatch::try_from("app".to_owned()).unwrap());
        let mut nothing = Survey::of(Accounts::parse("", ""), Vec::new());
        assert!(
            of(&process, &mut nothing).unwrap_err().contains("no such process is running here")
        );
    }
}
