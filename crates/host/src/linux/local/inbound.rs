//! The ports that a program of an inbound rule listens on.

use std::collections::BTreeSet;

use xshield_policy::LocalProgram;
use xshield_policy::facts::Listener;

use super::impostors::{LOGIN_USERS_OWN, Suspects};
use super::likeness::Likeness;
use super::survey::Survey;
use crate::linux::instance::Instance;
use crate::linux::sockets::ListeningSocket;

/// The ports, ascending; or why the program can't be recognised on this host at all.
///
/// A port is a program's when a socket of it listens there. Another process may listen on the same port
/// at another address, or share it: the rule opens the port for both, since closing it would let any
/// user cut the program off. Such a process is told.
pub(super) fn listeners(
    program: &LocalProgram,
    sockets: &[ListeningSocket],
    survey: &mut Survey,
    suspects: &mut Suspects,
) -> Result<Vec<Listener>, String> {
    let user = program.user().map(|user| survey.accounts.number(user)).transpose()?;
    let mut ports = BTreeSet::new();
    let mut others = Vec::new();
    for socket in sockets {
        match taken(program, user, socket, survey) {
            Likeness::Is => {
                ports.insert(socket.listener());
            }
            Likeness::Unlike => others.push(socket),
            Likeness::Pretends(why) => {
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
                    "it listens on {} port {}, too, which the rule opens",
                    port.protocol, port.port
                ),
            );
        }
    }
    Ok(ports.into_iter().collect())
}

/// Whether a socket is one of the program's. A socket whose process is not known is nobody's but its
/// user's.
fn taken(
    program: &LocalProgram,
    user: Option<u32>,
    socket: &ListeningSocket,
    survey: &mut Survey,
) -> Likeness {
    let of_user = user.is_none_or(|user| user == socket.uid);
    let Some(holder) = &socket.holder else {
        let user_alone = program.process().is_none() && program.unit().is_none();
        return if user_alone && of_user { Likeness::Is } else { Likeness::Unlike };
    };
    let of_unit = program.unit().is_none_or(|unit| holder.unit() == Some(unit.as_str()));
    let Some(process) = program.process() else {
        return if of_user && of_unit { Likeness::Is } else { Likeness::Unlike };
    };
    match survey.likeness(process, holder) {
        Likeness::Is => {}
        other => return other,
    }
    if !of_user {
        return Likeness::Pretends("its socket is of another user than the rule's".to_owned());
    }
    if !of_unit {
        return Likeness::Pretends("it runs in another unit than the rule's".to_owned());
    }
    // Root opens sockets for services that run as others, before they start and after.
    if socket.uid != 0 && !holder.users.contains(&socket.uid) {
        let maker = survey.accounts.shown(socket.uid);
        return Likeness::Pretends(format!("user {maker} made the socket that it listens on"));
    }
    let login = holder.users.iter().chain([&socket.uid]);
    let login = login.copied().any(|uid| survey.accounts.is_login_user(uid));
    if login && program.user().is_none() && program.unit().is_none() {
        return match alone_in_its_unit(program, holder, survey) {
            true => Likeness::Is,
            false => Likeness::Pretends(LOGIN_USERS_OWN.to_owned()),
        };
    }
    Likeness::Is
}

/// Whether it is in a unit of the system in which only this program runs: then the service manager
/// started it, whoever it runs as.
fn alone_in_its_unit(program: &LocalProgram, holder: &Instance, survey: &mut Survey) -> bool {
    let (Some(unit), Some(process)) = (holder.cgroups.unit_path(), program.process()) else {
        return false;
    };
    let Ok(all) = survey.instances() else { return false };
    let mut there = all.iter().filter(|other| other.cgroups.unit_path() == Some(unit)).peekable();
    there.peek().is_some() && there.all(|other| survey.likeness(process, other) == Likeness::Is)
}
