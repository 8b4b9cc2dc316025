//! The ports on which a program of an inbound rule listens.

use std::collections::BTreeSet;

use xshield_policy::LocalProgram;
use xshield_policy::facts::Listener;

use super::executable_match::ExecutableMatch;
use super::lookalikes::{LOGIN_USERS_OWN, LookalikeCollector};
use super::survey::Survey;
use crate::linux::instance::Instance;
use crate::linux::sockets::ListeningSocket;

/// The ports in ascending order, or why the program can't be identified on this host at all.
///
/// A port belongs to a program if one of its sockets listens there. If another process listens on the same
/// port at another address, or shares it, the rule opens the port for both, since closing it would let any
/// user make the program unreachable. Such a process is reported.
pub(super) fn listeners(
    program: &LocalProgram,
    sockets: &[ListeningSocket],
    survey: &mut Survey,
    suspects: &mut LookalikeCollector,
) -> Result<Vec<Listener>, String> {
    let user = program.user().map(|user| survey.accounts.number(user)).transpose()?;
    let mut ports = BTreeSet::new();
    let mut others = Vec::new();
    for socket in sockets {
        match taken(program, user, socket, survey) {
            ExecutableMatch::Is => {
                ports.insert(socket.listener());
            }
            ExecutableMatch::Unlike => others.push(socket),
            ExecutableMatch::Pretends(why) => {
                if let Some(holder) = &socket.holder {
                    suspects.add(holder, why);
                }
            }
        }
    }
    for socket in others {
        if let Some(holder) = &socket.holder
            && ports.contains(&socket.listener())
        {
            let port = socket.listener();
            suspects.add(
                holder,
                format!(
                    "it also listens on {} port {}, which the rule opens",
                    port.protocol, port.port
                ),
            );
        }
    }
    Ok(ports.into_iter().collect())
}

/// Whether a socket belongs to the program. A socket whose process is not known belongs only to its user.
fn taken(
    program: &LocalProgram,
    user: Option<u32>,
    socket: &ListeningSocket,
    survey: &mut Survey,
) -> ExecutableMatch {
    let of_user = user.is_none_or(|user| user == socket.uid);
    let Some(holder) = &socket.holder else {
        let user_alone = program.process().is_none() && program.unit().is_none();
        return if user_alone && of_user { ExecutableMatch::Is } else { ExecutableMatch::Unlike };
    };
    let of_unit = program.unit().is_none_or(|unit| holder.unit() == Some(unit.as_str()));
    let Some(process) = program.process() else {
        return if of_user && of_unit { ExecutableMatch::Is } else { ExecutableMatch::Unlike };
    };
    match survey.executable_match(process, holder) {
        ExecutableMatch::Is => {}
        other => return other,
    }
    if !of_user {
        return ExecutableMatch::Pretends(
            "its socket belongs to another user than the rule's".to_owned(),
        );
    }
    if !of_unit {
        return ExecutableMatch::Pretends("it runs in another unit than the rule's".to_owned());
    }
    // Root creates sockets for services that run as other users, before and after they start.
    if socket.uid != 0 && !holder.users.contains(&socket.uid) {
        let maker = survey.accounts.shown(socket.uid);
        return ExecutableMatch::Pretends(format!(
            "user {maker} created the socket on which it listens"
        ));
    }
    let login = holder.users.iter().chain([&socket.uid]);
    let login = login.copied().any(|uid| survey.accounts.is_login_user(uid));
    if login && program.user().is_none() && program.unit().is_none() {
        return match alone_in_its_unit(program, holder, survey) {
            true => ExecutableMatch::Is,
            false => ExecutableMatch::Pretends(LOGIN_USERS_OWN.to_owned()),
        };
    }
    ExecutableMatch::Is
}

/// Whether it is in a system unit in which only this program runs: then the service manager started it,
/// whatever its user is.
fn alone_in_its_unit(program: &LocalProgram, holder: &Instance, survey: &mut Survey) -> bool {
    let (Some(unit), Some(process)) = (holder.cgroups.unit_path(), program.process()) else {
        return false;
    };
    let Ok(all) = survey.instances() else { return false };
    let mut there = all.iter().filter(|other| other.cgroups.unit_path() == Some(unit)).peekable();
    there.peek().is_some()
        && there.all(|other| survey.executable_match(process, other) == ExecutableMatch::Is)
}
