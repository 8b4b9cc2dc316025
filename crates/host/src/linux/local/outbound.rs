//! How the kernel can identify the program that opens a flow, if that is exact.
//!
//! A packet's socket knows its cgroup and its user, not its executable. A rule for an executable is
//! enforceable only if cgroup or user identify exactly this executable; anything less exact is refused, since
//! the rule would also apply to programs that it does not name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use xshield_policy::facts::Owners;
use xshield_policy::{LocalProgram, Owner};

use super::accounts::Accounts;
use super::executable_match::ExecutableMatch;
use super::lookalikes::{LOGIN_USERS_OWN, LookalikeCollector};
use super::survey::Survey;
use crate::linux::cgroups::system_unit;
use crate::linux::instance::Instance;

/// Why a process with the right executable is not covered.
const NOT_COVERED: &str =
    "it runs outside of the units and users by which the kernel identifies the program";

/// The owners that together identify the program, or why there are none.
pub(super) fn owners(
    program: &LocalProgram,
    survey: &mut Survey,
    cgroup_mount: Option<&Path>,
    suspects: &mut LookalikeCollector,
) -> Owners {
    let user = program.user().map(|user| survey.accounts.number(user)).transpose()?;
    if let (None, Some(user), None) = (program.process(), user, program.unit()) {
        return Ok(vec![Owner::Uid(user)]);
    }
    let all = survey.instances()?;
    let (mut mine, mut others) = (Vec::new(), Vec::new());
    for instance in all.iter() {
        let is = match program.process().map(|process| survey.executable_match(process, instance)) {
            None | Some(ExecutableMatch::Is) => true,
            Some(ExecutableMatch::Unlike) => false,
            Some(ExecutableMatch::Pretends(why)) => {
                suspects.add(instance, why);
                false
            }
        };
        let as_user = user.is_none_or(|user| instance.users == [user; 4]);
        let in_unit = program.unit().is_none_or(|unit| instance.unit() == Some(unit.as_str()));
        let side = if is && as_user && in_unit { &mut mine } else { &mut others };
        side.push(instance);
    }
    let search = Search { program, user, accounts: &survey.accounts, mine, others };
    let owners = search.owners(cgroup_mount);
    search.left_over(owners.as_deref().unwrap_or_default(), suspects);
    owners
}

/// The processes of a program, and all others.
struct Search<'a> {
    program: &'a LocalProgram,
    user: Option<u32>,
    accounts: &'a Accounts,
    mine: Vec<&'a Instance>,
    others: Vec<&'a Instance>,
}

impl Search<'_> {
    fn owners(&self, cgroup_mount: Option<&Path>) -> Owners {
        if self.mine.is_empty() {
            return Err(
                "is not running, so its packets can't be distinguished from others'; start it"
                    .to_owned(),
            );
        }
        let no_unit = match cgroup_mount {
            None => "the kernel can't match its cgroup".to_owned(),
            Some(mount) => match self.units(mount) {
                Ok(units) => return Ok(units),
                Err(reason) => reason,
            },
        };
        if self.program.unit().is_some() {
            return Err(format!("can't be distinguished from other programs: {no_unit}"));
        }
        self.users().map_err(|no_user| {
            format!(
                "can't be distinguished from other programs: {no_unit}; and {no_user}. Run it as \
                 its own systemd service, or under its own user"
            )
        })
    }

    /// The system units in which only the program runs.
    fn units(&self, mount: &Path) -> Owners {
        let units: BTreeSet<&str> = self.mine.iter().filter_map(|i| unit_of(i)).collect();
        let mut why = "it is not in the cgroup of its own service".to_owned();
        let mut found = Vec::new();
        for unit in units {
            let stranger = self.others.iter().find(|other| unit_of(other) == Some(unit));
            if let Some(stranger) = stranger {
                why = match self.program.process() {
                    Some(_) => format!("{} also runs in its cgroup {unit}", stranger.shown()),
                    None => format!(
                        "{} runs in {unit} as user {}",
                        stranger.shown(),
                        self.accounts.shown(stranger.users[0])
                    ),
                };
            } else if fs::metadata(mount.join(unit)).is_ok_and(|meta| meta.nlink() > 0) {
                found.push(Owner::Cgroup(unit.to_owned()));
            } else {
                why = format!("its cgroup {unit} is not visible here");
            }
        }
        if found.is_empty() { Err(why) } else { Ok(found) }
    }

    /// The system users as which only the program runs, outside of login sessions; or the user that the rule
    /// names.
    fn users(&self) -> Owners {
        let mut why = "it runs only as login users; name the user in the rule".to_owned();
        let mut found = Vec::new();
        let users: BTreeMap<u32, bool> = self
            .mine
            .iter()
            .flat_map(|instance| instance.users.map(|user| (user, instance.users == [user; 4])))
            .fold(BTreeMap::new(), |mut users, (user, alone)| {
                users.entry(user).and_modify(|all| *all &= alone).or_insert(alone);
                users
            });
        for (user, alone) in users {
            let named = self.user == Some(user);
            if user == 0 {
                why = "it runs as root".to_owned();
            } else if !named && self.accounts.is_login_user(user) {
                continue;
            } else if !named && self.only_in_logins(user) {
                why = format!("user {user} runs it only in login sessions");
            } else if !alone {
                why = "one of its processes runs as more than one user".to_owned();
            } else if let Some(o) = self.others.iter().find(|o| o.users.contains(&user)) {
                why = format!("{} also runs as its user {user}", o.shown());
            } else {
                found.push(Owner::Uid(user));
            }
        }
        if found.is_empty() { Err(why) } else { Ok(found) }
    }

    fn only_in_logins(&self, user: u32) -> bool {
        let mut theirs = self.mine.iter().filter(|instance| instance.users.contains(&user));
        theirs.all(|instance| instance.cgroups.is_of_a_login())
    }

    /// Processes of the executable that these owners do not cover: no rule admits them.
    fn left_over(&self, owners: &[Owner], suspects: &mut LookalikeCollector) {
        if self.program.process().is_none() {
            return;
        }
        for instance in &self.mine {
            let covered = owners.iter().any(|owner| match owner {
                Owner::Uid(user) => instance.users[0] == *user,
                Owner::Cgroup(unit) => unit_of(instance) == Some(unit),
                Owner::Windows { .. } => false,
            });
            let login = self.user.is_none()
                && instance.users.iter().any(|&user| self.accounts.is_login_user(user));
            match (covered, login, owners) {
                (true, ..) => {}
                (false, true, _) => suspects.add(instance, LOGIN_USERS_OWN),
                // Already part of the reason why the rule can't be enforced.
                (false, false, []) => {}
                (false, false, _) => suspects.add(instance, NOT_COVERED),
            }
        }
    }
}

/// The unit's path in the hierarchy that the kernel's firewall matches.
fn unit_of(instance: &Instance) -> Option<&str> {
    instance.cgroups.v2.as_deref().and_then(system_unit)
}

#[cfg(test)]
mod tests;
